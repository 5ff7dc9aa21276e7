"""Colour changes: whatever is linear in the pixel is one 3x3 matrix and an offset per image.

Images are clipped and rounded once, at the end, where libraries that work image by image do so
after every change.
"""
import dataclasses
import math

import numpy as np
import tensorflow as tf

from pipeline.randomness import normal, uniform

LUMA = (0.299, 0.587, 0.114)
DARKEST = 1e-9  # where a logarithm is taken; far below one level
# Principal components of ImageNet's colours, of 0..1: columns, and their standard deviations
# (Krizhevsky et al. 2012; the figures of the fb.resnet.torch code).
COMPONENTS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
DEVIATIONS = (0.2175, 0.0188, 0.0045)
# Chebyshev fits of log2 on 1..2 and of 2 ** x on 0..1, highest power first; errors 5e-6 and 8e-6.
LOG2 = (-0.0248259844, 0.266862768, -1.2342799, 3.21886981, -5.26415552, 6.06585886, -3.02832497)
EXP2 = (0.0136765311, 0.0516668774, 0.241710262, 0.692931289, 1.00000728)
ROW_BLOCKS = 8  # summed as so many slices, which XLA on a CPU does at five times the speed


@dataclasses.dataclass(frozen=True)
class Colour:
    """How far each change goes; 0 is off. Every image draws its own.

    p: probability of each change but gray. brightness, contrast, saturation: factor 1 +- this. hue:
    turns of the chroma, each way. pca: standard deviation of the amounts of ImageNet's principal
    components that are added (lighting noise). rgb_shift: added to each channel by itself, share of
    full scale, each way. gamma: exponent from 1 / (1 + gamma) to 1 + gamma. gray: its probability.
    Images of one channel have only brightness, contrast and gamma.
    """
    p: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    gray: float = 0.0
    pca: float = 0.0
    rgb_shift: float = 0.0
    gamma: float = 0.0

    def jitters(self, channels):
        """Names of the changes that are on and whose order is drawn."""
        names = ("brightness", "contrast", "saturation", "hue")[:4 if channels == 3 else 2]
        return [name for name in names if getattr(self, name)]


def draw_colour(seed, n, options, channels):
    """The plan of a batch, only of what is on: the jitters, float32 [n] (hue in turns, the others
    factors), and their "order", int32 [n, jitters]; "gray", "gamma": float32 [n]; "offset": float32
    [n, 3]."""
    def amount(name, shape=()):  # -1..1; 0 where the image did not draw it
        return drawn(name, shape) * uniform(seed, name, [n, *shape], -1, 1)

    def drawn(name, shape=()):
        is_drawn = uniform(seed, f"{name} drawn", [n]) < options.p
        return tf.cast(tf.reshape(is_drawn, [n] + [1] * len(shape)), tf.float32)
    jitters = options.jitters(channels)
    plan = {name: getattr(options, name) * amount(name) + (name != "hue") for name in jitters}
    if len(jitters) > 1:
        plan["order"] = tf.argsort(uniform(seed, "jitter order", [n, len(jitters)]), axis=1)
    if options.gamma:
        plan["gamma"] = tf.exp(math.log1p(options.gamma) * amount("gamma"))
    if channels == 3:
        if options.gray:
            plan["gray"] = tf.cast(uniform(seed, "gray", [n]) < options.gray, tf.float32)
        offsets = []
        if options.pca:
            amounts = drawn("pca", (3,)) * options.pca * normal(seed, "pca", [n, 3])
            components = tf.constant(np.array(COMPONENTS) * DEVIATIONS, tf.float32)
            offsets.append(tf.linalg.matvec(components, amounts))
        if options.rgb_shift:
            offsets.append(options.rgb_shift * amount("rgb shift", (3,)))
        if offsets:
            plan["offset"] = tf.add_n(offsets)
    return plan


def _chroma_turn(turns):
    """Matrices [n, 3, 3] that turn the chroma (U, V of Y'UV); luma stays. turns: float32 [n]."""
    luma = np.array(LUMA)
    to_yuv = np.stack([luma, 0.492 * ([0, 0, 1] - luma), 0.877 * ([1, 0, 0] - luma)])
    quarter = np.linalg.inv(to_yuv) @ [[0, 0, 0], [0, 0, -1], [0, 1, 0]] @ to_yuv
    chroma = np.eye(3) - np.tile(luma, (3, 1))
    angle = 2 * math.pi * turns[:, None, None]
    return tf.constant(np.tile(luma, (3, 1)), tf.float32) + tf.cos(angle) * tf.constant(
        chroma, tf.float32) + tf.sin(angle) * tf.constant(quarter, tf.float32)


def _towards_gray(factor):
    """Matrices [n, 3, 3]: factor * pixel + (1 - factor) * its luma. factor: float32 [n]."""
    factor = factor[:, None, None]
    return factor * tf.eye(3) + (1 - factor) * tf.constant(np.tile(LUMA, (3, 1)), tf.float32)


