"""Geometry and pixel operations against NumPy and SciPy, eagerly, in tf.data and compiled."""
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf

from pipeline import geometry, pixels
from pipeline.geometry import Geometry
from pipeline.pixels import PixelOptions
from pipeline.randomness import beta, first_that_fits, uniform

SEED = tf.constant([1, 2], tf.int64)


def smooth_images(n=4, h=30, w=26, c=3, seed=0):
    random = np.random.default_rng(seed).uniform(0, 255, (n, h, w, c))
    return scipy.ndimage.gaussian_filter(random, (0, 2, 2, 0)).clip(0, 255).astype(np.uint8)


def modes(function, *arguments):
    """The function's results eagerly, inside tf.data, and (where XLA can) compiled."""
    yield function(*arguments)
    yield next(iter(tf.data.Dataset.from_tensors(arguments).map(function)))
    yield tf.function(function, jit_compile=True)(*arguments)


def oracle_warp(image, matrix, size):
    """Bilinear resampling of one image at the mapped pixel centres, by SciPy."""
    h, w, c = image.shape
    v, u = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size, indexing="ij")
    x = (matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]) * w - 0.5
    y = (matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]) * h - 0.5
    return np.stack([scipy.ndimage.map_coordinates(image[..., k].astype(float), [y, x], order=1,
                                                   mode="nearest") for k in range(c)], -1)


@pytest.mark.parametrize("channels", [1, 3])
def test_warp_equals_scipy_within_one_level(channels):
    images = smooth_images(c=channels)
    maps = geometry.draw_maps(SEED, 4, Geometry(20, 10, 0.2, 0.1, (0.6, 0.9), (0.75, 1.33)))
    expected = np.stack([oracle_warp(i, m, 22) for i, m in zip(images, maps.numpy())])
    eager = geometry.warp(tf.constant(images), maps, 22)
    mapped = next(iter(tf.data.Dataset.from_tensors((images, maps)).map(
        lambda i, m: geometry.warp(i, m, 22))))
    for result in (eager, mapped):
        assert result.dtype == tf.uint8
        assert np.abs(result.numpy() - expected).max() <= 1.01


def test_identity_map_changes_nothing():
    images = tf.constant(smooth_images(h=24, w=24))
    maps = geometry.draw_maps(SEED, 4, Geometry())
    assert (geometry.warp(images, maps, 24).numpy() == images.numpy()).all()


def test_quarter_turn_is_counter_clockwise():
    images = smooth_images(n=1, h=24, w=24)
    turn = tf.constant([[[0.0, -1.0], [1.0, 0.0]]])
    maps = geometry.compose(turn, tf.zeros([1, 2]), tf.constant([[0.0, 0.0, 1.0, 1.0]]))
    turned = geometry.warp(tf.constant(images), maps, 24).numpy()
    assert np.abs(turned[0].astype(int) - np.rot90(images[0])).max() <= 1


def test_composition_is_crop_then_turn_then_shift():
    random = np.random.default_rng(0)
    matrix, shift = random.normal(size=(2, 2)), random.normal(size=2)
    x, y, w, h = box = np.array([0.1, 0.2, 0.5, 0.3])
    maps = geometry.compose(*(tf.constant(a[None], tf.float32) for a in (matrix, shift, box)))
    u, v = 0.3, 0.8
    point = np.array([x + u * w, y + v * h])  # in the image before the turn
    expected = matrix @ (point - 0.5) + 0.5 + shift
    np.testing.assert_allclose(maps[0].numpy() @ [u, v, 1], expected, rtol=1e-5)


def test_random_resized_crop_distribution():
    boxes = geometry.crop_boxes(SEED, 20000, (0.5, 0.7), (0.75, 4 / 3)).numpy()
    x, y, w, h = boxes.T
    assert (boxes >= 0).all() and (x + w <= 1 + 1e-6).all() and (y + h <= 1 + 1e-6).all()
    # Every box of these areas and ratios fits, so nothing is drawn twice and the law is plain.
    assert scipy.stats.kstest(w * h, "uniform", (0.5, 0.2)).pvalue > 1e-3
    low, high = np.log(0.75), np.log(4 / 3)
    assert scipy.stats.kstest(np.log(w / h), "uniform", (low, high - low)).pvalue > 1e-3
    assert scipy.stats.kstest(x / (1 - w), "uniform").pvalue > 1e-3


def test_boxes_that_do_not_fit_are_drawn_again():
    boxes = geometry.crop_boxes(SEED, 5000, (0.85, 0.90), (0.875, 1.143)).numpy()  # system A
    area = boxes[:, 2] * boxes[:, 3]
    assert (boxes[:, 2:] <= 1).all() and area.min() >= 0.85 - 1e-5 and area.max() <= 0.90 + 1e-5


