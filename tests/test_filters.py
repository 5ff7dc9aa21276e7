"""CLAHE, noise and blur against OpenCV, SciPy and the normal distribution, in all modes."""
import cv2
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf

from pipeline.clahe import clahe
from pipeline.filters import Filters, add_noise, blur, draw_filters, filter_images, hashed_normal
from pipeline.randomness import hashed_uniform, keys

SEED = tf.constant([1, 2], tf.int64)


def smooth_images(n=4, h=40, w=32, c=3, sigma=2.0, seed=0):
    """uint8, over the whole range: rough enough to be blurred, smooth enough to have structure."""
    random = np.random.default_rng(seed).normal(size=(n, h, w, c))
    images = scipy.ndimage.gaussian_filter(random, (0, sigma, sigma, 0))
    return (128 + images / images.std() * 60).clip(0, 255).astype(np.uint8)


def modes(function, *arguments):
    """The function's results eagerly, inside tf.data, and compiled."""
    arguments = tuple(tf.nest.map_structure(tf.constant, part) for part in arguments)
    yield function(*arguments).numpy()
    yield next(iter(tf.data.Dataset.from_tensors(arguments).map(function))).numpy()
    yield tf.function(function, jit_compile=True)(*arguments).numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [0.01, 0.7, 1.5])
def test_blur_equals_scipy(channels, sigma):
    image = smooth_images(1, c=channels, sigma=0.5)[0]
    exact = scipy.ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="reflect",
                                          radius=(5, 5, 0))
    for result in modes(lambda i, s: blur(i, s, 5), image, np.float32(sigma)):
        assert result.dtype == np.uint8
        assert np.abs(result - exact).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("shape", [(32, 40, 3), (15, 13, 1)])
def test_noise_is_the_hashed_normal_numbers_times_std_in_all_modes(shape):
    image = np.full(shape, 128, np.uint8)
    key = keys(SEED, "noise", 1)
    exact = 128 + 12.0 * hashed_normal(key, shape)[0].numpy()
    for result in modes(add_noise, image, np.float32(12), key[0].numpy()):
        assert result.dtype == np.uint8 and np.abs(result - exact).max() <= 0.5 + 1e-3


def test_noise_is_clipped():
    black = tf.zeros([50, 50, 3], tf.uint8)
    result = add_noise(black, tf.constant(200.0), tf.constant(7)).numpy()
    assert 0.45 < (result == 0).mean() < 0.55 and (result == 255).mean() > 0.05


