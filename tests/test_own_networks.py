"""DenseNet-161, DPN-92, Inception-v4 and PNASNet-5-Large: the published sizes, and the numbers of a peer."""
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import models.dpn
import models.inception_v4
from models.backbones import build_backbone
from models.grouped_conv import GroupedConv2D
from models.inception_v4 import AVERAGE, MAX, Conv, reducing

# Trained parameters with a dense layer to 1000 classes. DenseNet: torchvision; the others: timm.
PUBLISHED = {"densenet161": 28_681_000, "dpn92": 37_668_392, "inception_v4": 42_679_816,
             "pnasnet5large": 86_057_668}
# Mean of the feature map, and every sixth of its channels in the last cell, by timm 1.0.31 on
# PyTorch 2.13 with the weights and the image of `tensors` and `image`.
TIMM = {"densenet161": (1.82226, 1.69435, 4.85809, 0, 0, 8.38665, 0.732246),
        "dpn92": (171792, 0, 0, 421343, 128252, 411259, 213334),
        "inception_v4": (1.1291, 1.31586, 0, 2.06892, 0, 0, 0),
        "pnasnet5large": (1.7498e7, 434747, 0, 0, 7.20912e7, 0, 9.47023e6)}


# Parameters counted from the tables of the papers

def conv(kernel, c, width):
    return kernel * c * width + 2 * width  # with batch normalisation; kernel: height x width


def densenet161(k=48):
    c = 2 * k
    total = conv(49, 3, c)
    for number, n_layers in enumerate((6, 12, 36, 24)):
        if number:
            total += 2 * c + c * c // 2
            c //= 2
        for _ in range(n_layers):
            total += 2 * c + conv(1, c, 4 * k) + 9 * 4 * k * k
            c += k
    return total + 2 * c + 1000 * (c + 1)


