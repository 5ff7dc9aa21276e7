"""Heads and poolings against NumPy in float64."""
import contextlib

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from models.heads import DEFAULT_TEMPERATURE, HEADS, AdaCosHead, L2SoftmaxHead
from models.losses import cross_entropy
from models.margins import MARGINS, adacos_start
from models.pooling import POOLINGS, GeMPooling
from tests.gradients import finite_differences
from tests.helpers import run_module
from tests.test_losses import cross_entropy_oracle
from tests.test_margins import ORACLES as MARGIN_ORACLES

POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")
COSINE_HEADS = [*DEFAULT_TEMPERATURE, "adacos"]
# A gradient goes back in the features' own dtype, and is rounded to it.
ROUNDING = {"float32": 1e-5, "mixed_float16": 1e-3, "mixed_bfloat16": 8e-3}


@contextlib.contextmanager
def policy(name):
    keras.mixed_precision.set_global_policy(name)
    try:
        yield tf.as_dtype(keras.mixed_precision.global_policy().compute_dtype)
    finally:
        keras.mixed_precision.set_global_policy("float32")


def unit(x, axis):
    return x / np.linalg.norm(x, axis=axis, keepdims=True)


def l2_softmax_oracle(features, kernel, upstream, temperature):
    """Logits and the gradients of sum(logits * upstream), by hand: d(v/|v|) = (I - u u^T) / |v|."""
    u, w = unit(features, 1), unit(kernel, 0)
    logits = u @ w / temperature
    grad_u, grad_w = upstream @ w.T / temperature, u.T @ upstream / temperature
    grad_features = grad_u - u * (u * grad_u).sum(1, keepdims=True)
    grad_features /= np.linalg.norm(features, axis=1, keepdims=True)
    grad_kernel = grad_w - w * (w * grad_w).sum(0, keepdims=True)
    grad_kernel /= np.linalg.norm(kernel, axis=0, keepdims=True)
    return logits, grad_features, grad_kernel


