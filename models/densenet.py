"""Densely connected networks of any growth rate (keras.applications has those of growth 32).

Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, arXiv:1608.06993: DenseNet-BC
of Table 1, with bottlenecks and halving transitions.
"""
from tensorflow import keras

from models.conv_blocks import conv_norm_relu, max_pool_3x3, norm_relu, norm_relu_conv

layers = keras.layers


def densenet(blocks, growth, input_shape):
    """Build DenseNet-BC without its head.

    blocks: dense layers of each of the four blocks; growth: k, the channels that each adds;
    input_shape: (h, w, c). Returns a keras.Model: float [n, h, w, c] -> [n, h', w', c'], where
    h' is h/32, rounded.
    """
    images = keras.Input(input_shape)
    x = conv_norm_relu(images, 2 * growth, 7, stride=2)  # [n, h/2, w/2, 2k]
    x = max_pool_3x3(x)  # [n, h/4, w/4, 2k]
    for number, n_layers in enumerate(blocks):
        if number:
            x = transition(x)
        for _ in range(n_layers):
            x = layers.concatenate([x, dense_layer(x, growth)])
    return keras.Model(images, norm_relu(x), name=f"densenet{2 * sum(blocks) + 5}")


def dense_layer(x, growth):
    """The bottleneck and the 3x3 convolution: [n, h, w, c] -> [n, h, w, growth]."""
    return norm_relu_conv(norm_relu_conv(x, 4 * growth, 1), growth, 3)


def transition(x):
    """[n, h, w, c] -> [n, h/2, w/2, c/2]"""
    return layers.AveragePooling2D(2)(norm_relu_conv(x, x.shape[-1] // 2, 1))
