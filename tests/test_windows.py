"""Windows of pages: what is cut from them equals what is cut from the whole page."""
import cv2
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from pipeline.cache import ImageSource
from pipeline.geometry import warp
from pipeline.page_geometry import draw_page_maps
from pipeline.windows import (MARGIN, cut_windows, decode_window, page_data, place_windows,
                              window_side)

SEED = tf.constant([1, 2], tf.int64)
PAGE, CROP, N = 203, 64, 200  # px, px; the page is no multiple of a JPEG's blocks


def make_page(channels=3, seed=0):
    noise = np.random.default_rng(seed).normal(size=(PAGE, PAGE, channels))
    smooth = scipy.ndimage.gaussian_filter(noise, (1, 1, 0))
    return (128 + 60 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)


SAMPLING = {"4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
            "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
            "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444}
FILES = {name: cv2.imencode(".jpg", make_page(), [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])[1]
         for name, factor in SAMPLING.items()}
FILES["progressive"] = cv2.imencode(".jpg", make_page(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]
FILES["gray"] = cv2.imencode(".jpg", make_page(1))[1]
FILES["png"] = cv2.imencode(".png", make_page())[1]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_a_window_are_those_of_the_whole_page(name, channels):
    data = tf.constant(FILES[name].tobytes())
    whole = tf.io.decode_image(data, channels).numpy()
    window = 70
    corners = np.random.default_rng(0).integers(0, PAGE - window + 1, (40, 2))
    corners[:5] = [[0, 0], [PAGE - window] * 2, [0, 50], [16, 16], [PAGE - window, 8]]
    decode = tf.function(lambda corner: decode_window(data, corner, window, channels))
    for x, y in corners.astype(np.int32):
        part = decode(tf.constant([x, y])).numpy()
        # At the page's own border the margin is exact too: a crop repeats it.
        left, top = MARGIN * (x > 0), MARGIN * (y > 0)
        right = window - MARGIN * (x < PAGE - window)
        bottom = window - MARGIN * (y < PAGE - window)
        expected = whole[y:y + window, x:x + window]
        assert (part == expected)[top:bottom, left:right].all(), (x, y)


CASES = [(0, 0), (10, 0.2), (45, 0.0), (90, 0.4), (10, 0.65)]


@pytest.mark.parametrize("rotate, scale", CASES)
def test_warps_of_windows_equal_warps_of_pages(rotate, scale):
    window = window_side(PAGE, CROP, rotate, scale)
    assert (window == PAGE) == ((rotate, scale) == (10, 0.65))
    maps = draw_page_maps(SEED, N, rotate, scale, 1, PAGE, CROP)
    corners, seen = place_windows(maps, PAGE, CROP, window)
    assert corners.numpy().min() >= 0 and corners.numpy().max() <= PAGE - window
    pages = tf.tile(make_page()[None], [N, 1, 1, 1])
    # What lies around the window is wrong on purpose, and so is the margin within it.
    parts = np.stack([page[y:y + window, x:x + window] for page, (x, y) in zip(
        pages.numpy(), corners.numpy())])
    for part, (x, y) in zip(parts, corners.numpy()):
        inner = np.zeros((window, window), bool)
        inner[MARGIN * (y > 0):window - MARGIN * (y < PAGE - window),
              MARGIN * (x > 0):window - MARGIN * (x < PAGE - window)] = True
        part[~inner] = 255 - part[~inner]
    difference = np.abs(warp(tf.constant(parts), seen, CROP).numpy().astype(int)
                        - warp(pages, maps, CROP).numpy())
    assert difference.max() <= 1 and (difference > 0).mean() < 2e-3


@pytest.mark.parametrize("rotate, scale", CASES)
def test_windows_are_no_larger_than_needed(rotate, scale):
    """The greatest turn and scale reach from one end to the other."""
    window = window_side(10 ** 6, CROP, rotate, scale)
    most = np.radians(min(rotate, 45))
    side = CROP * (np.cos(most) + np.sin(most)) / (1 - scale)
    assert side + 2 + 2 * MARGIN <= window < side + 3 + 2 * MARGIN


def source_of(kind, pages):
    if kind == "decoded":
        return ImageSource(kind, None, 0, images=tf.constant(pages))
    data = tf.constant([cv2.imencode(".png", page[..., ::-1])[1].tobytes() for page in pages])
    return ImageSource(kind, None, 0, fetch_encoded=lambda positions: positions.map(
        lambda batch: tf.gather(data, batch)))


@pytest.mark.parametrize("kind", ["decoded", "encoded"])
def test_windows_of_a_source(kind):
    pages = np.stack([make_page(seed=k) for k in range(5)])
    positions = np.array([[3, 0, 3], [1, 4, 2]])
    corners = np.random.default_rng(1).integers(0, PAGE - 40 + 1, (2, 3, 2)).astype(np.int32)
    source = source_of(kind, pages)
    placed = tf.data.Dataset.zip(
        page_data(source, tf.data.Dataset.from_tensor_slices(positions)),
        tf.data.Dataset.from_tensor_slices(corners))
    windows = cut_windows(source, placed, 40, 3)
    assert windows.element_spec.shape == (3, 40, 40, 3)
    expected = [[pages[p, y:y + 40, x:x + 40] for p, (x, y) in zip(*batch)]
                for batch in zip(positions, corners)]
    assert (np.stack(list(windows.as_numpy_iterator())) == expected).all()
    # Others go with their own window.
    numbered = tf.data.Dataset.zip(placed, tf.data.Dataset.from_tensor_slices(
        {"number": np.arange(6, dtype=np.int32).reshape(2, 3)}))
    changed = cut_windows(source, numbered.map(lambda placed, n: (*placed, n)), 40, 3,
                          lambda window, own: tf.cast(window[0, 0, 0], tf.int32) + 1000 * own["number"])
    corner = np.array(expected)[:, :, 0, 0, 0] + 1000 * np.arange(6).reshape(2, 3)
    assert (np.stack(list(changed.as_numpy_iterator())) == corner).all()
