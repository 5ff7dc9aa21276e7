"""Plans drawn and carried out: the whole equals its parts, on the host as on the device."""
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from pipeline.augmentation import (Augmentation, InputFormat, augment, change_levels,
                                   draw_plan, finish, normalise)
from pipeline.colour import Colour, change_colour, change_gamma
from pipeline.erasing import Erasing, erase
from pipeline.filters import Filters, filter_images
from pipeline.geometry import Geometry, warp
from pipeline.mixing import Mixing, mix_images, mix_targets
from pipeline.rand_augment import Policy, apply_policy
from pipeline.randomness import beta, first_that_fits, hashed_uniform, keys, normal, uniform
from tests.helpers import modes, smooth_images

SEED = tf.constant([1, 2], tf.int64)
EVERYTHING = Augmentation(
    Geometry(10, 5, 0.1, 0.1, (0.7, 0.9), (0.8, 1.25), hflip=0.5), Policy("randaugment"),
    Filters(blur=1.0, noise=0.05, p=0.5, clahe=0.5), Colour(0.8, 0.2, 0.2, 0.2, 0.1, 0.2, 0.1, 0.1, 0.3),
    Mixing(mixup=0.4, cutmix=1.0, ricap=0.5, icap=1.0), Erasing(0.5, holes=1, hole_size=0.3))
FORMAT = InputFormat(size=24, channels=3, mean=(0.5, 0.4, 0.3), std=(0.25,), dtype="float32")


def batch(n=8, channels=3):
    return tf.constant(smooth_images(n=n, h=32, w=32, c=channels)), tf.eye(n)


def in_parts(images, targets, plan, a, form):
    """augment(), piece by piece, nothing compiled together."""
    images = warp(images, plan["maps"], form.size, a.geometry.cubic)
    images = apply_policy(images, plan["policy"])
    images = filter_images(images, plan["filters"], a.filters)
    images = change_gamma(images, plan["colour"]["gamma"])
    images = change_colour(images, plan["colour"])
    images = erase(mix_images(images, plan["mixing"]), plan["erasing"], form.mean)
    return (images.numpy() / 255 - form.mean) / form.std, mix_targets(targets, plan["mixing"], form.size)


@pytest.mark.parametrize("dtype, rounding", [("float32", 1e-6), ("float16", 1e-3), ("bfloat16", 8e-3)])
def test_the_whole_equals_its_parts(dtype, rounding):
    """Also where the training step is compiled, as with --augment_on=device."""
    form = InputFormat(24, 3, FORMAT.mean, FORMAT.std, dtype)
    images, targets = batch()
    plan = draw_plan(SEED, 8, EVERYTHING, form)
    expected, expected_targets = in_parts(images, targets, plan, EVERYTHING, form)
    compiled = tf.function(lambda *b: augment(*b, EVERYTHING, form), jit_compile=True)
    for function in (lambda *b: augment(*b, EVERYTHING, form), compiled):
        got, mixed = function(images, targets, plan)
        assert got.dtype == dtype and mixed.dtype == tf.float32
        error = np.abs(tf.cast(got, tf.float32) - expected)
        # A level is 1/64 here. Compiled together, few values are rounded otherwise in a stage.
        assert error.max() <= 4 / 64 + 4 * rounding and error.mean() < 1e-3 + rounding
        np.testing.assert_allclose(mixed, expected_targets, atol=1e-6)


@pytest.mark.parametrize("options", [
    {"geometry": EVERYTHING.geometry}, {"policy": EVERYTHING.policy}, {"filters": EVERYTHING.filters},
    {"colour": EVERYTHING.colour}, {"mixing": EVERYTHING.mixing}, {"erasing": EVERYTHING.erasing}],
    ids=lambda options: next(iter(options)))
@pytest.mark.parametrize("channels", [1, 3])
def test_each_part_alone_changes_the_images(options, channels):
    images, targets = batch(channels=channels)
    form = InputFormat(32, channels, (0.0,), (1.0,), "float32")
    plan = draw_plan(SEED, 8, Augmentation(**options), form)
    got, _ = augment(images, targets, plan, Augmentation(**options), form)
    assert (np.abs(got.numpy() * 255 - images.numpy()).max((1, 2, 3)) > 1).sum() >= 3


def test_nothing_asked_for_changes_nothing():
    images, targets = batch()
    form = InputFormat(32, 3, (0.0,), (1.0,), "float32")
    plan = draw_plan(SEED, 8, Augmentation(), form)
    assert list(plan) == ["maps"]
    got, same = augment(images, targets, plan, Augmentation(), form)
    np.testing.assert_allclose(got * 255, images, atol=1e-4)
    assert (same.numpy() == targets.numpy()).all()


