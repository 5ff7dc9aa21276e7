"""Wide ResNet for small images, with pre-activation blocks.

Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016, arXiv:1605.07146, Table 1: WRN-d-k has
d = 6n + 4 convolution layers, three groups of n blocks, and widths 16k, 32k, 64k.
"""
from tensorflow import keras

layers = keras.layers

STEM_WIDTH = 16
STAGES = ((16, 1), (32, 2), (64, 2))  # (width at k = 1, stride) of groups conv2, conv3, conv4


def wide_resnet(depth, width, input_shape, stem_stride=1):
    """Build WRN-depth-width without its head.

    depth: 6n + 4 (10, 16, 22, 28, 40); width: the factor k; input_shape: (h, w, c).
    stem_stride: stride of the first convolution; 1 as published, 2 makes larger images four times
    cheaper. Returns a keras.Model: float [n, h, w, c] -> [n, h', w', 64k], where
    h' = ceil(h / (4 stem_stride)). Raises ValueError for a depth that is not 6n + 4.
    """
    n_blocks, rest = divmod(depth - 4, 6)
    if rest or n_blocks < 1:
        raise ValueError(f"the depth of a Wide ResNet is 6n + 4 (10, 16, 22, 28, ...), not {depth}")

    images = keras.Input(input_shape)
    x = conv3x3(STEM_WIDTH, stem_stride)(images)
    for stage_width, stride in STAGES:
        x = stack(x, stage_width * width, n_blocks, stride)
    x = norm_relu(x)  # [n, h', w', 64k]
    return keras.Model(images, x, name=f"wide_resnet{depth}_{width}")


def stack(x, width, n_blocks, stride):
    """A group of n blocks; the first one strides and widens."""
    x = block(x, width, stride)
    for _ in range(n_blocks - 1):
        x = block(x, width)
    return x


def block(x, width, stride=1):
    """The basic block B(3, 3): BN-ReLU-conv, BN-ReLU-conv, and the shortcut."""
    shortcut, x = x, norm_relu(x)
    if stride != 1 or shortcut.shape[-1] != width:
        shortcut = conv1x1(width, stride)(x)
    x = conv3x3(width, stride)(x)
    x = conv3x3(width)(norm_relu(x))
    return layers.Add()([x, shortcut])


def conv3x3(width, stride=1):
    return layers.Conv2D(width, 3, stride, padding="same", use_bias=False,
                         kernel_initializer="he_normal")


def conv1x1(width, stride):
    return layers.Conv2D(width, 1, stride, use_bias=False, kernel_initializer="he_normal")


def norm_relu(x):
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return layers.ReLU()(x)