def test_hashed_normal_numbers_are_normal():
    """A million at once, over four images; and their tails."""
    numbers = hashed_normal(keys(SEED, "noise", 4), (300, 280, 3)).numpy()
    flat = numbers.ravel().astype(float)
    assert flat.size > 1e6
    assert scipy.stats.kstest(flat, "norm").pvalue > 1e-3
    assert abs(flat.mean()) < 4e-3 and abs(flat.std() - 1) < 3e-3
    assert abs(scipy.stats.kurtosis(flat)) < 0.02 and abs(scipy.stats.skew(flat)) < 0.01
    for limit in (3, 3.5, 4):
        expected = 2 * scipy.stats.norm.sf(limit) * flat.size
        assert abs((np.abs(flat) > limit).sum() - expected) < 4 * np.sqrt(expected), limit
    # Neighbours, channels and images do not resemble each other.
    for one, other in ((numbers[:, 1:], numbers[:, :-1]), (numbers[:, :, 1:], numbers[:, :, :-1]),
                       (numbers[..., 0], numbers[..., 1]), (numbers[0], numbers[1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.006


def transformed(draws):
    """The numbers that hashed_normal makes of float64 draws, multiples of 2^-24."""
    number = np.round(draws * 2 ** 24).astype(np.uint32)
    turned = (number * np.uint32(0x9E3779B9)).astype(np.int32) * np.float32(2.0 ** -31)
    return -np.sqrt(-2 * np.log1p(-draws)) * np.cos(np.pi * turned)


def test_hashed_normal_numbers_are_the_transform_of_hashed_draws():
    image_keys = keys(SEED, "noise", 2)
    expected = transformed(hashed_uniform(image_keys, (40, 30, 3)).numpy().astype(float))
    for result in modes(lambda k: hashed_normal(k, (40, 30, 3)), image_keys.numpy()):
        np.testing.assert_allclose(result, expected, atol=2e-5)


def test_the_transform_of_all_draws_is_normal():
    """Of every one of the 2^24 draws there are: no chance in it."""
    numbers = np.concatenate([transformed((k + np.arange(2 ** 20)) / 2 ** 24).astype(np.float32)
                              for k in range(0, 2 ** 24, 2 ** 20)])
    edges = np.linspace(-5, 5, 201)
    counts = np.histogram(numbers, edges)[0]
    below = (numbers < edges[0]).sum() + np.cumsum(counts)
    expected = scipy.stats.norm.cdf(edges[1:]) * 2 ** 24
    assert np.abs(below - expected).max() < 2e-5 * 2 ** 24
    assert abs(counts[:20].sum() - np.diff(scipy.stats.norm.cdf(edges[[0, 20]]))[0] * 2 ** 24) < 30


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


def test_clahe_is_compiled_once_for_all_levels():
    """A histogram whose size depends on the darkest or brightest level is compiled for each anew."""
    compiled = tf.function(clahe, jit_compile=True)
    text = compiled.get_concrete_function(
        tf.TensorSpec([64, 64, 1], tf.uint8), tf.TensorSpec([], tf.float32)).graph
    sizes = [op.inputs[1].op.type for op in text.get_operations() if op.type == "DenseBincount"]
    assert sizes == ["Const"]


def test_amounts_are_drawn_as_told():
    o, n = Filters(blur=1.5, noise=0.03, p=0.5, clahe=0.2, clahe_clip=(1.0, 4.0)), 20000
    expected = {"clip": (0.2, 1, 3), "std": (0.5, 0, 255 * 0.03), "sigma": (0.5, 0, 1.5)}
    plans = [tf.nest.map_structure(np.asarray, plan) for plan in (
        draw_filters(SEED, n, o),
        next(iter(tf.data.Dataset.from_tensors(SEED).map(lambda seed: draw_filters(seed, n, o)))),
        tf.function(lambda seed: draw_filters(seed, n, o), jit_compile=True)(SEED))]
    for plan in plans:
        assert set(plan) == {*expected, "noise_key"} and len(set(plan["noise_key"])) > n - 5
        for name, (p, least, span) in expected.items():
            drawn = plan[name][plan[name] > 0]
            assert plan[name].dtype == np.float32 and abs(len(drawn) / n - p) < 0.015, name
            assert scipy.stats.kstest(drawn, "uniform", (least, span)).pvalue > 1e-3, name
            np.testing.assert_allclose(plan[name], plans[0][name], rtol=1e-6, atol=1e-6)
    together = np.stack([plans[0][name] > 0 for name in expected])
    assert np.abs(np.corrcoef(together) - np.eye(3)).max() < 0.03
    both = together[1] & together[2]
    assert abs(np.corrcoef(plans[0]["std"][both], plans[0]["sigma"][both])[0, 1]) < 0.06
    other = draw_filters(tf.constant([1, 3], tf.int64), n, o)
    assert (other["sigma"].numpy() != plans[0]["sigma"]).mean() > 0.7


def test_only_what_is_on_is_in_the_plan():
    assert not draw_filters(SEED, 4, Filters())
    assert set(draw_filters(SEED, 4, Filters(blur=1.0))) == {"sigma"}
    assert set(draw_filters(SEED, 4, Filters(noise=0.1))) == {"std", "noise_key"}
    assert set(draw_filters(SEED, 4, Filters(clahe=0.1))) == {"clip"}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_its_images_each_by_its_own_part_of_the_plan(channels):
    o, n = Filters(blur=1.2, noise=0.05, p=0.6, clahe=0.5), 6
    images = smooth_images(n, 64, 48, channels, sigma=3)
    plan = {name: part.numpy() for name, part in draw_filters(SEED, n, o).items()}
    plan["clip"][0] = plan["std"][0] = plan["sigma"][0] = 0  # nothing
    plan["clip"][1], plan["std"][1], plan["sigma"][1] = 3, 10, 1  # everything
    expected = []
    for k, image in enumerate(images):
        if plan["clip"][k]:
            image = clahe(tf.constant(image), plan["clip"][k]).numpy()
        if plan["std"][k]:
            noise = hashed_normal(plan["noise_key"][k:k + 1], image.shape)[0].numpy()
            image = (image + plan["std"][k] * noise).clip(0, 255).round().astype(np.uint8)
        if plan["sigma"][k]:
            s = plan["sigma"][k]
            image = scipy.ndimage.gaussian_filter(image.astype(float), (s, s, 0), mode="reflect",
                                                  radius=(4, 4, 0)).round().astype(np.uint8)
        expected.append(image)
    for result in modes(lambda i, p: filter_images(i, p, o), images, plan):
        difference = np.abs(result.astype(int) - expected)
        assert result.dtype == np.uint8 and difference.max() <= 1 and difference.mean() < 2e-3
        assert (result[0] == images[0]).all() and (result[1] != images[1]).mean() > 0.5
