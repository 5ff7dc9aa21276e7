"""The classification losses against float64 NumPy: values, gradients, extremes, half precision."""
import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, log_softmax

from models.losses import LOSSES, lovasz_hinge, make_loss, smooth
from tests.gradients import finite_differences, value_and_gradient

K = 6
TARGETS = np.float32([
    [0, 0, 1, 0, 0, 0],
    [0.3, 0, 0.7, 0, 0, 0],  # mixed
    [0.05, 0.05, 0.05, 0.75, 0.05, 0.05],  # smoothed
    [0, 0.9, 0, 0, 0, 0],  # pseudo label
    [0, 0, 0, 0, 0, 0],
    [1, 0, 1, 1, 0, 0],
    [1, 1, 1, 1, 1, 1]])
LOGITS = np.float32([
    np.random.default_rng(0).normal(0, 3, K), np.random.default_rng(1).normal(0, 30, K),
    [1e4, -9e3, 5e3, -4e3, 3e3, -2e3], [-1e4, 9e3, -5e3, 4e3, -3e3, 2e3],
    [0] * K, [1e4] * K, [-1e4] * K])
CASES = [np.float32(x) for x in zip(*itertools.product(TARGETS, LOGITS))]  # all with all
EQUAL = np.ptp(CASES[1], axis=1) == 0  # equal logits
CLASS_WEIGHTS = np.float32([0.5, 1, 2, 0, 3, 1])


def bce_terms(t, x):
    return t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x)


def cross_entropy_oracle(t, x, w=1.0):
    return -(w * t * log_softmax(x, axis=1)).sum(1)


def focal_oracle(t, x, w=1.0, gamma=2.0):
    log_p = log_softmax(x, axis=1)
    return -(w * t * (1 - np.exp(log_p)) ** gamma * log_p).sum(1)


def bce_oracle(t, x, w=1.0):
    return (w * bce_terms(t, x)).sum(1) / K


def binary_focal_oracle(t, x, w=1.0, gamma=2.0, alpha=None):
    balance = 1 if alpha is None else alpha * t + (1 - alpha) * (1 - t)
    return (w * balance * abs(t - expit(x)) ** gamma * bce_terms(t, x)).sum(1) / K


def lovasz_hinge_oracle(t, x):
    """The Lovász extension of one minus the Jaccard index, class by class."""
    result = np.zeros(len(t))
    for n in range(len(t)):
        errors = t[n] * np.maximum(0, 1 - x[n]) + (1 - t[n]) * np.maximum(0, 1 + x[n])
        wrong, before = [], 0.0
        for k in np.argsort(-errors):
            wrong.append(k)
            now = 1 - np.delete(t[n], wrong).sum() / (t[n].sum() + (1 - t[n][wrong]).sum())
            result[n] += errors[k] * (now - before)
            before = now
    return result


ORACLES = {"cross_entropy": cross_entropy_oracle, "focal": focal_oracle, "bce": bce_oracle,
           "binary_focal": binary_focal_oracle, "lovasz_hinge": lovasz_hinge_oracle}
WEIGHTED = [name for name in LOSSES if name != "lovasz_hinge"]
VARIANTS = [(name, {}) for name in LOSSES]
VARIANTS += [("focal", {"gamma": 0.0}), ("focal", {"gamma": 0.5}), ("focal", {"gamma": 5.0}),
             ("binary_focal", {"gamma": 0.0}), ("binary_focal", {"gamma": 1.0, "alpha": 0.25})]


def check(loss, oracle, targets, logits, compiled, ties=None):
    """`loss` equals `oracle` in value and, but for rows with ties, in gradient."""
    value, gradient = value_and_gradient(functools.partial(loss, targets), logits, compiled)
    assert value.dtype == np.float32 and value.shape == (len(targets),)
    assert np.isfinite(gradient).all()
    targets, logits = np.float64(targets), np.float64(logits)
    np.testing.assert_allclose(value, oracle(targets, logits), rtol=1e-5, atol=2e-6)
    slope = finite_differences(lambda x: oracle(targets, x), logits, 1e-4)
    smooth_rows = slice(None) if ties is None else ~ties
    np.testing.assert_allclose(gradient[smooth_rows], slope[smooth_rows], rtol=2e-4, atol=2e-5)


def test_every_loss_has_an_oracle():
    assert set(LOSSES) == set(ORACLES)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name, options", VARIANTS)
def test_losses_equal_the_oracle(name, options, compiled):
    # The order of equal errors decides the Lovász hinge's gradient, not its value.
    check(functools.partial(LOSSES[name], **options), functools.partial(ORACLES[name], **options),
          *CASES, compiled, ties=EQUAL if name == "lovasz_hinge" else None)


