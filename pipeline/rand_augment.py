"""RandAugment (Cubuk et al. 2019) and TrivialAugment Wide (Müller and Hutter 2021) of a batch.

Written here because the kept libraries (kecam's and Keras 3's) draw from a stateful generator and
change one image at a time, by operations that XLA does not compile.

Operations, ranges and their 31 strengths are torchvision's, but for three things. The geometric
operations of an image are one affine map, resampled with the rest of its geometry before its
pixels are changed, and beyond the image the border is repeated. A translation is not cut to whole
pixels. Solarize counts from 256, so that strength 0 changes nothing and full strength inverts all.
"""
import dataclasses
import math

import numpy as np
import tensorflow as tf

from pipeline.geometry import about_centre, chain, rotation
from pipeline.randomness import uniform

STEPS = 30  # from strength 0 to full strength
# What full strength is: of RandAugment, of TrivialAugment Wide.
OPS = {
    "identity": (0, 0),
    "shear_x": (0.3, 0.99),              # px across per px down, about the upper left corner
    "shear_y": (0.3, 0.99),
    "translate_x": (150 / 331, None),    # share of the side; None: TRIVIAL_SHIFT px
    "translate_y": (150 / 331, None),
    "rotate": (30, 135),                 # degrees, counter-clockwise
    "brightness": (0.9, 0.99),           # 1 + this is the factor of a blend, as of the next three
    "color": (0.9, 0.99),
    "contrast": (0.9, 0.99),
    "sharpness": (0.9, 0.99),
    "posterize": (4, 6),                 # lower bits dropped
    "solarize": (256, 256),              # so many of the brightest levels are inverted
    "autocontrast": (0, 0),
    "equalize": (0, 0),
}
NAMES = list(OPS)
SIGNED = np.array([NAMES.index("shear_x") <= k <= NAMES.index("sharpness") for k in range(len(NAMES))])
TRIVIAL_SHIFT = 32  # px
# Red, green, blue in 65536ths, as in Pillow: gray is exact in integers, the same in every mode.
LUMA = (19595, 38470, 7471)
# Added before levels are cut to whole numbers. They are multiples of a thousandth, or of a 255th at
# most, so this only lifts what the rounding of float32 left just below a level.
HAIR = 5e-4


@dataclasses.dataclass(frozen=True)
class Policy:
    """kind: "none", "randaugment" or "trivial" (one operation of uniform strength per image).
    n_ops: operations per image of RandAugment, drawn with replacement; magnitude: their strength,
    0..30."""
    kind: str = "none"
    n_ops: int = 2
    magnitude: int = 9

    def __post_init__(self):
        if self.kind not in ("none", "randaugment", "trivial"):
            raise ValueError(f"policy {self.kind!r}; there are none, randaugment and trivial")
        if self.n_ops < 1 or not 0 <= self.magnitude <= STEPS:
            raise ValueError(f"RandAugment of {self.n_ops} operations at magnitude {self.magnitude}; "
                             f"it takes 1 or more, at 0..{STEPS}")


def draw_policy(seed, n, size, options):
    """The plan of n square images of `size` px; empty if there is no policy.

    op: int32 [n, k], number in OPS of the k operations, the first to be done first. strength:
    float32 [n, k], in the unit of OPS, negative where the sign was drawn so.
    """
    if options.kind == "none":
        return {}
    trivial = options.kind == "trivial"
    shape = [n, 1 if trivial else options.n_ops]
    op = tf.cast(uniform(seed, "policy op", shape) * len(OPS), tf.int32)
    step = options.magnitude
    if trivial:
        step = tf.floor(uniform(seed, "policy strength", shape) * (STEPS + 1))
    most = [TRIVIAL_SHIFT / size if pair[trivial] is None else pair[trivial] for pair in OPS.values()]
    minus = tf.gather(SIGNED, op) & (uniform(seed, "policy sign", shape) < 0.5)
    strength = tf.gather(tf.constant(most, tf.float32), op) * (step / STEPS)
    return {"op": op, "strength": tf.where(minus, -strength, strength)}


def policy_maps(plan):
    """The geometric operations of a plan as maps, float32 [n, 2, 3] (see pipeline.geometry)."""
    maps = about_centre(tf.eye(2, batch_shape=plan["op"].shape[:1]))
    for op, strength in zip(tf.unstack(plan["op"], axis=1), tf.unstack(plan["strength"], axis=1)):
        amount = lambda name: tf.where(op == NAMES.index(name), strength, 0.0)
        one = tf.ones_like(strength)
        lean = tf.stack([tf.stack([one, amount("shear_x"), -amount("translate_x")], -1),
                         tf.stack([amount("shear_y"), one, -amount("translate_y")], -1)], 1)
        turn = about_centre(rotation(amount("rotate") * (math.pi / 180)))
        maps = chain(chain(turn, lean), maps)  # one of the two is the identity
    return maps


@tf.function(jit_compile=True, autograph=False)
def apply_policy(images, plan):
    """The other operations of a plan, each in whole levels, as Pillow does them.

    images: uint8 [n, h, w, c], h and w of 3 px or more. Returns the same.
    """
    for op, strength in zip(tf.unstack(plan["op"], axis=1), tf.unstack(plan["strength"], axis=1)):
        images = equalize(change_levels(images, op, strength), op == NAMES.index("equalize"))
    return images


