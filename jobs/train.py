"""--job=train: a run, trained on the store; one that was cut off goes on where it was."""
import textwrap
import time

import numpy as np

from inference.product_scores import WIDER_LEVELS
from jobs.dry_run import dry_run
from jobs.errors import OptionError, option_errors
from jobs.example_losses import ExampleLosses
from jobs.fine_tuning import layer_rates_of, prepare_weights
from jobs.teacher import distillation, open_teacher
from jobs.val import validation
from models.class_weights import class_weights
from models.losses import make_loss, switched
from models.margins import MARGINS
from pipeline.batches import augment_on_device, steps_per_epoch, training_batches
from pipeline.selection import repeat_rare
from training.devices import device_kind
from training.freezing import unfrozen
from training.loop import LOWER_IS_BETTER, Plan, Training, use_xla
from training.optimizers import make_optimizer
from training.plateau import EarlyStop, Plateau
from training.schedules import make_schedule

REFERENCE_BATCH = 256  # for --lr_per_256


def run(session):
    started = begin(session)
    o, store = session.options, session.store

    # Data: who trains, how often.
    train_rows, val_rows = session.rows
    drawn, steps = draw(session)
    asked, teacher = session.augmentation, open_teacher(session)  # refused now, if they must be
    vectors = session.vectors
    print(f"data: {len(train_rows)} training records ({steps * o.batch_size} an epoch), "
          f"{len(val_rows)} validation records, {len(session.class_names)} classes")

    # The run and its network.
    session.plan_run(network=network(o, vectors) | level_heads(session), aux=vectors and vectors.info,
                     eval_crop=o.eval_crop, known_classes=store.known_classes,
                     attribute_ids=attribute_ids(session), **product_entries(session))
    if finished_before(session):
        return
    model = session.build(session.run, o.weights)
    with session.strategy.scope(), option_errors():
        prepare_weights(session, model)
        weights = weights_of_classes(session, drawn)
        loss = make_loss(o.loss, weights, o.focal_gamma)
        if o.later_loss:
            loss = switched(loss, make_loss(o.later_loss, weights, o.focal_gamma),
                            lambda: model.optimizer.iterations >= o.later_loss_epoch * steps)
        margin = MARGINS[o.head](*([] if o.margin is None else [o.margin])) if o.head in MARGINS else None
        model.set_objective(loss, margin=margin, label_smoothing=o.label_smoothing,
                            distillation=distillation(session, model, teacher),
                            multilabel=o.task == "multilabel", level_weight=o.level_weight,
                            levels=[level["of_class"] for level in auxiliary_levels(session)])
    print(f"network: {o.backbone}, {model.count_params() / 1e6:.2f} M parameters")

    # Batches.
    if o.augment_on == "device":
        model.set_augmentation(augment_on_device(asked, session.input_format,
                                                 len(session.class_names)))
    validate = None
    if len(val_rows):
        figures = validation(session)
        validate = lambda model: {f"val_{k}": v for k, v in figures(model).items()}

    examples = ExampleLosses(session, drawn, steps)

    def batches_of(start, worker, n_workers):
        return augmented_batches(session, examples.drawn(start), o.augment_on, start, worker, n_workers)
    train(session, model, steps, batches_of, validate, started, [examples])


def network(o, vectors=None):
    """The network entry of run.json: what models.classifier builds it from. vectors: of jobs.vectors."""
    entry = {"backbone": o.backbone, "head": o.head, "pooling": o.pooling}
    given = {"temperature": o.temperature, "stem_stride": o.stem_stride, "neck_width": o.neck_width,
             "dropout": o.dropout or None, "neck": None if o.neck == "none" else o.neck,
             "pictures": o.product_images if o.product_pooling == "features" else None}
    if vectors:
        given |= {"aux_inputs": vectors.info["width"], "aux_width": o.aux_width}
    return entry | {name: value for name, value in given.items() if value is not None}


def auxiliary_levels(session):
    """The Store.class_levels that --level_weight trains heads for; []: none."""
    levels = session.store.class_levels[:WIDER_LEVELS] if session.options.level_weight else []
    if session.options.level_weight and not levels:
        raise OptionError(f"--level_weight={session.options.level_weight:g}, but {session.store.folder} knows of "
                          "no levels of its classes: pack it with create_tfrecords.py --format=cdiscount")
    return levels


def level_heads(session):
    """What the network entry of run.json says of them; {}: nothing."""
    sizes = [len(level["names"]) for level in auxiliary_levels(session)]
    return {"level_sizes": sizes} if sizes else {}


def product_entries(session):
    """Entries of run.json about products, which scores and other runs need; {} where there are none."""
    levels, k = session.store.class_levels, session.options.product_images
    return ({"class_levels": levels} if levels else {}) | ({"product_images": k} if k else {})


def attribute_ids(session):
    """int [classes], by what number a submission calls each label; None where the store knows of none."""
    numbers, names = session.store.info.get("attribute_ids"), session.store.class_names
    return numbers and [numbers[names.index(name)] for name in session.class_names]


def weights_of_classes(session, drawn):
    """float32 [classes] or None. drawn: rows of an epoch."""
    kind = session.options.class_weights
    if kind == "none":
        return None
    labels = session.labels[drawn]
    counts = (labels.sum(axis=0, dtype=np.int64) if labels.ndim == 2 else
              np.bincount(labels, minlength=len(session.class_names)))
    return class_weights(counts, kind)


