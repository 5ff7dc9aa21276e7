"""Inception-v4.

Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
AAAI 2017, arXiv:1602.07261, Figures 3 to 9.
"""
import dataclasses

from tensorflow import keras

layers = keras.layers


@dataclasses.dataclass(frozen=True)
class Conv:
    """Convolution, batch normalisation, ReLU. kernel: a side, or (height, width)."""
    width: int
    kernel: object
    stride: int = 1
    padding: str = "same"


def reducing(width):
    """The convolution that halves: 3x3 with stride 2, without padding ("V" in the figures)."""
    return Conv(width, 3, 2, "valid")


MAX, AVERAGE = "max", "average"  # 3x3 pooling: with stride 2 without padding, and with stride 1

# A network is a sequence of steps; a step that is a tuple has branches, sequences themselves, which
# are joined along the channels.
STEM = [Conv(32, 3, 2, "valid"), Conv(32, 3, 1, "valid"), Conv(64, 3),
        ([MAX], [reducing(96)]),
        ([Conv(64, 1), Conv(96, 3, 1, "valid")],
         [Conv(64, 1), Conv(64, (1, 7)), Conv(64, (7, 1)), Conv(96, 3, 1, "valid")]),
        ([reducing(192)], [MAX])]
INCEPTION_A = ([Conv(96, 1)],
               [Conv(64, 1), Conv(96, 3)],
               [Conv(64, 1), Conv(96, 3), Conv(96, 3)],
               [AVERAGE, Conv(96, 1)])
REDUCTION_A = ([reducing(384)],
               [Conv(192, 1), Conv(224, 3), reducing(256)],
               [MAX])
INCEPTION_B = ([Conv(384, 1)],
               [Conv(192, 1), Conv(224, (1, 7)), Conv(256, (7, 1))],
               [Conv(192, 1), Conv(192, (7, 1)), Conv(224, (1, 7)), Conv(224, (7, 1)), Conv(256, (1, 7))],
               [AVERAGE, Conv(128, 1)])
REDUCTION_B = ([Conv(192, 1), reducing(192)],
               [Conv(256, 1), Conv(256, (1, 7)), Conv(320, (7, 1)), reducing(320)],
               [MAX])
INCEPTION_C = ([Conv(256, 1)],
               [Conv(384, 1), ([Conv(256, (1, 3))], [Conv(256, (3, 1))])],
               [Conv(384, 1), Conv(448, (3, 1)), Conv(512, (1, 3)),
                ([Conv(256, (1, 3))], [Conv(256, (3, 1))])],
               [AVERAGE, Conv(256, 1)])
NETWORK = [*STEM, *4 * [INCEPTION_A], REDUCTION_A, *7 * [INCEPTION_B], REDUCTION_B, *3 * [INCEPTION_C]]


def inception_v4(input_shape):
    """Build Inception-v4 without its head.

    input_shape: (h, w, c), h and w at least 75. Returns a keras.Model: float [n, h, w, c] ->
    [n, h', w', 1536]; of a side of 299, 8.
    """
    images = keras.Input(input_shape)
    return keras.Model(images, sequence(images, NETWORK), name="inception_v4")


def sequence(x, steps):
    for step in steps:
        if step == MAX:
            x = layers.MaxPooling2D(3, 2)(x)
        elif step == AVERAGE:
            x = layers.AveragePooling2D(3, 1, "same")(x)
        elif isinstance(step, Conv):
            x = conv_norm_relu(x, step)
        else:
            x = layers.concatenate([sequence(x, branch) for branch in step])
    return x


def conv_norm_relu(x, conv):
    x = layers.Conv2D(conv.width, conv.kernel, conv.stride, conv.padding, use_bias=False,
                      kernel_initializer="he_normal")(x)
    # The published momentum, 0.9997, is for training of hundreds of thousands of steps.
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-3)(x))
