"""Geometry against NumPy and SciPy, eagerly, in tf.data and compiled."""
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf

from pipeline import geometry
from pipeline.geometry import Geometry, draw_maps, warp
from tests.helpers import modes, smooth_images

SEED = tf.constant([1, 2], tf.int64)
EVERYTHING = Geometry(20, 10, 0.2, 0.1, (0.6, 0.9), (0.75, 1.33), 1.0, 0.5, 0.5, 0.5, 0.3)


def mapped_indices(shape, matrix, size):
    """Where the output's pixel centres lie in the image: (y, x) in pixel indices."""
    v, u = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size, indexing="ij")
    return ((matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]) * shape[0] - 0.5,
            (matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]) * shape[1] - 0.5)


def oracle_bilinear(image, matrix, size):
    at = mapped_indices(image.shape, matrix, size)
    return np.stack([scipy.ndimage.map_coordinates(plane.astype(float), at, order=1, mode="nearest")
                     for plane in np.moveaxis(image, -1, 0)], -1)


def keys_kernel(t, a=-0.5):
    t = np.abs(t)
    return np.where(t <= 1, (a + 2) * t**3 - (a + 3) * t**2 + 1,
                    np.where(t < 2, a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a, 0))


def oracle_bicubic(image, matrix, size):
    y, x = mapped_indices(image.shape, matrix, size)
    padded = np.pad(image.astype(float), ((60, 60), (60, 60), (0, 0)), "edge")
    result = np.zeros((size, size, image.shape[2]))
    for row in range(size):
        for column in range(size):
            top, left = int(np.floor(y[row, column])) - 1, int(np.floor(x[row, column])) - 1
            down = keys_kernel(np.arange(top, top + 4) - y[row, column])
            along = keys_kernel(np.arange(left, left + 4) - x[row, column])
            piece = padded[top + 60:top + 64, left + 60:left + 64]
            result[row, column] = np.einsum("i,j,ijc->c", down, along, piece)
    return result.clip(0, 255)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("cubic, oracle", [(False, oracle_bilinear), (True, oracle_bicubic)])
def test_warp_equals_the_oracle(channels, cubic, oracle):
    images = smooth_images(n=4, h=30, w=26, c=channels)
    maps = draw_maps(SEED, 4, EVERYTHING)
    expected = np.stack([oracle(i, m, 22) for i, m in zip(images, maps.numpy())])
    for result in modes(lambda i, m: warp(i, m, 22, cubic), images, maps):
        assert result.dtype == np.uint8
        assert np.abs(result - expected).max() <= 0.51  # rounding


@pytest.mark.parametrize("cubic", [False, True])
def test_identity_map_changes_nothing(cubic):
    images = tf.constant(smooth_images(h=24, w=24))
    maps = draw_maps(SEED, 4, Geometry())
    assert (warp(images, maps, 24, cubic).numpy() == images.numpy()).all()


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize("side", [24, 25, 112])
def test_flips_and_quarter_turns_are_exact(side, cubic):
    """Turtle Recall's nine in their order; the first five to the pixel."""
    image = smooth_images(n=1, h=side, w=side)
    views = geometry.nine_views()
    shown = warp(tf.constant(np.repeat(image, 9, 0)), views, side, cubic).numpy()
    image = image[0]
    for k, expected in enumerate([image[:, ::-1], image[::-1], np.rot90(image), np.rot90(image, 2),
                                  np.rot90(image, 3)]):
        assert (shown[k] == expected).all(), k


def test_half_quarter_turns_show_the_middle():
    """45, 135, 225 and 315 degrees, counter-clockwise, of the central 0.7: by SciPy's rotation."""
    image = smooth_images(n=1, h=101, w=101, sigma=6)
    shown = warp(tf.constant(np.repeat(image, 9, 0)), geometry.nine_views(), 71, False).numpy()
    for k, angle in enumerate((45, 135, 225, 315)):
        turned = scipy.ndimage.rotate(image[0].astype(float), angle, reshape=False, order=1,
                                      mode="nearest")
        middle = turned[15:86, 15:86]  # 71 of 101 px
        assert np.abs(shown[5 + k] - middle).max() <= 4  # 0.7 is 70.7 px, and twice resampled


def test_chain_and_compose():
    """Crop, then turn, then shift, by hand."""
    random = np.random.default_rng(0)
    matrix, shift = random.normal(size=(2, 2)), random.normal(size=2)
    x, y, w, h = box = np.array([0.1, 0.2, 0.5, 0.3])
    maps = geometry.compose(*(tf.constant(a[None], tf.float32) for a in (matrix, shift, box)))
    u, v = 0.3, 0.8
    point = np.array([x + u * w, y + v * h])  # in the image before the turn
    expected = matrix @ (point - 0.5) + 0.5 + shift
    np.testing.assert_allclose(maps[0].numpy() @ [u, v, 1], expected, rtol=1e-5)
    first, then = random.normal(size=(2, 1, 2, 3))
    chained = geometry.chain(tf.constant(first, tf.float32), tf.constant(then, tf.float32))[0].numpy()
    inner = first[0] @ [u, v, 1]
    np.testing.assert_allclose(chained @ [u, v, 1], then[0] @ [*inner, 1], rtol=1e-5)


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


def drawn_matrices(**options):
    return draw_maps(SEED, 20000, Geometry(**options)).numpy()


def test_rotation_distribution():
    maps = drawn_matrices(rotate=10)
    angle = np.degrees(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    assert scipy.stats.kstest(angle, "uniform", (-10, 20)).pvalue > 1e-3


def test_scale_shear_and_shift_distribution():
    grow = 1 / drawn_matrices(scale=0.2)[:, 0, 0]
    assert scipy.stats.kstest(grow, "uniform", (0.8, 0.4)).pvalue > 1e-3
    slant = np.degrees(np.arctan(drawn_matrices(shear=15)[:, 0, 1]))
    assert scipy.stats.kstest(slant, "uniform", (-15, 30)).pvalue > 1e-3
    maps = drawn_matrices(shift=0.1)
    for k in (0, 1):
        assert scipy.stats.kstest(maps[:, k, 2], "uniform", (-0.1, 0.2)).pvalue > 1e-3
    assert abs(np.corrcoef(maps[:, 0, 2], maps[:, 1, 2])[0, 1]) < 0.03


def test_probabilities_of_flips_turns_and_views():
    identity = np.eye(2, 3)
    unchanged = lambda maps: np.isclose(maps, identity, atol=1e-6).all((1, 2)).mean()
    assert abs(unchanged(drawn_matrices(rotate=10, scale=0.1, affine_p=0.3)) - 0.7) < 0.015
    flips = drawn_matrices(hflip=0.3, vflip=0.1)
    assert abs((flips[:, 0, 0] < 0).mean() - 0.3) < 0.015
    assert abs((flips[:, 1, 1] < 0).mean() - 0.1) < 0.01
    for maps, p, kinds in ((drawn_matrices(quarter_turns=0.6), 0.6, 3),
                           (drawn_matrices(nine=0.5), 0.5, 9)):
        counts = sorted(np.unique(maps.round(4), axis=0, return_counts=True)[1])
        assert len(counts) == kinds + 1 and abs(counts[-1] / 20000 - (1 - p)) < 0.015
        assert scipy.stats.chisquare(counts[:-1]).pvalue > 1e-3
