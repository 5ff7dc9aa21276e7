"""Schedules against NumPy formulas, step by step, eager and compiled."""
import math

import numpy as np
import pytest
import tensorflow as tf

from training.optimizers import apply_gradients, make_optimizer, read_learning_rate
from training.plateau import Plateau
from training.schedules import CosineSchedule, StepsSchedule, WarmUpSchedule, make_schedule


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


SYSTEM_E = [3e-4] * 14 + [1e-4] * 4 + [5e-5] * 4 + [1e-5]  # 11.5 epochs of 2 steps


@pytest.mark.parametrize("name, more", [
    ("steps", {"lrs": [1e-4, 5e-5, 1e-5]}), ("multistep", {"factor": [1 / 3, 1 / 2, 1 / 5]})])
def test_system_e(name, more):
    """Adam at 3e-4, 1e-4 after epoch 7, 5e-5 after 9, 1e-5 after 11; 11.5 epochs."""
    got = tabulate(make_schedule(name, 3e-4, steps_per_epoch=2, n_epochs=11.5,
                                 milestones_epochs=[7, 9, 11], **more), 23)
    np.testing.assert_allclose(got, SYSTEM_E, rtol=1e-6)


def test_steps_with_warm_up_and_fractions_of_an_epoch():
    got = tabulate(make_schedule("steps", 0.2, steps_per_epoch=4, n_epochs=3, warmup_epochs=0.5,
                                 milestones_epochs=[0.25, 1.75], lrs=[0.4, 0.1]), 13)
    np.testing.assert_allclose(got, [0.1] + [0.4] * 6 + [0.1] * 6, rtol=1e-6)


def test_multistep_takes_a_list_of_one_factor():
    got = tabulate(make_schedule("multistep", 1.0, steps_per_epoch=1, n_epochs=5, factor=[0.5],
                                 milestones_epochs=[1, 3]), 5)
    np.testing.assert_array_equal(got, [1, 0.5, 0.5, 0.25, 0.25])


def sgdr(n_steps, start, period, mult, peak, base, end):
    """Equation 5 of the paper, step by step."""
    rates = []
    for step in range(n_steps):
        begin, length, height = start, period, base - end
        while step >= begin + length:
            begin, length, height = begin + length, length * mult, height * peak
        rates.append(end + height * half_cosine(max(step - begin, 0) / length))
    return np.array(rates)


@pytest.mark.parametrize("mult, peak, min_lr", [(1, 1.0, 0.0), (2, 1.0, 1e-3), (2, 0.5, 1e-3)])
def test_cosine_with_restarts(mult, peak, min_lr):
    """SGDR: periods of 2, then 2 or 4, 8 epochs after a warm-up of 1; the last is cut short."""
    got = tabulate(make_schedule("cosine", 0.1, steps_per_epoch=5, n_epochs=12, warmup_epochs=1,
                                 restart_epochs=2, restart_mult=mult, restart_peak=peak,
                                 min_lr=min_lr), 60)
    np.testing.assert_allclose(got, warm_up(60, 5) * sgdr(60, 5, 10, mult, peak, 0.1, min_lr),
                               rtol=2e-6)
    assert got[4] == got[5] == np.float32(0.1) and got[14] < 0.01 < got[15]


def test_restarts_of_fractions_of_an_epoch_begin_at_the_nearest_step():
    got = tabulate(make_schedule("cosine", 1.0, steps_per_epoch=3, n_epochs=5, restart_epochs=0.5,
                                 restart_mult=1.5), 15)
    # From epochs 0, 0.5, 1.25, 2.375, 4.0625: steps 0, 2 (1.5, to the even), 4 (3.75), 7, 12.
    starts = np.flatnonzero(got == 1)
    assert starts.tolist() == [0, 2, 4, 7, 12]
    np.testing.assert_allclose(got[7:12], half_cosine(np.arange(5) / 5), rtol=1e-6)


def test_after_the_last_period_min_lr_holds():
    schedule = make_schedule("cosine", 0.1, steps_per_epoch=5, n_epochs=4, restart_epochs=2,
                             min_lr=1e-3)
    np.testing.assert_array_equal(tabulate(schedule, 25)[20:], np.float32(1e-3))


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


SYSTEM_B = dict(factor=0.5, patience=4, min_delta=1e-4, min_lr=1e-8)


