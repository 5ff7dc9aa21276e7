"""Schedules against NumPy formulas, step by step, eager and compiled."""
import math

import numpy as np
import pytest
import tensorflow as tf

from training.schedules import (CosineSchedule, MultiStepSchedule, WarmUpSchedule, make_schedule)


def tabulate(schedule, n_steps):
    """The rates of steps 0..n_steps-1, eager; asserts that a compiled function gives the same."""
    compiled = tf.function(schedule.__call__, jit_compile=True,
                           input_signature=[tf.TensorSpec([], tf.int64)])
    steps = [tf.constant(step, tf.int64) for step in range(n_steps)]
    eager = np.array([schedule(step).numpy() for step in steps])
    assert all(schedule(step).dtype == tf.float32 for step in steps[:1])
    np.testing.assert_allclose([compiled(step).numpy() for step in steps], eager, rtol=1e-6)
    return eager


def warm_up(n_steps, warmup_steps):
    step = np.arange(n_steps)
    return np.where(step < warmup_steps, (step + 1) / max(warmup_steps, 1), 1.0)


def decayed(shape, n_steps, start, length, base, end):
    progress = np.clip((np.arange(n_steps) - start) / length, 0, 1)
    return end + (base - end) * shape(progress)


def half_cosine(progress):
    return 0.5 * (1 + np.cos(np.pi * progress))


def test_system_a_multistep():
    """80 epochs of 4 steps, 5 of warm-up, x0.1 at 20, 40, 60, 70."""
    got = tabulate(make_schedule("multistep", 0.1, steps_per_epoch=4, n_epochs=80, warmup_epochs=5,
                                 milestones_epochs=[20, 40, 60, 70]), 330)
    want = 0.1 * warm_up(330, 20)
    for boundary in (80, 160, 240, 280):
        want[boundary:] *= 0.1
    np.testing.assert_allclose(got, want, rtol=1e-6)
    # The borders: the first step learns, step 19 is the first at the full rate, 79 the last.
    np.testing.assert_allclose(got[[0, 18, 19, 20, 79, 80, 279, 280]],
                               [0.005, 0.095, 0.1, 0.1, 0.1, 0.01, 1e-4, 1e-5], rtol=1e-6)


def test_system_e_factor_per_milestone():
    got = tabulate(make_schedule("multistep", 3e-4, steps_per_epoch=2, n_epochs=11.5,
                                 milestones_epochs=[7, 9, 11], factor=[1 / 3, 1 / 2, 1 / 5]), 23)
    np.testing.assert_allclose(got, [3e-4] * 14 + [1e-4] * 4 + [5e-5] * 4 + [1e-5], rtol=1e-6)


def test_system_a_cosine_over_86_epochs_ends_with_the_training():
    """90 epochs, 5 of warm-up: the cosine starts at epoch 4, so that it ends at 90."""
    got = tabulate(make_schedule("cosine", 0.1, steps_per_epoch=3, n_epochs=90, warmup_epochs=5,
                                 min_lr=1e-6, decay_epochs=86), 275)
    want = warm_up(275, 15) * decayed(half_cosine, 275, 12, 258, 0.1, 1e-6)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(got[270:], 1e-6, rtol=1e-5)


def test_cosine_starts_where_the_warm_up_ends():
    got = tabulate(make_schedule("cosine", 0.1, steps_per_epoch=10, n_epochs=8, warmup_epochs=2,
                                 min_lr=1e-3), 85)
    np.testing.assert_allclose(
        got, warm_up(85, 20) * decayed(half_cosine, 85, 20, 60, 0.1, 1e-3), rtol=1e-6)
    assert got[19] == got[20] == np.float32(0.1) and got[21] < got[20]


def test_decay_shorter_than_the_training_then_min_lr():
    got = tabulate(make_schedule("linear", 1.0, steps_per_epoch=10, n_epochs=6, warmup_epochs=1,
                                 min_lr=0.25, decay_epochs=2), 60)
    np.testing.assert_allclose(
        got, warm_up(60, 10) * decayed(lambda p: 1 - p, 60, 10, 20, 1.0, 0.25), rtol=1e-6)
    np.testing.assert_array_equal(got[30:], 0.25)


def test_system_d_linear_with_a_fraction_of_an_epoch():
    """125 epochs, warm-up over 3% of them, then linear to 0."""
    got = tabulate(make_schedule("linear", 5e-5, steps_per_epoch=4, n_epochs=125,
                                 warmup_epochs=3.75), 502)
    np.testing.assert_allclose(
        got, warm_up(502, 15) * decayed(lambda p: 1 - p, 502, 15, 485, 5e-5, 0.0),
        rtol=1e-6)
    assert got[500] == 0.0


def test_constant():
    np.testing.assert_allclose(
        tabulate(make_schedule("constant", 0.3, steps_per_epoch=5, n_epochs=2, warmup_epochs=1), 9),
        0.3 * warm_up(9, 5), rtol=1e-6)
    np.testing.assert_array_equal(
        tabulate(make_schedule("constant", 1e-5, steps_per_epoch=5, n_epochs=2), 3),
        np.float32(1e-5))


def test_steps_far_out_stay_exact():
    """Boundaries are compared as integers: float32 would miss one step near 2**25."""
    schedule = MultiStepSchedule(1.0, [2 ** 25 + 1], [0.1])
    assert schedule(2 ** 25).numpy() == 1.0
    assert schedule(2 ** 25 + 1).numpy() == np.float32(0.1)


@pytest.mark.parametrize("name, more", [
    ("constant", {}), ("cosine", {"min_lr": 1e-3}), ("linear", {"decay_epochs": 3}),
    ("multistep", {"milestones_epochs": (2, 3), "factor": 0.2})])
def test_survives_serialisation(name, more):
    schedule = make_schedule(name, 0.1, steps_per_epoch=5, n_epochs=6, warmup_epochs=1, **more)
    config = tf.keras.optimizers.schedules.serialize(schedule)
    assert config["registered_name"] == f"fude>{type(schedule).__name__}"
    again = tf.keras.optimizers.schedules.deserialize(config)
    assert isinstance(again, WarmUpSchedule) and again.get_config() == schedule.get_config()
    assert [again(step).numpy() for step in range(30)] == [schedule(s).numpy() for s in range(30)]


@pytest.mark.parametrize("change, words", [
    ({"name": "cosin"}, "Did you mean 'cosine'"),
    ({"name": "poly"}, "allowed: constant, cosine, linear, multistep"),
    ({"base_lr": 0}, "must be positive"),
    ({"warmup_epochs": 11}, "between 0 and n_epochs"),
    ({"min_lr": 0.2}, "between 0 and base_lr"),
    ({"decay_epochs": 11}, "at most n_epochs"),
    ({"warmup_epochs": 10}, "more than 0"),
    ({"name": "multistep"}, "needs milestones_epochs"),
    ({"name": "multistep", "milestones_epochs": [3, 2]}, "must increase"),
    ({"name": "multistep", "milestones_epochs": [3], "factor": [0.1, 0.1]}, "one factor per"),
])
def test_refuses(change, words):
    options = {"name": "cosine", "base_lr": 0.1, "steps_per_epoch": 5, "n_epochs": 10, **change}
    with pytest.raises(ValueError, match=words):
        make_schedule(**options)


def test_cosine_is_exact_near_its_end():
    """In float32, 1 + cos(x) would lose the last digits of what remains."""
    schedule = CosineSchedule(0.1, decay_steps=100_000)
    want = 0.1 * math.sin(math.pi / 2 * 1e-4) ** 2
    assert schedule(99_990).numpy() == pytest.approx(want, rel=1e-5)