def dpn92(groups=32):
    c = 64
    total = conv(49, 3, c)
    for n, width, residual, k in ((3, 96, 256, 16), (4, 192, 512, 32), (20, 384, 1024, 24),
                                  (3, 768, 2048, 128)):
        total += 2 * c + c * (residual + 2 * k)
        for number in range(n):
            total += 2 * c + conv(1, c, width) + conv(9, width // groups, width) + width * (residual + k)
            c = c + k if number else residual + 3 * k
    return total + 2 * c + 1000 * (c + 1)


def inception_v4():
    stem = [(9, 3, 32), (9, 32, 32), (9, 32, 64), (9, 64, 96), (1, 160, 64), (9, 64, 96), (1, 160, 64),
            (7, 64, 64), (7, 64, 64), (9, 64, 96), (9, 192, 192)]
    a = [(1, 384, 96), (1, 384, 64), (9, 64, 96), (1, 384, 64), (9, 64, 96), (9, 96, 96), (1, 384, 96)]
    reduction_a = [(9, 384, 384), (1, 384, 192), (9, 192, 224), (9, 224, 256)]
    b = [(1, 1024, 384), (1, 1024, 192), (7, 192, 224), (7, 224, 256), (1, 1024, 192), (7, 192, 192),
         (7, 192, 224), (7, 224, 224), (7, 224, 256), (1, 1024, 128)]
    reduction_b = [(1, 1024, 192), (9, 192, 192), (1, 1024, 256), (7, 256, 256), (7, 256, 320), (9, 320, 320)]
    c = [(1, 1536, 256), (1, 1536, 384), (3, 384, 256), (3, 384, 256), (1, 1536, 384), (3, 384, 448),
         (3, 448, 512), (3, 512, 256), (3, 512, 256), (1, 1536, 256)]
    convolutions = stem + 4 * a + reduction_a + 7 * b + reduction_b + 3 * c
    return sum(conv(*shape) for shape in convolutions) + 1000 * 1537


def pnasnet5large():
    def separable(side, c, f):
        return side ** 2 * c + conv(1, c, f) + side ** 2 * f + conv(1, f, f)

    total, before, last = conv(9, 3, 96), None, 96
    for f, stride in [(54, 2), (108, 2), *4 * [(216, 1)], (432, 2), *3 * [(432, 1)], (864, 2),
                      *3 * [(864, 1)]]:
        total += conv(1, last, f) + sum(separable(side, f, f) for side in (7, 5, 3, 3))
        total += conv(1, f, f) if stride == 2 else 0
        if before is None:  # used as it is
            total += separable(5, last, f) + separable(3, last, f) + conv(1, last, f)
        else:
            total += conv(1, before, f) + separable(5, f, f) + separable(3, f, f)
        before, last = last, 5 * f
    return total + 1000 * (last + 1)


COUNTED = {"densenet161": densenet161, "dpn92": dpn92, "inception_v4": inception_v4,
           "pnasnet5large": pnasnet5large}


# The published networks

@pytest.fixture(scope="module", params=["dpn92", "inception_v4",
                                        pytest.param("densenet161", marks=pytest.mark.slow),
                                        pytest.param("pnasnet5large", marks=pytest.mark.slow)])
def network(request):
    yield build_backbone(request.param, (96, 112, 3))
    keras.backend.clear_session()


def plain_name(network):
    return {"pnasnet5_4_216": "pnasnet5large"}.get(network.name, network.name)


def test_parameter_counts_are_the_published_ones(network):
    name = plain_name(network)
    backbone = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
    assert backbone + 1000 * (network.output_shape[-1] + 1) == PUBLISHED[name] == COUNTED[name]()


KINDS = (keras.layers.Conv2D, keras.layers.SeparableConv2D, GroupedConv2D, keras.layers.BatchNormalization)


def tensors(kind, number, shapes):
    """Weights of layer `number` of KINDS[kind], in the order in which the network calls them."""
    random = np.random.default_rng([kind, number])
    if KINDS[kind] is keras.layers.BatchNormalization:
        return [random.uniform(low, high, shape) for low, high, shape in
                zip((0.5, -0.2, -0.2, 0.5), (1.5, 0.2, 0.2, 1.5), shapes)]
    return [random.normal(0, np.sqrt(2 / (h * w * (1 if width == 1 else c))), (h, w, c, width))
            for h, w, c, width in shapes]


def image():
    return np.random.default_rng(0).normal(size=(1, 96, 112, 3)).astype("float32")


def number_in(layer):
    return int(re.search(r"\d*$", layer.name)[0] or 0)


def test_values_are_those_of_timm(network):
    for kind, layer_class in enumerate(KINDS):
        layers = [layer for layer in network.layers if type(layer) is layer_class]
        for number, layer in enumerate(sorted(layers, key=number_in)):  # by creation
            layer.set_weights(tensors(kind, number, [v.shape for v in layer.weights]))
    features = network(image(), training=False).numpy()
    width = features.shape[-1]
    values = [features.mean(), *features[0, -1, -1, ::width // 6]]
    np.testing.assert_allclose(values, TIMM[plain_name(network)], rtol=1e-4)


def check_that_every_weight_learns(network, images):
    """One step forward and back; returns the features."""
    with tf.GradientTape() as tape:
        features = network(images, training=True)
        loss = tf.reduce_mean(tf.cast(features, tf.float32)[..., ::2])
    gradients = tape.gradient(loss, network.trainable_variables)
    for variable, gradient in zip(network.trainable_variables, gradients):
        assert np.isfinite(gradient).all() and np.any(gradient), variable.name
    return features


@pytest.mark.slow
def test_every_weight_learns(network):
    check_that_every_weight_learns(network, np.repeat(image(), 2, 0) * [[[[1]]], [[[-1]]]])


@pytest.mark.slow
@pytest.mark.parametrize("name, side, works_at", [("inception_v4", 74, 96), ("densenet161", 24, 32)])
def test_smaller_inputs_are_refused(name, side, works_at):
    with pytest.raises(ValueError, match=f"cannot be built for input .*works at {works_at}x{works_at} px"):
        build_backbone(name, (side, side, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name, side", [("inception_v4", 75), ("densenet161", 29), ("dpn92", 8),
                                        ("pnasnet5large", 8)])
def test_the_smallest_inputs_work(name, side):
    network = build_backbone(name, (side, side, 1))
    assert network.output_shape[1:3] == (1, 1)
    assert np.isfinite(network(np.ones((1, side, side, 1), "float32"), training=False)).all()
    keras.backend.clear_session()


# The same builders, made small

@pytest.fixture(params=["densenet", "dpn", "inception_v4", "pnasnet"])
def small(request, monkeypatch):
    """build(channels=..., side=...) of a small network."""
    stages = (models.dpn.Stage(2, 8, 12, 4), models.dpn.Stage(1, 8, 16, 8))
    monkeypatch.setitem(models.dpn.DPNS, "small", models.dpn.DualPath(8, 4, stages))
    fork = ([Conv(4, (1, 3))], [Conv(4, (3, 1))])
    monkeypatch.setattr(models.inception_v4, "NETWORK",
                        [Conv(4, 3, 2, "valid"), ([MAX], [reducing(4)]), ([Conv(4, 1), fork], [AVERAGE])])
    arguments = {"densenet": {"blocks": (2, 1), "growth": 4}, "dpn": {"variant": "small"},
                 "pnasnet": {"filters": 16, "cells": 0, "stem_width": 4}}.get(request.param, {})

    def build(channels=3, side=33):
        keras.utils.set_random_seed(3)
        return build_backbone(f"own:{request.param}", (side, side, channels), **arguments)
    return build


def test_weights_follow_from_the_seed_and_sizes_are_free(small):
    images = np.random.default_rng(2).normal(size=(2, 33, 33, 1)).astype("float32")
    fixed, free = small(channels=1), small(channels=1, side=None)
    np.testing.assert_array_equal(fixed(images), free(images))
    assert free(np.ones((1, 40, 48, 1), "float32")).shape[-1] == fixed.output_shape[-1]


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_a_step_in_every_precision(small, policy):
    images = np.random.default_rng(1).normal(size=(4, 33, 33, 3)).astype("float32")
    keras.mixed_precision.set_global_policy(policy)
    try:
        features = check_that_every_weight_learns(small(), images)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert features.dtype == policy.removeprefix("mixed_")


@pytest.mark.slow
def test_compiled_equals_eager(small):
    network = small()
    images = np.random.default_rng(4).normal(size=(2, 33, 33, 3)).astype("float32")

    def run(images):
        with tf.GradientTape() as tape:
            features = network(images, training=False)
            loss = tf.reduce_mean(features ** 2)
        return [features, *tape.gradient(loss, network.trainable_variables)]
    for eager, compiled in zip(run(images), tf.function(run, jit_compile=True)(images)):
        np.testing.assert_allclose(compiled, eager, rtol=1e-3, atol=1e-5 * np.abs(eager).max())


# Grouped convolution

def grouped_convolution(x, kernel, stride, groups):
    """The oracle, float64: x [n, h, w, c], kernel [k, k, c/groups, width]."""
    x, kernel = np.float64(x), np.float64(kernel)
    side, per_group = kernel.shape[0], kernel.shape[2]
    rows, columns = ((size - side) // stride + 1 for size in x.shape[1:3])
    y = np.zeros((len(x), rows, columns, kernel.shape[3]))
    for output in range(kernel.shape[3]):
        first = output // (kernel.shape[3] // groups) * per_group
        for row in range(rows):
            for column in range(columns):
                window = x[:, row * stride:row * stride + side, column * stride:column * stride + side,
                           first:first + per_group]
                y[:, row, column, output] = (window * kernel[..., output]).sum((1, 2, 3))
    return y


@pytest.mark.parametrize("stride, h, w", [(1, 5, 6), (2, 7, 6), (2, 3, 3)])
@pytest.mark.parametrize("accelerator", [False, True])
@pytest.mark.parametrize("scale", [1, 1e15])
def test_grouped_convolution_equals_the_oracle(stride, h, w, accelerator, scale, monkeypatch):
    monkeypatch.setattr("models.grouped_conv._has_accelerator", lambda: accelerator)
    random = np.random.default_rng(0)
    x = (scale * random.normal(size=(2, h, w, 6))).astype("float32")
    layer = GroupedConv2D(9, 3, stride, 3)
    expected = grouped_convolution(x, layer(x) is not None and layer.kernel, stride, 3)
    for function in (layer, tf.function(layer, jit_compile=True)):
        np.testing.assert_allclose(function(x), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert layer.compute_output_shape(x.shape) == expected.shape


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_of_the_grouped_convolution(compiled):
    """It is linear in x and in the kernel, so that <gradient, change> is the change of the output."""
    random = np.random.default_rng(1)
    x, change = random.normal(size=(2, 2, 7, 6, 6)).astype("float32")
    layer = GroupedConv2D(9, 3, 2, 3)
    layer.build(x.shape)
    kernel, kernel_change = layer.kernel.numpy(), random.normal(size=layer.kernel.shape)
    weights = random.normal(size=(2, 3, 2, 9))

    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) * weights)
        return tape.gradient(loss, [x, layer.kernel])
    by_x, by_kernel = (tf.function(run, jit_compile=True) if compiled else run)(tf.constant(x))
    for gradient, step, moved in ((by_x, change, grouped_convolution(change, kernel, 2, 3)),
                                  (by_kernel, kernel_change, grouped_convolution(x, kernel_change, 2, 3))):
        np.testing.assert_allclose((np.float64(gradient) * step).sum(), (moved * weights).sum(), rtol=1e-4)


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiples of it, not 6 to 8"):
        GroupedConv2D(8, 3, 1, 3).build((None, 4, 4, 6))


def test_a_grouped_convolution_survives_its_configuration():
    layer = GroupedConv2D.from_config(GroupedConv2D(9, 3, 2, 3, name="x").get_config())
    assert (layer.name, layer(np.ones((1, 5, 5, 6), "float32")).shape) == ("x", (1, 2, 2, 9))
