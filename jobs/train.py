"""--job=train: a new run, trained on the store."""
import textwrap
import time

from jobs.errors import option_errors
from jobs.val import validation
from pipeline.batches import augment_on_device, steps_per_epoch, training_batches
from pipeline.selection import repeat_rare
from training.devices import device_kind
from training.optimizers import make_optimizer
from training.schedules import make_schedule
from training.trainer import compile_model, fit, use_xla

REFERENCE_BATCH = 256  # for --lr_per_256


def run(session):
    started = begin(session)
    o, store = session.options, session.store

    # Data: who trains, how often.
    train_rows, val_rows = session.rows
    drawn, steps = draw(session)
    asked = session.augmentation  # refused now, if it must be
    print(f"data: {len(train_rows)} training records ({steps * o.batch_size} an epoch), "
          f"{len(val_rows)} validation records, {len(store.class_names)} classes")

    # The run and its network.
    session.plan_run(
        network={"backbone": o.backbone, "head": o.head, "pooling": o.pooling,
                 "temperature": o.temperature} |
                ({"stem_stride": o.stem_stride} if o.stem_stride else {}),
        eval_crop=o.eval_crop)
    model = session.build(session.run, o.weights)
    with session.strategy.scope(), option_errors():
        compile_model(model, make_run_optimizer(o, steps), label_smoothing=o.label_smoothing,
                      steps_per_execution=o.steps_per_execution,
                      xla=use_xla(o.xla, device_kind(session.strategy),
                                  session.strategy.num_replicas_in_sync))
    print(f"network: {o.backbone}, {model.count_params() / 1e6:.2f} M parameters")

    # Batches.
    batches = augmented_batches(session, drawn, o.augment_on)
    if o.augment_on == "device":
        model.set_augmentation(augment_on_device(asked, session.input_format,
                                                 len(store.class_names)))
    validate = None
    if len(val_rows):
        figures = validation(session)
        validate = lambda model: {f"val_{k}": v for k, v in figures(model).items()}
    finish(session, model, batches, steps, validate, started)


def draw(session):
    """(rows of the store that train, those of rare classes repeatedly; steps of an epoch)"""
    o, rows = session.options, session.rows[0]
    drawn = repeat_rare(rows, session.labels[rows], o.oversample_to)
    with option_errors():
        return drawn, steps_per_epoch(session.labels[drawn], o.undersample_to, o.batch_size)


def augmented_batches(session, drawn, augment_on):
    """The training batches of `drawn` rows."""
    o = session.options
    source, position = session.source
    return training_batches(
        source, position[drawn], session.labels[drawn], len(session.store.class_names),
        session.augmentation, session.input_format, batch_size=o.batch_size, seed=o.seed,
        n_epochs=o.n_epochs, cap=o.undersample_to, augment_on=augment_on,
        replicas=session.strategy.num_replicas_in_sync)


def begin(session):
    """Says what is to be trained; returns when it began."""
    _print_options(session.options)
    return time.monotonic()


def make_run_optimizer(o, steps):
    """The optimizer and its schedule as the options say. steps: of an epoch."""
    lr = o.lr * o.batch_size / REFERENCE_BATCH if o.lr_per_256 else o.lr
    schedule = make_schedule(
        o.schedule, lr, steps_per_epoch=steps, n_epochs=o.n_epochs,
        warmup_epochs=o.warmup_epochs, milestones_epochs=o.milestones_epochs,
        factor=o.lr_factor, min_lr=o.min_lr, decay_epochs=o.decay_epochs)
    return make_optimizer(o.optimizer, schedule, weight_decay=o.weight_decay, momentum=o.momentum,
                          nesterov=o.nesterov, decay_norms_and_biases=o.decay_norms_and_biases)


def finish(session, model, batches, steps, validate, started, callbacks=()):
    """Makes the run's folder, trains, and leaves the best weights to the jobs that follow."""
    o = session.options
    session.run.create()
    fit(model, batches, session.run.folder, steps_per_epoch=steps, n_epochs=o.n_epochs,
        steps_per_execution=o.steps_per_execution, monitor=o.monitor, validate=validate,
        validate_every=o.validate_every_epochs, callbacks=callbacks)
    session.run.update(finished=True, training_seconds=round(time.monotonic() - started, 1))
    model.load_weights(session.run.weights())
    session.model = model
    print(f"trained: {o.n_epochs} epochs in {time.monotonic() - started:.0f} s -> "
          f"{session.run.folder}")


def _print_options(options):
    texts = (f"{name}={','.join(map(str, value)) if isinstance(value, (list, tuple)) else value}"
             for name, value in vars(options).items())
    print(textwrap.fill(" ".join(texts), 100, initial_indent="options: ", subsequent_indent="  ",
                        break_long_words=False, break_on_hyphens=False))
