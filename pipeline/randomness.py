"""Stateless draws: every number is a function of (seed, step) and the name of what it is for.

The same numbers come eagerly, in tf.data and compiled by XLA. philox alone does not see to that:
its bits are the same, but XLA makes floats of other bits than TensorFlow does, so floats are made
of them here.
"""
import math
import zlib

import numpy as np
import tensorflow as tf


def key(seed, purpose):
    """int32 [2] seed of one purpose. seed: int [2] (seed, step). purpose: str."""
    return tf.random.fold_in(tf.cast(seed, tf.int32), zlib.crc32(purpose.encode()) & 0x7FFFFFFF,
                             alg="philox")


def uniform(seed, purpose, shape, low=0.0, high=1.0):
    """float32 of `shape`, uniform in [low, high), in 2**24 steps."""
    bits = tf.random.stateless_uniform(shape, key(seed, purpose), None, None, tf.uint32,
                                       alg="philox")
    share = tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24
    return low + (high - low) * share


def normal(seed, purpose, shape):
    """float32 of `shape`, of the standard normal distribution, by Box and Muller's transform."""
    draws = uniform(seed, purpose, [2, *shape])
    radius = tf.sqrt(-2 * tf.math.log(1 - draws[0]))  # of 1 - u, since u may be 0
    return radius * tf.cos(2 * math.pi * draws[1])


def keys(seed, purpose, n):
    """int32 [n], a key of each image for hashed_uniform; of all 32 bits."""
    bits = tf.random.stateless_uniform([n], key(seed, purpose), None, None, tf.uint32, alg="philox")
    return tf.bitcast(bits, tf.int32)


def hashed_uniform(image_keys, shape, stream=0):
    """float32 [n, *shape], uniform in [0, 1) in 2**24 steps: a number per pixel, cheap enough for that.

    image_keys: int32 [n] of keys(). stream: Python int, for several draws from the same keys. The
    position in the image and the key are mixed by the integer hash "lowbias32" (Ellis, Prospecting
    for hash functions, 2018), twice; XLA makes vector instructions of it, which it does not of
    philox.
    """
    position = tf.reshape(tf.bitcast(tf.range(math.prod(shape)), tf.uint32), [1, *shape])
    wide = tf.reshape(tf.bitcast(image_keys, tf.uint32), [-1] + [1] * len(shape))
    # Hashed apart first, so that the sequences of images and streams begin at unrelated places.
    start = _hash(wide ^ tf.constant(np.uint32(stream * 0x9E3779B9 & 0xFFFFFFFF)))
    bits = _hash(position * np.uint32(0x9E3779B9) + start)
    return tf.cast(tf.bitwise.right_shift(bits, np.uint32(8)), tf.float32) * 2.0**-24


def _hash(x):
    shift = lambda x, by: tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, np.uint32(by)))
    x = shift(x, 16) * np.uint32(0x7FEB352D)
    x = shift(x, 15) * np.uint32(0x846CA68B)
    return shift(x, 16)


def beta(seed, purpose, shape, concentration):
    """float32 of `shape`, Beta(concentration, concentration). Not compilable by XLA (gamma).

    Drawn in float64: at small concentrations both gammas end at float32's smallest number, and
    their share would be 1/2.
    """
    gammas = tf.random.stateless_gamma([2, *shape], key(seed, purpose), concentration,
                                       dtype=tf.float64)
    return tf.cast(gammas[0] / (gammas[0] + gammas[1]), tf.float32)


def first_that_fits(candidates, fits, fallback):
    """Of k candidates per image the first that fits, else the fallback.

    candidates: [b, k, d]. fits: bool [b, k]. fallback: broadcastable to [b, d]. Returns [b, d].
    """
    first = tf.argmax(tf.cast(fits, tf.int32), axis=1)  # 0 where none fits
    chosen = tf.gather(candidates, first, axis=1, batch_dims=1)
    return tf.where(tf.reduce_any(fits, axis=1)[:, None], chosen, fallback)
