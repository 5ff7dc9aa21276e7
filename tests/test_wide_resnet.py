import importlib

import numpy as np
import pytest
from tensorflow import keras

from models.backbones import build_backbone
from models.wide_resnet import wide_resnet


def trained_parameters(network, n_classes=10):
    """Trained parameters with a dense head, as papers count them."""
    return (sum(int(np.prod(v.shape)) for v in network.trainable_variables)
            + (network.output_shape[-1] + 1) * n_classes)


# Zagoruyko & Komodakis 2016, tables 4 and 5: 36.5M, 8.9M (WRN-40-4), 2.2M (WRN-40-2); the exact
# figures are those of the authors' networks for CIFAR-10.
@pytest.mark.parametrize("depth, width, published", [
    (28, 10, 36_479_194), (16, 4, 2_748_890), (40, 4, 8_949_210), (40, 2, 2_243_546)])
def test_parameter_counts_are_the_published_ones(depth, width, published):
    assert trained_parameters(wide_resnet(depth, width, (32, 32, 3))) == published


@pytest.mark.parametrize("stem_stride, side", [(1, 8), (2, 4), (4, 2)])
def test_stem_stride_divides_the_feature_map(stem_stride, side):
    network = build_backbone("wide_resnet10_2", (32, 32, 1), stem_stride=stem_stride)
    assert network.output_shape == (None, side, side, 128)
    assert np.isfinite(network(np.ones((2, 32, 32, 1), "float32"), training=False)).all()


@pytest.mark.parametrize("depth", [9, 4, 18])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match="6n \\+ 4"):
        wide_resnet(depth, 1, (32, 32, 3))


def test_keras_is_keras_2():
    package = keras.layers.Layer.__module__.split(".")[0]  # tf_keras; under TensorFlow 2.15 keras
    assert importlib.import_module(package).__version__.startswith("2.")