def draw(session):
    """(rows of the store that train, those of rare classes repeatedly; steps of an epoch)"""
    o, rows = session.options, session.rows[0]
    drawn = repeat_rare(rows, session.labels[rows], o.oversample_to) if o.oversample_to else rows
    with option_errors():
        return drawn, steps_per_epoch(session.labels[drawn], o.undersample_to, o.batch_size)


def augmented_batches(session, drawn, augment_on, start=0, worker=0, n_workers=1):
    """The training batches of `drawn` rows from step `start` on; one worker's part of each."""
    o = session.options
    source, position = session.source
    scales = None
    if o.pseudo_target != 1:
        pseudo = session.store.manifest["source"].to_numpy()[drawn] == "pseudo"
        scales = np.where(pseudo, o.pseudo_target, 1.0)
    return training_batches(
        source, position[drawn], session.labels[drawn], len(session.class_names),
        session.augmentation, session.input_format, batch_size=o.batch_size, seed=o.seed,
        n_epochs=o.n_epochs, cap=o.undersample_to, augment_on=augment_on, start_step=start,
        replicas=session.strategy.num_replicas_in_sync, worker=worker, n_workers=n_workers,
        target_scales=scales, buffer_size=o.buffer_size)


def begin(session):
    """Says what is to be trained; returns when it began."""
    _print_options(session.options)
    return time.monotonic()


def finished_before(session):
    """Was the run of these options trained to its end already?"""
    if session.run.state == "finished":
        print(f"trained: {session.run.folder} is finished, nothing is left to train (--overwrite "
              "trains it anew)")
    return session.run.state == "finished"


def make_run_optimizer(o, steps, rates=None):
    """(optimizer, its schedule) as the options say. steps: of an epoch. rates: of layers, or None."""
    share = o.batch_size / REFERENCE_BATCH if o.lr_per_256 else 1
    schedule = make_schedule(
        "cosine_restarts" if o.restart_epochs else o.schedule, o.lr * share, steps_per_epoch=steps,
        n_epochs=o.n_epochs, warmup_epochs=o.warmup_epochs, milestones_epochs=o.milestones_epochs,
        factor=o.lr_factor[0] if len(o.lr_factor) == 1 else o.lr_factor, lrs=[lr * share for lr in o.lrs],
        min_lr=o.min_lr, decay_epochs=o.decay_epochs, restart_epochs=o.restart_epochs,
        restart_mult=o.restart_mult)
    optimizer = make_optimizer(
        o.optimizer, schedule, weight_decay=o.weight_decay, momentum=o.momentum,
        nesterov=o.nesterov, decay_norms_and_biases=o.decay_norms_and_biases, rates=rates)
    return optimizer, schedule


def judges(o, schedule):
    """(Plateau or None, EarlyStop or None) as the options say."""
    mode = "min" if o.monitor.endswith(LOWER_IS_BETTER) else "max"
    plateau = early_stop = None
    if o.schedule == "plateau":
        plateau = Plateau(schedule, factor=o.plateau_factor, patience=o.plateau_patience,
                          min_delta=o.plateau_min_delta, min_lr=o.min_lr, mode=mode)
    if o.early_stop_patience:
        early_stop = EarlyStop(patience=o.early_stop_patience, min_delta=o.early_stop_min_delta,
                               mode=mode)
    return plateau, early_stop


def train(session, model, steps, batches_of, validate, started, epoch_end=()):
    """Trains the model in the run's folder, and leaves the best weights to the jobs that follow.

    steps: of an epoch. batches_of, validate, epoch_end: see training.loop.Training.
    """
    o = session.options
    xla = use_xla(o.xla, device_kind(session.strategy), session.strategy.num_replicas_in_sync)
    with session.strategy.scope(), option_errors():
        optimizer, schedule = make_run_optimizer(o, steps, layer_rates_of(o, model))
        model.set_step(optimizer, o.accumulate, o.clip_norm, o.ema, xla)
    plan = Plan(steps_per_epoch=steps, n_epochs=o.n_epochs, monitor=o.monitor,
                batch_size=o.batch_size, steps_per_execution=o.steps_per_execution,
                validate_every_epochs=o.validate_every_epochs,
                checkpoint_every_steps=o.checkpoint_every_steps,
                keep_checkpoints=o.keep_checkpoints)
    if o.dry_run:
        return dry_run(session, model, plan, batches_of, xla)
    resumed = session.run.state == "unfinished"
    session.run.create()
    plateau, early_stop = judges(o, schedule)
    training = Training(
        model, session.strategy, session.run.folder, plan, batches_of, validate=validate,
        plateau=plateau, early_stop=early_stop, epoch_end=epoch_end, xla=xla)
    if resumed and training.restore():
        print(f"resuming: {session.run.folder}, step {training.progress.step} of "
              f"{steps * o.n_epochs}")
    training.run()
    session.run.update(finished=True, training_seconds=round(time.monotonic() - started, 1))
    with unfrozen(model):
        model.load_weights(session.run.weights())
    session.model = model
    print(f"trained: {training.progress.epochs} epochs in {time.monotonic() - started:.0f} s -> "
          f"{session.run.folder}")


def _print_options(options):
    texts = (f"{name}={','.join(map(str, value)) if isinstance(value, (list, tuple)) else value}"
             for name, value in vars(options).items())
    print(textwrap.fill(" ".join(texts), 100, initial_indent="options: ", subsequent_indent="  ",
                        break_long_words=False, break_on_hyphens=False))
