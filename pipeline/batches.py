"""Batches for training (drawn, augmented) and for evaluation (in order, padded and masked)."""
import numpy as np
import tensorflow as tf

from pipeline.augmentation import augment, draw_plan, normalise
from pipeline.host import on_host
from pipeline.mixing import mix_targets
from pipeline.order import cap_order, training_positions
from pipeline.views import show_own_views, show_views

# Nothing here needs AutoGraph, which takes seconds to look through all that is called.
do_not_convert = tf.autograph.experimental.do_not_convert


def dataset_options():
    """tf.data options of every training and evaluation data set."""
    options = tf.data.Options()
    options.deterministic = True
    # Each replica gets its part of the global batch; the data are not sharded by file.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options


def steps_per_epoch(labels, cap, batch_size):
    """Whole batches in an epoch. labels, cap: as of training_batches. Raises ValueError when there is not
    even one."""
    selected = cap_order(_of_one(labels), cap)
    if selected < batch_size:
        raise ValueError(f"--batch_size={batch_size}, but an epoch has only {selected} records: "
                         "choose a smaller batch")
    return selected // batch_size


@on_host
def training_batches(source, positions, labels, n_classes, augmentation, input_format, *,
                     batch_size, seed, n_epochs, start_step=0, cap=None, augment_on="host",
                     replicas=1, worker=0, n_workers=1, target_scales=None, buffer_size=None):
    """Dataset of (images [batch, size, size, c], targets float32 [batch, n_classes]); with
    augment_on="device" of ({"images": uint8 [batch, h, w, c], "plan": a plan}, labels int32 [batch]),
    which augment_on_device turns into the same. Where the source has vectors, {"image": images, "aux":
    float32 [batch, d]} takes the place of the images; they are mixed in the shares of the images.

    source: an ImageSource. positions: int [n], where in the source each training record lies
    (repeated records are listed repeatedly). labels: int [n], one each, or uint8 [n, n_classes], 1 for
    each of several; with the latter, labels of the device are as they are, uint8 [batch, n_classes]. Or int32
    [n, longest], texts padded by -1: these are the targets, int32 [batch, longest].
    cap: most records of a class per epoch, of one label each. batch_size: of all devices together. replicas: devices that share a batch; images are
    mixed among those of one device. worker, n_workers: of several input pipelines this one yields
    the worker's part of each batch. target_scales: float [n], what the one-hot target of each record
    is multiplied by before it is mixed; None: by 1. buffer_size: see training_positions.
    Of a source with several pictures a record the images are [batch, pictures, size, size, c], and the plan's
    tensors [batch, pictures, ...].
    Batch number k is a pure function of (seed, k): starting at `start_step` gives what an
    uninterrupted run would have got from there on.
    """
    if replicas % n_workers or batch_size % replicas:
        raise ValueError(f"a batch of {batch_size} for {replicas} devices of {n_workers} workers: each "
                         "must be a multiple of the next")
    labels = np.asarray(labels)
    lookup = tf.constant(np.asarray(positions), tf.int64)
    classes = tf.constant(labels, tf.uint8 if labels.ndim == 2 and labels.dtype != np.int32 else tf.int32)
    scales = None if target_scales is None else tf.constant(target_scales, tf.float32)
    streams = bool(source.stream and buffer_size)
    drawn = training_positions(_of_one(labels), cap, seed, batch_size, n_epochs, start_step, worker, n_workers,
                               buffer_size, streams)
    images = (source.stream if streams else source.fetch)(drawn.map(lambda batch: tf.gather(lookup, batch)))
    drawn = drawn.unbatch() if streams else drawn

    def beside(batch):
        found = {} if scales is None else {"target_scale": tf.gather(scales, batch)}
        if source.vectors:
            found["vectors"] = source.vectors(tf.gather(lookup, batch))
        return tf.gather(classes, batch), found
    part, pictures = batch_size // n_workers, source.pictures

    def plan_of(step, found):
        plan = draw_plan(tf.stack([tf.constant(seed, tf.int64), step]), batch_size * (pictures or 1),
                         augmentation, input_format)
        if pictures:
            plan = tf.nest.map_structure(
                lambda x: tf.reshape(x, [batch_size, pictures, *x.shape[1:]]), plan)
        return found | tf.nest.map_structure(lambda x: x[worker * part:(worker + 1) * part], plan)

    @do_not_convert
    def on_host_too(step, images, truth):
        labels, found = truth
        return _augmented(images, labels, plan_of(step, found), n_classes, augmentation, input_format,
                          replicas // n_workers)

    @do_not_convert
    def only_drawn(step, images, truth):
        labels, found = truth
        return {"images": images, "plan": plan_of(step, found)}, labels
    dataset = tf.data.Dataset.zip(tf.data.Dataset.counter(start_step), images, drawn.map(beside))
    return dataset.map(on_host_too if augment_on == "host" else only_drawn, tf.data.AUTOTUNE,
                       deterministic=True).with_options(dataset_options()).prefetch(tf.data.AUTOTUNE)


def _of_one(labels):
    """int [n] as epoch_order takes them: of records with several labels all alike."""
    labels = np.asarray(labels)
    return labels if labels.ndim == 1 else np.zeros(len(labels), int)


def augment_on_device(augmentation, input_format, n_classes):
    """A function that turns what training_batches yields for the device, or one replica's part of
    it, into (images, targets)."""
    return lambda drawn, labels: _augmented(drawn["images"], labels, drawn["plan"], n_classes, augmentation,
                                            input_format)


def _augmented(images, labels, plan, n_classes, augmentation, input_format, groups=1):
    """The network's inputs and targets. groups: of pipeline.augmentation.augment."""
    images, targets = augment(images, _targets(labels, plan, n_classes), plan, augmentation, input_format,
                              groups)
    if "vectors" not in plan:
        return images, targets
    vectors = plan["vectors"]
    if "mixing" in plan:
        vectors = mix_targets(vectors, plan["mixing"], input_format.size, groups)
    return {"image": images, "aux": vectors}, targets


def _targets(labels, plan, n_classes):
    """float32 [n, n_classes]: one-hot, or 1 for each of several labels; scaled where the plan says by how
    much. Of texts, the texts."""
    if labels.shape.rank == 2 and labels.dtype == tf.int32:
        return labels
    targets = tf.one_hot(labels, n_classes) if labels.shape.rank == 1 else tf.cast(labels, tf.float32)
    return targets * plan["target_scale"][:, None] if "target_scale" in plan else targets


@on_host
def evaluation_batches(source, positions, input_format, *, batch_size, views=None):
    """Dataset of (index int64 [batch], images [batch, size, size, c]): every record once, in order. Where
    the source has vectors, {"image": images, "aux": float32 [batch, d]} takes the place of the images.

    index: number of the record in `positions`; -1 in the padding of the last batch. views: float32
    [v, 2, 3], what to show of each (pipeline.views), or [n, v, 2, 3], of each record by itself; the images are
    then [batch, v, size, size, c], or of a source with several pictures a record
    [batch, v, pictures, size, size, c].
    """
    positions = np.asarray(positions, np.int64)
    count = -(-len(positions) // batch_size) * batch_size
    index = np.full(count, -1)
    index[:len(positions)] = np.arange(len(positions))
    padded = np.resize(positions, count) if len(positions) else np.zeros(0, np.int64)
    ordered = tf.data.Dataset.from_tensor_slices(padded.reshape(-1, batch_size))
    numbers = tf.data.Dataset.from_tensor_slices(index.reshape(-1, batch_size))

    own = tf.constant(views) if np.ndim(views) == 4 else None

    @do_not_convert
    def view(index, images, *vectors):
        if own is not None:
            images = show_own_views(images, tf.gather(own, tf.maximum(index, 0)), input_format.size)
        elif views is not None:
            images = show_views(images, views, input_format.size)
        images = normalise(images, input_format.mean, input_format.std, input_format.dtype)
        return index, {"image": images, "aux": vectors[0]} if vectors else images
    parts = numbers, source.fetch(ordered), *([ordered.map(source.vectors)] if source.vectors else [])
    return tf.data.Dataset.zip(*parts).map(view, tf.data.AUTOTUNE, deterministic=True).with_options(
        dataset_options()).prefetch(tf.data.AUTOTUNE)
