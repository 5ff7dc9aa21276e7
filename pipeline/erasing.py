"""Parts of the images erased: RandomErasing (Zhong et al. 2017) and Cutout (DeVries, Taylor 2017)."""
import dataclasses
import math

import numpy as np
import tensorflow as tf

from pipeline.randomness import first_that_fits, hashed_uniform, keys, uniform

TRIES = 10  # of a rectangle that fits before nothing is erased, as in torchvision


@dataclasses.dataclass(frozen=True)
class Erasing:
    """p: probability of RandomErasing; area: share of the image; ratio: height over width. holes:
    of Cutout, so many in every image; hole_size: their side, a share of the image's."""
    p: float = 0.0
    area: tuple = (0.02, 0.4)
    ratio: tuple = (0.3, 3.33)
    holes: int = 0
    hole_size: float = 0.5

    def __post_init__(self):
        if not 0 <= self.p <= 1:
            raise ValueError(f"the probability of erasing lies in 0..1, not at {self.p}")
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(f"the area erased is (least, most) in 0..1, not {self.area}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"the ratio erased is (least, most) above 0, not {self.ratio}")
        if self.holes < 0 or not 0 < self.hole_size <= 1:
            raise ValueError("Cutout takes 0 or more holes with a side in 0..1 of the image's, not "
                             f"{self.holes} holes of {self.hole_size}")


def draw_erasing(seed, n, size, options):
    """The plan of n square images of `size` px, a dict of tensors; what is not used is not in it.

    boxes: int32 [n, 4], x0 y0 x1 y1 px to fill with noise, empty for none, and key: int32 [n] of
    the noise. holes: int32 [n, holes, 4].

    RandomErasing's area is uniform, and so is the logarithm of its ratio, so that wide is as likely
    as high (torchvision's choice; the paper's code draws the ratio). Both are drawn until the
    sides, in whole pixels, are less than the image's; the place is uniform among those that fit.
    Cutout's centres are uniform, and the holes are clipped at the border.
    """
    plan = {}
    if options.p:
        area = uniform(seed, "erase area", [n, TRIES], *options.area)
        ratio = tf.exp(uniform(seed, "erase ratio", [n, TRIES], *map(math.log, options.ratio)))
        sides = tf.round(size * tf.stack([tf.sqrt(area / ratio), tf.sqrt(area * ratio)], axis=-1))
        sides = first_that_fits(sides, tf.reduce_all(sides < size, axis=-1), 0.0)  # [n, 2]
        sides *= tf.cast(uniform(seed, "erase", [n, 1]) < options.p, tf.float32)
        corner = tf.floor(uniform(seed, "erase place", [n, 2]) * (size - sides + 1))
        plan["boxes"] = tf.cast(tf.concat([corner, corner + sides], axis=1), tf.int32)
        plan["key"] = keys(seed, "erase values", n)
    if options.holes:
        side = round(options.hole_size * size)
        corner = uniform(seed, "holes", [n, options.holes, 2], 0, size)
        corner = tf.cast(tf.floor(corner), tf.int32) - side // 2
        plan["holes"] = tf.clip_by_value(tf.concat([corner, corner + side], axis=-1), 0, size)
    return plan


def erase(images, plan, mean, scale=255.0):
    """Fills boxes with uniform noise, a value per pixel and channel, then holes with the mean.

    images: float32 [n, size, size, c] or [n, size, size * c] (quicker, see mix_images), 0..scale.
    mean: sequence of c, or of 1 for all, 0..1, that of the normalisation: holes become 0 by it.
    Returns the same.
    """
    n, size = images.shape[:2]
    erased = tf.reshape(images, [n, size, -1])
    width = erased.shape[2]  # size * c

    def inside(boxes):
        """bool [n, size, width]. boxes: int32 [n, 4]."""
        x0, y0, x1, y1 = tf.split(boxes, 4, axis=1)  # [n, 1]
        x, y = tf.range(width) // (width // size), tf.range(size)
        return ((y >= y0) & (y < y1))[:, :, None] & ((x >= x0) & (x < x1))[:, None, :]
    if "boxes" in plan:
        noise = hashed_uniform(plan["key"], (size, width)) * scale
        erased = tf.where(inside(plan["boxes"]), noise, erased)
    if "holes" in plan:
        fill = np.resize(np.float32(mean) * scale, width)  # repeated along the row
        for k in range(plan["holes"].shape[1]):
            erased = tf.where(inside(plan["holes"][:, k]), fill, erased)
    return tf.reshape(erased, images.shape)
