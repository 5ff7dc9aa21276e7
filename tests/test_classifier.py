import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from models.classifier import build_classifier, feature_model

IMAGES = np.random.default_rng(0).normal(size=(4, 32, 32, 1)).astype("float32")
LABELS = np.array([0, 1, 2, 3])


def small_classifier(seed=1, **options):
    keras.utils.set_random_seed(seed)
    return build_classifier("wide_resnet10_2", (32, 32, 1), 5, stem_stride=2, **options)


@pytest.mark.parametrize("head, pooling, options", [
    ("l2_softmax", "average", {}), ("l2_softmax", "gem", {}),
    ("softmax", "average", {}), ("softmax", "gem", {}),
    ("arcface", "average", {"neck": "two_fc", "neck_width": 16, "dropout": 0.5}),
    ("adacos", "gem", {"neck": "bottleneck"})])
def test_saved_and_loaded_it_predicts_the_same(head, pooling, options, tmp_path):
    model = small_classifier(head=head, pooling=pooling, temperature=0.1, **options)
    if head == "adacos":
        model.get_layer("head").scale.assign(7)
    model.save(tmp_path / "x.keras")
    loaded = keras.models.load_model(tmp_path / "x.keras")
    np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), loaded.predict(IMAGES, verbose=0))
    if head in ("l2_softmax", "arcface"):
        assert loaded.get_layer("head").temperature == 0.1
    if head == "adacos":
        assert loaded.get_layer("head").scale.numpy() == 7


def test_every_head_has_its_own_temperature():
    assert small_classifier().get_layer("head").temperature == 0.05
    assert small_classifier(head="arcface").get_layer("head").temperature == 1 / 30


def test_initial_weights_are_a_function_of_the_seed():
    first, second, other = small_classifier(1), small_classifier(1), small_classifier(2)
    for a, b in zip(first.get_weights(), second.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(first.get_weights(), other.get_weights()))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_logits_are_float32_for_every_policy_and_input(policy, dtype):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = small_classifier()
        logits = model(tf.cast(IMAGES, dtype), training=False)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert logits.dtype == tf.float32 and logits.shape == (4, 5)
    assert np.isfinite(logits).all() and np.abs(logits).max() <= 20.001


@pytest.mark.parametrize("policy", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_compiled_training_step_learns(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = small_classifier()
        model.compile(keras.optimizers.legacy.SGD(0.05, momentum=0.9),
                      keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True)
        losses = [model.train_on_batch(IMAGES, LABELS) for _ in range(8)]
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert np.isfinite(losses).all() and losses[-1] < losses[0] / 2


def test_feature_model_gives_what_the_head_sees():
    model = small_classifier(head="softmax")
    features = feature_model(model)(IMAGES, training=False)
    assert features.shape == (4, 128) and features.dtype == tf.float32
    np.testing.assert_allclose(model.get_layer("head")(features), model(IMAGES, training=False), atol=1e-5)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="did you mean softmax, l2_softmax"):
        small_classifier(head="sofmax")
    with pytest.raises(ValueError, match="no pooling"):
        small_classifier(pooling="max")
    with pytest.raises(ValueError, match="no neck 'bottle': did you mean bottleneck"):
        small_classifier(neck="bottle")


@pytest.mark.parametrize("options, says", [
    ({"neck_width": 8}, "goes with a neck, got 8 with neck 'none'"),
    ({"neck": "two_fc", "neck_width": 0}, ">= 1"),
    ({"dropout": 1.0}, "dropout is >= 0 and < 1, got 1.0"), ({"dropout": -0.1}, "got -0.1")])
def test_sizes_out_of_range_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        small_classifier(**options)


@pytest.mark.parametrize("backbone, options", [("efficientnet_b0", {"drop_connect_rate": 0.8}),
                                               ("wide_resnet10_2", {"stem_stride": 2, "dropout": 0.5})])
def test_random_layers_resume_from_a_checkpoint(backbone, options, tmp_path):
    """Stochastic depth and dropout draw the numbers that they would have drawn without the interruption."""
    def training_outputs(model, n):
        return [model(images, training=True).numpy() for _ in range(n)]

    def build(seed):
        keras.utils.set_random_seed(seed)
        return build_classifier(backbone, (32, 32, 1), 3, **options)

    images = np.repeat(IMAGES, 4, axis=0)
    model = build(1)
    training_outputs(model, 1)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    expected = training_outputs(model, 2)

    resumed = build(2)
    tf.train.Checkpoint(model=resumed).restore(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(training_outputs(resumed, 2), expected)
    assert (expected[0] != expected[1]).any()
