"""Training crops of pages: where they are cut, and where the characters' boxes lie in them.

Maps are those of pipeline/geometry.py: output share -> input share. Boxes are x0 y0 x1 y1 in
shares of the side, of the page before and of the crop after.
"""
import math

import tensorflow as tf

from pipeline.geometry import compose, rotation
from pipeline.randomness import uniform


def draw_page_maps(seed, n, rotate, scale, affine_p, page_size, crop_size):
    """Random maps from a square page to a square crop of it, float32 [n, 2, 3].

    With probability `affine_p` the page is turned by up to `rotate` degrees each way and scaled by
    1 +- `scale` about its centre; then a window of `crop_size` of its `page_size` px is cut at a
    uniform place (CenterNet for Kuzushiji: 10 degrees, 0.2, p 0.9, 512 of 1536 px). The window
    lies on whole pixels, so that a page that is not turned or scaled is cut without being blurred.
    seed: int [2] (seed, step). crop_size: at most page_size.
    """
    drawn = tf.cast(uniform(seed, "affine", [n]) < affine_p, tf.float32)
    angle = drawn * uniform(seed, "rotate", [n], -1, 1) * math.radians(rotate)
    grow = 1 / (1 + drawn * uniform(seed, "scale", [n], -1, 1) * scale)
    places = page_size - crop_size + 1
    # The product may round up to `places` itself.
    corner = tf.minimum(tf.floor(uniform(seed, "crop place", [n, 2]) * places), places - 1)
    windows = tf.concat([corner, tf.fill([n, 2], float(crop_size))], axis=1) / page_size
    return compose(rotation(angle) * grow[:, None, None], tf.zeros([n, 2]), windows)


def place_boxes(maps, boxes):
    """Boxes of the page -> the same boxes in the crop, float32 [n, m, 4], not clipped.

    maps: float32 [n, 2, 3], not singular. boxes: float32 [n, m, 4]. The rule for a turned or
    sheared box: the tight box of the ellipse inscribed in it. Ink seldom reaches a box's corners,
    and the tight box of these would grow a square by 16% at 10 degrees; the circle in it does not
    grow. Boxes that are only scaled, flipped and shifted come out exactly.
    """
    linear, offset = maps[:, :, :2], maps[:, :, 2]
    a, b, c, d = (linear[:, i, j, None] for i in (0, 1) for j in (0, 1))  # [n, 1]
    det = a * d - b * c
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 - offset[:, None]  # [n, m, 2]
    x, y = centre[..., 0], centre[..., 1]
    # Half axes p, q along x and y: the image of the ellipse reaches sqrt((m p)^2 + (n q)^2) from
    # its centre in the direction whose row of the inverse is (m, n).
    p, q = tf.unstack((boxes[..., 2:] - boxes[..., :2]) / 2, axis=-1)  # [n, m]
    placed = tf.stack([d * x - b * y, a * y - c * x], -1) / det[..., None]
    reach = tf.sqrt(tf.stack([(d * p) ** 2 + (b * q) ** 2, (c * p) ** 2 + (a * q) ** 2], -1))
    reach /= tf.abs(det)[..., None]
    return tf.concat([placed - reach, placed + reach], axis=-1)


def select_boxes(boxes, class_ids, count, max_boxes):
    """The characters of each crop, compacted to the front.

    boxes: float32 [n, m, 4] in shares of the crop. class_ids: int32 [n, m]. count: int [n], how
    many of the m are true; the rest is padding. m is at least 1.
    A box whose centre lies outside [0, 1) x [0, 1) is dropped; every other is clipped to the crop,
    so that centre and size to be learnt are those of the part that can be seen (at least a
    quarter). Boxes without area are dropped. The first `max_boxes` are kept, in their order.
    Returns boxes float32 [n, max_boxes, 4] (padding 0), class ids int32 [n, max_boxes] (padding
    -1), kept int32 [n], and left_out int32 [n]: how many did not fit in max_boxes.
    """
    m = tf.shape(boxes)[1]
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    clipped = tf.clip_by_value(boxes, 0, 1)
    keep = (tf.reduce_all((centre >= 0) & (centre < 1), axis=-1)
            & tf.reduce_all(clipped[..., 2:] > clipped[..., :2], axis=-1)
            & (tf.range(m) < tf.cast(count, tf.int32)[:, None]))  # [n, m]
    found = tf.cumsum(tf.cast(keep, tf.int32), axis=1)  # [n, m]
    visible = found[:, -1]
    kept = tf.minimum(visible, max_boxes)
    # Number k of those kept stands where `found` first reaches k + 1.
    ranks = tf.tile(tf.range(1, max_boxes + 1)[None], [tf.shape(boxes)[0], 1])
    index = tf.minimum(tf.searchsorted(found, ranks), m - 1)  # [n, max_boxes]
    is_kept = ranks <= kept[:, None]
    chosen = tf.where(is_kept[..., None], tf.gather(clipped, index, batch_dims=1), 0)
    classes = tf.where(is_kept, tf.gather(class_ids, index, batch_dims=1), -1)
    return chosen, tf.cast(classes, tf.int32), kept, visible - kept