def test_system_b_plateau():
    """Adam at 5e-4, halved after each 4 epochs whose accuracy is not 1e-4 better; warm-up of 1 epoch."""
    schedule = make_schedule("plateau", 5e-4, steps_per_epoch=2, n_epochs=14, warmup_epochs=1)
    plateau = Plateau(schedule, **SYSTEM_B)
    optimizer, weight = make_optimizer("adam", schedule), tf.Variable([[1.0]])

    @tf.function(jit_compile=True)
    def step():
        apply_gradients(optimizer, [tf.ones([1, 1])], [weight])

    accuracies = [0.5, 0.6, 0.60005, 0.6001, 0.59, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.6, 0.5, 0.4]
    rates, lowered = [], []
    for accuracy in accuracies:
        for _ in range(2):
            step()
            rates.append(read_learning_rate(optimizer))
        lowered.append(plateau.update(accuracy))
    want = [2.5e-4] + [5e-4] * 11 + [2.5e-4] * 10 + [1.25e-4] * 6  # after epochs 6 and 11
    np.testing.assert_allclose(rates, want, rtol=1e-6)
    assert np.flatnonzero(lowered).tolist() == [5, 10]


def test_plateau_is_in_the_optimizers_checkpoint(tmp_path):
    def made():
        schedule = make_schedule("plateau", 0.5, steps_per_epoch=2, n_epochs=9)
        return schedule, tf.train.Checkpoint(optimizer=make_optimizer("sgd", schedule))
    schedule, checkpoint = made()
    schedule.multiplier.assign(0.25)
    path = checkpoint.save(tmp_path / "checkpoint")
    again, checkpoint = made()
    checkpoint.restore(path)
    assert again(0).numpy() == 0.125


def test_steps_far_out_stay_exact():
    """Boundaries are compared as integers: float32 would miss one step near 2**25."""
    schedule = StepsSchedule(1.0, [2 ** 25 + 1], [0.1])
    assert schedule(2 ** 25).numpy() == 1.0
    assert schedule(2 ** 25 + 1).numpy() == np.float32(0.1)


@pytest.mark.parametrize("name, more", [
    ("constant", {}), ("cosine", {"min_lr": 1e-3}), ("linear", {"decay_epochs": 3}),
    ("multistep", {"milestones_epochs": (2, 3), "factor": 0.2}), ("plateau", {}),
    ("steps", {"milestones_epochs": (2, 3), "lrs": (0.2, 0.3)}),
    ("cosine", {"restart_epochs": 2, "restart_mult": 1.5, "restart_peak": 0.5, "min_lr": 1e-3})])
def test_survives_serialisation(name, more):
    schedule = make_schedule(name, 0.1, steps_per_epoch=5, n_epochs=6, warmup_epochs=1, **more)
    if name == "plateau":
        schedule.multiplier.assign(0.3)
    config = tf.keras.optimizers.schedules.serialize(schedule)
    assert config["registered_name"] == f"fude>{type(schedule).__name__}"
    again = tf.keras.optimizers.schedules.deserialize(config)
    assert isinstance(again, WarmUpSchedule) and again.get_config() == schedule.get_config()
    assert [again(step).numpy() for step in range(30)] == [schedule(s).numpy() for s in range(30)]


@pytest.mark.parametrize("change, words", [
    ({"name": "cosin"}, "no schedule 'cosin': did you mean cosine?"),
    ({"name": "xyz"}, "Known: constant, cosine, linear, multistep, plateau, steps"),
    ({"base_lr": 0}, "must be positive"),
    ({"warmup_epochs": 11}, "between 0 and n_epochs"),
    ({"min_lr": 0.2}, "between 0 and base_lr"),
    ({"decay_epochs": 11}, "at most n_epochs"),
    ({"warmup_epochs": 10}, "more than 0"),
    ({"name": "multistep"}, "needs milestones_epochs"),
    ({"name": "multistep", "milestones_epochs": [3, 2]}, "must increase"),
    ({"name": "multistep", "milestones_epochs": [3], "factor": [0.1, 0.1]}, "2 rates or factors for 1"),
    ({"name": "steps"}, "steps needs milestones_epochs"),
    ({"name": "steps", "milestones_epochs": [3, 4], "lrs": [0.1]}, "1 rates or factors for 2"),
    ({"restart_epochs": 0.05}, "restart_epochs of a step or more"),
    ({"restart_epochs": 2, "restart_mult": 0.5}, "restart_mult of 1 or more"),
    ({"restart_epochs": 2, "decay_epochs": 5}, "no decay_epochs"),
    ({"restart_epochs": 2, "restart_peak": 1.5}, "above 0 and at most 1, not 1.5"),
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