@pytest.mark.parametrize("name", WEIGHTED)
def test_class_weights_multiply_each_class(name):
    check(make_loss(name, CLASS_WEIGHTS), functools.partial(ORACLES[name], w=CLASS_WEIGHTS), *CASES,
          compiled=False)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_are_taken_as_float32(name, dtype):
    half = tf.cast(CASES[1], dtype)
    value, gradient = value_and_gradient(lambda x: LOSSES[name](CASES[0], x), half, compiled=False)
    same, _ = value_and_gradient(lambda x: LOSSES[name](CASES[0], x), tf.cast(half, tf.float32),
                                 compiled=False)
    assert value.dtype == np.float32 and np.isfinite(gradient).all()
    np.testing.assert_array_equal(value, same)


def test_binary_focal_is_the_published_one_and_least_at_the_soft_target():
    x = np.linspace(-8, 8, 33)[:, None]
    p = expit(x[:, 0])
    binary_focal = LOSSES["binary_focal"]
    np.testing.assert_allclose(binary_focal(np.ones_like(x), x), -(1 - p) ** 2 * np.log(p), rtol=1e-5)
    np.testing.assert_allclose(binary_focal(0 * x, x), -p ** 2 * np.log(1 - p), rtol=1e-5)
    soft = binary_focal(np.full_like(x, expit(1.5)), x)
    assert x[np.argmin(soft), 0] == 1.5


def test_lovasz_hinge_is_one_minus_jaccard_where_errors_are_0_or_1():
    for truth, wrong in itertools.product(itertools.product([0, 1], repeat=4), repeat=2):
        truth, wrong = np.array(truth), np.array(wrong)
        predicted = np.where(wrong, 1 - truth, truth)
        union = (predicted | truth).sum()
        jaccard = (predicted & truth).sum() / union if union else 1.0
        logits = np.where(wrong, 0, 2 * truth - 1)  # a hinge error of 1, or of 0
        np.testing.assert_allclose(lovasz_hinge(truth[None], logits[None]), [1 - jaccard], atol=1e-6)


def test_smoothing_keeps_the_sum_of_a_row():
    smoothed = smooth(TARGETS, 0.1).numpy()
    np.testing.assert_allclose(smoothed.sum(1), TARGETS.sum(1), rtol=1e-6)
    np.testing.assert_allclose(smoothed[0], 0.9 * TARGETS[0] + 0.1 / 6, rtol=1e-6)  # as published
    np.testing.assert_allclose(smoothed[3, 1], 0.9 * (0.9 + 0.1 / 6), rtol=1e-6)
    np.testing.assert_array_equal(smooth(TARGETS, 0.0), TARGETS)


def test_weighted_sums_and_their_options():
    t, x = np.float64(CASES[0]), np.float64(CASES[1]) / 1e3
    for loss, expected in [
            (make_loss("binary_focal:1, lovasz_hinge:0.5"),
             binary_focal_oracle(t, x) + 0.5 * lovasz_hinge_oracle(t, x)),
            (make_loss("bce,focal:2", CLASS_WEIGHTS, gamma=3),
             bce_oracle(t, x, CLASS_WEIGHTS) + 2 * focal_oracle(t, x, CLASS_WEIGHTS, 3)),
            (make_loss("binary_focal", gamma=1.0, alpha=0.25), binary_focal_oracle(t, x, 1.0, 1.0, 0.25))]:
        np.testing.assert_allclose(loss(t, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spec, options, says", [
    ("cross_entropi", {}, "no loss 'cross_entropi': did you mean cross_entropy"),
    ("", {}, "no loss ''"), ("bce,", {}, "no loss ''"),
    ("bce:1,bce:2", {}, "'bce' is named twice"),
    ("bce:x", {}, "weight of loss 'bce' is a number above 0, not 'x'"), ("bce:", {}, "above 0, not ''"),
    ("bce:0", {}, "above 0"), ("bce:nan", {}, "above 0"), ("bce:inf", {}, "above 0"),
    ("focal", {"gamma": -1}, "gamma >= 0, got -1"),
    ("focal", {"alpha": 0.5}, "goes with binary_focal"),
    ("binary_focal", {"alpha": 2}, "alpha is in 0..1"),
    ("bce", {"class_weights": [1, -1]}, "one finite number >= 0"),
    ("bce", {"class_weights": 1.0}, "for each class"),
    ("bce,lovasz_hinge", {"class_weights": [1, 1]}, "lovasz_hinge takes no class weights")])
def test_what_is_no_loss_is_refused(spec, options, says):
    with pytest.raises(ValueError, match=says):
        make_loss(spec, **options)
