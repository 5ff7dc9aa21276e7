"""Pixel changes of pages against NumPy, SciPy, OpenCV and loops; eagerly, in tf.data, compiled."""
import math

import cv2
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf

from pipeline import page_pixels, pixels
from pipeline.clahe import clahe
from pipeline.page_pixels import PagePixels, page_pixel_stage
from pipeline.randomness import uniform

SEED = tf.constant([1, 2], tf.int64)
LUMA = np.array([0.299, 0.587, 0.114])


def smooth_images(n=4, h=40, w=32, c=3, sigma=2, seed=0):
    """uint8, over the whole range: rough enough to be blurred, smooth enough to have structure."""
    random = np.random.default_rng(seed).normal(size=(n, h, w, c))
    images = scipy.ndimage.gaussian_filter(random, (0, sigma, sigma, 0))
    return (128 + images / images.std() * 60).clip(0, 255).astype(np.uint8)


def modes(function, *arguments):
    """The function's results eagerly, inside tf.data, and compiled."""
    arguments = tuple(map(tf.constant, arguments))
    yield function(*arguments).numpy()
    yield next(iter(tf.data.Dataset.from_tensors(arguments).map(function))).numpy()
    yield tf.function(function, jit_compile=True)(*arguments).numpy()


def floats(**options):
    return (smooth_images(**options) / 255).astype(np.float32)


def test_gamma():
    images, exponent = floats(), np.float32([0.5, 1, 1.3, 2])
    for result in modes(page_pixels.adjust_gamma, images, exponent):
        np.testing.assert_allclose(result, images ** exponent[:, None, None, None], atol=4e-5)


def oracle_colour(pixel, turns, factor):
    """One pixel by Y'UV, the textbook way."""
    r, g, b = map(float, pixel)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    u, v = 0.492 * (b - y), 0.877 * (r - y)
    angle = 2 * math.pi * turns
    u, v = (factor * (math.cos(angle) * u - math.sin(angle) * v),
            factor * (math.sin(angle) * u + math.cos(angle) * v))
    red, blue = y + v / 0.877, y + u / 0.492
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    return np.clip([red, green, blue], 0, 1)


def test_hue_and_saturation():
    images = floats(h=6, w=5, sigma=0.5)
    turns, factor = np.float32([0.1, -0.3, 0, 0.5]), np.float32([1, 1.4, 0.3, 1])
    expected = [[[oracle_colour(pixel, t, f) for pixel in row] for row in image]
                for image, t, f in zip(images, turns, factor)]
    for result in modes(page_pixels.adjust_colour, images, turns, factor):
        np.testing.assert_allclose(result, expected, atol=2e-6)


def test_gray_is_the_luma_and_a_whole_turn_is_none():
    images = floats()
    turns, factor = np.float32([0.2, 0, 1, 0]), np.float32([0, 0, 1, 1])
    result = page_pixels.adjust_colour(images, turns, factor).numpy()
    np.testing.assert_allclose(result[:2], np.tile((images @ LUMA)[:2, ..., None], 3), atol=1e-6)
    np.testing.assert_allclose(result[2:], images[2:], atol=1e-6)


def test_rgb_shift():
    images = floats()
    shift = np.random.default_rng(0).uniform(-0.3, 0.3, (4, 3)).astype(np.float32)
    for result in modes(page_pixels.shift_channels, images, shift):
        np.testing.assert_allclose(result, np.clip(images + shift[:, None, None], 0, 1), atol=1e-6)


