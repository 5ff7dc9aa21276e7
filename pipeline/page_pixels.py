"""What happens to the pixels of page crops: CenterNet for Kuzushiji's list, per image.

Noise, blur and CLAHE run image by image and only on those that drew them: they cost the most, and
XLA on a CPU makes them slower. All else is compiled by XLA as one.
"""
import dataclasses
import math

import numpy as np
import tensorflow as tf

from pipeline.clahe import clahe
from pipeline.pixels import LUMA, adjust_brightness, adjust_contrast, normalise
from pipeline.randomness import uniform

DARKEST = 1e-9  # where a logarithm is taken; far below one level


@dataclasses.dataclass(frozen=True)
class PagePixels:
    """How far each change goes; 0 is off. Every image draws its own.

    p: probability of each change but gray and CLAHE. brightness, contrast, saturation: factor 1 +-
    this. gamma: exponent from 1 / (1 + gamma) to 1 + gamma. hue: turns of the chroma, each way.
    rgb_shift: added to each channel by itself, share of full scale, each way. noise: largest
    standard deviation, share of full scale. blur: largest sigma, px. gray, clahe: their
    probabilities. clahe_clip: (least, most) clip limit, in average bins of a tile's histogram.
    Images of one channel have no colour: hue, saturation, gray and rgb_shift leave them alone.
    """
    p: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    hue: float = 0.0
    saturation: float = 0.0
    rgb_shift: float = 0.0
    gray: float = 0.0
    clahe: float = 0.0
    clahe_clip: tuple = (1.0, 4.0)
    noise: float = 0.0
    blur: float = 0.0


def adjust_gamma(images, exponent):
    """images ** exponent. images: float [n, h, w, c], 0..1. exponent: float [n]."""
    # XLA on a CPU takes three times as long for the power itself.
    logs = tf.math.log(tf.maximum(images, DARKEST))
    return tf.exp(logs * exponent[:, None, None, None])


def adjust_colour(images, turns, factor):
    """Turns the chroma (U, V of Y'UV) by `turns` and multiplies it by `factor`; luma stays.

    images: float [n, h, w, 3], 0..1. turns, factor: float [n]. Factor 0 is gray. Both are one 3x3
    matrix per image. Returns the same shape, clipped.
    """
    luma = np.array(LUMA)
    to_yuv = np.stack([luma, 0.492 * ([0, 0, 1] - luma), 0.877 * ([1, 0, 0] - luma)])
    quarter = np.linalg.inv(to_yuv) @ [[0, 0, 0], [0, 0, -1], [0, 1, 0]] @ to_yuv  # a quarter turn
    gray = np.tile(luma, (3, 1))  # RGB -> its luma in all three channels
    gray, chroma, quarter = (tf.constant(matrix.T, tf.float32)
                             for matrix in (gray, np.eye(3) - gray, quarter))
    angle, factor = 2 * math.pi * turns[:, None, None], factor[:, None, None]
    matrix = gray + factor * (tf.cos(angle) * chroma + tf.sin(angle) * quarter)  # [n, 3, 3]
    mixed = tf.add_n([images[..., k:k + 1] * matrix[:, None, None, k] for k in range(3)])
    return tf.clip_by_value(mixed, 0, 1)


def shift_channels(images, shift):
    """images + shift, clipped. images: float [n, h, w, c], 0..1. shift: float [n, c]."""
    return tf.clip_by_value(images + shift[:, None, None], 0, 1)


