"""The training loop: XLA, mixed precision, several devices, best weights, stop on NaN."""
import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from models.heads import L2SoftmaxHead
from training.loop import Plan, Training, TrainingStopped, use_xla
from training.optimizers import make_optimizer
from training.schedules import make_schedule
from tests.small_training import (IMAGES, TARGETS, batches_of, dense_classifier, ready,
                                  small_classifier, trained)


def test_step_compiles_with_xla_and_gives_the_same_loss(tmp_path):
    losses = [[row["loss"] for row in trained(small_classifier(), tmp_path / str(xla), n_epochs=2,
                                              steps_per_epoch=3, xla=xla).progress.rows]
              for xla in (True, False)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_steps_learn(policy, tmp_path):
    model = small_classifier(policy)
    history = [row["loss"] for row in trained(model, tmp_path, n_epochs=12).progress.rows]
    assert isinstance(model.optimizer, keras.mixed_precision.LossScaleOptimizer) == \
        (policy == "mixed_float16")
    assert model.output.dtype == tf.float32
    assert np.isfinite(history).all() and history[-1] < 0.5 * history[0]


TWO_DEVICES = """
import keras2, json, sys, tempfile
import numpy as np, tensorflow as tf
from tensorflow import keras
from tests.small_training import dense_classifier, ready
from training.devices import choose_strategy
from training.loop import Plan, Training
from training.optimizers import make_optimizer
strategy = choose_strategy(None, cpu_replicas=int(sys.argv[1]))
accumulate, policy = int(sys.argv[2]), sys.argv[3]
random = np.random.default_rng(0)
images = random.normal(size=(48, 8, 8, 1)).astype(np.float32)
targets = np.eye(5, dtype=np.float32)[random.integers(0, 5, 48)]
batches = tf.data.Dataset.from_tensor_slices((images, targets)).batch(16, drop_remainder=True).repeat()
with strategy.scope():
    optimizer = make_optimizer("sgd", 0.1, weight_decay=1e-3)
    if policy == "mixed_float16":  # a scale at which no step overflows, on however many devices
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer, initial_scale=128)
    model = ready(dense_classifier(policy), optimizer, accumulate=accumulate, clip_norm=0.5)
training = Training(model, strategy, tempfile.mkdtemp(), Plan(3, 3, "loss", 16),
                    lambda start, worker, n: batches.skip(start))
training.run()
print("RESULT", json.dumps([strategy.num_replicas_in_sync, [r["loss"] for r in training.progress.rows],
                            np.concatenate([w.ravel() for w in model.get_weights()]).tolist()]))
"""


def on_devices(replicas, accumulate=1, policy="float32"):
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES, str(replicas), str(accumulate), policy],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.split("RESULT")[1])


@pytest.mark.parametrize("policy, near, cases", [
    ("float32", 2e-5, [(2, 1), (2, 4)]),
    pytest.param("mixed_float16", 5e-3, [(2, 2)], marks=pytest.mark.slow)])
def test_two_devices_and_micro_batches_reach_the_weights_of_one(policy, near, cases):
    """Same global batch, a network without BatchNorm (whose statistics are per replica)."""
    one, loss, weights = on_devices(1, 1, policy)
    for replicas, accumulate in cases:
        n, its_loss, its_weights = on_devices(replicas, accumulate, policy)
        assert (one, n) == (1, replicas)
        np.testing.assert_allclose(its_loss, loss, rtol=near)
        np.testing.assert_allclose(its_weights, weights, atol=near)


def test_checkpoints_are_chosen_by_the_monitored_figure(tmp_path):
    figures = iter([0.2, 0.9, 0.5])
    weights = []

    def validate(model):
        weights.append(model.get_weights())
        return {"val_accuracy": next(figures)}
    model = small_classifier()
    trained(model, tmp_path, n_epochs=3, monitor="val_accuracy", validate=validate)
    folder = tmp_path / "checkpoints"
    assert json.loads((folder / "best.json").read_text())["epoch"] == 2
    assert json.loads((folder / "last.json").read_text())["epoch"] == 3
    for name, expected in (("best", weights[1]), ("last", weights[2])):
        model.load_weights(folder / f"{name}.h5")
        for ours, saved in zip(model.get_weights(), expected, strict=True):
            assert (ours == saved).all()
    assert sorted(p.name for p in folder.iterdir()) == [
        "best.h5", "best.json", "last.h5", "last.json", "step-000000004.npz", "step-000000006.npz"]
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [float(r["val_accuracy"]) for r in rows] == [0.2, 0.9, 0.5]
    assert float(rows[0]["lr"]) == pytest.approx(0.05)


def test_loss_is_monitored_downwards_and_only_validated_epochs_count(tmp_path):
    figures = iter([3.0, 1.0])
    trained(small_classifier(), tmp_path, steps_per_epoch=1, n_epochs=3, monitor="val_loss",
            validate=lambda model: {"val_loss": next(figures)}, validate_every_epochs=2)
    best = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
    assert (best["epoch"], best["val_loss"]) == (3, 1.0)


@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_nan_stops_at_its_step_and_keeps_the_epochs_before(tmp_path, steps_per_execution):
    targets = np.concatenate([TARGETS[:4]] * 3 + [TARGETS[:4] * np.nan] * 3)
    spoiled = tf.data.Dataset.from_tensor_slices((np.concatenate([IMAGES[:4]] * 6), targets)).batch(
        4, drop_remainder=True)
    with pytest.raises(TrainingStopped, match="nan or infinite at step 3, in epoch 2"):
        trained(small_classifier(), tmp_path, n_epochs=3, data=spoiled, batch_size=4,
                steps_per_execution=steps_per_execution)
    assert [p.name for p in (tmp_path / "checkpoints").glob("*.npz")] == ["step-000000002.npz"]


