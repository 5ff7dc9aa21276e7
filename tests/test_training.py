"""The training step: XLA, mixed precision, several devices, checkpoints, stop on NaN."""
import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from models.classifier import build_classifier
from models.heads import L2SoftmaxHead
from training.optimizers import make_optimizer
from training.schedules import make_schedule
from training.trainer import TrainingStopped, compile_model, fit, use_xla

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(16, 16, 16, 1)).astype(np.float32)
TARGETS = np.eye(5, dtype=np.float32)[RANDOM.integers(0, 5, 16)]


def batches():
    return tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(8, drop_remainder=True).repeat()


def compiled(policy="float32", lr=0.05, **arguments):
    keras.mixed_precision.set_global_policy(policy)
    try:
        keras.utils.set_random_seed(1)
        model = build_classifier("wide_resnet10_2", (16, 16, 1), 5)
        compile_model(model, make_optimizer("sgd", lr, momentum=0.9), **arguments)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    return model


def test_step_compiles_with_xla_and_gives_the_same_loss():
    losses = [compiled(xla=xla).fit(batches(), steps_per_epoch=3, epochs=2, verbose=0).history["loss"]
              for xla in (True, False)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_steps_learn(policy):
    model = compiled(policy)
    assert isinstance(model.optimizer, keras.mixed_precision.LossScaleOptimizer) == \
        (policy == "mixed_float16")
    assert model.get_layer("head").compute_dtype != "float32" or model.output.dtype == tf.float32
    history = model.fit(batches(), steps_per_epoch=2, epochs=12, verbose=0).history["loss"]
    assert np.isfinite(history).all() and history[-1] < 0.5 * history[0]


TWO_DEVICES = """
import keras2, json, sys
import numpy as np, tensorflow as tf
from tensorflow import keras
from models.heads import L2SoftmaxHead
from training.devices import choose_strategy
from training.optimizers import make_optimizer
from training.trainer import compile_model
strategy = choose_strategy(None, cpu_replicas=int(sys.argv[1]))
random = np.random.default_rng(0)
images = random.normal(size=(48, 8, 8, 1)).astype(np.float32)
targets = np.eye(5, dtype=np.float32)[random.integers(0, 5, 48)]
batches = tf.data.Dataset.from_tensor_slices((images, targets)).batch(16, drop_remainder=True).repeat()
with strategy.scope():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Conv2D(8, 3, activation="relu", input_shape=(8, 8, 1)),
                              keras.layers.GlobalAveragePooling2D(), L2SoftmaxHead(5)])
    compile_model(model, make_optimizer("sgd", 0.1, weight_decay=1e-3))
loss = model.fit(batches, steps_per_epoch=3, epochs=3, verbose=0).history["loss"]
print("RESULT", json.dumps([strategy.num_replicas_in_sync, loss,
                            float(sum(np.abs(w).sum() for w in model.get_weights()))]))
"""


def test_two_devices_give_the_loss_of_one():
    """Same global batch, a network without BatchNorm (whose statistics are per replica)."""
    results = []
    for replicas in ("1", "2"):
        done = subprocess.run([sys.executable, "-c", TWO_DEVICES, replicas], capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        results.append(json.loads(done.stdout.split("RESULT")[1]))
    (one, loss_1, weights_1), (two, loss_2, weights_2) = results
    assert (one, two) == (1, 2)
    np.testing.assert_allclose(loss_1, loss_2, rtol=2e-5)
    assert weights_1 == pytest.approx(weights_2, rel=2e-5)


def test_checkpoints_are_chosen_by_the_monitored_figure(tmp_path):
    figures = iter([0.2, 0.9, 0.5])
    weights = []

    def validate(model):
        weights.append(model.get_weights())
        return {"val_accuracy": next(figures)}
    model = compiled()
    fit(model, batches(), tmp_path, steps_per_epoch=2, n_epochs=3, steps_per_execution=1,
        monitor="val_accuracy", validate=validate)
    folder = tmp_path / "checkpoints"
    assert json.loads((folder / "best.json").read_text())["epoch"] == 2
    assert json.loads((folder / "last.json").read_text())["epoch"] == 3
    for name, expected in (("best", weights[1]), ("last", weights[2])):
        model.load_weights(folder / f"{name}.h5")
        for ours, saved in zip(model.get_weights(), expected, strict=True):
            assert (ours == saved).all()
    assert sorted(p.name for p in folder.iterdir()) == ["best.h5", "best.json", "last.h5", "last.json"]
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [float(r["val_accuracy"]) for r in rows] == [0.2, 0.9, 0.5]
    assert float(rows[0]["lr"]) == pytest.approx(0.05)


def test_loss_is_monitored_downwards_and_only_validated_epochs_count(tmp_path):
    figures = iter([3.0, 1.0])
    fit(compiled(), batches(), tmp_path, steps_per_epoch=1, n_epochs=3, steps_per_execution=1,
        monitor="val_loss", validate=lambda model: {"val_loss": next(figures)}, validate_every=2)
    best = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
    assert (best["epoch"], best["val_loss"]) == (3, 1.0)


@pytest.mark.parametrize("steps_per_execution, says", [
    (1, "at step 3, in epoch 2"), (2, r"at step 3 \(or up to 1 before\), in epoch 2")])
def test_nan_stops_at_its_step_and_keeps_the_epochs_before(tmp_path, steps_per_execution, says):
    targets = np.concatenate([TARGETS[:4]] * 3 + [TARGETS[:4] * np.nan] * 3)
    spoiled = tf.data.Dataset.from_tensor_slices((np.concatenate([IMAGES[:4]] * 6), targets))
    with pytest.raises(TrainingStopped, match=says):
        fit(compiled(steps_per_execution=steps_per_execution), spoiled.batch(4), tmp_path,
            steps_per_epoch=2, n_epochs=3, steps_per_execution=steps_per_execution, monitor="loss")
    assert json.loads((tmp_path / "checkpoints" / "last.json").read_text())["epoch"] == 1


def test_weights_that_are_no_numbers_stop_too(tmp_path):
    """NaN images: ReLU hides them from the loss here."""
    spoiled = tf.data.Dataset.from_tensor_slices((IMAGES * np.nan, TARGETS)).batch(8)
    with pytest.raises(TrainingStopped, match="epoch 1"):
        fit(compiled(), spoiled, tmp_path, steps_per_epoch=2, n_epochs=1, steps_per_execution=1,
            monitor="loss")
    assert not list((tmp_path / "checkpoints").iterdir())


def test_xla_choice():
    assert use_xla("auto", "GPU", 1) is True and use_xla("auto", "GPU", 2) is False
    assert use_xla("auto", "CPU", 1) is False and use_xla("on", "CPU", 1) is True
    assert use_xla("off", "GPU", 1) is False and use_xla("auto", "TPU", 8) is None


def test_schedule_drives_the_optimizer(tmp_path):
    schedule = make_schedule("cosine", 0.1, steps_per_epoch=2, n_epochs=2, warmup_epochs=1)
    fit(compiled(lr=schedule), batches(), tmp_path, steps_per_epoch=2, n_epochs=2,
        steps_per_execution=1, monitor="loss")
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert float(rows[0]["lr"]) == pytest.approx(0.1)


def test_head_survives_saving(tmp_path):
    model = compiled()
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert isinstance(again.get_layer("head"), L2SoftmaxHead)
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), again.predict(IMAGES, verbose=0),
                               rtol=1e-5)
