"""Plateau and EarlyStop against Keras's ReduceLROnPlateau and EarlyStopping."""
import json
import types

import numpy as np
import pytest
from tensorflow import keras

from training.plateau import EarlyStop, Plateau
from training.schedules import make_schedule

RANDOM = np.random.default_rng(0)
CURVES = {  # figures of 40 epochs
    "rising": 1 - np.exp(-np.arange(40) / 8) + RANDOM.normal(size=40) * 0.01,
    "noise": RANDOM.random(40),
    "steps of min_delta": 0.5 + np.arange(40) // 3 * 1e-4,  # ties, within rounding
    "flat": np.full(40, 0.25),
    "falling": 1 - np.arange(40) / 40,
    "nan first": np.r_[[np.nan] * 3, np.arange(37) / 40],
    "nan": np.full(40, np.nan),
    "infinite": np.r_[[-np.inf, np.inf], RANDOM.random(38)]}


def schedule(base_lr=5e-4):
    return make_schedule("plateau", base_lr, steps_per_epoch=1, n_epochs=40)


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("options", [
    dict(factor=0.5, patience=4, min_delta=1e-4, min_lr=1e-8),  # system B
    dict(factor=0.1, patience=1, min_delta=0.0, min_lr=1e-5),
    dict(factor=0.3, patience=3, min_delta=0.02, min_lr=0.0)])
@pytest.mark.parametrize("curve", CURVES)
def test_plateau_is_kerass(curve, options, mode):
    optimizer = keras.optimizers.SGD(5e-4)
    keras_ = keras.callbacks.ReduceLROnPlateau(monitor="figure", mode=mode, **options)
    keras_.set_model(types.SimpleNamespace(optimizer=optimizer))
    keras_.on_train_begin()
    ours = Plateau(schedule(), mode=mode, **options)
    for epoch, value in enumerate(CURVES[curve]):
        before = ours.schedule(0).numpy()
        keras_.on_epoch_end(epoch, {"figure": value})
        lowered = ours.update(value)
        rate = ours.schedule(0).numpy()
        np.testing.assert_allclose(rate, optimizer.learning_rate.numpy(), rtol=1e-6)
        assert lowered == (rate < before), epoch


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("options", [dict(patience=8), dict(patience=1), dict(patience=3, min_delta=1e-4),
                                     dict(patience=2, min_delta=0.02)])
@pytest.mark.parametrize("curve", CURVES)
def test_early_stop_is_kerass(curve, options, mode):
    model = types.SimpleNamespace(stop_training=False)
    keras_ = keras.callbacks.EarlyStopping(monitor="figure", mode=mode, **options)
    keras_.set_model(model)
    keras_.on_train_begin()
    ours = EarlyStop(mode=mode, **options)
    for epoch, value in enumerate(CURVES[curve]):
        keras_.on_epoch_end(epoch, {"figure": value})
        assert ours.update(value) == model.stop_training, epoch
        if model.stop_training:
            break


def test_the_curves_lower_and_stop():
    plateau = Plateau(schedule(), factor=0.5, patience=4)
    assert sum(plateau.update(value) for value in CURVES["flat"]) == 9
    stop = EarlyStop(patience=8)
    assert [stop.update(value) for value in CURVES["flat"]].index(True) == 8


@pytest.mark.parametrize("at", [0, 1, 7, 20])
def test_state_survives_json(at):
    """At 0: before the first update."""
    def made():
        return (Plateau(schedule(), factor=0.5, patience=2, min_lr=1e-5), EarlyStop(patience=9))
    whole, cut, resumed = made(), made(), made()
    curve = CURVES["noise"]
    decisions = [[part.update(value) for part in whole] for value in curve]
    assert any(lowered for lowered, _ in decisions) and any(stop for _, stop in decisions)
    again = [[part.update(value) for part in cut] for value in curve[:at]]
    for part, old in zip(resumed, cut):
        part.restore(json.loads(json.dumps(old.state(), allow_nan=False)))
    assert resumed[0].schedule(0) == cut[0].schedule(0)
    again += [[part.update(value) for part in resumed] for value in curve[at:]]
    assert again == decisions
    assert [part.state() for part in resumed] == [part.state() for part in whole]
    assert resumed[0].schedule(0) == whole[0].schedule(0)


@pytest.mark.parametrize("make, words", [
    (lambda: Plateau(schedule(), factor=0.5, patience=0), "patience"),
    (lambda: Plateau(schedule(), factor=1.0, patience=1), "factor"),
    (lambda: Plateau(schedule(), factor=0.5, patience=1, min_lr=1e-3), "min_lr"),
    (lambda: EarlyStop(patience=1, min_delta=-1), "min_delta"),
    (lambda: EarlyStop(patience=1, mode="auto"), "mode")])
def test_refuses(make, words):
    with pytest.raises(ValueError, match=words):
        make()
