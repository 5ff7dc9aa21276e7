"""Margins and AdaCos's scale against float64 NumPy: values, gradients, both ends of the cosine."""
import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from models.margins import (HIGHEST_SCALE, LOWEST_SCALE, MARGINS, ArcFace, CosFace, SphereFace, adacos_scale,
                            adacos_start, adacos_statistics)
from tests.gradients import finite_differences, value_and_gradient


def arcface_oracle(cosines, t, m=0.5):
    theta = np.arccos(cosines)
    return np.where(theta + m * t < math.pi, np.cos(theta + m * t), cosines - 1 + np.cos(m * t))


def cosface_oracle(cosines, t, m=0.4):
    return cosines - m * t


def sphereface_oracle(cosines, t, m=1.35):
    phi = (1 + (m - 1) * t) * np.arccos(cosines)
    j = phi // math.pi
    return (-1) ** j * np.cos(phi) - 2 * j


ORACLES = {"arcface": arcface_oracle, "cosface": cosface_oracle, "sphereface": sphereface_oracle}


def inner_cases():
    """Cosines that stay away from -1 and 1, hard and soft targets."""
    generator = np.random.default_rng(0)
    cosines = generator.uniform(-0.999, 0.999, (40, 5))
    cosines[:4] = [[-0.999], [0.999], [0], [1e-6]]
    targets = np.eye(5)[generator.integers(0, 5, 40)]
    targets[10:20] = generator.dirichlet([0.5] * 5, 10)
    targets[20:22], targets[22:24], targets[24:28] = 0, 1, targets[24:28] * 0.9
    return np.float32(cosines), np.float32(targets)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", MARGINS)
