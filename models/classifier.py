"""Backbone, pooling and head put together: images -> logits."""
from tensorflow import keras

from models.backbones import build_backbone
from models.heads import HEADS
from models.pooling import POOLINGS


def build_classifier(backbone, input_shape, n_classes, head="l2_softmax", pooling="average",
                     temperature=0.05, weights=None, cls=keras.Model, **backbone_arguments):
    """Build a classifier as one flat keras.Model.

    backbone: a name of models.backbones; input_shape: (h, w, c), c = 1 or 3; head: a name of HEADS;
    pooling: a name of POOLINGS; temperature: of the l2_softmax head, not used by softmax;
    weights: of the backbone (None, a published name or a file); cls: the kind of keras.Model.

    The model maps images, float [n, h, w, c] and normalised, to logits float32 [n, n_classes]; its
    layers "pooling" and "head" are found by these names. Random weights are a pure function of
    the seed given to keras.utils.set_random_seed just before the call. Raises ValueError for
    unknown names, and what build_backbone raises.
    """
    pooling_class, head_class = POOLINGS[pooling], HEADS[head]  # refused before the slow part
    network = build_backbone(backbone, input_shape, weights, **backbone_arguments)
    head_options = {"temperature": temperature} if head == "l2_softmax" else {}
    features = pooling_class(name="pooling")(network.output)  # [n, c'] float32
    logits = head_class(n_classes, name="head", **head_options)(features)
    return cls(network.input, logits, name="classifier")


def feature_model(classifier):
    """The part of a classifier up to its pooling: images -> features float32 [n, c'], not normalised."""
    return keras.Model(classifier.input, classifier.get_layer("pooling").output, name="features")