def change_levels(images, op, strength):
    """One operation of each image, of those but equalize. op, strength: [n]. uint8 -> uint8."""
    wide = lambda values: tf.reshape(values, [-1, 1, 1, 1])
    amount = lambda name: tf.where(op == NAMES.index(name), strength, 0.0)
    gray = gray_levels(images)
    # Blends: (1 + strength) * image - strength * what it is blended with.
    gain = 1 + tf.add_n([amount(name) for name in ("brightness", "color", "contrast", "sharpness")])
    other = (wide(amount("color")) * tf.cast(gray, tf.float32)
             + wide(amount("contrast")) * mean_level(gray)
             + wide(amount("sharpness")) * smooth(images))
    stretch, lowest = contrast_stretch(images)  # [n, 1, 1, c]
    is_stretched = wide(op == NAMES.index("autocontrast"))
    gain, lowest = tf.where(is_stretched, stretch, wide(gain)), tf.where(is_stretched, lowest, 0.0)
    levels = (tf.cast(images, tf.float32) - lowest) * gain - other
    levels = tf.cast(tf.clip_by_value(levels + HAIR, 0, 255), tf.uint8)
    bright = tf.cast(levels, tf.float32) >= 256 - wide(amount("solarize"))
    levels = tf.where(bright, 255 - levels, levels)
    dropped = tf.cast(tf.round(amount("posterize")), tf.int32)
    mask = tf.cast(256 - tf.bitwise.left_shift(tf.ones_like(dropped), dropped), tf.uint8)
    return tf.bitwise.bitwise_and(levels, wide(mask))


def gray_levels(images):
    """uint8 [n, h, w, c] -> int32 [n, h, w, 1], rounded."""
    levels = tf.cast(images, tf.int32)
    if images.shape[3] == 1:
        return levels
    total = tf.add_n([levels[..., k:k + 1] * weight for k, weight in enumerate(LUMA)])
    return tf.bitwise.right_shift(total + 2**15, 16)


def mean_level(gray):
    """int32 [n, h, w, 1] -> float32 [n, 1, 1, 1], rounded."""
    pixels = gray.shape[1] * gray.shape[2]
    mean = (2 * tf.reduce_sum(gray, axis=(1, 2), keepdims=True) + pixels) // (2 * pixels)
    return tf.cast(mean, tf.float32)


def contrast_stretch(images):
    """(factor, lowest level), float32 [n, 1, 1, c], that spread each channel over all levels."""
    _, h, w, c = images.shape
    rows = tf.reshape(images, [-1, h, w * c])  # column by column: 10 times as quick on a CPU
    lowest, highest = (tf.cast(end(tf.reshape(end(rows, axis=1), [-1, 1, w, c]), axis=2, keepdims=True),
                               tf.float32) for end in (tf.reduce_min, tf.reduce_max))
    spread = highest - lowest
    flat = spread == 0  # such a channel is left alone
    return tf.where(flat, 1.0, 255 / tf.where(flat, 1.0, spread)), tf.where(flat, 0.0, lowest)


def smooth(images):
    """Every pixel with its 8 neighbours, itself 5-fold; rounded. The border stays. Returns float32."""
    _, h, w, c = images.shape
    rows = tf.reshape(images, [-1, h, w * c])
    levels = tf.cast(tf.pad(rows, [[0, 0], [1, 1], [c, c]]), tf.int16)
    shifted = [levels[:, y:y + h, x * c:(x + w) * c] for y in range(3) for x in range(3)]
    mean = tf.floor(tf.cast(tf.add_n(shifted) + 4 * shifted[4], tf.float32) / 13 + 0.5)
    inner = np.zeros([1, h, w, c], bool)
    inner[:, 1:-1, 1:-1] = True
    return tf.where(inner, tf.reshape(mean, images.shape), tf.cast(images, tf.float32))


def equalize(images, drew):
    """Levels the histogram of each channel of the images that drew it, bool [n]. uint8 -> uint8."""
    order = tf.argsort(tf.where(drew, 0, 1), stable=True)

    def change(k, images):
        image = order[k]
        return k + 1, tf.tensor_scatter_nd_update(images, [[image]], [equalize_one(images[image])])
    # Few draw it; a histogram of every image would cost more than all else.
    count = tf.reduce_sum(tf.cast(drew, tf.int32))
    return tf.while_loop(lambda k, _: k < count, change, (0, images))[1]


def equalize_one(image):
    """uint8 [h, w, c] -> uint8. A channel's levels become the shares of its pixels below them."""
    channels = image.shape[2]
    bins = tf.cast(image, tf.int32) + tf.range(channels) * 256
    flat = tf.reshape(bins, [-1])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(flat), flat, channels * 256)
    counts = tf.reshape(counts, [channels, 256])
    below = tf.cumsum(counts, axis=1, exclusive=True)
    # Pixels below the brightest level there is; 255 steps lead up to it.
    step = tf.reduce_max(tf.where(counts > 0, below, 0), axis=1, keepdims=True) // 255
    levels = tf.minimum((step // 2 + below) // tf.maximum(step, 1), 255)
    levels = tf.cast(tf.where(step == 0, tf.range(256), levels), tf.uint8)
    return tf.gather(tf.reshape(levels, [-1]), bins)
