"""Upsampling by a whole factor, in the dtype of its input; XLA compiles it and its gradient."""
import tensorflow as tf
from tensorflow import keras


def upsample_nearest(x, factor):
    """[n, h, w, c] -> [n, factor*h, factor*w, c]: every cell repeated."""
    # The gradient of TensorFlow's nearest resize does not compile; that of a repetition does.
    return x if factor == 1 else tf.repeat(tf.repeat(x, factor, axis=1), factor, axis=2)


def upsample_bilinear(x, factor):
    """[n, h, w, c] -> [n, factor*h, factor*w, c]: bilinear between cell centres."""
    if factor == 1:
        return x
    # In float32: the resize gives nothing else, and its gradient does not compile from float16.
    larger = keras.layers.UpSampling2D(factor, interpolation="bilinear", dtype="float32")(x)
    return tf.cast(larger, x.dtype)