def test_weights_that_are_no_numbers_stop_too(tmp_path):
    """NaN images: ReLU hides them from the loss here."""
    spoiled = tf.data.Dataset.from_tensor_slices((IMAGES * np.nan, TARGETS)).batch(
        8, drop_remainder=True)
    with pytest.raises(TrainingStopped, match="epoch 1"):
        trained(small_classifier(), tmp_path, n_epochs=1, data=spoiled)
    assert not (tmp_path / "checkpoints").exists()


def test_xla_choice():
    assert use_xla("auto", "GPU", 1) is True and use_xla("auto", "GPU", 2) is False
    assert use_xla("auto", "CPU", 1) is False and use_xla("on", "CPU", 1) is True
    assert use_xla("off", "GPU", 1) is False and use_xla("auto", "TPU", 8) is None


def test_schedule_drives_the_optimizer(tmp_path):
    schedule = make_schedule("cosine", 0.1, steps_per_epoch=2, n_epochs=2, warmup_epochs=1)
    trained(small_classifier(lr=schedule), tmp_path, n_epochs=2)
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert float(rows[0]["lr"]) == pytest.approx(0.1)


def test_several_steps_per_call_are_the_same_steps(tmp_path):
    """5 steps an epoch in calls of 2: the last call of an epoch is shorter."""
    results = [trained(small_classifier(), tmp_path / str(n), steps_per_epoch=5, n_epochs=2,
                       steps_per_execution=n) for n in (1, 2)]
    assert results[0].progress.rows == results[1].progress.rows
    for one, two in zip(*(result.model.get_weights() for result in results), strict=True):
        assert (one == two).all()


def test_accumulated_micro_batches_equal_the_large_batch():
    """8 x 16 and 128, a network without BatchNorm: gradients in one step, and weights after three."""
    random = np.random.default_rng(3)
    images = random.normal(size=(128, 8, 8, 1)).astype(np.float32)
    targets = random.dirichlet(np.ones(5), 128).astype(np.float32)
    weights = []
    for accumulate in (1, 8):
        model = ready(dense_classifier(), accumulate=accumulate)
        step = tf.function(model.train_step)
        for _ in range(3):
            figures = step((tf.constant(images), tf.constant(targets)))
        weights.append((model.get_weights(), float(figures["loss"]), float(figures["accuracy"])))
    (large, *figures), (summed, *others) = weights
    assert figures == pytest.approx(others, rel=1e-6)
    for one, two in zip(large, summed, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-5)


def test_gradients_are_cut_at_the_longest_norm():
    """One SGD step of rate 1 moves all weights by the gradient: by 0.01 in all."""
    model = dense_classifier()
    before = model.get_weights()
    ready(model, optimizer=make_optimizer("sgd", 1.0, momentum=0.0), clip_norm=0.01)
    model.train_step((tf.constant(IMAGES[:, :8, :8]), tf.constant(TARGETS)))
    moved = np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(before, model.get_weights())))
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_averaged_weights_are_what_numpy_gets_and_what_is_validated(tmp_path):
    model = small_classifier(ema=0.8)
    expected, validated = model.get_weights(), []
    train_step = model.train_step
    shadow = []

    def watched(data):
        result = train_step(data)
        shadow.append([w.numpy() for w in model.weights])
        return result
    tf.config.run_functions_eagerly(True)
    try:
        model.train_step = watched
        training = trained(model, tmp_path, steps_per_epoch=4, n_epochs=1, monitor="val_x",
                           validate=lambda m: validated.append(m.get_weights()) or {"val_x": 1.0})
    finally:
        tf.config.run_functions_eagerly(False)
    for step, weights in enumerate(shadow, 1):
        decay = min(0.8, (1 + step) / (10 + step))
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, weights)]
    for ours, oracle, seen in zip(model.averages.variables, expected, validated[0], strict=True):
        np.testing.assert_allclose(ours.numpy(), oracle, rtol=1e-5, atol=1e-6)
        assert (ours.numpy() == seen).all()
    for now, last in zip(model.weights, shadow[-1], strict=True):  # training goes on from its own
        assert (now.numpy() == last).all()
    model.load_weights(training.folder / "checkpoints" / "best.h5")
    for now, seen in zip(model.get_weights(), validated[0], strict=True):
        assert (now == seen).all()


def test_an_impossible_average_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        small_classifier(ema=1.0)


def test_head_survives_saving(tmp_path):
    model = small_classifier()
    trained(model, tmp_path, n_epochs=1)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras", compile=False)
    assert isinstance(again.get_layer("head"), L2SoftmaxHead)
    np.testing.assert_allclose(model(IMAGES).numpy(), again(IMAGES).numpy(), rtol=1e-5)


def test_the_plan_of_a_loop_is_what_it_does(tmp_path):
    """Epoch-end hooks see every epoch; one that returns True has the data made anew from its step."""
    asked = []

    def batches(start, worker, n_workers):
        asked.append((start, worker, n_workers))
        return batches_of(start, worker, n_workers)
    epochs = []
    Training(small_classifier(), tf.distribute.get_strategy(), tmp_path, Plan(2, 3, "loss", 8), batches,
             epoch_end=[lambda model, epoch, row: epochs.append((epoch, "loss" in row)) or epoch == 2]
             ).run()
    assert epochs == [(1, True), (2, True), (3, True)]
    assert asked == [(0, 0, 1), (4, 0, 1)]
