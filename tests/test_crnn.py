"""The CRNN: the published table, steps, saving, XLA, two devices, and what it refuses."""
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from models.crnn import build_crnn, sequence_model
from models.ctc import ctc_loss
from training.loop import Plan, Training
from training.optimizers import make_optimizer
from training.text_step import TrainedCRNN

IMAGES = np.random.default_rng(0).normal(size=(8, 16, 48, 1)).astype(np.float32)
TEXTS = np.array([[0, 1, -1], [2, -1, -1], [1, 1, -1], [0, 2, 1]] * 2, np.int32)


def small(cls=keras.Model, seed=1, **options):
    keras.utils.set_random_seed(seed)
    return build_crnn("crnn_small", (16, 48, 1), 3, units=8, cls=cls, **options)


def test_the_published_network():
    model = build_crnn("crnn", (32, 100, 1), 36)
    assert model.output_shape == (None, 24, 37)
    shapes = [tuple(layer.kernel.shape) for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert shapes == [(3, 3, 1, 64), (3, 3, 64, 128), (3, 3, 128, 256), (3, 3, 256, 256), (3, 3, 256, 512),
                      (3, 3, 512, 512), (2, 2, 512, 512)]
    norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    assert norms == 2 and model.get_layer("sequence").output_shape == (None, 24, 512)
    lstm = lambda inputs: 2 * 4 * 256 * (inputs + 256 + 1)
    convolutions = sum(np.prod(shape) for shape in shapes) + 64 + 128 + 2 * 256 + 512 + 2 * 4 * 512
    assert model.count_params() == convolutions + lstm(512) + lstm(512) + 513 * 37


@pytest.mark.parametrize("recurrent", ["lstm", "gru"])
def test_it_survives_saving(tmp_path, recurrent):
    model = small(recurrent=recurrent, recurrent_layers=1, dropout=0.5)
    said = model(IMAGES).numpy()
    assert said.shape == (8, 11, 4) and said.dtype == np.float32
    model.save(tmp_path / "model.keras")
    assert (keras.models.load_model(tmp_path / "model.keras")(IMAGES).numpy() == said).all()
    model.save_weights(tmp_path / "best.h5")
    other = small(recurrent=recurrent, recurrent_layers=1, dropout=0.5, seed=2)
    assert abs(other(IMAGES) - said).numpy().max() > 0.01
    other.load_weights(tmp_path / "best.h5")
    assert (other(IMAGES).numpy() == said).all()
    sequence = sequence_model(model)(IMAGES).numpy()
    assert sequence.shape == (8, 11, 16)
    head = model.get_layer("head")
    np.testing.assert_allclose(sequence @ head.kernel + head.bias, said, atol=1e-5)


def test_a_character_is_seen_where_it_stands():
    """Steps are in reading order: what changes at the left end changes the first step of convolutions."""
    model = small()
    below = keras.Model(model.input, model.get_layer("recurrent_2").input)
    changed = IMAGES.copy()
    changed[:, :, :4] += 1
    moved = abs(below(changed) - below(IMAGES)).numpy().max((0, 2))
    assert moved[0] > 0 and (moved[5:] == 0).all()


def trained(tmp_path, strategy, xla=None, steps=3, **step):
    with strategy.scope():
        model = small(TrainedCRNN)
        model.set_loss()
        model.set_step(make_optimizer("sgd", 0.02), xla=xla, **step)
    data = tf.data.Dataset.from_tensors((IMAGES, TEXTS)).map(
        lambda x, y: (tf.ensure_shape(x, IMAGES.shape), tf.ensure_shape(y, TEXTS.shape))).repeat()
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    training = Training(model, strategy, tmp_path, Plan(steps, 1, "loss", batch_size=8),
                        lambda *_: data.with_options(options), xla=xla)
    training.run()
    return model, training.progress.rows[-1]


def test_a_step_is_that_of_the_mean_loss(tmp_path):
    """Plain gradient descent, against the gradient of the mean over the batch taken by hand."""
    model = small()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(ctc_loss(TEXTS, model(IMAGES, training=True)))
    gradients = tape.gradient(loss, model.trainable_variables)
    expected = [v.numpy() - 0.02 * g.numpy() for v, g in zip(model.trainable_variables, gradients)]
    stepped, row = trained(tmp_path, tf.distribute.get_strategy(), steps=1)
    assert row["loss"] == pytest.approx(float(loss), rel=1e-4) and 0 <= row["accuracy"] <= 1
    for ours, theirs in zip(stepped.trainable_variables, expected):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.slow  # compiles for half a minute
def test_the_step_compiles_and_goes_in_micro_batches(tmp_path):
    strategy = tf.distribute.get_strategy()
    plain, row = trained(tmp_path / "plain", strategy)
    compiled, other = trained(tmp_path / "compiled", strategy, xla=True)
    assert other["loss"] == pytest.approx(row["loss"], rel=1e-4)
    for ours, theirs in zip(compiled.get_weights(), plain.get_weights()):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    _, parted = trained(tmp_path / "parted", strategy, accumulate=2, steps=1)
    assert parted["loss"] == pytest.approx(trained(tmp_path / "one", strategy, steps=1)[1]["loss"], rel=0.2)


def test_what_cannot_be_built_is_refused():
    for says, arguments in (("did you mean crnn", ("crn", (32, 96, 1))), ("too small", ("crnn", (8, 96, 1))),
                            ("too small", ("crnn", (32, 4, 1)))):
        with pytest.raises(ValueError, match=says):
            build_crnn(*arguments, 3)
    with pytest.raises(ValueError, match="lstm, gru"):
        build_crnn("crnn", (32, 96, 1), 3, recurrent="rnn")
    with pytest.raises(ValueError, match="1 or more"):
        build_crnn("crnn", (32, 96, 1), 3, recurrent_layers=0)
