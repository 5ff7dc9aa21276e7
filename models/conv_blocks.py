"""Convolution, batch normalisation and ReLU in one call, padded alike on all sides."""
from tensorflow import keras

layers = keras.layers


def conv_norm_relu(x, width, kernel, stride=1, epsilon=1e-5):
    """[n, h, w, c] -> [n, h/stride, w/stride, width], rounded up; kernel odd."""
    return layers.ReLU()(conv_norm(x, width, kernel, stride, epsilon))


def conv_norm(x, width, kernel, stride=1, epsilon=1e-5):
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
    return layers.BatchNormalization(momentum=0.9, epsilon=epsilon)(x)


def norm_relu(x, epsilon=1e-5):
    """What comes before a convolution in a pre-activation network."""
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=epsilon)(x))


def norm_relu_conv(x, width, kernel, stride=1, epsilon=1e-5):
    """norm_relu and a convolution: [n, h, w, c] -> [n, h/stride, w/stride, width], kernel 1 or stride 1."""
    return layers.Conv2D(width, kernel, stride, "same", use_bias=False,
                         kernel_initializer="he_normal")(norm_relu(x, epsilon))


def max_pool_3x3(x):
    """The pooling of a ResNet's stem: [n, h, w, c], none negative -> [n, h/2, w/2, c], rounded up."""
    return layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