@pytest.mark.parametrize("shape", [(32, 40, 3), (15, 13, 1)])
def test_noise_is_normal_and_the_same_compiled(shape):
    flat = np.full(shape, 0.5, np.float32)
    results = list(modes(lambda i: page_pixels.gaussian_noise(SEED, i, 0.05), flat))
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
    np.testing.assert_allclose(results[0], results[2], atol=2e-6)
    assert scipy.stats.kstest((results[0] - 0.5).ravel() / 0.05, "norm").pvalue > 1e-3
    large = page_pixels.gaussian_noise(SEED, tf.zeros([200, 200, 3]) + 0.5, 0.05).numpy() - 0.5
    assert abs(large.std() - 0.05) < 5e-4 and abs(large.mean()) < 5e-4
    assert abs(np.corrcoef(large[..., 0].ravel(), large[..., 1].ravel())[0, 1]) < 0.02
    halves = large.ravel().reshape(2, -1)  # both come of the same draws
    assert abs(np.corrcoef(halves)[0, 1]) < 0.02
    clipped = page_pixels.gaussian_noise(SEED, tf.zeros([50, 50, 1]), 0.5).numpy()
    assert clipped.min() == 0 and clipped.max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [0.01, 0.7, 1.5])
def test_blur_equals_scipy(channels, sigma):
    image = floats(n=1, c=channels, sigma=0.5)[0]
    expected = scipy.ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="reflect",
                                             radius=(5, 5, 0))
    for result in modes(lambda i, s: page_pixels.gaussian_blur(i, s, 5), image, np.float32(sigma)):
        np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("clip", [1.0, 2.5, 4.0, 40.0])
@pytest.mark.parametrize("height, width", [(96, 96), (100, 84)])
def test_clahe_equals_opencv(height, width, clip):
    image = smooth_images(1, height, width, 1, sigma=4)[0]
    expected = cv2.createCLAHE(clip, (8, 8)).apply(image[..., 0]).astype(int)
    assert np.abs(expected - image[..., 0]).mean() > 5
    for result in modes(lambda i, c: clahe(i, c), image, np.float32(clip)):
        difference = np.abs(result[..., 0] - expected)
        assert difference.max() <= 1 and difference.mean() < 0.05, difference.mean()


def test_clahe_of_colour_changes_the_luma_alone():
    image = smooth_images(1, 96, 96, 3, sigma=4)[0] // 2 + 64  # far from the ends of the scale
    result = clahe(tf.constant(image), 3.0).numpy()
    ycc = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    ycc[..., 0] = cv2.createCLAHE(3.0, (8, 8)).apply(ycc[..., 0])
    expected = cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB).astype(int)
    difference = np.abs(result - expected)
    assert np.abs(expected - image).mean() > 5 and difference.mean() < 0.7, difference.mean()
    inside = ((result > 0) & (result < 255)).all(-1)
    change = (result.astype(int) - image)[inside]
    assert (change == change[:, :1]).all()


EVERYTHING = PagePixels(0.5, 0.3, 0.3, 0.4, 0.1, 0.4, 0.1, 0.3, 0.5, noise=0.1, blur=1.2)
ONES = {name: PagePixels(1.0, **{name: value}) for name, value in dict(
    brightness=0.3, contrast=0.3, gamma=0.4, hue=0.2, saturation=0.5, rgb_shift=0.1, gray=1.0,
    clahe=1.0, noise=0.1, blur=1.2).items()}


@pytest.mark.parametrize("channels", [1, 3])
def test_all_off_is_the_identity(channels):
    images = smooth_images(c=channels)
    for p in (0.5, 1.0):
        stage = page_pixel_stage(PagePixels(p), (0.25,), (0.5,), "float32")
        np.testing.assert_allclose(stage(SEED, tf.constant(images)), (images / 255 - 0.25) / 0.5,
                                   atol=1e-6)
    never = PagePixels(0.0, 0.3, 0.3, 0.4, 0.1, 0.4, 0.1, 0, 0, noise=0.1, blur=1.2)
    result = page_pixel_stage(never, (0.0,), (1.0,), "float32")(SEED, tf.constant(images))
    np.testing.assert_allclose(result, images / 255, atol=2e-6)


