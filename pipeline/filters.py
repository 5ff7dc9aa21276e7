"""Changes that look at more than one pixel, or draw a number for each: CLAHE, noise, blur.

They cost more than all others together, so that they are done image by image, and each only to the
images that drew it. Values are uint8 from one to the next, as in libraries that work image by image.
"""
import dataclasses
import math

import numpy as np
import tensorflow as tf

from pipeline.clahe import clahe
from pipeline.colour import to_levels
from pipeline.randomness import hashed_uniform, keys, uniform

GOLDEN = np.uint32(0x9E3779B9).astype(np.int32)  # 2^32 / golden ratio, as int32
# -cos(2 pi t) as a polynomial of (2 t)^2, highest power first; -0.5 <= t <= 0.5, error 3e-6. XLA
# on a CPU makes no vector instructions of the cosine itself, and takes five times as long.
COSINE = (0.02078216, -0.23012278, 1.33274631, -4.05816238, 4.9347585, -0.99999944)


@dataclasses.dataclass(frozen=True)
class Filters:
    """How far each goes; 0 is off. Every image draws its own.

    blur: largest sigma, px. noise: largest standard deviation, share of full scale. p: probability of
    each of these two. clahe: its probability. clahe_clip: (least, most) clip limit, in average bins of
    a tile's histogram.
    """
    blur: float = 0.0
    noise: float = 0.0
    p: float = 1.0
    clahe: float = 0.0
    clahe_clip: tuple = (1.0, 4.0)


def draw_filters(seed, n, options):
    """The plan of n images, only of what is on: "clip" float32 [n], 0 for no CLAHE; "std" float32
    [n], in levels, 0 for no noise, and "noise_key" int32 [n]; "sigma" float32 [n], px, 0 for no blur."""
    def drawn(name, p, low, high):  # above 0 even where `low` is 0
        amount = uniform(seed, f"{name} amount", [n], high, low)
        return tf.where(uniform(seed, f"{name} drawn", [n]) < p, amount, 0.0)
    plan = {}
    if options.clahe:
        plan["clip"] = drawn("clahe", options.clahe, *options.clahe_clip)
    if options.noise:
        plan["std"] = drawn("noise", options.p, 0.0, 255 * options.noise)
        plan["noise_key"] = keys(seed, "noise", n)
    if options.blur:
        plan["sigma"] = drawn("blur", options.p, 0.0, options.blur)
    return plan


def filter_images(images, plan, options):
    """Carries out a plan of draw_filters: CLAHE, noise, blur. images: uint8 [n, h, w, c]; returns the
    same, of those that drew nothing exactly."""
    return tf.map_fn(lambda drawn: filter_image(*drawn, options), (images, plan),
                     fn_output_signature=tf.TensorSpec(images.shape[1:], tf.uint8))


def filter_image(image, plan, options):
    """As filter_images, of one image [h, w, c] and its own part of the plan."""
    if "clip" in plan:
        image = tf.cond(plan["clip"] > 0, lambda: equalise(image, plan["clip"]), lambda: image)
    if "std" in plan:
        image = tf.cond(plan["std"] > 0, lambda: add_noise(
            image, plan["std"], plan["noise_key"]), lambda: image)
    if "sigma" in plan:
        radius = math.ceil(3 * options.blur)
        image = tf.cond(plan["sigma"] > 0, lambda: blur(image, plan["sigma"], radius), lambda: image)
    return image


equalise = tf.function(clahe, jit_compile=True, autograph=False)


@tf.function(jit_compile=True, autograph=False)
def add_noise(image, std, key):
    """Adds normal noise. image: uint8 [h, w, c]. std: float32 [], levels. key: int32 [], of
    randomness.keys. Returns the same, clipped and rounded."""
    return to_levels(tf.cast(image, tf.float32) + std * hashed_normal(key[None], image.shape)[0])


def hashed_normal(image_keys, shape):
    """float32 [n, *shape], of the standard normal distribution up to 5.8 deviations: a number per
    pixel, as hashed_uniform, of one draw each.

    Box and Muller's transform of (u, the fraction of u * 2^24 / golden ratio): all 2^24 draws make a
    Fibonacci lattice, which covers the unit square more evenly than chance would.
    """
    draw = hashed_uniform(image_keys, shape)
    radius = tf.sqrt(-2 * tf.math.log(1 - draw))  # of 1 - u, since u may be 0
    turned = tf.cast(draw * 2.0**24, tf.int32) * GOLDEN
    side = tf.cast(turned, tf.float32) * 2.0**-31  # -1..1, twice the share of a turn
    square, cosine = side * side, 0.0
    for factor in COSINE:
        cosine = cosine * square + factor
    return radius * cosine


@tf.function(jit_compile=True, autograph=False)
def blur(image, sigma, radius):
    """Gaussian filter cut off at `radius` px, mirrored at the border.

    image: uint8 [h, w, c]. sigma: float32 [], px, above 0. radius: Python int, less than half of h
    and of w. Returns the same, rounded.
    """
    height, width, channels = image.shape
    taps = tf.exp(-0.5 * (tf.range(radius + 1, dtype=tf.float32) / sigma) ** 2)
    taps /= 2 * tf.reduce_sum(taps) - taps[0]  # from the middle outwards
    down = _blur_along(tf.reshape(image, [height, width * channels]), 0, 1, taps)
    across = _blur_along(down, 1, channels, taps)
    return to_levels(tf.reshape(across, image.shape))


def _blur_along(rows, axis, step, taps):
    """One pass, float32. rows: [h, w * c]. step: from a pixel to its neighbour along `axis`."""
    radius = taps.shape[0] - 1

    def part(values, start, size):
        return values[start:start + size] if axis == 0 else values[:, start:start + size]

    def weigh(values):  # all but the outer `radius` px
        size = values.shape[axis] - 2 * radius * step
        at = lambda k: tf.cast(part(values, (radius + k) * step, size), tf.float32)
        return at(0) * taps[0] + tf.add_n([(at(k) + at(-k)) * taps[k] for k in range(1, radius + 1)])

    def mirror(values):
        pixels = tf.split(values, values.shape[axis] // step, axis)
        return tf.concat(pixels[::-1], axis)
    # The border apart, so that the rest is read where it lies and not out of a padded copy.
    edge, size = radius * step, rows.shape[axis]
    first, last = part(rows, 0, 2 * edge), part(rows, size - 2 * edge, 2 * edge)
    first = tf.concat([mirror(part(first, 0, edge)), first], axis)
    last = tf.concat([last, mirror(part(last, edge, edge))], axis)
    return tf.concat([weigh(first), weigh(rows), weigh(last)], axis)
