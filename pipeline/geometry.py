"""Geometric augmentation of a batch: all of it one affine map per image and one resampling.

A map takes a point of the output to the point of the input that it shows. Both are in shares of
the side, so that (0, 0) and (1, 1) are the outer corners of the outer pixels.
"""
import dataclasses
import math

import tensorflow as tf

from pipeline.randomness import first_that_fits, uniform

TRIES = 10  # of a random crop before the whole image is taken, as in torchvision


@dataclasses.dataclass(frozen=True)
class Geometry:
    """rotate, shear: degrees, each way. scale: share, each way. shift: share of the side, each way.
    rrc_scale: (least, most) area of the random resized crop as a share of the image's; rrc_ratio:
    (least, most) width over height; (1, 1) for both is no crop."""
    rotate: float = 0.0
    shear: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    rrc_scale: tuple = (1.0, 1.0)
    rrc_ratio: tuple = (1.0, 1.0)


def crop_boxes(seed, n, scale, ratio):
    """Random resized crop boxes, float32 [n, 4]: x y w h in shares of the image's side.

    The area is uniform in `scale`, the logarithm of width / height in that of `ratio`, drawn up to
    10 times until the box fits; its place is uniform.
    """
    area = uniform(seed, "rrc area", [n, TRIES], *scale)
    aspect = tf.exp(uniform(seed, "rrc ratio", [n, TRIES], *map(math.log, ratio)))
    sides = tf.stack([tf.sqrt(area * aspect), tf.sqrt(area / aspect)], axis=-1)  # [n, tries, 2]
    sides = first_that_fits(sides, tf.reduce_all(sides <= 1, axis=-1), 1.0)  # [n, 2]
    corner = uniform(seed, "rrc place", [n, 2]) * (1 - sides)
    return tf.concat([corner, sides], axis=1)


def rotation(angle):
    """Matrices [n, 2, 2] that turn the image counter-clockwise. angle: float32 [n], radians."""
    cos, sin = tf.cos(angle), tf.sin(angle)
    return tf.stack([tf.stack([cos, -sin], -1), tf.stack([sin, cos], -1)], -2)


def draw_maps(seed, n, geometry):
    """Random maps, float32 [n, 2, 3]: rotate, shear, scale and shift about the centre, then crop.

    seed: int [2] (seed, step). A positive rotation turns the image counter-clockwise.
    """
    angle = uniform(seed, "rotate", [n], -1, 1) * math.radians(geometry.rotate)
    slant = tf.tan(uniform(seed, "shear", [n], -1, 1) * math.radians(geometry.shear))
    grow = 1 / (1 + uniform(seed, "scale", [n, 1, 1], -1, 1) * geometry.scale)
    one, zero = tf.ones([n]), tf.zeros([n])
    lean = tf.stack([tf.stack([one, slant], -1), tf.stack([zero, one], -1)], -2)
    matrix = tf.matmul(rotation(angle), lean) * grow  # [n, 2, 2]
    shift = uniform(seed, "shift", [n, 2], -1, 1) * geometry.shift
    boxes = crop_boxes(seed, n, geometry.rrc_scale, geometry.rrc_ratio)
    return compose(matrix, shift, boxes)


def compose(matrix, shift, boxes):
    """Crop first (seen from the output), then `matrix` about the image's centre, then `shift`.

    matrix: [n, 2, 2]. shift: [n, 2]. boxes: [n, 4] x y w h. Returns [n, 2, 3].
    """
    linear = matrix * boxes[:, None, 2:]
    offset = tf.reduce_sum(matrix * (boxes[:, None, :2] - 0.5), axis=2) + 0.5 + shift
    return tf.concat([linear, offset[:, :, None]], axis=2)


@tf.function(jit_compile=True)
def warp(images, maps, size):
    """Resamples a batch once, bilinear, the border repeated beyond the image.

    images: uint8 [n, h, w, c]. maps: float32 [n, 2, 3]. Returns uint8 [n, size, size, c], rounded.
    XLA makes one loop of it, on a CPU five times as quick as ImageProjectiveTransformV3.
    """
    n, height, width, channels = images.shape
    share = (tf.range(size, dtype=tf.float32) + 0.5) / size
    across, down = share[None, None, :], share[None, :, None]
    # From shares to pixel indices, whose centres are at half shares: x = share * width - 0.5.
    x, y = ((maps[:, k, 0, None, None] * across + maps[:, k, 1, None, None] * down
             + maps[:, k, 2, None, None]) * side - 0.5
            for k, side in enumerate([width, height]))  # [n, size, size]
    left, top = tf.floor(x), tf.floor(y)
    pixels = tf.reshape(images, [n * height * width, channels])
    first = tf.range(n)[:, None, None] * height  # row of each image among those of the batch

    def at(y, x):
        row = tf.clip_by_value(tf.cast(y, tf.int32), 0, height - 1) + first
        column = tf.clip_by_value(tf.cast(x, tf.int32), 0, width - 1)
        return tf.cast(tf.gather(pixels, row * width + column), tf.float32)
    right, below = (x - left)[..., None], (y - top)[..., None]  # shares of the next pixel
    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return tf.cast(tf.round(upper * (1 - below) + lower * below), tf.uint8)
