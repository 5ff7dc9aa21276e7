"""What happens to pixel values: colour, erasing, mixing, normalisation; compiled by XLA as one."""
import dataclasses
import math

import tensorflow as tf

from pipeline.randomness import beta, first_that_fits, uniform

TRIES = 10  # of an erased rectangle before nothing is erased
LUMA = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True)
class PixelOptions:
    """brightness, contrast: factor 1 +- this. erase_p: probability of RandomErasing; erase_area:
    share of the image; erase_ratio: height over width. mixup: Beta's concentration, 0 for none."""
    brightness: float = 0.0
    contrast: float = 0.0
    erase_p: float = 0.0
    erase_area: tuple = (0.02, 0.4)
    erase_ratio: tuple = (0.3, 3.33)
    mixup: float = 0.0


def adjust_brightness(images, factor):
    """images: float [n, h, w, c], 0..1. factor: [n]. Returns the same, clipped."""
    return tf.clip_by_value(images * factor[:, None, None, None], 0, 1)


def adjust_contrast(images, factor):
    """Blends with the image's mean gray, as torchvision does. Shapes as adjust_brightness."""
    gray = images if images.shape[3] == 1 else tf.reduce_sum(images * LUMA, axis=3, keepdims=True)
    mean = tf.reduce_mean(gray, axis=(1, 2, 3), keepdims=True)
    factor = factor[:, None, None, None]
    return tf.clip_by_value(factor * images + (1 - factor) * mean, 0, 1)


def erase_boxes(seed, n, options):
    """Rectangles to erase, float32 [n, 4]: x y w h in shares of the side; w = h = 0 for none."""
    area = uniform(seed, "erase area", [n, TRIES], *options.erase_area)
    ratio = tf.exp(uniform(seed, "erase ratio", [n, TRIES], *map(math.log, options.erase_ratio)))
    sides = tf.stack([tf.sqrt(area / ratio), tf.sqrt(area * ratio)], axis=-1)  # [n, tries, 2]
    sides = first_that_fits(sides, tf.reduce_all(sides < 1, axis=-1), 0.0)
    sides *= tf.cast(uniform(seed, "erase", [n, 1]) < options.erase_p, tf.float32)
    return tf.concat([uniform(seed, "erase place", [n, 2]) * (1 - sides), sides], axis=1)


def erase(images, boxes, values):
    """Replaces the pixels whose centre is in the box. images, values: float [n, h, w, c]."""
    _, height, width, _ = images.shape
    x = (tf.range(width, dtype=tf.float32) + 0.5) / width
    y = (tf.range(height, dtype=tf.float32) + 0.5) / height
    inside_x = (x >= boxes[:, :1]) & (x < boxes[:, :1] + boxes[:, 2:3])  # [n, w]
    inside_y = (y >= boxes[:, 1:2]) & (y < boxes[:, 1:2] + boxes[:, 3:])  # [n, h]
    inside = inside_y[:, :, None] & inside_x[:, None, :]
    return tf.where(inside[..., None], values, images)


def mixup(values, partner, share):
    """share * values + (1 - share) * values[partner]; images and targets alike.

    values: float [n, ...]. partner: int [n]. share: float [n].
    """
    share = tf.reshape(share, [-1] + [1] * (len(values.shape) - 1))
    return share * values + (1 - share) * tf.gather(values, partner)


def normalise(images, mean, std, dtype):
    """(images - mean) / std per channel. images: float [n, h, w, c], 0..1."""
    return tf.cast((images - tf.constant(mean, tf.float32)) / tf.constant(std, tf.float32), dtype)


def pixel_stage(options, mean, std, dtype):
    """A function (seed, uint8 images [n, h, w, c], float32 targets [n, classes]) -> the model's
    (images, targets). Order: brightness, contrast, mixup, erasing, normalisation."""
    @tf.function(jit_compile=True)
    def compiled(seed, images, targets, share):
        n = images.shape[0]
        images = tf.cast(images, tf.float32) / 255
        if options.brightness:
            images = adjust_brightness(images, 1 + options.brightness * uniform(
                seed, "brightness", [n], -1, 1))
        if options.contrast:
            images = adjust_contrast(images, 1 + options.contrast * uniform(
                seed, "contrast", [n], -1, 1))
        if options.mixup:
            partner = tf.argsort(uniform(seed, "mixup partner", [n]))
            images, targets = mixup(images, partner, share), mixup(targets, partner, share)
        if options.erase_p:
            images = erase(images, erase_boxes(seed, n, options),
                           uniform(seed, "erase values", images.shape))
        return normalise(images, mean, std, dtype), targets

    def run(seed, images, targets):
        n = images.shape[0]
        share = beta(seed, "mixup", [n], options.mixup) if options.mixup else tf.ones([n])
        return compiled(seed, images, targets, share)
    return run
