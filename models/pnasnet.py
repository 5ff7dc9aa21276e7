"""PNASNet-5, a network of one cell found by search.

Liu et al., "Progressive Neural Architecture Search", ECCV 2018, arXiv:1712.00559: the cell of
Figure 1, stacked for ImageNet. Two things of the published training are left out, which no
published weight depends on: drop path, and the auxiliary head.
"""
from tensorflow import keras

layers = keras.layers

# Five sums of two branches, (input, operation) each; they are joined along the channels. Inputs:
# 0 the last cell, 1 the cell before it, 2 the first sum, ...
CELL = (((1, "separable 5"), (1, "max 3")),
        ((0, "separable 7"), (0, "max 3")),
        ((0, "separable 5"), (0, "separable 3")),
        ((4, "separable 3"), (0, "max 3")),
        ((1, "separable 3"), (0, "identity")))


def pnasnet(filters, cells, stem_width, input_shape):
    """Build PNASNet-5 without its head; PNASNet-5-Large has filters 216, cells 4, stem_width 96.

    filters: F, channels of a branch in the first stage, a multiple of 8; cells: N of each of the three
    stages; stem_width: channels of the first convolution; input_shape: (h, w, c).

    Returns a keras.Model: float [n, h, w, c] -> [n, h/32, w/32, 20 filters]; of a side of 331, 11.
    Raises ValueError for other filters.
    """
    if filters % 8:
        raise ValueError(f"the filters of a PNASNet are a multiple of 8, such as 216, not {filters}")
    table = [(filters // 4, 2), (filters // 2, 2)]  # the stem's two cells: (filters, stride)
    for stage in range(3):
        table += [(filters * 2 ** stage, 2 if stage and not number else 1) for number in range(cells)]

    images = keras.Input(input_shape)
    x = layers.Conv2D(stem_width, 3, 2, use_bias=False, kernel_initializer=fan_out())(images)
    x = norm(x)  # [n, (h - 1) // 2, (w - 1) // 2, stem_width]
    before, last_stride = None, 1
    for width, stride in table:
        before, x = x, cell(x, before, width, stride, last_stride)  # [n, h/stride, w/stride, 5 width]
        last_stride = stride
    return keras.Model(images, layers.ReLU()(x), name=f"pnasnet5_{cells}_{filters}")


def cell(last, before, width, stride, last_stride):
    """[n, h, w, c] of the last cell, and the output of the one before -> [n, h/stride, w/stride, 5 width].

    last_stride: by which `before` is larger than `last`; before: None in the first cell.
    """
    if before is None:
        before = last
    elif last_stride == 2:
        before = factorised_reduction(before, width)
    else:
        before = relu_conv_norm(before, width)
    inputs = [relu_conv_norm(last, width), before]
    for pair in CELL:
        inputs.append(layers.Add()([branch(inputs[i], operation, width, stride if i < 2 else 1)
                                    for i, operation in pair]))
    return layers.concatenate(inputs[2:])


def branch(x, operation, width, stride):
    """[n, h, w, c] -> [n, h/stride, w/stride, width]"""
    kind, _, kernel = operation.partition(" ")
    if kind == "separable":  # twice, as in NASNet
        return separable(separable(x, width, int(kernel), stride), width, int(kernel), 1)
    if kind == "max":
        pooled = layers.MaxPooling2D(int(kernel), stride, "same")(x)
        return pooled if x.shape[-1] == width else norm(conv1x1(pooled, width))
    return x if stride == 1 else relu_conv_norm(x, width, stride)


def separable(x, width, kernel, stride):
    x = layers.SeparableConv2D(width, kernel, stride, "same", use_bias=False, depthwise_initializer=fan_out(),
                               pointwise_initializer=fan_out())(layers.ReLU()(x))
    return norm(x)


def relu_conv_norm(x, width, stride=1):
    return norm(conv1x1(layers.ReLU()(x), width, stride))


def factorised_reduction(x, width):
    """[n, h, w, c] -> [n, h/2, w/2, width]: half of the channels from the even pixels, half from the odd."""
    x = layers.ReLU()(x)
    odd = layers.Cropping2D(((1, 0), (1, 0)))(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))
    return norm(layers.concatenate([conv1x1(x, width // 2, 2), conv1x1(odd, width // 2, 2)]))


def conv1x1(x, width, stride=1):
    return layers.Conv2D(width, 1, stride, use_bias=False, kernel_initializer=fan_out())(x)


def norm(x):
    # The published momentum, 0.9997, is for training of 250,000 steps.
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-3)(x)


def fan_out():
    """He's initialisation by the outputs, which of a depthwise kernel are those of one channel."""
    return keras.initializers.VarianceScaling(2.0, "fan_out")
