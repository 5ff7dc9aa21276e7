"""A feature pyramid on any convolutional backbone: maps of strides 4 to 32, joined at stride 4.

Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, arXiv:1612.03144; the heads
per level and their concatenation are those of the Kuzushiji CenterNet (5th place, Kuzushiji
Recognition 2019).
"""
import tensorflow as tf
from tensorflow import keras

from models.backbones import build_backbone
from models.conv_blocks import conv_norm_relu
from models.upsampling import upsample_bilinear, upsample_nearest

layers = keras.layers

STRIDE = 4  # of the finest level
STRIDES = (4, 8, 16, 32)
PROBE = 256  # px: 64, 32, 16 and 8 cells, which no padding and no pooled vector has by accident


def build_pyramid_backbone(name, channels, weights=None, **arguments):
    """Build a backbone that gives its levels, for images of any size.

    name, weights, arguments: of models.backbones.build_backbone; channels: 1 or 3.
    Returns a keras.Model: images, float [n, h, w, channels], h and w multiples of the largest
    stride -> {stride: [n, h/stride, w/stride, c']}. Layers below the last level are left out.

    Raises ValueError where the backbone works at one size only (transformers with positions), or
    lacks stride 4 or any other level; and what build_backbone raises.
    """
    try:
        network = build_backbone(name, (None, None, channels), weights, **arguments)
    except ValueError as error:
        if not _needs_a_fixed_size(name, channels, arguments):
            raise
        raise ValueError(f"backbone {name!r} is built for one image size, and a feature pyramid "
                         "takes any; choose a convolutional backbone (resnet101d, "
                         "efficientnet_b4, ...)") from error
    levels = feature_levels(network)
    if STRIDE not in levels or len(levels) < 2:
        found = ", ".join(map(str, levels)) or "none of them"
        raise ValueError(f"a feature pyramid needs the level of stride {STRIDE} and one or more of "
                         f"{', '.join(map(str, STRIDES[1:]))}; backbone {name!r} with {arguments} "
                         f"has {found}. Choose another backbone, or another stem stride")
    return keras.Model(network.input, levels, name="backbone")


def _needs_a_fixed_size(name, channels, arguments):
    """Whether random weights can be built at PROBE px, but not for any size."""
    for side, expected in ((None, False), (PROBE, True)):
        try:
            build_backbone(name, (side, side, channels), **arguments)
            works = True
        except ValueError:
            works = False
        if works != expected:
            return False
    return True


def feature_levels(network):
    """The levels of a keras.Model of input (None, None, c).

    Returns {stride: tensor [n, h/stride, w/stride, c']}, symbolic. A level is the last tensor of exactly input/stride cells which all that is deeper depends on:
    the end of a residual stage, not the inside of the next stage's first block, which the shortcut
    passes by. Strides that the network does not have are absent.
    """
    tensors = [tensor for tensor in bottlenecks(network) if len(tensor.shape) == 4]
    sizes = _sizes(network, tensors)
    levels = {}
    for stride in STRIDES:
        cells = PROBE // stride
        at_stride = [tensor for tensor, size in zip(tensors, sizes) if size == (cells, cells)]
        if at_stride:
            levels[stride] = at_stride[-1]
    return levels


def bottlenecks(network):
    """The tensors, in order, that every path from a functional network's input to its end passes."""
    nodes = [node for depth in sorted(network._nodes_by_depth, reverse=True)
             for node in network._nodes_by_depth[depth]]  # parents before children
    order = {id(node): i for i, node in enumerate(nodes)}
    last_use = list(range(len(nodes)))
    for i, node in enumerate(nodes):
        for parent in node.parent_nodes:
            last_use[order[id(parent)]] = i
    tensors, farthest = [], 0  # farthest: the last node that one before this node feeds
    for i, node in enumerate(nodes):
        outputs = tf.nest.flatten(node.outputs)
        if farthest <= i and len(outputs) == 1:
            tensors.append(outputs[0])
        farthest = max(farthest, last_use[i])
    return tensors


def _sizes(network, tensors):
    """(h, w) in cells of each tensor for an image of PROBE x PROBE px; traced, not computed."""
    probe = tf.TensorSpec((1, PROBE, PROBE, network.input_shape[-1]), network.input.dtype)
    all_tensors = tf.function(keras.Model(network.input, tensors))
    traced = all_tensors.get_concrete_function(probe, training=False)
    return [tuple(output.shape[1:3]) for output in tf.nest.flatten(traced.structured_outputs)]


def feature_pyramid(levels, channels):
    """{stride: [n, h', w', c']} -> {stride: [n, h', w', channels]}, the coarser added to the finer."""
    pyramid, above, stride_above = {}, None, None
    for stride in sorted(levels, reverse=True):
        x = layers.Conv2D(channels, 1, name=f"lateral{stride}")(levels[stride])
        if above is not None:
            x = layers.Add()([x, upsample_nearest(above, stride_above // stride)])
        pyramid[stride] = layers.Conv2D(channels, 3, padding="same", name=f"smooth{stride}")(x)
        above, stride_above = x, stride
    return pyramid


def join_levels(pyramid, channels):
    """{stride: [n, h', w', c']} -> [n, h/4, w/4, channels * levels]: two convolutions per level."""
    joined = []
    for stride in sorted(pyramid):
        x = conv_norm_relu(pyramid[stride], channels, 3)
        x = conv_norm_relu(x, channels, 3)  # [n, h/stride, w/stride, channels]
        joined.append(upsample_bilinear(x, stride // STRIDE))  # [n, h/4, w/4, channels]
    return layers.Concatenate(name="features")(joined)


def pyramid_features(images, backbone, channels=256, head_channels=128):
    """Images -> features at stride 4.

    images: a keras.Input [n, h, w, c]; backbone: of build_pyramid_backbone; channels: of the
    pyramid; head_channels: of each level in the result.
    Returns [n, h/4, w/4, head_channels * levels].
    """
    return join_levels(feature_pyramid(backbone(images), channels), head_channels)
