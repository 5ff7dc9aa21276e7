"""Batches for training (drawn, augmented) and for evaluation (in order, padded and masked)."""
import dataclasses

import numpy as np
import tensorflow as tf

from pipeline.geometry import Geometry, compose, draw_maps, warp
from pipeline.host import on_host
from pipeline.order import cap_order, training_positions
from pipeline.pixels import PixelOptions, normalise, pixel_stage


@dataclasses.dataclass(frozen=True)
class InputFormat:
    """What the network takes: float [n, size, size, channels] of `dtype`, (0..1 - mean) / std."""
    size: int
    channels: int
    mean: tuple
    std: tuple
    dtype: str  # float32, float16, bfloat16


@dataclasses.dataclass(frozen=True)
class Augmentation:
    geometry: Geometry = Geometry()
    pixels: PixelOptions = PixelOptions()


def dataset_options():
    """tf.data options of every training and evaluation data set."""
    options = tf.data.Options()
    options.deterministic = True
    # Each replica gets its part of the global batch; the data are not sharded by file.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options


def steps_per_epoch(labels, cap, batch_size):
    """Whole batches in an epoch. Raises ValueError when there is not even one."""
    selected = cap_order(np.asarray(labels), cap)
    if selected < batch_size:
        raise ValueError(f"--batch_size={batch_size}, but an epoch has only {selected} records: "
                         "choose a smaller batch")
    return selected // batch_size


@on_host
def training_batches(source, positions, labels, n_classes, augmentation, input_format, *,
                     batch_size, seed, n_epochs, start_step=0, cap=None):
    """Dataset of (images [batch, size, size, c], targets float32 [batch, n_classes]).

    source: an ImageSource. positions: int [n], where in the source each training record lies
    (repeated records are listed repeatedly). labels: int [n]. cap: most records of a class per
    epoch. Batch number k is a pure function of (seed, k): starting at `start_step` gives what an
    uninterrupted run would have got from there on.
    """
    labels = np.asarray(labels)
    lookup = tf.constant(np.asarray(positions), tf.int64)
    classes = tf.constant(labels, tf.int32)
    drawn = training_positions(labels, cap, seed, batch_size, n_epochs, start_step)
    images = source.fetch(drawn.map(lambda batch: tf.gather(lookup, batch)))
    targets = drawn.map(lambda batch: tf.one_hot(tf.gather(classes, batch), n_classes))
    step = tf.data.Dataset.counter(start_step)
    pixels = pixel_stage(augmentation.pixels, input_format.mean, input_format.std,
                         input_format.dtype)

    def augment(step, images, targets):
        now = tf.stack([tf.constant(seed, tf.int64), step])
        maps = draw_maps(now, batch_size, augmentation.geometry)
        return pixels(now, warp(images, maps, input_format.size), targets)
    dataset = tf.data.Dataset.zip(step, images, targets)
    return dataset.map(augment, tf.data.AUTOTUNE, deterministic=True).with_options(
        dataset_options()).prefetch(tf.data.AUTOTUNE)


@on_host
def evaluation_batches(source, positions, input_format, *, batch_size, crop=1.0):
    """Dataset of (index int64 [batch], images): every record once, in order, the same view of each.

    index: number of the record in `positions`; -1 in the padding of the last batch. crop: side of
    the centred crop that is shown, as a share of the image's.
    """
    positions = np.asarray(positions, np.int64)
    count = -(-len(positions) // batch_size) * batch_size
    index = np.full(count, -1)
    index[:len(positions)] = np.arange(len(positions))
    padded = np.resize(positions, count) if len(positions) else np.zeros(0, np.int64)
    ordered = tf.data.Dataset.from_tensor_slices(padded.reshape(-1, batch_size))
    numbers = tf.data.Dataset.from_tensor_slices(index.reshape(-1, batch_size))

    def view(index, images):
        n = images.shape[0]
        if images.shape[1] != input_format.size or crop != 1:
            corner = (1 - crop) / 2
            maps = compose(tf.eye(2, batch_shape=[n]), tf.zeros([n, 2]),
                           tf.tile([[corner, corner, crop, crop]], [n, 1]))
            images = warp(images, maps, input_format.size)
        images = tf.cast(images, tf.float32) / 255
        return index, normalise(images, input_format.mean, input_format.std, input_format.dtype)
    dataset = tf.data.Dataset.zip(numbers, source.fetch(ordered))
    return dataset.map(view, tf.data.AUTOTUNE, deterministic=True).with_options(
        dataset_options()).prefetch(tf.data.AUTOTUNE)
