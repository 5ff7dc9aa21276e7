"""The order of training records, a pure function of (seed, epoch, step).

Written in TensorFlow operations rather than NumPy so that it also runs on the host of a remote TPU,
where Python cannot be called. One epoch costs two sorts of the training rows.
"""
import numpy as np
import tensorflow as tf

from pipeline.randomness import uniform

BLOCK = 128  # most records beside each other that are shuffled as one with others of other places
LEAST_BLOCKS = 16  # that are shuffled together, where there are enough records for it


def shuffle_blocks(buffer_size, batch_size):
    """(records of a block, blocks that are shuffled together): the most records up to buffer_size, or a
    batch, that are whole batches and whole blocks."""
    together = max(1, buffer_size // batch_size) * batch_size
    most = max(1, min(BLOCK, together // LEAST_BLOCKS))
    block = max(size for size in range(1, most + 1) if together % size == 0)
    return block, together // block


def cap_order(labels, cap):
    """(selected per epoch, rows by class): static facts of undersampling. labels: int [n]."""
    counts = np.bincount(labels)
    return int(np.minimum(counts, cap).sum()) if cap else len(labels)


def epoch_order(labels, cap, seed, epoch, blocks=None):
    """Positions 0..n-1 in the order of this epoch, int64 [selected]; every epoch draws anew.

    labels: int [n], NumPy. cap: classes with more rows are cut to a random `cap` of them (system
    A); None: no class is cut. seed: Python int. epoch: int64 scalar tensor. blocks: of shuffle_blocks;
    records that lie beside each other are parted into blocks, at other places in every epoch (the first
    record lies beside the last, and the last block may be smaller); the blocks come in a random order, and
    the records of so many blocks are shuffled with each other. None: all orders are as likely.
    """
    n = len(labels)
    seeds = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    keys = tf.random.stateless_uniform([n], seeds, None, None, tf.uint32, alg="philox")
    keys = tf.cast(keys, tf.int64)
    if blocks and blocks[0] * blocks[1] < n:
        size, together = blocks
        shift = tf.cast(uniform(seeds, "first block", []) * n, tf.int32)
        rank = tf.argsort(uniform(seeds, "blocks", [n // size]), stable=True)
        rank = tf.concat([rank, [n // size]], 0)  # the smaller block comes last
        block = (tf.range(n) + shift) % n // size
        keys += tf.cast(tf.gather(rank // together, block), tf.int64) * 2 ** 32
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
                       buffer_size=None, windows=False):
    """Dataset of int64 [batch_size // n_workers] positions, from `start_step` to the end of the last
    epoch: the part of each batch that belongs to input pipeline `worker` of `n_workers`.

    buffer_size: records that are shuffled at a time (epoch_order); None: all. windows: the batches that are
    shuffled together come together, [k, batch_size // n_workers], as they are to be read.

    The parts in the order of the workers are the batch. The last incomplete batch of an epoch is
    left out; other records are left out the next time.
    """
    if batch_size % n_workers or not 0 <= worker < n_workers:
        raise ValueError(f"a batch of {batch_size} for worker {worker} of {n_workers}: the workers "
                         "are numbered from 0, and their number must divide --batch_size")
    steps = cap_order(labels, cap) // batch_size
    share = batch_size // n_workers
    blocks = shuffle_blocks(buffer_size, batch_size) if buffer_size else None

    def batches(epoch):
        order = epoch_order(labels, cap, seed, epoch, blocks)[:steps * batch_size]
        order = tf.reshape(order, [steps, n_workers, share])[:, worker]
        done = tf.maximum(start_step - epoch * steps, 0)
        left = tf.data.Dataset.from_tensor_slices(order).skip(done)
        if not windows:
            return left
        window = blocks[0] * blocks[1] // batch_size
        begun = -done % window  # batches left of the window that the step lies in
        return left.take(begun).batch(window).concatenate(left.skip(begun).batch(window))
    return tf.data.Dataset.range(start_step // steps, n_epochs).flat_map(batches)