def test_rotation_distribution():
    maps = geometry.draw_maps(SEED, 20000, Geometry(rotate=10)).numpy()
    angle = np.degrees(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    assert scipy.stats.kstest(angle, "uniform", (-10, 20)).pvalue > 1e-3


def test_first_that_fits():
    candidates = tf.constant([[[1.0], [2.0], [3.0]]] * 2)
    fits = tf.constant([[False, True, True], [False, False, False]])
    assert first_that_fits(candidates, fits, 9.0).numpy().tolist() == [[2], [9]]


def test_draws_are_the_same_compiled_and_differ_by_step_and_purpose():
    draws = [d.numpy() for d in modes(lambda s: uniform(s, "a", [3, 50]), SEED)]
    assert (draws[0] == draws[1]).all() and (draws[0] == draws[2]).all()
    others = [uniform(SEED, "b", [3, 50]), uniform([1, 3], "a", [3, 50]),
              uniform([2, 2], "a", [3, 50])]
    assert all((draws[0] != other.numpy()).all() for other in others)


@pytest.mark.parametrize("concentration", [0.01, 0.2, 1.0])
def test_beta_distribution(concentration):
    draws = beta(SEED, "x", [20000], concentration).numpy()
    assert np.isfinite(draws).all()
    # float32 rounds what is nearest 1 up to it: compare where it still tells numbers apart.
    for low in (0, 0.01, 0.1, 0.3, 0.5, 0.9):
        expected = scipy.stats.beta.cdf(low, concentration, concentration)
        assert abs((draws < low).mean() - expected) < 4 * np.sqrt(0.25 / 20000)


def test_brightness_and_contrast():
    images = smooth_images() / np.float32(255)
    factor = np.array([0.5, 0.9, 1.1, 1.6], np.float32)
    wide = factor[:, None, None, None]
    for result in modes(pixels.adjust_brightness, images, factor):
        np.testing.assert_allclose(result, np.clip(images * wide, 0, 1), atol=1e-6)
    gray = (images * [0.299, 0.587, 0.114]).sum(-1).mean((1, 2))[:, None, None, None]
    for result in modes(pixels.adjust_contrast, images, factor):
        np.testing.assert_allclose(result, np.clip(wide * images + (1 - wide) * gray, 0, 1),
                                   atol=2e-6)


def test_erase():
    images = smooth_images(h=20, w=20).astype(np.float32)
    values = np.full_like(images, -1)
    boxes = np.array([[0, 0, 0.5, 0.25], [0.5, 0.5, 0.5, 0.5], [0.2, 0.2, 0, 0], [0, 0, 1, 1]],
                     np.float32)
    expected = images.copy()
    expected[0, :5, :10] = expected[1, 10:, 10:] = expected[3] = -1
    for result in modes(pixels.erase, images, boxes, values):
        assert (result.numpy() == expected).all()


def test_erase_distribution():
    options = PixelOptions(erase_p=0.5)
    x, y, w, h = pixels.erase_boxes(SEED, 20000, options).numpy().T
    erased = w > 0
    assert abs(erased.mean() - 0.5) < 0.02
    area, ratio = (w * h)[erased], h[erased] / w[erased]
    assert area.min() >= 0.02 and area.max() <= 0.4
    assert ratio.min() >= 0.3 - 1e-5 and ratio.max() <= 3.33 + 1e-4
    assert (x + w <= 1 + 1e-6).all() and (y + h <= 1 + 1e-6).all()


def test_mixup():
    images, targets = smooth_images().astype(np.float32), np.eye(4, 5, dtype=np.float32)
    partner, share = np.array([2, 0, 1, 3]), np.array([0.25, 1, 0, 0.5], np.float32)
    for values in (images, targets):
        wide = share.reshape([-1] + [1] * (values.ndim - 1))
        for result in modes(pixels.mixup, values, partner, share):
            np.testing.assert_allclose(result, wide * values + (1 - wide) * values[partner], rtol=1e-5)


def test_normalise():
    images = smooth_images() / np.float32(255)
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    for result in modes(lambda i: pixels.normalise(i, mean, std, tf.float32), images):
        np.testing.assert_allclose(result, (images - mean) / std, atol=1e-6)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float16", 2e-3), ("bfloat16", 2e-2)])
def test_pixel_stage_in_one_piece(dtype, tolerance):
    """The compiled whole equals its parts put together, with targets mixed alike."""
    options = PixelOptions(brightness=0.3, contrast=0.3, erase_p=1.0, mixup=0.5)
    images, targets = tf.constant(smooth_images(n=8)), tf.eye(8)
    got, mixed = pixels.pixel_stage(options, (0.5,), (0.25,), dtype)(SEED, images, targets)
    assert got.dtype == dtype and mixed.dtype == tf.float32
    x = tf.cast(images, tf.float32) / 255
    x = pixels.adjust_brightness(x, 1 + 0.3 * uniform(SEED, "brightness", [8], -1, 1))
    x = pixels.adjust_contrast(x, 1 + 0.3 * uniform(SEED, "contrast", [8], -1, 1))
    partner = np.argsort(uniform(SEED, "mixup partner", [8]).numpy(), kind="stable")
    share = beta(SEED, "mixup", [8], 0.5)
    x = pixels.mixup(x, partner, share)
    x = pixels.erase(x, pixels.erase_boxes(SEED, 8, options), uniform(SEED, "erase values", x.shape))
    np.testing.assert_allclose(tf.cast(got, tf.float32), (x - 0.5) / 0.25, atol=4 * tolerance)
    np.testing.assert_allclose(mixed, pixels.mixup(tf.eye(8), partner, share), atol=1e-6)
