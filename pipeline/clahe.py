"""Contrast-limited adaptive histogram equalisation (CLAHE), in TensorFlow."""
import numpy as np
import tensorflow as tf

TILES = 8  # along each side
LEVELS = 256
BITS = 14  # of the fraction in which OpenCV reckons the luma; so it is the same in all modes
LUMA = (4899, 9617, 1868)  # 0.299, 0.587, 0.114


def clahe(image, clip):
    """Contrast-limited adaptive histogram equalisation of the luma, on 8 x 8 tiles.

    (Zuiderveld, Graphics Gems IV, 1994; the details are those of OpenCV's createCLAHE.)
    image: uint8 [h, w, 1 or 3]; the change of luma is added to each channel, so that the chroma
    stays. clip: scalar, clip limit. Returns the same shape and dtype.
    """
    values = tf.cast(image, tf.int32)
    levels = values[..., 0] if image.shape[2] == 1 else tf.bitwise.right_shift(
        tf.add_n([values[..., k] * LUMA[k] for k in range(3)]) + (1 << BITS - 1), BITS)  # [h, w]
    change = tf.cast(_interpolate(_tile_tables(levels, clip), levels), tf.int32) - levels
    return tf.cast(tf.clip_by_value(values + change[..., None], 0, LEVELS - 1), tf.uint8)


def _tile_side(side):
    return -(-side // TILES)


def _tile_tables(levels, clip):
    """float32 [8 * 8 * 256]: each tile's table from level to equalised level, 0..255."""
    height, width = levels.shape
    tall, wide = _tile_side(height), _tile_side(width)
    padded = tf.pad(levels, [[0, tall * TILES - height], [0, wide * TILES - width]], "REFLECT")
    tiles = tf.transpose(tf.reshape(padded, [TILES, tall, TILES, wide]), [0, 2, 1, 3])
    tiles = tf.reshape(tiles, [TILES * TILES, tall * wide])
    # Not tf.math.bincount: its size depends on the values, so that XLA would compile for each anew.
    counts = tf.raw_ops.DenseBincount(input=tiles, size=LEVELS, weights=tf.zeros([0], tf.int32))
    counts = tf.ensure_shape(counts, [TILES * TILES, LEVELS])
    limit = tf.maximum(tf.cast(clip * (tall * wide / LEVELS), tf.int32), 1)
    excess = tf.reduce_sum(tf.maximum(counts - limit, 0), axis=1, keepdims=True)  # [64, 1]
    # What is cut off is spread over all bins; the rest of that division in even steps.
    rest = excess % LEVELS
    step = tf.maximum(LEVELS // tf.maximum(rest, 1), 1)
    bins = tf.range(LEVELS)
    extra = tf.cast((bins % step == 0) & (bins // step < rest), tf.int32)
    counts = tf.minimum(counts, limit) + excess // LEVELS + extra
    tables = tf.round(tf.cast(tf.cumsum(counts, axis=1), tf.float32) * (255 / (tall * wide)))
    return tf.reshape(tf.minimum(tables, 255), [-1])


def _interpolate(tables, levels):
    """Looks every pixel up in its four nearest tiles' tables, bilinear. Returns float32 [h, w]."""
    def neighbours(side):
        place = (np.arange(side) / np.float32(_tile_side(side)) - np.float32(0.5))
        first = np.floor(place).astype(int)
        return (first.clip(0), (first + 1).clip(max=TILES - 1),
                (place - first).astype(np.float32))
    top, bottom, down = neighbours(levels.shape[0])
    left, right, along = neighbours(levels.shape[1])

    def look_up(rows, columns):
        tile = rows[:, None] * TILES + columns
        return tf.gather(tables, tf.constant(tile * LEVELS, tf.int32) + levels)
    upper = look_up(top, left) * (1 - along) + look_up(top, right) * along
    lower = look_up(bottom, left) * (1 - along) + look_up(bottom, right) * along
    return tf.round(upper * (1 - down[:, None]) + lower * down[:, None])
