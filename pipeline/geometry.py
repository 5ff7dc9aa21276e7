"""Geometric augmentation of a batch: all of it one affine map per image and one resampling.

A map takes a point of the output to the point of the input that it shows. Both are in shares of
the side, so that (0, 0) and (1, 1) are the outer corners of the outer pixels.
"""
import dataclasses
import math

import numpy as np
import tensorflow as tf

from pipeline.randomness import first_that_fits, uniform

TRIES = 10  # of a random crop, as in torchvision; then the whole image is taken, whatever the ratio
# Points a, b of the output show matrix @ (a, b) of the input, about the centre.
QUARTERS = (((1, 0), (0, 1)), ((0, -1), (1, 0)), ((-1, 0), (0, -1)), ((0, 1), (-1, 0)))
NINE_CROP = 0.7  # what is left of the sides when an image is turned by half a quarter


@dataclasses.dataclass(frozen=True)
class Geometry:
    """rotate, shear: degrees, each way. scale: share, each way. shift: share of the side, each way.
    rrc_scale: (least, most) area of the random resized crop as a share of the image's; rrc_ratio:
    (least, most) width over height; (1, 1) for both is no crop; rrc_centred: it is the middle one
    instead of a random one. affine_p: probability of rotate,
    shear, scale and shift together. hflip, vflip: probability of a flip left to right, of one upside down.
    quarter_turns: probability of a turn by 90, 180 or 270 degrees. nine: probability of one of
    the first nine_of of nine_views(). cubic: bicubic resampling instead of bilinear."""
    rotate: float = 0.0
    shear: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    rrc_scale: tuple = (1.0, 1.0)
    rrc_ratio: tuple = (1.0, 1.0)
    rrc_centred: bool = False
    affine_p: float = 1.0
    hflip: float = 0.0
    vflip: float = 0.0
    quarter_turns: float = 0.0
    nine: float = 0.0
    nine_of: int = 9
    cubic: bool = False

    def __post_init__(self):
        if (self.rrc_scale, self.rrc_ratio) != ((1.0, 1.0), (1.0, 1.0)):
            squarest = min(max(1.0, self.rrc_ratio[0]), self.rrc_ratio[1])
            if self.rrc_scale[0] * max(squarest, 1 / squarest) >= 1:
                raise ValueError(f"a random crop of {self.rrc_scale} of the area with a ratio of "
                                 f"{self.rrc_ratio} fits in no image: give --rrc_scale a lower least "
                                 "area")


def nine_views():
    """Turtle Recall's nine, as maps float32 [9, 2, 3]: flips left-right and upside down; turned
    counter-clockwise by 90, 180, 270 degrees; and by 45, 135, 225, 315, of which the middle 0.7."""
    half = math.sqrt(0.5) * NINE_CROP
    turns = [np.array([[half, -half], [half, half]]) @ QUARTERS[k] for k in range(4)]
    matrices = [((-1, 0), (0, 1)), ((1, 0), (0, -1)), *QUARTERS[1:], *turns]
    return about_centre(tf.constant(np.array(matrices), tf.float32))


def crop_boxes(seed, n, scale, ratio, centred=False):
    """Random resized crop boxes, float32 [n, 4]: x y w h in shares of the image's side.

    The area is uniform in `scale`, the logarithm of width / height in that of `ratio`, drawn up to
    10 times until the box fits; its place is uniform, or the middle.
    """
    area = uniform(seed, "rrc area", [n, TRIES], *scale)
    aspect = tf.exp(uniform(seed, "rrc ratio", [n, TRIES], *map(math.log, ratio)))
    sides = tf.stack([tf.sqrt(area * aspect), tf.sqrt(area / aspect)], axis=-1)  # [n, tries, 2]
    sides = first_that_fits(sides, tf.reduce_all(sides <= 1, axis=-1), 1.0)  # [n, 2]
    place = 0.5 if centred else uniform(seed, "rrc place", [n, 2])
    corner = place * (1 - sides)
    return tf.concat([corner, sides], axis=1)


def rotation(angle):
    """Matrices [n, 2, 2] that turn the image counter-clockwise. angle: float32 [n], radians."""
    cos, sin = tf.cos(angle), tf.sin(angle)
    return tf.stack([tf.stack([cos, -sin], -1), tf.stack([sin, cos], -1)], -2)


def about_centre(matrix):
    """Maps [n, 2, 3] of matrices [n, 2, 2] about the image's centre."""
    return tf.concat([matrix, (0.5 - 0.5 * tf.reduce_sum(matrix, axis=2))[:, :, None]], axis=2)


def chain(maps, then):
    """`maps` first, seen from the output, then `then`; all float32 [n, 2, 3]."""
    linear = tf.matmul(then[:, :, :2], maps)
    return tf.concat([linear[:, :, :2], linear[:, :, 2:] + then[:, :, 2:]], axis=2)


