"""Dual path networks: a residual path and a densely connected one, side by side.

Chen et al., "Dual Path Networks", NeurIPS 2017, arXiv:1707.01629, Table 1.
"""
import dataclasses

from tensorflow import keras

from models.conv_blocks import conv_norm_relu, max_pool_3x3, norm_relu, norm_relu_conv
from models.grouped_conv import GroupedConv2D

layers = keras.layers

EPSILON = 1e-3  # of batch normalisation, as in the authors' networks


@dataclasses.dataclass(frozen=True)
class Stage:
    """width: of the two first convolutions of a block; residual: channels of the residual path;
    growth: channels that a block adds to the dense path."""
    blocks: int
    width: int
    residual: int
    growth: int


@dataclasses.dataclass(frozen=True)
class DualPath:
    """groups: of the 3x3 convolutions; stages: conv2 to conv5."""
    stem_width: int
    groups: int
    stages: tuple


DPNS = {
    "dpn92": DualPath(64, 32, (Stage(3, 96, 256, 16), Stage(4, 192, 512, 32),
                               Stage(20, 384, 1024, 24), Stage(3, 768, 2048, 128))),
}


def dpn(variant, input_shape):
    """Build a dual path network without its head.

    variant: of DPNS; input_shape: (h, w, c). Returns a keras.Model: float [n, h, w, c] ->
    [n, h/32, w/32, c'], rounded up; c' = 2,688 for dpn92.
    """
    table = DPNS[variant]
    images = keras.Input(input_shape)
    x = conv_norm_relu(images, table.stem_width, 7, stride=2, epsilon=EPSILON)  # [n, h/2, w/2, stem_width]
    x = max_pool_3x3(x)  # [n, h/4, w/4, stem_width]
    for number, stage in enumerate(table.stages):
        paths = first_block(x, stage, table.groups, stride=2 if number else 1)
        for _ in range(stage.blocks - 1):
            paths = block(layers.concatenate(paths), *paths, stage, table.groups)
        x = layers.concatenate(paths)  # [n, h', w', residual + (2 + blocks) growth]
    return keras.Model(images, norm_relu(x, EPSILON), name=variant)


def first_block(x, stage, groups, stride):
    """The block that begins a stage: both paths start from a projection of x, and stride."""
    start = norm_relu_conv(x, stage.residual + 2 * stage.growth, 1, stride, EPSILON)
    return block(x, *split(start, stage.residual), stage, groups, stride)


def block(x, residual, dense, stage, groups, stride=1):
    """x, both paths joined -> [residual, dense]: the one added to, the other longer by the growth."""
    x = norm_relu_conv(x, stage.width, 1, epsilon=EPSILON)
    x = layers.ZeroPadding2D(1)(norm_relu(x, EPSILON))
    x = GroupedConv2D(stage.width, 3, stride, groups)(x)
    x = norm_relu_conv(x, stage.residual + stage.growth, 1, epsilon=EPSILON)
    added, appended = split(x, stage.residual)
    return [layers.Add()([residual, added]), layers.concatenate([dense, appended])]


def split(x, at):
    return x[..., :at], x[..., at:]
