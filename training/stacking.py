"""The training of the stacking network (models.stacking_cnn): small, on one device, minutes at most."""
import numpy as np
import tensorflow as tf
from tensorflow import keras
from tqdm import tqdm

from models.losses import bce
from models.stacking_cnn import build_stacking_cnn, network_inputs


class StackingTrainingError(ValueError):
    """Predictions and truth that do not belong together, or settings that leave nothing to train."""


def fit_stacking_cnn(logits, truth, *, seed, columns=None, n_epochs=50, batch_size=256, lr=1e-3, patience=5,
                     stop_share=0.1, progress=True, **network):
    """A stacking network, fitted by Adam to the binary cross-entropy; keras.Model.

    logits: float [models, n, labels], finite, told out of fold; probabilities with
    inputs="probabilities". truth: bool [n, labels]. columns: int [k], the labels of a group, for a
    network of these alone; None: all. n_epochs: at most. batch_size: images; the last batch of an epoch
    has what is left. stop_share: share of the images, drawn at random, that are held back to tell when
    to stop: after `patience` epochs without a lower loss, with the weights of the lowest. The untrained
    network, the mean of the models, counts as epoch 0. With 0 nothing is held back and all epochs are
    trained. progress: show a bar. network: options of build_stacking_cnn.

    The order of the images, the start weights and what is dropped are a function of `seed` (int >= 0)
    alone; no global random state is used. The same seed gives the same bits on a CPU; on a GPU where
    tf.config.experimental.enable_op_determinism was called. Memory: the network, its optimizer and a
    batch besides what is given. Raises StackingTrainingError, or ValueError for options of the network.
    """
    logits, truth = np.asarray(logits), np.asarray(truth)
    _check(logits, truth, n_epochs, batch_size, lr, patience, stop_share)
    n_labels = truth.shape[1] if columns is None else len(columns)
    training, held = held_back(len(truth), stop_share, seed)
    model = build_stacking_cnn(len(logits), n_labels, seed=seed, **network)
    step, loss_of = _functions(model, keras.optimizers.Adam(lr))

    def batches(rows):
        for start in range(0, len(rows), batch_size):
            some = rows[start:start + batch_size]
            targets = truth[some] if columns is None else truth[some][:, columns]
            yield network_inputs(logits, some, columns), targets.astype(np.float32)

    def held_loss():
        return sum(float(loss_of(*batch)) for batch in batches(held)) / max(len(held), 1)

    best, best_epoch, kept = held_loss(), 0, model.get_weights()
    bar = tqdm(range(1, n_epochs + 1), desc="fitting the stacking network", unit=" epochs", delay=2,
               disable=not progress)
    for epoch in bar:
        order = np.random.default_rng([seed, epoch]).permutation(training)
        total = sum(float(step(*batch)) for batch in batches(order))
        if not np.isfinite(total):
            raise StackingTrainingError(f"the loss of epoch {epoch} is {total}: lower the learning rate, {lr}")
        if not len(held):
            continue
        loss = held_loss()
        bar.set_postfix(loss=f"{loss:.5f}", best=f"{min(loss, best):.5f}")
        if loss < best:
            best, best_epoch, kept = loss, epoch, model.get_weights()
        elif epoch - best_epoch >= patience:
            bar.close()
            break
    if len(held):
        model.set_weights(kept)
    return model


def held_back(n, share, seed):
    """(rows to train on, rows to stop by), int, rising; of 0 < share one row each at least."""
    n_held = min(max(round(share * n), 1), n - 1) if share else 0
    order = np.random.default_rng([seed, 0]).permutation(n)  # epochs, which draw too, begin at 1
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def _functions(model, optimizer):
    """(a training step, the loss): functions (inputs, targets) -> sum of the loss over the batch."""
    signature = [tf.TensorSpec([None, *model.input_shape[1:]]), tf.TensorSpec([None, *model.output_shape[1:]])]

    @tf.function(input_signature=signature)
    def step(inputs, targets):
        with tf.GradientTape() as tape:
            losses = bce(targets, model(inputs, training=True))  # [b]
            mean = tf.reduce_mean(losses)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(mean, variables), variables))
        return tf.reduce_sum(losses)

    @tf.function(input_signature=signature)
    def loss_of(inputs, targets):
        return tf.reduce_sum(bce(targets, model(inputs, training=False)))
    return step, loss_of


def _check(logits, truth, n_epochs, batch_size, lr, patience, stop_share):
    if logits.ndim != 3 or truth.dtype != bool or logits.shape[1:] != truth.shape or not logits.size:
        raise StackingTrainingError(f"logits are {list(logits.shape)} and truth {truth.dtype} "
                                    f"{list(truth.shape)}: needed are float [models, images, labels] and "
                                    "bool [images, labels] of the same images and labels")
    if not all(np.isfinite(own).all() for own in logits):
        raise StackingTrainingError("there are logits that are not finite: see what made them")
    if n_epochs < 1 or batch_size < 1 or patience < 1 or not lr > 0 or not 0 <= stop_share < 1:
        raise StackingTrainingError("n_epochs, batch_size and patience are >= 1, lr > 0 and 0 <= stop_share "
                                    f"< 1, got {n_epochs}, {batch_size}, {patience}, {lr} and {stop_share}")
    if len(truth) < 2 and stop_share:
        raise StackingTrainingError("one image cannot be trained on and held back too: give more, or "
                                    "stop_share 0")