def sides(size):
    """(height, width) of a size: of both, or of one pair."""
    return tuple(size) if isinstance(size, (tuple, list)) else (size, size)


def draw_maps(seed, n, geometry, aspect=1.0):
    """Random maps, float32 [n, 2, 3]. What they do to an image, in this order: rotate, shear, scale
    and shift about the centre; crop; flips and quarter turns; one of the nine.

    seed: int [2] (seed, step). aspect: width over height of the images; other than 1 it goes without flips,
    turns and the nine. A positive rotation turns the image counter-clockwise.
    """
    g = geometry
    drawn = tf.cast(uniform(seed, "affine", [n]) < g.affine_p, tf.float32)
    amount = lambda name: drawn * uniform(seed, name, [n], -1, 1)
    slant = tf.tan(amount("shear") * math.radians(g.shear))
    one, zero = tf.ones([n]), tf.zeros([n])
    lean = tf.stack([tf.stack([one, slant], -1), tf.stack([zero, one], -1)], -2)
    grow = 1 / (1 + amount("scale") * g.scale)
    matrix = tf.matmul(rotation(amount("rotate") * math.radians(g.rotate)), lean)
    if aspect != 1:  # the angles are those of pixels, not of shares
        matrix *= tf.constant([[1, 1 / aspect], [aspect, 1]], tf.float32)
    shift = drawn[:, None] * uniform(seed, "shift", [n, 2], -1, 1) * g.shift
    maps = compose(matrix * grow[:, None, None], shift,
                   crop_boxes(seed, n, g.rrc_scale, g.rrc_ratio, g.rrc_centred))
    if g.hflip or g.vflip or g.quarter_turns:
        sides = tf.stack([sign(seed, "hflip", n, g.hflip), sign(seed, "vflip", n, g.vflip)], -1)
        turn = 1 + tf.cast(uniform(seed, "quarters", [n]) * 3, tf.int32)
        turn = tf.where(uniform(seed, "quarters drawn", [n]) < g.quarter_turns, turn, 0)
        turns = tf.gather(tf.constant(QUARTERS, tf.float32), turn)  # [n, 2, 2]
        maps = chain(about_centre(turns * sides[:, None]), maps)
    if g.nine:
        which = tf.cast(uniform(seed, "nine", [n]) * g.nine_of, tf.int32)
        view = tf.gather(nine_views(), which)
        is_drawn = uniform(seed, "nine drawn", [n]) < g.nine
        maps = tf.where(is_drawn[:, None, None], chain(view, maps), maps)
    return maps


def sign(seed, purpose, n, p):
    """float32 [n]: -1 with probability p, else 1."""
    return tf.where(uniform(seed, purpose, [n]) < p, -1.0, 1.0)


def compose(matrix, shift, boxes):
    """Crop first (seen from the output), then `matrix` about the image's centre, then `shift`.

    matrix: [n, 2, 2]. shift: [n, 2]. boxes: [n, 4] x y w h. Returns [n, 2, 3].
    """
    crop = tf.concat([tf.linalg.diag(boxes[:, 2:]), boxes[:, :2, None]], axis=2)
    maps = chain(crop, about_centre(matrix))
    return tf.concat([maps[:, :, :2], maps[:, :, 2:] + shift[:, :, None]], axis=2)


@tf.function(jit_compile=True, autograph=False)
def warp(images, maps, size, cubic=False):
    """Resamples a batch once, bilinear or bicubic, the border repeated beyond the image.

    images: uint8 [n, h, w, c]. maps: float32 [n, 2, 3]. size: px, a side or (height, width). cubic: Keys' kernel
    with a = -0.5 (1981). Returns uint8 [n, size, size, c], rounded.
    XLA makes one loop of it, on a CPU five times as quick as ImageProjectiveTransformV3.
    """
    n, height, width, channels = images.shape
    down, across = ((tf.range(side, dtype=tf.float32) + 0.5) / side for side in sides(size))
    across, down = across[None, None, :], down[None, :, None]
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
    taps = cubic_taps if cubic else linear_taps
    across, down = taps((x - left)[..., None]), taps((y - top)[..., None])
    result = tf.add_n([weight * tf.add_n([at(top + j, left + i) * by for i, by in across.items()])
                       for j, weight in down.items()])
    return tf.cast(tf.round(tf.clip_by_value(result, 0, 255)), tf.uint8)


def linear_taps(share):
    """{neighbour: its weight} at `share` of the way from neighbour 0 to neighbour 1."""
    return {0: 1 - share, 1: share}


def cubic_taps(share):
    """As linear_taps, by Keys' cubic convolution."""
    near = lambda t: (1.5 * t - 2.5) * t * t + 1  # |t| <= 1
    far = lambda t: ((-0.5 * t + 2.5) * t - 4) * t + 2  # 1 <= |t| <= 2
    return {-1: far(1 + share), 0: near(share), 1: near(1 - share), 2: far(2 - share)}
