"""Necks: their layers' shapes and weights, and their values against NumPy."""
import numpy as np
import pytest
from tensorflow import keras

from models.classifier import build_classifier, feature_model
from models.necks import NECKS
from models.pooling import POOLINGS

MAPS = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype("float32")


def neck_model(name, n_classes=7, width=None):
    keras.utils.set_random_seed(1)
    inputs = keras.Input(MAPS.shape[1:])
    return keras.Model(inputs, NECKS[name](inputs, POOLINGS["average"](name="pooling"), n_classes, width))


def norm(x):
    return x / np.sqrt(1 + 1e-5)  # BatchNorm with the statistics it starts with


def test_no_neck_pools():
    np.testing.assert_allclose(neck_model("none")(MAPS), MAPS.mean((1, 2)), atol=1e-6)


def test_bottleneck_is_conv_norm_relu_pool_dense_norm_relu():
    model = neck_model("bottleneck")
    conv, dense = (model.get_layer(name).kernel.numpy() for name in ("neck_conv", "neck_dense"))
    assert conv.shape == (1, 1, 6, 7) and dense.shape == (7, 7)  # no biases before a norm:
    assert model.count_params() == 6 * 7 + 4 * 7 + 7 * 7 + 4 * 7
    pooled = np.maximum(norm(MAPS @ conv[0, 0]), 0).mean((1, 2))
    np.testing.assert_allclose(model(MAPS), np.maximum(norm(pooled @ dense), 0), rtol=1e-4, atol=1e-6)


def test_two_fc_is_pool_dense_relu_dense_relu():
    model = neck_model("two_fc", width=10)
    x = MAPS.mean((1, 2))
    for name in ("neck_fc1", "neck_fc2"):
        kernel, bias = model.get_layer(name).get_weights()
        x = np.maximum(x @ kernel + bias, 0)
    assert x.shape == (3, 10)
    np.testing.assert_allclose(model(MAPS), x, rtol=1e-4, atol=1e-6)


def test_published_widths():
    assert neck_model("two_fc").output_shape == (None, 4096)
    assert neck_model("bottleneck", n_classes=11).output_shape == (None, 11)
    assert neck_model("bottleneck", n_classes=11, width=5).output_shape == (None, 5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("neck", ["bottleneck", "two_fc"])
def test_classifier_with_a_neck_in_mixed_precision(neck, policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = build_classifier("wide_resnet10_2", (16, 16, 1), 5, head="softmax", neck=neck, neck_width=8)
        images = np.random.default_rng(1).normal(size=(2, 16, 16, 1)).astype("float32")
        logits, features = model(images), feature_model(model)(images)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert logits.dtype == "float32" and logits.shape == (2, 5) and np.isfinite(logits).all()
    assert features.shape == (2, 8)
