"""Stateless draws: every number is a function of (seed, step) and the name of what it is for.

The same numbers come eagerly, in tf.data and compiled by XLA. philox alone does not see to that:
its bits are the same, but XLA makes floats of other bits than TensorFlow does, so floats are made
of them here.
"""
import zlib

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
