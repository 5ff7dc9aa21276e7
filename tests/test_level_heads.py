"""Auxiliary heads for the levels of a category: what the step learns from them, what the network predicts."""
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax
from tensorflow import keras

from models.classifier import build_classifier
from models.heads import SoftmaxHead
from models.level_heads import LevelHeads
from models.losses import make_loss
from tests.small_training import IMAGES, built, trained
from training.classifier_step import TrainedClassifier
from training.optimizers import make_optimizer

LEVELS = [[0, 0, 1, 1, 0], [2, 0, 1, 1, 0]]  # of the five classes
WEIGHT, RATE = 0.7, 0.1
TARGETS = np.random.default_rng(3).dirichlet(np.ones(5), 16).astype(np.float32)  # mixed


def linear(**step):
    """A linear classifier of the mean of 2 x 2 px cells, with level heads."""
    def build():
        images = keras.Input((16, 16, 1))
        x = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(images))
        x = LevelHeads([2, 3], name="head_levels")(x)
        model = TrainedClassifier(images, SoftmaxHead(5, name="head")(x))
        model.set_objective(make_loss("cross_entropy"), levels=LEVELS, level_weight=WEIGHT)
        model.set_step(make_optimizer("sgd", RATE, momentum=0.0, weight_decay=0.0), **step)
        return model
    return built("float32", build)


def data():
    return tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(16).repeat()


@pytest.mark.parametrize("accumulate, xla", [(1, False), (4, False), (1, True)])
def test_a_step_adds_the_levels_losses_as_numpy_does(accumulate, xla, tmp_path):
    model = linear(accumulate=accumulate, xla=xla)
    x = IMAGES.reshape(16, 4, 4, 4, 4).mean(axis=(2, 4)).reshape(16, 16)
    truths = [TARGETS, *(TARGETS @ np.eye(size, dtype=np.float32)[level] for size, level in zip((2, 3), LEVELS))]
    head, heads = model.get_layer("head"), model.get_layer("head_levels")
    layers = [head.weights, *heads.level_weights]
    before = [[v.numpy() for v in pair] for pair in layers]
    row = trained(model, tmp_path, steps_per_epoch=1, data=data(), batch_size=16, xla=xla).progress.rows[0]
    logits = [x @ kernel + bias for kernel, bias in before]
    losses = [-(truth * log_softmax(own, axis=1)).sum(1).mean() for truth, own in zip(truths, logits)]
    assert row["loss"] == pytest.approx(losses[0] + WEIGHT * (losses[1] + losses[2]), rel=1e-5)
    names = ("accuracy", "level1_head_accuracy", "level2_head_accuracy")
    for name, truth, own in zip(names, truths, logits):
        assert row[name] == pytest.approx((truth.argmax(1) == own.argmax(1)).mean())
    for weight, truth, own, pair, (kernel, bias) in zip((1, WEIGHT, WEIGHT), truths, logits, layers, before):
        error = weight * (np.exp(log_softmax(own, axis=1)) - truth) / 16
        np.testing.assert_allclose(pair[0], kernel - RATE * x.T @ error, atol=1e-5)
        np.testing.assert_allclose(pair[1], bias - RATE * error.sum(0), atol=1e-5)


def test_the_network_predicts_saves_and_loads_as_one_without(tmp_path):
    def build(**options):
        keras.utils.set_random_seed(1)
        return build_classifier("wide_resnet10_2", (16, 16, 1), 5, "softmax", **options)
    plain, model = build(), build(level_sizes=[2, 3])
    others = [layer for layer in model.layers if layer.name != "head_levels"]
    for layer, other in zip(plain.layers, others, strict=True):
        layer.set_weights(other.get_weights())
    expected = plain(IMAGES, training=False)
    np.testing.assert_array_equal(model(IMAGES, training=False), expected)
    model.save(tmp_path / "x.keras")
    loaded = keras.models.load_model(tmp_path / "x.keras")
    np.testing.assert_array_equal(loaded(IMAGES, training=False), expected)
    for ours, saved in zip(model.get_layer("head_levels").get_weights(),
                           loaded.get_layer("head_levels").get_weights(), strict=True):
        np.testing.assert_array_equal(ours, saved)
    with pytest.raises(ValueError, match="one level at least"):
        LevelHeads([])


@pytest.mark.parametrize("neck", ["none", "bottleneck"])
def test_features_of_the_pictures_of_a_product_are_averaged(neck, tmp_path):
    def build(**options):
        keras.utils.set_random_seed(1)
        return build_classifier("wide_resnet10_2", (16, 16, 1), 5, "softmax", neck=neck, **options)
    single, model = build(), build(pictures=4)
    model.set_weights(single.get_weights())
    repeated = np.repeat(IMAGES[:3], 4, axis=0)
    np.testing.assert_allclose(model(repeated, training=False), single(IMAGES[:3], training=False), atol=1e-5)
    if neck == "none":
        pooled = keras.Model(single.input, single.get_layer("pooling").output)(IMAGES, training=False).numpy()
        kernel, bias = single.get_layer("head").get_weights()
        np.testing.assert_allclose(model(IMAGES, training=False), pooled.reshape(4, 4, -1).mean(1) @ kernel + bias,
                                   atol=1e-5)
    model.save(tmp_path / "x.keras")
    loaded = keras.models.load_model(tmp_path / "x.keras")
    np.testing.assert_array_equal(loaded(IMAGES, training=False), model(IMAGES, training=False))
