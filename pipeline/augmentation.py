"""All augmentation of a batch: a small plan, drawn on the host, and what carries it out.

The plan is a dict of tensors whose first dimension is the image's, so that it can be shared out among
replicas with the images. What carries it out is plain tensor arithmetic with static shapes, which XLA
compiles: on the host inside tf.data, or on the device inside the training step.

  warp, policy      geometry: one affine map per image, one resampling
  filters           CLAHE, noise, blur
  colour            one matrix and offset per image
  mixing, erasing   and normalisation, in one loop over the pixels
"""
import dataclasses

import numpy as np
import tensorflow as tf

from pipeline.colour import Colour, change_colour, change_gamma, draw_colour
from pipeline.erasing import Erasing, draw_erasing, erase
from pipeline.filters import Filters, draw_filters, filter_images
from pipeline.geometry import Geometry, chain, draw_maps, sides, warp
from pipeline.mixing import Mixing, draw_mixing, mix_images, mix_targets
from pipeline.rand_augment import Policy, apply_policy, draw_policy, policy_maps


@dataclasses.dataclass(frozen=True)
class InputFormat:
    """What the network takes: float [n, size, size, channels] of `dtype`, (0..1 - mean) / std; of lines of text
    size is (height, width)."""
    size: int | tuple
    channels: int
    mean: tuple
    std: tuple
    dtype: str  # float32, float16, bfloat16


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is drawn for every training image; by itself, nothing changes."""
    geometry: Geometry = Geometry()
    policy: Policy = Policy()
    filters: Filters = Filters()
    colour: Colour = Colour()
    mixing: Mixing = Mixing()
    erasing: Erasing = Erasing()


def draw_plan(seed, n, augmentation, input_format):
    """The plan of a batch of n images: {"maps": float32 [n, 2, 3], ...}. seed: int [2] (seed, step)."""
    height, width = sides(input_format.size)
    plan = {"maps": draw_maps(seed, n, augmentation.geometry, width / height)}
    if augmentation.policy.kind != "none":
        plan["policy"] = draw_policy(seed, n, input_format.size, augmentation.policy)
        plan["maps"] = chain(policy_maps(plan["policy"]), plan["maps"])
    return plan | draw_pixel_plan(seed, n, augmentation, input_format)


def draw_pixel_plan(seed, n, augmentation, input_format):
    """The part of the plan that follows the resampling."""
    size = input_format.size
    plan = {"filters": draw_filters(seed, n, augmentation.filters),
            "colour": draw_colour(seed, n, augmentation.colour, input_format.channels),
            "mixing": draw_mixing(seed, n, size, augmentation.mixing),
            "erasing": draw_erasing(seed, n, size, augmentation.erasing)}
    return {name: part for name, part in plan.items() if part}


def augment(images, targets, plan, augmentation, input_format, groups=1):
    """Carries out a plan of draw_plan.

    images: uint8 [n, h, w, c]. targets: float32 [n, k]; texts, int32 [n, longest], stay. groups: the batch is made of so many equal
    parts, one after the other, and images are mixed within their part: with one per replica, what a
    replica does to its part is what the host does to the whole.
    Returns the model's images [n, size, size, c] and targets. Of records of p pictures, [n, p, h, w, c], each
    is augmented in its own way by a plan of tensors [n, p, ...], without mixing: [n, p, size, size, c].
    """
    if images.shape.rank == 5:
        flat = lambda x: tf.reshape(x, [-1, *x.shape[2:]])
        own = {name: tf.nest.map_structure(flat, part) for name, part in plan.items() if name not in ("target_scale", "vectors")}
        changed, _ = augment(flat(images), None, own, augmentation, input_format)
        return tf.reshape(changed, [*images.shape[:2], *changed.shape[1:]]), targets
    if "mixing" in plan:
        targets = mix_targets(targets, plan["mixing"], input_format.size, groups)
    images = change_levels(images, plan, augmentation, input_format.size)
    return finish(images, plan, input_format, groups), targets


def change_levels(images, plan, augmentation, size):
    """The part of a plan that each image needs no other for. uint8 [n, h, w, c] -> uint8 [n, size,
    size, c]."""
    images = warp(images, plan["maps"], size, augmentation.geometry.cubic)
    if "policy" in plan:
        images = apply_policy(images, plan["policy"])
    if "filters" in plan:
        images = filter_images(images, plan["filters"], augmentation.filters)
    colour = dict(plan.get("colour", {}))
    if "gamma" in colour:
        images = _change_gamma(images, colour.pop("gamma"))
    return _change_colour(images, colour) if colour else images


def finish(images, plan, input_format, groups=1):
    """The rest of a plan: mixing, erasing, and normalisation. images: uint8 [n, size, size, c]."""
    rows = _finish(images, plan, tuple(input_format.mean), tuple(input_format.std),
                   input_format.dtype, groups)
    return tf.reshape(rows, images.shape)


# Loops of their own, with uint8 between them: colour needs the mean of an image after gamma, mixing
# the colours of four.
_change_gamma = tf.function(change_gamma, jit_compile=True, autograph=False)
_change_colour = tf.function(change_colour, jit_compile=True, autograph=False)


@tf.function(jit_compile=True, autograph=False)
def _finish(images, plan, mean, std, dtype, groups):
    """Mixing, erasing, normalisation. Returns [n, size, size * c]: along whole rows, XLA makes vector
    instructions on a CPU, four times as quick as along three channels."""
    n, height, width, channels = images.shape
    rows = mix_images(tf.reshape(images, [n, height, width * channels]), plan.get("mixing", {}), groups)
    rows = erase(rows, plan.get("erasing", {}), mean)
    return normalise(rows, np.resize(mean, width * channels), np.resize(std, width * channels), dtype)


def normalise(images, mean, std, dtype):
    """(images / 255 - mean) / std along the last axis. images: 0..255. mean, std: of 0..1."""
    mean, std = tf.constant(mean, tf.float32), tf.constant(std, tf.float32)
    return tf.cast(tf.cast(images, tf.float32) * (1 / (255 * std)) - mean / std, dtype)
