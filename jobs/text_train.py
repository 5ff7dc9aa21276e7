"""--job=train of --task=text: a CRNN, trained on the lines of the store."""
import numpy as np

from jobs.errors import option_errors
from jobs.fine_tuning import prepare_weights
from jobs.text import check_steps, padded_texts, texts_of, validation
from jobs.train import begin, finished_before, train
from pipeline.batches import augment_on_device, steps_per_epoch, training_batches


def run(session):
    started = begin(session)
    o, store = session.options, session.store

    # Data: which lines, and what stands on them.
    train_rows, val_rows = session.rows
    with option_errors():
        steps = steps_per_epoch(np.zeros(len(train_rows), int), None, o.batch_size)
    asked = session.augmentation  # refused now, if it must be
    print(f"data: {len(train_rows)} training lines ({steps * o.batch_size} an epoch), {len(val_rows)} validation "
          f"lines, {len(session.class_names)} characters")

    # The run and its network.
    session.plan_run(network=network(o))
    if finished_before(session):
        return
    model = session.build(session.run)
    used = np.concatenate([train_rows, val_rows])
    check_steps(store, used, padded_texts(texts_of(store, used), session.class_names), model.output_shape[1])
    with session.strategy.scope(), option_errors():
        prepare_weights(session, model)
        model.set_loss()
    print(f"network: {o.backbone}, {model.output_shape[1]} steps, {model.count_params() / 1e6:.2f} M parameters")

    # Batches.
    if o.augment_on == "device":
        model.set_augmentation(augment_on_device(asked, session.input_format, None))
    validate = None
    if len(val_rows):
        figures = validation(session)
        validate = lambda model: {f"val_{k}": v for k, v in figures(model).items()}

    def batches_of(start, worker, n_workers):
        return augmented_batches(session, o.augment_on, start, worker, n_workers)
    train(session, model, steps, batches_of, validate, started)


def network(o):
    """The network entry of run.json: what models.crnn builds it from."""
    return {"backbone": o.backbone, "recurrent": o.recurrent, "units": o.recurrent_units,
            "recurrent_layers": o.recurrent_layers, "dropout": o.sequence_dropout}


def augmented_batches(session, augment_on, start=0, worker=0, n_workers=1):
    """The training batches from step `start` on; one worker's part of each."""
    o, rows = session.options, session.rows[0]
    source, position = session.source
    return training_batches(
        source, position[rows], padded_texts(texts_of(session.store, rows), session.class_names), None,
        session.augmentation, session.input_format, batch_size=o.batch_size, seed=o.seed, n_epochs=o.n_epochs,
        augment_on=augment_on, start_step=start, replicas=session.strategy.num_replicas_in_sync, worker=worker,
        n_workers=n_workers)
