"""Backbone, neck, pooling and head put together: images -> logits."""
from tensorflow import keras

from models.backbones import build_backbone
from models.heads import DEFAULT_TEMPERATURE, HEADS
from models.joined_vector import join_vector
from models.level_heads import LevelHeads
from models.necks import NECKS
from models.pooling import POOLINGS, MeanOfPictures
from models.random_layers import generators_with_state, track_generators


def build_classifier(backbone, input_shape, n_classes, head="l2_softmax", pooling="average",
                     temperature=None, weights=None, cls=keras.Model, neck="none", neck_width=None,
                     dropout=0.0, pictures=None, level_sizes=(), aux_inputs=0, aux_width=0, **backbone_arguments):
    """Build a classifier as one flat keras.Model.

    backbone: a name of models.backbones; input_shape: (h, w, c), c = 1 or 3; head: a name of HEADS;
    pooling: a name of POOLINGS; temperature: of the heads in DEFAULT_TEMPERATURE (None: theirs),
    not used by the others; weights: of the backbone (None, a published name or a file); cls: the
    kind of keras.Model; neck: a name of NECKS; neck_width: its channels (None: the published
    ones); dropout: share of the features dropped before the head, >= 0 (no such layer) and < 1; pictures:
    of a record, whose pooled features are averaged; None: a record is one image; level_sizes: categories of
    each auxiliary head (models.level_heads), in a layer "head_levels" below the head; aux_inputs: length of a
    vector beside each record (0: none), which joins the features above the neck; aux_width: see
    models.joined_vector.

    The model maps images, float [n, h, w, c] and normalised, or {"image": these, "aux": float
    [n, aux_inputs]}, to logits float32 [n, n_classes]; its
    layers "pooling" and "head" are found by these names. With pictures it maps [n * pictures, h, w, c], those
    of a record one after the other, to logits [n, n_classes]: all below the pooling sees single images, so
    that every backbone will do and its weights are those of single images. Random weights are a pure function of
    the seed given to keras.utils.set_random_seed just before the call. Raises ValueError for
    unknown names, a width or dropout outside its range, and what build_backbone raises.
    """
    # Refused before the slow part.
    pooling_class, head_class, neck_function = POOLINGS[pooling], HEADS[head], NECKS[neck]
    if neck_width is not None and (neck == "none" or neck_width < 1):
        raise ValueError(f"neck_width is >= 1 and goes with a neck, got {neck_width} with neck {neck!r}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is >= 0 and < 1, got {dropout}")
    network = build_backbone(backbone, input_shape, weights, **backbone_arguments)
    pooling_layer = pooling_class(name="pooling")
    mean = MeanOfPictures(pictures, name="pooling_pictures") if pictures else lambda x: x
    features = neck_function(network.output, lambda x: mean(pooling_layer(x)), n_classes, neck_width)
    inputs = network.input
    if aux_inputs:
        inputs = {"image": network.input, "aux": keras.Input((aux_inputs,), name="aux")}
        features = join_vector(features, inputs["aux"], aux_width)
    if dropout:
        with generators_with_state():
            features = keras.layers.Dropout(dropout, dtype="float32", name="dropout")(features)
    if level_sizes:
        features = LevelHeads(level_sizes, name="head_levels")(features)
    head_options = ({"temperature": temperature}
                    if temperature is not None and head in DEFAULT_TEMPERATURE else {})
    logits = head_class(n_classes, name="head", **head_options)(features)
    model = cls(inputs, logits, name="classifier")
    track_generators(model)
    return model


def feature_model(classifier):
    """The part of a classifier below its head: images -> features [n, c'], not normalised."""
    return keras.Model(classifier.input, classifier.get_layer("head").input, name="features")