def test_a_replicas_part_is_augmented_alike():
    """Two devices, each with its part of images and plan, do what the host does to the whole."""
    images, targets = batch()
    plan = draw_plan(SEED, 8, EVERYTHING, FORMAT)
    whole = augment(images, targets, plan, EVERYTHING, FORMAT, groups=2)
    for part in (slice(0, 4), slice(4, 8)):
        own = tf.nest.map_structure(lambda x: x[part], plan)
        got = augment(images[part], targets[part], own, EVERYTHING, FORMAT)
        np.testing.assert_array_equal(got[0], whole[0][part])
        np.testing.assert_array_equal(got[1], whole[1][part])


def test_levels_then_the_rest():
    """What training on pages does, crop by crop and then with the batch."""
    images, targets = batch()
    a = Augmentation(EVERYTHING.geometry, filters=EVERYTHING.filters, colour=Colour(gamma=0.3, hue=0.1))
    plan = draw_plan(SEED, 8, a, FORMAT)
    one = [tf.nest.map_structure(lambda x: x[k:k + 1], (images, plan)) for k in range(8)]
    levels = tf.concat([change_levels(*part, a, FORMAT.size) for part in one], axis=0)
    whole = augment(images, targets, plan, a, FORMAT)[0]
    np.testing.assert_allclose(finish(levels, {}, FORMAT), whole, atol=1e-5)


def test_normalise():
    images = smooth_images()
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    for result in modes(lambda i: normalise(i, mean, std, "float32"), images):
        np.testing.assert_allclose(result, (images / 255 - mean) / std, atol=1e-6)


def test_draws_are_the_same_compiled_and_differ_by_step_and_purpose():
    draws = list(modes(lambda s: uniform(s, "a", [3, 50]), SEED))
    assert (draws[0] == draws[1]).all() and (draws[0] == draws[2]).all()
    others = [uniform(SEED, "b", [3, 50]), uniform([1, 3], "a", [3, 50]),
              uniform([2, 2], "a", [3, 50])]
    assert all((draws[0] != other.numpy()).all() for other in others)


def test_normal_distribution():
    draws = normal(SEED, "x", [200, 100]).numpy()
    assert scipy.stats.kstest(draws.ravel(), "norm").pvalue > 1e-3


def test_hashed_numbers():
    """Uniform, the same in every mode, and unrelated between pixels, images, streams and steps."""
    image_keys = keys(SEED, "x", 40)
    results = list(modes(lambda k: hashed_uniform(k, (50, 40)), image_keys))
    assert (results[0] == results[1]).all() and (results[0] == results[2]).all()
    draws = results[0].reshape(40, 2000)
    assert scipy.stats.kstest(draws.ravel(), "uniform").pvalue > 1e-3
    assert draws.min() >= 0 and draws.max() < 1
    other = hashed_uniform(image_keys, (50, 40), stream=1).numpy().reshape(40, 2000)
    later = hashed_uniform(keys([1, 3], "x", 40), (50, 40)).numpy().reshape(40, 2000)
    rows = np.concatenate([draws, other, later])
    related = np.abs(np.corrcoef(rows) - np.eye(120))
    assert related.max() < 5 / np.sqrt(2000)  # five standard errors
    for shift in (1, 40, 41):
        assert abs(np.corrcoef(draws[:, shift:].ravel(), draws[:, :-shift].ravel())[0, 1]) < 0.02
    neighbours = hashed_uniform(tf.range(40), (50, 40)).numpy().reshape(40, 2000)
    assert np.abs(np.corrcoef(neighbours) - np.eye(40)).max() < 5 / np.sqrt(2000)
    # Pairs fill the square evenly, and so do their lowest bits.
    counts = np.histogram2d(draws[:, 0::2].ravel(), draws[:, 1::2].ravel(), 10)[0]
    assert scipy.stats.chisquare(counts.ravel()).pvalue > 1e-3
    bits = (draws * 2**24).astype(int) & 1
    assert abs(bits.mean() - 0.5) < 0.01


@pytest.mark.parametrize("concentration", [0.01, 0.2, 1.0])
def test_beta_distribution(concentration):
    draws = beta(SEED, "x", [20000], concentration).numpy()
    assert np.isfinite(draws).all()
    # float32 rounds what is nearest 1 up to it: compare where it still tells numbers apart.
    for low in (0, 0.01, 0.1, 0.3, 0.5, 0.9):
        expected = scipy.stats.beta.cdf(low, concentration, concentration)
        assert abs((draws < low).mean() - expected) < 4 * np.sqrt(0.25 / 20000)


def test_first_that_fits():
    candidates = tf.constant([[[1.0], [2.0], [3.0]]] * 2)
    fits = tf.constant([[False, True, True], [False, False, False]])
    assert first_that_fits(candidates, fits, 9.0).numpy().tolist() == [[2], [9]]