def gaussian_noise(seed, image, std):
    """Adds normal noise to every value, clipped. image: float [h, w, c], 0..1. std: scalar.

    By Box and Muller's transform of uniform draws: the same numbers eagerly and compiled.
    """
    count = math.prod(image.shape)
    draws = uniform(seed, "noise", [2, -(-count // 2)])
    radius = tf.sqrt(-2 * tf.math.log(1 - draws[0]))  # of 1 - u, since u may be 0
    angle = 2 * math.pi * draws[1]
    normal = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=0)[:count]
    return tf.clip_by_value(image + std * tf.reshape(normal, image.shape), 0, 1)


def gaussian_blur(image, sigma, radius):
    """Gaussian filter cut off at `radius` px, mirrored at the border.

    image: float [h, w, c]. sigma: scalar, px, above 0. radius: Python int, less than h and w.
    """
    channels = image.shape[2]
    taps = tf.exp(-0.5 * (tf.range(-radius, radius + 1, dtype=tf.float32) / sigma) ** 2)
    taps = tf.tile((taps / tf.reduce_sum(taps))[:, None], [1, channels])  # [2 r + 1, c]
    padded = tf.pad(image, [[radius, radius], [radius, radius], [0, 0]], "SYMMETRIC")[None]
    down = tf.nn.depthwise_conv2d(padded, taps[:, None, :, None], [1, 1, 1, 1], "VALID")
    return tf.nn.depthwise_conv2d(down, taps[None, :, :, None], [1, 1, 1, 1], "VALID")[0]


def _drawn(seed, name, n, p):
    """bool [n]: which images draw the change."""
    return uniform(seed, f"{name} drawn", [n]) < p


def _local_stage(options, seed, images):
    """CLAHE, noise, blur: uint8 [n, h, w, c] -> float32, 0..1."""
    n = images.shape[0]
    radius = math.ceil(3 * options.blur)
    draws = {"number": tf.range(n),
             "clahe": _drawn(seed, "clahe", n, options.clahe),
             "clip": uniform(seed, "clahe clip", [n], *options.clahe_clip),
             "noise": _drawn(seed, "noise", n, options.p),
             "std": uniform(seed, "noise std", [n]) * options.noise,
             "blur": _drawn(seed, "blur", n, options.p),
             "sigma": (1 - uniform(seed, "blur sigma", [n])) * options.blur}  # above 0

    def change(arguments):
        image, draw = arguments
        if options.clahe:
            image = tf.cond(draw["clahe"], lambda: clahe(image, draw["clip"]), lambda: image)
        image = tf.cast(image, tf.float32) / 255
        if options.noise:
            own = tf.random.fold_in(tf.cast(seed, tf.int32), draw["number"], alg="philox")
            image = tf.cond(draw["noise"], lambda: gaussian_noise(own, image, draw["std"]),
                            lambda: image)
        if options.blur:
            image = tf.cond(draw["blur"], lambda: gaussian_blur(image, draw["sigma"], radius),
                            lambda: image)
        return image
    return tf.map_fn(change, (images, draws), fn_output_signature=tf.TensorSpec(
        images.shape[1:], tf.float32))


def _colour_draws(options, seed, n):
    """The changes of _colour_stage that are on -> what adjusts them for each image, float32 [n]
    (rgb_shift: [n, 3])."""
    def amount(name, shape=()):  # -1..1; 0 where the image did not draw it
        drawn = tf.reshape(_drawn(seed, name, n, options.p), [n] + [1] * len(shape))
        return tf.where(drawn, uniform(seed, name, [n, *shape], -1, 1), 0)
    draws = {}
    if options.brightness:
        draws["brightness"] = 1 + options.brightness * amount("brightness")
    if options.contrast:
        draws["contrast"] = 1 + options.contrast * amount("contrast")
    if options.gamma:
        draws["gamma"] = tf.exp(math.log1p(options.gamma) * amount("gamma"))
    if options.hue or options.saturation or options.gray:
        draws["turns"] = options.hue * amount("hue")
        draws["chroma"] = tf.where(_drawn(seed, "gray", n, options.gray), 0.0,
                                   1 + options.saturation * amount("saturation"))
    if options.rgb_shift:
        draws["rgb_shift"] = options.rgb_shift * amount("rgb shift", (3,))
    return draws


def _colour_stage(images, draws):
    """The changes that look at one pixel at a time. images: float [n, h, w, c], 0..1."""
    colour = images.shape[3] == 3
    if "brightness" in draws:
        images = adjust_brightness(images, draws["brightness"])
    if "contrast" in draws:
        images = adjust_contrast(images, draws["contrast"])
    if "gamma" in draws:
        images = adjust_gamma(images, draws["gamma"])
    if "chroma" in draws and colour:
        images = adjust_colour(images, draws["turns"], draws["chroma"])
    if "rgb_shift" in draws and colour:
        images = shift_channels(images, draws["rgb_shift"])
    return images


def page_pixel_stage(options, mean, std, dtype):
    """A function (seed int [2], uint8 images [n, h, w, c]) -> the model's images [n, h, w, c].

    Order: CLAHE, noise, blur, brightness, contrast, gamma, hue with saturation and gray, RGB
    shift (which so tints gray pages too), normalisation.
    """
    @tf.function(jit_compile=True)
    def compiled(images, draws):
        if images.dtype == tf.uint8:
            images = tf.cast(images, tf.float32) / 255
        return normalise(_colour_stage(images, draws), mean, std, dtype)

    def run(seed, images):
        # Drawn outside: XLA would fuse the drawing into the loop over the pixels (20 x as long).
        draws = _colour_draws(options, seed, images.shape[0])
        if options.clahe or options.noise or options.blur:
            images = _local_stage(options, seed, images)
        return compiled(images, draws)
    return run