@pytest.mark.parametrize("name", POLICIES)
def test_l2_softmax_equals_the_oracle(name):
    random = np.random.default_rng(0)
    with policy(name) as dtype:
        features = tf.cast(random.normal(size=(6, 32)) * 3, dtype)
        upstream = random.normal(size=(6, 9))
        head = L2SoftmaxHead(9, temperature=0.05)
        with tf.GradientTape() as tape:
            tape.watch(features)
            logits = head(features)
            loss = tf.reduce_sum(logits * tf.cast(upstream, "float32"))
        grad_features, grad_kernel = tape.gradient(loss, [features, head.kernel])
    assert logits.dtype == tf.float32 and head.kernel.dtype == tf.float32
    expected = l2_softmax_oracle(features.numpy().astype("float64"), head.kernel.numpy().astype("float64"),
                                 upstream, 0.05)
    np.testing.assert_allclose(logits, expected[0], atol=2e-5)
    np.testing.assert_allclose(grad_kernel, expected[2], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(tf.cast(grad_features, "float32"), expected[1],
                               rtol=ROUNDING[name], atol=ROUNDING[name])


def test_l2_softmax_logits_are_bounded_and_blind_to_length():
    head = L2SoftmaxHead(7, temperature=0.05)
    features = np.random.default_rng(1).normal(size=(5, 16)).astype("float32")
    logits = head(features).numpy()
    np.testing.assert_allclose(head(features * 1000).numpy(), logits, atol=1e-4)
    head.kernel.assign(head.kernel * 50)
    np.testing.assert_allclose(head(features).numpy(), logits, atol=1e-4)
    head.kernel.assign(np.tile(features[:1].T, 7))
    np.testing.assert_allclose(head(features[:1]).numpy(), 20, rtol=1e-6)


def margin_loss(head, margin, logits, targets):
    """As in training: the margin is applied to the cosines that the logits give back."""
    return cross_entropy(targets, head.scale * margin(logits / head.scale, targets))


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("margin", MARGINS)
def test_margin_losses_equal_the_oracle(margin, name):
    random = np.random.default_rng(6)
    targets = np.eye(9, dtype="float32")[[0, 1, 2, 0, 0, 8]]
    targets[2:4] = 0.7 * targets[2:4] + 0.3 * targets[3:5]
    with policy(name) as dtype:
        features = tf.cast(random.normal(size=(6, 32)) * 3, dtype)
        head = HEADS[margin](9)
        with tf.GradientTape() as tape:
            tape.watch(features)
            loss = margin_loss(head, MARGINS[margin](), head(features), targets)
        grad_features, grad_kernel = tape.gradient(loss, [features, head.kernel])
    features, kernel = features.numpy().astype("float64"), head.kernel.numpy().astype("float64")
    logits = l2_softmax_oracle(features, kernel, np.zeros((6, 9)), 1 / 30)[0]

    def oracle(logits):
        return cross_entropy_oracle(targets, 30 * MARGIN_ORACLES[margin](logits / 30, np.float64(targets)))
    expected = l2_softmax_oracle(features, kernel, finite_differences(oracle, logits, 1e-5), 1 / 30)
    np.testing.assert_allclose(loss, oracle(logits), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(grad_kernel, expected[2], rtol=1e-3, atol=1e-3)
    rounding = max(1e-4, ROUNDING[name])
    np.testing.assert_allclose(tf.cast(grad_features, "float32"), expected[1], rtol=rounding, atol=rounding)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("kind", COSINE_HEADS)
def test_cosine_heads_at_zero_and_at_the_edge_of_the_dtype(kind, name):
    with policy(name) as dtype:
        head = HEADS[kind](4)
        head.build((None, 8))
        head.kernel.assign(tf.concat([tf.zeros((8, 1)), head.kernel[:, 1:]], axis=1))  # and a zero class
        features = tf.cast([[0.0] * 8, [6e4] * 8, [1e-7] * 8], dtype)
        margin = MARGINS[kind]() if kind in MARGINS else lambda cosines, targets: cosines
        with tf.GradientTape() as tape:
            tape.watch(features)
            logits = head(features)
            loss = margin_loss(head, margin, logits, tf.one_hot([1, 2, 0], 4))
        gradients = tape.gradient(loss, [features, head.kernel])
    assert np.isfinite(logits).all() and np.isfinite(loss).all()
    np.testing.assert_array_equal(logits[0], 0)
    np.testing.assert_array_equal(logits[:, 0], 0)
    assert all(np.isfinite(tf.cast(gradient, "float32")).all() for gradient in gradients)


@pytest.mark.parametrize("kind", MARGINS)
def test_one_class_for_all_and_features_on_their_class_stay_finite(kind):
    head = HEADS[kind](3)
    head.build((None, 4))
    head.kernel.assign(np.eye(4)[:, :3])
    features = tf.constant(np.repeat([[2.0, 0, 0, 0], [-2, 0, 0, 0]], 2, axis=0), tf.float32)  # cosine 1, -1
    with tf.GradientTape() as tape:
        tape.watch(features)
        loss = margin_loss(head, MARGINS[kind](), head(features), tf.one_hot([0] * 4, 3))
    gradients = tape.gradient(loss, [features, head.kernel])
    assert np.isfinite(loss).all() and all(np.isfinite(gradient).all() for gradient in gradients)


def test_scale_gives_the_cosines_back():
    features = np.random.default_rng(7).normal(size=(5, 16)).astype("float32")
    for kind in COSINE_HEADS:
        head = HEADS[kind](7)
        logits = head(features)
        cosines = unit(features, 1) @ unit(head.kernel.numpy(), 0)
        np.testing.assert_allclose(logits / head.scale, cosines, atol=1e-6)
        if kind in MARGINS:
            assert head.scale == pytest.approx(30)


def test_adacos_head_has_a_scale_that_is_saved_and_not_trained():
    features = np.random.default_rng(8).normal(size=(5, 16)).astype("float32")
    inputs = keras.Input((16,))
    model = keras.Model(inputs, AdaCosHead(100, name="head")(inputs))
    head = model.get_layer("head")
    assert head.scale.numpy() == pytest.approx(adacos_start(100))
    assert [w.name for w in head.trainable_weights] == [head.kernel.name] and len(head.weights) == 2
    before = model(features)
    head.scale.assign(2 * head.scale)
    np.testing.assert_allclose(model(features), 2 * before, rtol=1e-6)
    other = keras.Model.from_config(model.get_config())
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(other(features), model(features))


REPLICAS = """
import keras2
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from models.heads import HEADS
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    head = HEADS["adacos"](5)
    head.build((None, 4))

@tf.function
def step():
    def replica():
        head.scale.assign(head.scale + 1.0)
        return head(tf.ones((1, 4)))
    return strategy.run(replica)

start = head.scale.numpy()
logits = strategy.experimental_local_results(step())
assert (logits[0].numpy() == logits[1].numpy()).all()
assert abs(head.scale.numpy() - start - 1) < 1e-6, head.scale  # of one replica, not their sum
path = tf.train.Checkpoint(head=head).save("{folder}/c")
weights = head.get_weights()
head.scale.assign(9.0)
tf.train.Checkpoint(head=head).restore(path).assert_consumed()
assert all(abs(part.numpy() - start - 1) < 1e-6 for part in head.scale.values)
head.scale.assign(9.0)
head.set_weights(weights)
assert all(abs(part.numpy() - start - 1) < 1e-6 for part in head.scale.values)
print("as one")
"""


def test_replicas_assign_the_scale_of_adacos(tmp_path):
    done = run_module("-c", REPLICAS.replace("{folder}", str(tmp_path)))
    assert done.returncode == 0 and "as one" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize("make, says", [
    (lambda: L2SoftmaxHead(0), "n_classes >= 1, got 0"), (lambda: AdaCosHead(0), "n_classes >= 1"),
    (lambda: L2SoftmaxHead(3, 0), "temperature > 0, got 0")])
def test_heads_refuse(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("name", POLICIES)
def test_softmax_head_is_a_float32_affine_map(name):
    with policy(name) as dtype:
        features = tf.cast(np.random.default_rng(2).normal(size=(3, 8)), dtype)
        head = HEADS["softmax"](5)
        logits = head(features)
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits, features.numpy().astype("float64") @ head.kernel.numpy(), atol=1e-5)


def gem_oracle(x, p, eps=1e-6):
    return (np.maximum(x.astype("float64"), eps) ** p).mean((1, 2)) ** (1 / p)


@pytest.mark.parametrize("name", POLICIES)
def test_gem_equals_the_oracle_in_value_and_in_the_gradient_of_p(name):
    random = np.random.default_rng(3)
    with policy(name) as dtype:
        x = tf.cast(random.normal(size=(2, 5, 4, 6)), dtype)
        pooling = GeMPooling()
        with tf.GradientTape() as tape:
            y = pooling(x)
            loss = tf.reduce_sum(y)
        grad_p = tape.gradient(loss, pooling.p)
    assert y.dtype == tf.float32
    x = x.numpy().astype("float64")
    np.testing.assert_allclose(y, gem_oracle(x, 3.0), rtol=1e-5)
    finite_difference = (gem_oracle(x, 3 + 1e-5).sum() - gem_oracle(x, 3 - 1e-5).sum()) / 2e-5
    np.testing.assert_allclose(grad_p, finite_difference, rtol=1e-4)


def test_gem_gradient_of_x_equals_the_oracle():
    x = np.random.default_rng(4).uniform(0.1, 2, size=(2, 3, 4, 5))
    variable = tf.Variable(x, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(GeMPooling()(variable))
    expected = x ** 2 / 12 * gem_oracle(x, 3.0)[:, None, None] ** -2  # d/dx (mean x^3)^(1/3)
    np.testing.assert_allclose(tape.gradient(loss, variable), expected, rtol=1e-4)


def test_gem_stays_finite_where_powers_overflow():
    pooling = GeMPooling(p=12.0)
    x = np.zeros((2, 4, 4, 3), "float32")
    x[1] = 6e4
    x[1, 0, 0] = 0
    with tf.GradientTape() as tape:
        y = pooling(x)
    assert np.isfinite(y).all() and np.isfinite(tape.gradient(y, pooling.p))
    np.testing.assert_allclose(y, gem_oracle(x, 12.0), rtol=1e-4)


def test_gem_at_one_is_the_average_and_average_does_not_overflow():
    x = np.random.default_rng(5).uniform(0.1, 1, size=(2, 6, 6, 3)).astype("float32")
    np.testing.assert_allclose(GeMPooling(p=1.0)(x), POOLINGS["average"]()(x), rtol=1e-6)
    with policy("mixed_float16"):
        y = POOLINGS["average"]()(tf.fill((1, 64, 64, 2), tf.constant(6e4, tf.float16)))
    assert y.dtype == tf.float32
    np.testing.assert_allclose(y, 6e4, rtol=1e-3)


@pytest.mark.parametrize("layer", [L2SoftmaxHead(5, 0.1), HEADS["arcface"](5), AdaCosHead(5),
                                   HEADS["softmax"](5), GeMPooling(p=2.0, eps=1e-4),
                                   POOLINGS["average"]()])
def test_layers_survive_serialisation(layer):
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer) and again.get_config() == layer.get_config()


def test_wrong_names_are_answered_with_the_right_ones():
    with pytest.raises(ValueError, match="no head 'l2softmax': did you mean l2_softmax"):
        HEADS["l2softmax"]
    with pytest.raises(ValueError, match="no pooling 'avg'.*Known: average, gem"):
        POOLINGS["avg"]
    with pytest.raises(ValueError, match="registered already"):
        HEADS.add("softmax", L2SoftmaxHead)