def colour_maps(plan, mean):
    """(matrix float32 [n, c, c], offset [n, c]) with which pixel -> matrix @ pixel + offset is the
    whole plan but gamma: gray, the jitters in their order, then the offset. Values 0..1.

    mean: float32 [n, c], of each image's pixels; contrast blends with the luma of that mean, as it
    is when contrast's turn comes.
    """
    n, channels = mean.shape
    eye = tf.eye(channels, batch_shape=[n])
    matrix = _towards_gray(1 - plan["gray"]) if "gray" in plan else eye
    offset = tf.zeros([n, channels])
    luma = tf.constant([LUMA] if channels == 3 else [[1.0]], tf.float32)
    scaled = lambda factor: factor[:, None, None] * eye
    steps = {"brightness": scaled, "contrast": scaled, "saturation": _towards_gray,
             "hue": _chroma_turn}
    jitters = [name for name in steps if name in plan]
    if jitters:
        step = tf.stack([steps[name](plan[name]) for name in jitters], axis=1)  # [n, k, c, c]
    for k in range(len(jitters)):
        which = plan["order"][:, k] if "order" in plan else tf.zeros([n], tf.int32)
        chosen = tf.gather(step, which, axis=1, batch_dims=1)
        now = tf.linalg.matvec(matrix, mean) + offset
        matrix, offset = tf.matmul(chosen, matrix), tf.linalg.matvec(chosen, offset)
        if "contrast" in plan:
            pull = tf.where(which == jitters.index("contrast"), 1 - plan["contrast"], 0.0)
            offset += pull[:, None] * tf.reduce_sum(now * luma, axis=1, keepdims=True)
    return matrix, offset + plan["offset"] if "offset" in plan else offset


def channel_means(images):
    """float32 [n, c] in the images' scale. images: uint8 or float [n, h, w, c]."""
    n, height, width, channels = images.shape
    rows = tf.reshape(images, [n, height, width * channels])
    rows = tf.cast(rows, tf.int32 if images.dtype == tf.uint8 else tf.float32)
    block = height // ROW_BLOCKS
    rest = tf.reduce_sum(rows[:, block * ROW_BLOCKS:], axis=1)
    if block:
        rest += tf.reduce_sum(tf.add_n([rows[:, k * block:(k + 1) * block]
                                        for k in range(ROW_BLOCKS)]), axis=1)
    columns = tf.cast(tf.reshape(rest, [n, width, channels]), tf.float32) / height
    return tf.reduce_mean(columns, axis=1)


def change_colour(images, plan):
    """Carries out a plan of draw_colour but for gamma. images: uint8 [n, h, w, c]. Returns the same."""
    matrix, offset = colour_maps(plan, channel_means(images) / 255)
    return to_levels(map_colour(tf.cast(images, tf.float32), matrix, 255 * offset))


def change_gamma(images, exponent):
    """(images / 255) ** exponent. images: uint8 [n, h, w, c]. exponent: float32 [n]. Returns uint8."""
    def change():
        shares = tf.maximum(tf.cast(images, tf.float32) / 255, DARKEST)
        return to_levels(255 * power(shares, exponent[:, None, None, None]))
    if images.shape[0] > 1:
        return change()
    return tf.cond(exponent[0] == 1, lambda: images, change)  # most often, by itself, it did not draw


def power(x, exponent):
    """x ** exponent to 1e-5. x: float32 above 0, up to 1. exponent: float32, broadcastable.

    By polynomials of what the bits hold: XLA on a CPU takes twice as long for logarithm and
    exponential, and six times for the power itself.
    """
    bits = tf.bitcast(x, tf.int32)
    whole = tf.cast(tf.bitwise.right_shift(bits, 23) - 127, tf.float32)  # of the logarithm
    mantissa = tf.bitcast(tf.bitwise.bitwise_or(tf.bitwise.bitwise_and(bits, 0x7FFFFF), 0x3F800000),
                          tf.float32)  # 1..2
    logs = (whole + tf.math.polyval(list(LOG2), mantissa)) * exponent
    floor = tf.maximum(tf.floor(logs), -126.0)
    scale = tf.bitcast(tf.bitwise.left_shift(tf.cast(floor, tf.int32) + 127, 23), tf.float32)
    return scale * tf.math.polyval(list(EXP2), logs - floor)


def map_colour(images, matrix, offset):
    """matrix @ pixel + offset. images: float [n, h, w, c]. matrix: [n, c, c]. offset: [n, c]."""
    channels = images.shape[3]
    # Multiply-adds, which XLA fuses with what comes before and after; a matmul it does not.
    return tf.add_n([images[..., k:k + 1] * matrix[:, None, None, :, k]
                     for k in range(channels)]) + offset[:, None, None]


def to_levels(images):
    """float 0..255 -> uint8, clipped and rounded."""
    return tf.cast(tf.round(tf.clip_by_value(images, 0, 255)), tf.uint8)
