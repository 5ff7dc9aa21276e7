"""CRNN: convolutions make a sequence of a text line, recurrent layers read it, each step says a
character or blank.

Shi, Bai, Yao, "An End-to-End Trainable Neural Network for Image-based Sequence Recognition and Its
Application to Scene Text Recognition", 2015, arXiv:1507.05717, Table 1. Reading runs along the width, from
the left: a line that runs downwards is turned by a quarter, counter-clockwise, before it comes here.
"""
from tensorflow import keras

from models.random_layers import generators_with_state, track_generators
from models.registry import Registry

layers = keras.layers

# Rows of a table, from the image on: ("conv", width) is a 3x3 convolution and ReLU; ("pool", rows, columns)
# takes the largest of as many; ("collapse", width) is a convolution over all rows that are left and two
# columns. norm_ before a name puts batch normalisation before the ReLU. A step of the sequence is as many px
# wide as the columns of all pools multiplied: those of 2 x 1 keep it narrow.
CONVOLUTIONS = Registry("convolution stack")
CONVOLUTIONS.add("crnn", (
    ("conv", 64), ("pool", 2, 2), ("conv", 128), ("pool", 2, 2), ("conv", 256), ("conv", 256), ("pool", 2, 1),
    ("norm_conv", 512), ("norm_conv", 512), ("pool", 2, 1), ("collapse", 512)))
# Normalised all through, a quarter as wide: for small sets and CPUs.
CONVOLUTIONS.add("crnn_small", (
    ("norm_conv", 32), ("pool", 2, 2), ("norm_conv", 64), ("pool", 2, 2), ("norm_conv", 128), ("pool", 2, 1),
    ("norm_conv", 128), ("pool", 2, 1), ("norm_collapse", 128)))
RECURRENT = {"lstm": layers.LSTM, "gru": layers.GRU}


def build_crnn(backbone, input_shape, n_classes, recurrent="lstm", units=256, recurrent_layers=2, dropout=0.0,
               cls=keras.Model):
    """Build a CRNN as one flat keras.Model.

    backbone: a name of CONVOLUTIONS; input_shape: (h, w, c), static; n_classes: characters, without the
    blank; recurrent: a name of RECURRENT; units: of each direction; recurrent_layers: >= 1; dropout: share
    of the sequence's features dropped before the head, >= 0 (no such layer) and < 1; cls: the kind of
    keras.Model.

    The model maps images, float [n, h, w, c] and normalised, to logits float32 [n, steps, n_classes + 1],
    the last of which is the blank's; steps: w / 4 - 1 for the stacks here. Its layers "sequence" (the
    last recurrent one, [n, steps, 2 units]) and "head" are found by these names. Raises ValueError for an
    unknown name, an image too small for the stack, and what is out of range.
    """
    rows = CONVOLUTIONS[backbone]
    if recurrent not in RECURRENT:
        raise ValueError(f"recurrent layers are one of {', '.join(RECURRENT)}, not {recurrent!r}")
    if recurrent_layers < 1 or units < 1 or not 0 <= dropout < 1:
        raise ValueError(f"a CRNN has 1 or more recurrent layers of 1 or more units and drops 0 <= share < 1, "
                         f"not {recurrent_layers} of {units} and {dropout}")
    images = keras.Input(input_shape)
    x = convolutions(images, rows)  # [n, 1, steps, width]
    x = layers.Reshape(x.shape[2:])(x)  # [n, steps, width]
    for number in range(recurrent_layers, 0, -1):
        name = f"recurrent_{number}" if number > 1 else "sequence"
        x = layers.Bidirectional(RECURRENT[recurrent](units, return_sequences=True), name=name)(x)
    if dropout:  # [n, steps, 2 units]
        with generators_with_state():
            x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(n_classes + 1, dtype="float32", name="head")(x)
    model = cls(images, logits, name=backbone)
    track_generators(model)
    return model


def convolutions(x, rows):
    """[n, h, w, c] -> [n, 1, steps, width]. rows: a table of CONVOLUTIONS."""
    for kind, *sizes in rows:
        kind, norm = kind.removeprefix("norm_"), kind.startswith("norm_")
        height, width = x.shape[1:3]
        least = {"conv": (1, 1), "pool": sizes, "collapse": (1, 2)}[kind]
        if height < least[0] or width < least[1]:
            raise ValueError(f"the lines are too small for their convolutions: of one {height} x {width} (height "
                             f"x width) are left where {least[0]} x {least[1]} are needed: pack them larger")
        if kind == "pool":
            x = layers.MaxPooling2D(sizes)(x)
            continue
        kernel, padding = (3, "same") if kind == "conv" else ((height, 2), "valid")
        x = layers.Conv2D(sizes[0], kernel, padding=padding, use_bias=not norm,
                          kernel_initializer="he_normal")(x)
        if norm:
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        x = layers.ReLU()(x)
    return x


def sequence_model(crnn):
    """The part of a CRNN below its head: images -> the recurrent features of each step, [n, steps, 2 units]."""
    return keras.Model(crnn.input, crnn.get_layer("sequence").output, name="sequence_features")