def test_margins_equal_the_oracle(name, compiled):
    cosines, targets = inner_cases()
    value, gradient = value_and_gradient(lambda c: MARGINS[name]()(c, targets), cosines, compiled)
    assert value.dtype == np.float32
    oracle = functools.partial(ORACLES[name], t=np.float64(targets))
    np.testing.assert_allclose(value, oracle(np.float64(cosines)), atol=2e-6)
    np.testing.assert_allclose(gradient, finite_differences(oracle, cosines, 1e-7), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("margin", [ArcFace(0.7), CosFace(0.2), SphereFace(4.0), *(m() for m in map(
    MARGINS.__getitem__, MARGINS))])
def test_margins_at_the_ends_of_the_cosine(margin, compiled):
    oracle = ORACLES[type(margin).__name__.lower()]
    ends = np.float32([-1.000001, -1, -0.9999999, 0.9999999, 1, 1.000001])
    cosines, t = np.float32(np.tile(ends, 3)[:, None]), np.float32(np.repeat([0, 0.4, 1], 6)[:, None])
    value, gradient = value_and_gradient(lambda c: margin(c, t), cosines, compiled)
    # There one step of a float32 cosine is 3.5e-4 of an angle.
    inside = np.clip(np.float64(cosines), -1, 1)
    np.testing.assert_allclose(value, oracle(inside, t, margin.margin), atol=5e-4 * max(1, margin.margin))
    assert np.isfinite(gradient).all() and np.abs(gradient).max() < 3e4 and gradient.min() >= 0
    np.testing.assert_allclose(gradient[:6], 1, rtol=1e-3)  # no margin where the share is 0
    if isinstance(margin, SphereFace):  # sin(m theta) / sin(theta) has a limit
        np.testing.assert_allclose(gradient[-3:], margin.margin ** 2, rtol=1e-3)


@pytest.mark.parametrize("margin", [ArcFace(), ArcFace(2.0), CosFace(), SphereFace(), SphereFace(4.0)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_margins_are_monotone_continuous_and_never_help(margin, share):
    cosines = np.cos(np.linspace(math.pi, 0, 20001)).astype(np.float32)[:, None]
    value = np.array(margin(cosines, np.full_like(cosines, share)))
    steps = np.diff(value[:, 0])
    assert steps.min() > -1e-6 and steps.max() < 1.5e-3
    assert (value <= cosines + 1e-6).all()
    if share == 0:
        np.testing.assert_allclose(value, cosines, atol=1e-6)


@pytest.mark.parametrize("make, value", [(ArcFace, -0.1), (ArcFace, 4), (CosFace, 2.1), (SphereFace, 0.9),
                                         (SphereFace, math.nan)])
def test_margins_out_of_range_are_refused(make, value):
    with pytest.raises(ValueError, match=f"lies between .* not at {value}"):
        make(value)


def test_unknown_margins_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="no margin 'arcfaces': did you mean arcface"):
        MARGINS["arcfaces"]


def adacos_oracle(cosines, targets, scale):
    total, angles = 0.0, []
    for c, t in zip(np.float64(cosines), np.float64(targets)):
        total += sum((1 - t[k]) * math.exp(scale * c[k]) for k in range(len(c)))
        angles.append(math.acos(c[np.argmax(t)]))
    return math.log(total / len(cosines)) / math.cos(min(math.pi / 4, np.median(angles)))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("n, aligned", [(7, False), (8, False), (8, True)])  # odd, even; angles under pi / 4
def test_adacos_scale_equals_the_oracle(n, aligned, compiled):
    generator = np.random.default_rng(n)
    cosines = np.float32(generator.uniform(-0.6, 0.6, (n, 30)))
    targets = np.eye(30, dtype=np.float32)[generator.integers(0, 30, n)]
    targets[1:3] = 0.7 * targets[1:3] + 0.3 * targets[3:5]
    if aligned:
        cosines = np.where(targets > 0.5, np.float32(np.linspace(0.75, 0.99, n)[:, None]), cosines)
    scale = np.float32(adacos_start(30))

    @tf.function(jit_compile=compiled)
    def next_scale(cosines):
        return adacos_scale(*adacos_statistics(cosines, targets, scale))
    value = next_scale(cosines)
    assert value.dtype == tf.float32 and value.shape == []
    np.testing.assert_allclose(value, adacos_oracle(cosines, targets, scale), rtol=1e-5)


def test_adacos_does_not_count_the_class_itself():
    cosines, targets = tf.constant([[-1.0, 1, -1, 0]]), tf.constant([[0.0, 1, 0, 0]])
    log_sums, target_cosines = adacos_statistics(cosines, targets, 64.0)
    np.testing.assert_allclose(log_sums, [0], atol=1e-6)  # exp(64) would be seen, however small its share
    np.testing.assert_array_equal(target_cosines, [1])


def test_adacos_statistics_are_constants_to_gradients():
    cosines = tf.constant([[0.1, 0.2, 0.3]])
    with tf.GradientTape() as tape:
        tape.watch(cosines)
        scale = adacos_scale(*adacos_statistics(cosines, tf.constant([[0.0, 1, 0]]), 2.0))
    assert tape.gradient(scale, cosines) is None


@pytest.mark.parametrize("compiled", [False, True])
def test_adacos_is_finite_at_the_extremes(compiled):
    run = tf.function(lambda c, t, s: adacos_scale(*adacos_statistics(c, t, s)), jit_compile=compiled)
    ones, no_label = tf.ones((4, 6)), tf.zeros((4, 6))
    one_hot = tf.one_hot([0, 1, 2, 3], 6)
    assert run(ones * 1.000001, one_hot, 1e3) == HIGHEST_SCALE  # exp(1000) is no float
    np.testing.assert_allclose(run(-ones, one_hot, 1e3), LOWEST_SCALE, rtol=1e-6)
    np.testing.assert_allclose(run(0 * ones, no_label, 5.0), math.log(6) * math.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(run(ones[:, :1], ones[:, :1], 5.0), LOWEST_SCALE, rtol=1e-6)  # one class


def test_adacos_starts_as_published_and_sensibly_with_few_classes():
    assert adacos_start(1000) == pytest.approx(math.sqrt(2) * math.log(999))
    assert adacos_start(1) == adacos_start(2) == adacos_start(3) == LOWEST_SCALE > 0.9
