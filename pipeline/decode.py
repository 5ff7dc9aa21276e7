"""Encoded images -> batches of uint8 images, all cores at it.

A map call per record costs about half as much again as decoding a small JPEG does, and one per
batch would hold a batch for every core: records are decoded in chunks.
"""
import tensorflow as tf

MOST_RECORDS = 32  # of a chunk
MOST_BYTES = 2e6  # of a chunk, decoded


def decode_image(data, shape):
    """PNG or JPEG bytes -> uint8 of `shape` = (h, w, c), gray or RGB as the network takes it."""
    image = tf.io.decode_image(data, channels=shape[2], expand_animations=False)
    return tf.ensure_shape(image, shape)


def chunk_size(batch, record_bytes):
    """Records of a chunk: the most that divide the batch and stay within both limits."""
    most = max(1, min(MOST_RECORDS, int(MOST_BYTES // record_bytes)))
    return max(size for size in range(1, most + 1) if batch % size == 0)


def per_record(batches, load, record_bytes):
    """Dataset of [b, ...], or of tuples of them -> Dataset of [b, ...]: load() of every record.

    load: a function of a record's tensors -> a tensor of static shape, of record_bytes.
    """
    batch = tf.nest.flatten(batches.element_spec)[0].shape[0]
    size = chunk_size(batch, record_bytes)

    def in_chunks(*values):
        return tuple(tf.reshape(x, [batch // size, size, *x.shape[1:]]) for x in values)

    def load_chunk(*values):
        return tf.stack([load(*record) for record in zip(*map(tf.unstack, values))])
    loaded = batches.map(in_chunks).unbatch().map(load_chunk, tf.data.AUTOTUNE, deterministic=True)
    return loaded.batch(batch // size, drop_remainder=True).map(
        lambda images: tf.reshape(images, [batch, *images.shape[2:]]))
