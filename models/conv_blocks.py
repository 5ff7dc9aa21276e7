"""Convolution, batch normalisation and ReLU in one call, padded alike on all sides."""
from tensorflow import keras

layers = keras.layers


def conv_norm_relu(x, width, kernel, stride=1):
    """[n, h, w, c] -> [n, h/stride, w/stride, width]; kernel odd, sides multiples of the stride."""
    return layers.ReLU()(conv_norm(x, width, kernel, stride))


def conv_norm(x, width, kernel, stride=1):
    """As conv_norm_relu, without the ReLU: the last step of a residual branch."""
    # With a stride, Keras's "same" pads below and right only, which centres a 3x3 convolution one
    # pixel off the 1x1 convolution beside it.
    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
        padding = "valid"
    else:
        padding = "same"
    x = layers.Conv2D(width, kernel, stride, padding, use_bias=False,
                      kernel_initializer="he_normal")(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
