"""Colour changes against a pixel-by-pixel reference; eagerly, in tf.data and compiled."""
import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from pipeline import colour
from pipeline.colour import Colour, change_colour, change_gamma, draw_colour
from tests.helpers import modes, smooth_images

SEED = tf.constant([1, 2], tf.int64)
LUMA = np.array([0.299, 0.587, 0.114])
ALL = Colour(1.0, 0.3, 0.3, 0.3, 0.15, 0.4, 0.1, 0.1)


def oracle_hue(pixel, turns):
    """One pixel by Y'UV, the textbook way."""
    r, g, b = map(float, pixel)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    u, v = 0.492 * (b - y), 0.877 * (r - y)
    angle = 2 * math.pi * turns
    u, v = math.cos(angle) * u - math.sin(angle) * v, math.sin(angle) * u + math.cos(angle) * v
    red, blue = y + v / 0.877, y + u / 0.492
    return np.array([red, (y - 0.299 * red - 0.114 * blue) / 0.587, blue])


def oracle(image, plan, k, jitters):
    """Image k after every change in its turn, unclipped in between. Returns 0..255, not rounded."""
    x = image.astype(float) / 255
    if "gray" in plan and plan["gray"][k]:
        x = np.repeat((x @ LUMA)[..., None], 3, axis=-1)
    for j in plan["order"][k] if "order" in plan else range(len(jitters)):
        name, amount = jitters[j], plan[jitters[j]][k]
        gray = x if x.shape[-1] == 1 else (x @ LUMA)[..., None]
        if name == "brightness":
            x = x * amount
        elif name == "contrast":
            x = amount * x + (1 - amount) * gray.mean()
        elif name == "saturation":
            x = amount * x + (1 - amount) * gray
        else:
            x = np.apply_along_axis(oracle_hue, -1, x, amount)
    if "offset" in plan:
        x = x + plan["offset"][k]
    return (x * 255).clip(0, 255)


ONES = [Colour(brightness=0.4), Colour(contrast=0.4), Colour(saturation=0.8), Colour(hue=0.3),
        Colour(gray=0.5), Colour(pca=0.3), Colour(rgb_shift=0.2), ALL]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", ONES, ids=str)
def test_change_equals_the_slow_way(options, channels):
    images = smooth_images(n=6, h=21, w=10, c=channels)
    plan = draw_colour(SEED, 6, options, channels)
    plain = {name: value.numpy() for name, value in plan.items()}
    expected = np.stack([oracle(image, plain, k, options.jitters(channels))
                         for k, image in enumerate(images)])
    assert plan == {} or np.abs(expected - images).max() > 5
    for result in modes(change_colour, images, plan):
        assert result.dtype == np.uint8
        # Half a level of rounding; float32 and the angle add a hundredth.
        assert np.abs(result - expected).max() <= 0.52


@pytest.mark.parametrize("n", [1, 6])
def test_gamma(n):
    images = smooth_images(n=n, h=21, w=10)
    images[0, 0, :2] = 0
    exponent = np.linspace(0.4, 2.5, n, dtype=np.float32)
    for result in modes(change_gamma, images, exponent):
        expected = 255 * (images / 255) ** exponent[:, None, None, None]
        assert result.dtype == np.uint8 and np.abs(result - expected).max() <= 0.51
    one = tf.constant(images[:1])
    assert (change_gamma(one, tf.ones([1])).numpy() == images[:1]).all()


def test_power():
    shares = (np.arange(1, 256) / 255).astype(np.float32)
    for exponent in (0.2, 0.8, 1.0, 1.25, 5.0):
        for result in modes(colour.power, shares, np.float32(exponent)):
            np.testing.assert_allclose(result, shares.astype(float) ** exponent, atol=4e-5)
    assert 0 <= colour.power(tf.constant([1e-9]), 5.0).numpy()[0] < 1e-30


def test_nothing_to_change():
    images = smooth_images()
    assert draw_colour(SEED, 4, Colour(), 3) == {}
    assert (change_colour(tf.constant(images), {}).numpy() == images).all()


@pytest.mark.parametrize("height", [1, 7, 8, 20])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_channel_means(height, dtype):
    images = smooth_images(h=height, w=9).astype(dtype)
    for result in modes(colour.channel_means, images):
        np.testing.assert_allclose(result, images.mean((1, 2)), rtol=1e-5)


def test_jitter_distribution():
    """System A, model 04: factors 1 +- 0.25, hue +- 0.125, lighting noise 0.125, gray 0.2."""
    options = Colour(brightness=0.25, contrast=0.25, saturation=0.25, hue=0.125, pca=0.125, gray=0.2)
    plan = {name: value.numpy() for name, value in draw_colour(SEED, 20000, options, 3).items()}
    for name, low, wide in (("brightness", 0.75, 0.5), ("contrast", 0.75, 0.5),
                            ("saturation", 0.75, 0.5), ("hue", -0.125, 0.25)):
        assert scipy.stats.kstest(plan[name], "uniform", (low, wide)).pvalue > 1e-3, name
    assert abs(plan["gray"].mean() - 0.2) < 0.01
    together = np.corrcoef([plan[n] for n in ("brightness", "contrast", "saturation", "hue", "gray")])
    assert np.abs(together - np.eye(5)).max() < 0.03
    amounts = np.linalg.solve(np.array(colour.COMPONENTS) * colour.DEVIATIONS, plan["offset"].T)
    for row in amounts:
        assert scipy.stats.kstest(row / 0.125, "norm").pvalue > 1e-3
    # Every one of the 24 orders is as likely.
    orders = np.unique(plan["order"], axis=0, return_counts=True)[1]
    assert len(orders) == 24 and scipy.stats.chisquare(orders).pvalue > 1e-3


def test_components_are_those_of_a_covariance():
    components = np.array(colour.COMPONENTS)
    np.testing.assert_allclose(components.T @ components, np.eye(3), atol=2e-3)


def test_probability_of_a_change():
    options = Colour(p=0.3, brightness=0.2, hue=0.1, rgb_shift=0.1, gamma=0.5)
    plan = {name: value.numpy() for name, value in draw_colour(SEED, 20000, options, 3).items()}
    for changed in (plan["brightness"] != 1, plan["hue"] != 0, (plan["offset"] != 0).any(1),
                    plan["gamma"] != 1):
        assert abs(changed.mean() - 0.3) < 0.02
    logs = np.log(plan["gamma"][plan["gamma"] != 1]) / np.log(1.5)
    assert scipy.stats.kstest(logs, "uniform", (-1, 2)).pvalue > 1e-3
