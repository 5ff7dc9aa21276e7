"""The part of a page that a crop shows: what lies around it is neither decoded nor copied.

A window is a square of whole pixels, of one size for all crops, that holds every pixel from which the
crop is interpolated. At the page's border it ends with the page, so that repeating the window's border
is repeating the page's.
"""
import math

import tensorflow as tf

# A crop of a JPEG is decoded without the neighbours of its outermost pixels, of which their colour is
# interpolated where it is stored at half the resolution.
MARGIN = 2  # px


def window_side(page, crop, rotate, scale):
    """Side in px of the windows for crops of `crop` px, turned by up to `rotate` degrees each way and
    scaled by 1 +- `scale` (below 1), of pages of `page` px."""
    turn = math.radians(min(rotate, 45))
    reach = crop * (math.cos(turn) + math.sin(turn)) / (1 - scale)
    return min(page, math.ceil(reach) + 2 + 2 * MARGIN)  # 2: the neighbours at both ends


def place_windows(maps, page, crop, window):
    """Where the windows lie, and the maps as seen from them.

    maps: float32 [n, 2, 3], crop share -> page share. Returns corners int32 [n, 2], x y in px of the
    page, and maps float32 [n, 2, 3], crop share -> window share.
    """
    linear, offset = maps[:, :, :2], maps[:, :, 2]
    half = (1 - 1 / crop) / 2  # from the crop's centre to that of its outermost pixels
    middle = offset + tf.reduce_sum(linear, axis=2) / 2
    first = (middle - half * tf.reduce_sum(tf.abs(linear), axis=2)) * page - 0.5  # [n, 2], px
    corner = tf.clip_by_value(tf.floor(first) - MARGIN, 0, page - window)
    moved = (offset * page - corner) / window
    return (tf.cast(corner, tf.int32),
            tf.concat([linear * (page / window), moved[:, :, None]], axis=2))


def page_data(source, positions):
    """Dataset of int64 [b] positions -> Dataset of [b], what cut_windows takes for these pages."""
    return positions if source.images is not None else source.fetch_encoded(positions)


def cut_windows(source, placed, window, channels, change=lambda window, *others: window):
    """Dataset of uint8 [b, window, window, channels], or of what `change` makes of each window.

    source: an ImageSource of pages. placed: Dataset of (page_data [b], corners int32 [b, 2],
    *others [b, ...]). change: a function of (window uint8 [window, window, channels], *its others)
    -> tensors of static shape; it runs while the window is in the core's cache.
    """
    def load(page, corner, *others):
        if source.images is None:
            return change(decode_window(page, corner, window, channels), *others)
        start = [tf.cast(page, tf.int32), corner[1], corner[0], 0]
        return change(tf.slice(source.images, start, [1, window, window, channels])[0], *others)
    batch = placed.element_spec[0].shape[0]
    return placed.unbatch().map(load, tf.data.AUTOTUNE, deterministic=True).batch(
        batch, drop_remainder=True)


def decode_window(data, corner, window, channels):
    """PNG or JPEG bytes -> uint8 [window, window, channels], all but the MARGIN at inner borders as
    decoding the whole page gives them. corner: int32 [2], x y."""
    x, y = corner[0], corner[1]

    def part():
        return tf.io.decode_and_crop_jpeg(data, [y, x, window, window], channels)

    def whole():
        page = tf.io.decode_image(data, channels, expand_animations=False)
        return page[y:y + window, x:x + window]
    return tf.ensure_shape(tf.cond(tf.io.is_jpeg(data), part, whole), [window, window, channels])