@pytest.mark.parametrize("name", ONES)
def test_each_option_alone_changes_every_image_its_own_way(name):
    side = 128 if name == "clahe" else 32  # clip limits are whole numbers of a tile's pixels
    image = smooth_images(1, side, side)
    images = tf.constant(np.repeat(image, 4, axis=0))
    result = page_pixel_stage(ONES[name], (0.0,), (1.0,), "float32")(SEED, images).numpy()
    assert (np.abs(result - image / 255).max((1, 2, 3)) > 0.005).all()
    if name != "gray":
        assert any((result[0] != other).any() for other in result[1:])
    one = smooth_images(4, 32, 32, 1)
    gray = page_pixel_stage(ONES[name], (0.0,), (1.0,), "float32")(SEED, tf.constant(one)).numpy()
    changed = np.abs(gray - one / 255).max() > 1e-4
    assert changed == (name not in ("hue", "saturation", "rgb_shift", "gray"))


@pytest.mark.parametrize("name", ONES)
def test_each_option_is_drawn_by_its_share_of_the_images(name):
    fields = {name: getattr(ONES[name], name), "p": 0.3}
    if name in ("gray", "clahe"):
        fields = {name: 0.3, "p": 0.9}
    n = 100 if name in ("clahe", "noise", "blur") else 1000  # image by image these are slow here
    images = np.repeat(smooth_images(1, 16, 16), n, axis=0)
    result = page_pixel_stage(PagePixels(**fields), (0.0,), (1.0,), "float32")(
        SEED, tf.constant(images)).numpy()
    share = (np.abs(result - images / 255).max((1, 2, 3)) > 1e-5).mean()
    assert abs(share - 0.3) < 4 * math.sqrt(0.21 / n)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 4e-5), ("bfloat16", 4e-2)])
def test_the_stage_is_its_parts_in_order(dtype, tolerance):
    o, n = EVERYTHING, 8
    images = smooth_images(n, 32, 32, sigma=3)
    drawn = lambda name, p: uniform(SEED, f"{name} drawn", [n]).numpy() < p

    def amount(name, shape=()):
        share = drawn(name, o.p).reshape([n] + [1] * len(shape))
        return share * uniform(SEED, name, [n, *shape], -1, 1).numpy()
    clip = uniform(SEED, "clahe clip", [n], 1, 4)
    std = uniform(SEED, "noise std", [n]) * 0.1
    sigma = (1 - uniform(SEED, "blur sigma", [n])) * 1.2
    parts = []
    for k, image in enumerate(images):
        if drawn("clahe", o.clahe)[k]:
            image = clahe(tf.constant(image), clip[k])
        image = tf.cast(image, tf.float32) / 255
        if drawn("noise", o.p)[k]:
            image = page_pixels.gaussian_noise(tf.random.fold_in(
                tf.cast(SEED, tf.int32), k, alg="philox"), image, std[k])
        if drawn("blur", o.p)[k]:
            image = page_pixels.gaussian_blur(image, sigma[k], 4)
        parts.append(image)
    x = pixels.adjust_brightness(tf.stack(parts), np.float32(1 + 0.3 * amount("brightness")))
    x = pixels.adjust_contrast(x, np.float32(1 + 0.3 * amount("contrast")))
    x = page_pixels.adjust_gamma(x, np.float32(1.4 ** amount("gamma")))
    chroma = np.where(drawn("gray", o.gray), 0, 1 + 0.4 * amount("saturation"))
    x = page_pixels.adjust_colour(x, np.float32(0.1 * amount("hue")), np.float32(chroma))
    x = page_pixels.shift_channels(x, np.float32(0.1 * amount("rgb shift", (3,))))
    stage = page_pixel_stage(o, (0.5,), (0.25,), dtype)
    eager = stage(SEED, tf.constant(images))
    mapped = next(iter(tf.data.Dataset.from_tensors((SEED, images)).map(stage)))
    for result in (eager, mapped):
        assert result.dtype == dtype and result.shape == images.shape
        np.testing.assert_allclose(tf.cast(result, tf.float32), (x - 0.5) / 0.25, atol=tolerance)


def test_every_step_draws_anew():
    stage = page_pixel_stage(PagePixels(1.0, brightness=0.3, noise=0.1), (0.0,), (1.0,), "float32")
    images = tf.constant(smooth_images())
    first, again, other = (stage(tf.constant([1, step], tf.int64), images).numpy()
                           for step in (2, 2, 3))
    assert (first == again).all() and (first != other).any((1, 2, 3)).all()
