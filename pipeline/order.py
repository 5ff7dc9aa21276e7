"""The order of training records, a pure function of (seed, epoch, step).

Written in TensorFlow operations rather than NumPy so that it also runs on the host of a remote TPU,
where Python cannot be called. One epoch costs two sorts of the training rows.
"""
import numpy as np
import tensorflow as tf

from pipeline.randomness import uniform


def cap_order(labels, cap):
    """(selected per epoch, rows by class): static facts of undersampling. labels: int [n]."""
    counts = np.bincount(labels)
    return int(np.minimum(counts, cap).sum()) if cap else len(labels)


def epoch_order(labels, cap, seed, epoch, buffer_size=None):
    """Positions 0..n-1 in the order of this epoch, int64 [selected]; every epoch draws anew.

    labels: int [n], NumPy. cap: classes with more rows are cut to a random `cap` of them (system
    A); None: no class is cut. seed: Python int. epoch: int64 scalar tensor. buffer_size: records that
    lie beside each other are parted into blocks of so many, at other places in every epoch; the blocks
    come in a random order, and the records of each; None: one block, all orders are as likely.
    """
    n = len(labels)
    seeds = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    keys = tf.random.stateless_uniform([n], seeds, None, None, tf.uint32, alg="philox")
    keys = tf.cast(keys, tf.int64)
    if buffer_size and buffer_size < n:
        shift = tf.cast(uniform(seeds, "first block", []) * buffer_size, tf.int32)
        rank = tf.argsort(uniform(seeds, "blocks", [n // buffer_size + 2]))
        keys += tf.cast(tf.gather(rank, (tf.range(n) + shift) // buffer_size), tf.int64) * 2 ** 32
    order = tf.argsort(keys, stable=True)  # [n], a random permutation
    selected = cap_order(labels, cap)
    if selected == n:
        return tf.cast(order, tf.int64)
    # The rank of each row among its class, in the random order; kept if below the cap.
    classes = tf.gather(tf.constant(labels, tf.int32), order)  # [n]
    by_class = tf.argsort(classes, stable=True)  # [n]
    first = np.concatenate([[0], np.cumsum(np.bincount(labels))])[:-1]
    rank = tf.range(n) - tf.gather(tf.constant(first, tf.int32), tf.gather(classes, by_class))
    kept = tf.sort(tf.boolean_mask(by_class, rank < cap))  # positions in the random order
    return tf.ensure_shape(tf.cast(tf.gather(order, kept), tf.int64), [selected])


def training_positions(labels, cap, seed, batch_size, n_epochs, start_step=0, worker=0, n_workers=1,
                       buffer_size=None):
    """Dataset of int64 [batch_size // n_workers] positions, from `start_step` to the end of the last
    epoch: the part of each batch that belongs to input pipeline `worker` of `n_workers`.

    The parts in the order of the workers are the batch. The last incomplete batch of an epoch is
    left out; other records are left out the next time.
    """
    if batch_size % n_workers or not 0 <= worker < n_workers:
        raise ValueError(f"a batch of {batch_size} for worker {worker} of {n_workers}: the workers "
                         "are numbered from 0, and their number must divide --batch_size")
    steps = cap_order(labels, cap) // batch_size
    share = batch_size // n_workers

    def batches(epoch):
        order = epoch_order(labels, cap, seed, epoch, buffer_size)[:steps * batch_size]
        order = tf.reshape(order, [steps, n_workers, share])[:, worker]
        done = tf.maximum(start_step - epoch * steps, 0)
        return tf.data.Dataset.from_tensor_slices(order).skip(done)
    return tf.data.Dataset.range(start_step // steps, n_epochs).flat_map(batches)
