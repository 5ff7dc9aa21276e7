"""Changes that look at more than one pixel, or draw a number for each: CLAHE, noise, blur.

They cost more than all others together, so that they are done image by image, and each only to the
images that drew it. Values are uint8 from one to the next, as in libraries that work image by image.
"""
import dataclasses
import math

import tensorflow as tf

from pipeline.clahe import clahe
from pipeline.randomness import hashed_uniform, keys, uniform

# cos(2 pi t) as a polynomial of (2 t)^2, its highest power first; -0.5 <= t <= 0.5, error 3e-6. XLA
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
    radius = math.ceil(3 * options.blur)

    def change(drawn):
        image, own = drawn[0][None], {name: value[None] for name, value in drawn[1].items()}
        if "clip" in own:
            image = tf.cond(own["clip"][0] > 0,
                            lambda: equalise(image, own["clip"]), lambda: image)
        if "std" in own:
            image = tf.cond(own["std"][0] > 0,
                            lambda: add_noise(image, own["std"], own["noise_key"]), lambda: image)
        if "sigma" in own:
            image = tf.cond(own["sigma"][0] > 0,
                            lambda: blur(image, own["sigma"], radius), lambda: image)
        return image[0]
    return tf.map_fn(change, (images, plan), fn_output_signature=tf.TensorSpec(
        images.shape[1:], tf.uint8))


def to_levels(values):
    return tf.cast(tf.round(tf.clip_by_value(values, 0, 255)), tf.uint8)


@tf.function(jit_compile=True)
def equalise(images, clip):
    return clahe(images[0], clip[0])[None]


def normal(image_keys, shape):
    radius = tf.sqrt(-2 * tf.math.log(1 - hashed_uniform(image_keys, shape)))  # of 1 - u, as u may be 0
    side = 2 * hashed_uniform(image_keys, shape, 1) - 1
    cosine = tf.zeros([])
    for factor in COSINE:
        cosine = cosine * side * side + factor
    return radius * cosine


@tf.function(jit_compile=True)
def add_noise(images, std, image_keys):
    noise = std[:, None, None, None] * normal(image_keys, images.shape[1:])
    return to_levels(tf.cast(images, tf.float32) + noise)


@tf.function(jit_compile=True)
def blur(images, sigma, radius):
    n, height, width, channels = images.shape
    offsets = tf.range(-radius, radius + 1, dtype=tf.float32)
    taps = tf.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    taps = (taps / tf.reduce_sum(taps, axis=1, keepdims=True))[..., None, None]  # [n, 2 r + 1, 1, 1]

    def weigh(values, axis, step):
        flat = tf.reshape(values, [n, values.shape[1], -1])
        size = flat.shape[axis] - 2 * radius * step
        part = lambda k: tf.cast(tf.gather(flat, tf.range(k * step, k * step + size), axis=axis) if 0 else
                                 (flat[:, k:k + size] if axis == 1 else flat[:, :, k * step:k * step + size]), tf.float32)
        summed = tf.add_n([part(k) * taps[:, k] for k in range(2 * radius + 1)])
        return tf.reshape(summed, [n, values.shape[1] - 2 * radius * (axis == 1), -1, channels])

    def one(values, axis):
        edge = [[0, 0]] * 4
        front, back = list(edge), list(edge)
        front[axis], back[axis] = [radius, 0], [0, radius]
        head = values[:, :2 * radius] if axis == 1 else values[:, :, :2 * radius]
        tail = values[:, -2 * radius:] if axis == 1 else values[:, :, -2 * radius:]
        step = 1 if axis == 1 else channels
        return tf.concat([weigh(tf.pad(head, front, "SYMMETRIC"), axis, step),
                          weigh(values, axis, step),
                          weigh(tf.pad(tail, back, "SYMMETRIC"), axis, step)], axis)
    return to_levels(one(one(images, 1), 2))
