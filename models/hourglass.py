"""Stacked hourglass networks, the backbone of the original CenterNet.

Newell, Yang & Deng, "Stacked Hourglass Networks", ECCV 2016, arXiv:1603.06937; Hourglass-104 is
that of Law & Deng, "CornerNet", ECCV 2018, arXiv:1808.01244, as used by Zhou, Wang & Krähenbühl,
"Objects as Points", 2019, arXiv:1904.07850.
"""
import dataclasses

from tensorflow import keras

from models.conv_blocks import conv_norm, conv_norm_relu
from models.upsampling import upsample_nearest

layers = keras.layers

STRIDE = 4  # of the stem, so of the features


@dataclasses.dataclass(frozen=True)
class Hourglass:
    """stacks: hourglasses in a row; stem_width: channels of the 7x7 convolution; widths, blocks: of
    the levels from the outermost to the innermost, channels and residual blocks a path."""
    stacks: int
    stem_width: int
    widths: tuple
    blocks: tuple

    @property
    def multiple(self):
        """Image sides, px, are multiples of it: of the stride of the innermost level."""
        return STRIDE * 2 ** (len(self.widths) - 1)


HOURGLASSES = {
    "hourglass104": Hourglass(2, 128, (256, 256, 384, 384, 384, 512), (2, 2, 2, 2, 2, 4)),
    "hourglass_small": Hourglass(1, 32, (64, 64, 96, 128), (1, 1, 1, 1)),
}


def hourglass_features(images, table):
    """Images [n, h, w, c] -> features of each stack, [n, h/4, w/4, table.widths[0]]."""
    width = table.widths[0]
    x = conv_norm_relu(images, table.stem_width, 7, stride=2)  # [n, h/2, w/2, stem_width]
    x = residual(x, width, stride=2)  # [n, h/4, w/4, width]
    features = []
    for stack in range(table.stacks):
        features.append(conv_norm_relu(hourglass(x, table.widths, table.blocks), width, 3))
        if stack + 1 < table.stacks:
            merged = layers.Add()([conv_norm(x, width, 1), conv_norm(features[-1], width, 1)])
            x = residual(layers.ReLU()(merged), width)
    return features


def hourglass(x, widths, blocks):
    """One hourglass, [n, h, w, c] -> [n, h, w, c]: the outermost level around the rest."""
    outer, inner = widths[:2]
    beside = residuals(x, [outer] * blocks[0])
    x = residual(x, inner, stride=2)  # [n, h/2, w/2, inner]
    x = residuals(x, [inner] * (blocks[0] - 1))
    if len(widths) > 2:
        x = hourglass(x, widths[1:], blocks[1:])
    else:
        x = residuals(x, [inner] * blocks[1])
    x = residuals(x, [inner] * (blocks[0] - 1) + [outer])  # [n, h/2, w/2, outer]
    return layers.Add()([beside, upsample_nearest(x, 2)])  # [n, h, w, outer]


def residuals(x, widths):
    for width in widths:
        x = residual(x, width)
    return x


def residual(x, width, stride=1):
    """Two 3x3 convolutions and the shortcut."""
    shortcut = x
    if stride != 1 or x.shape[-1] != width:
        shortcut = conv_norm(x, width, 1, stride)
    x = conv_norm(conv_norm_relu(x, width, 3, stride), width, 3)
    return layers.ReLU()(layers.Add()([x, shortcut]))
