"""Crops of pages and their boxes against rasterised masks and slow loops."""
import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from pipeline.geometry import compose, rotation, warp
from pipeline.page_geometry import draw_page_maps, place_boxes, select_boxes

SEED = tf.constant([1, 2], tf.int64)
PAGE, CROP = 240, 128  # px


def modes(function, *arguments):
    """The function's results eagerly, inside tf.data, and compiled."""
    arguments = tuple(map(tf.constant, arguments))
    yield function(*arguments)
    yield next(iter(tf.data.Dataset.from_tensors(arguments).map(function)))
    yield tf.function(function, jit_compile=True)(*arguments)


def test_windows_lie_on_whole_pixels_everywhere_in_the_page():
    maps = draw_page_maps(SEED, 5000, 0, 0, 1, PAGE, CROP).numpy()
    np.testing.assert_allclose(maps[:, :, :2], np.tile(np.eye(2) * CROP / PAGE, (5000, 1, 1)))
    corner = maps[:, :, 2] * PAGE
    np.testing.assert_allclose(corner, corner.round(), atol=1e-4)
    counts = np.bincount(corner.round().astype(int).ravel(), minlength=PAGE - CROP + 1)
    assert len(counts) == PAGE - CROP + 1
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_a_page_that_is_not_turned_is_cut_not_blurred():
    pages = np.random.default_rng(0).integers(0, 256, (4, PAGE, PAGE, 3)).astype(np.uint8)
    maps = draw_page_maps(SEED, 4, 10, 0.2, 0, PAGE, CROP)
    crops = warp(tf.constant(pages), maps, CROP).numpy()
    for page, crop, (x, y) in zip(pages, crops, (maps[:, :, 2].numpy() * PAGE).round().astype(int)):
        assert np.abs(crop.astype(int) - page[y:y + CROP, x:x + CROP]).max() <= 1
    whole = draw_page_maps(SEED, 4, 0, 0, 1, PAGE, PAGE)
    assert (warp(tf.constant(pages), whole, PAGE).numpy() == pages).all()


def test_angles_and_scales_are_uniform_among_those_drawn():
    for maps in modes(lambda seed: draw_page_maps(seed, 20000, 10, 0.2, 0.9, PAGE, CROP), SEED):
        matrix = maps.numpy()[:, :, :2] * PAGE / CROP
        angle = np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))
        drawn = angle != 0
        assert abs(drawn.mean() - 0.9) < 0.01
        assert scipy.stats.kstest(angle[drawn], "uniform", (-10, 20)).pvalue > 1e-3
        scale = 1 / np.sqrt(np.linalg.det(matrix))
        assert scipy.stats.kstest(scale[drawn], "uniform", (0.8, 0.4)).pvalue > 1e-3
        assert np.abs(scale[~drawn] - 1).max() < 1e-6


def maps_of(n, degrees=0.0, scale=1.0, shift=(0.0, 0.0), window=(0.0, 0.0, 1.0, 1.0)):
    return compose(rotation(tf.fill([n], math.radians(degrees))) / scale,
                   tf.tile([shift], [n, 1]), tf.tile([window], [n, 1]))


CASES = {
    "turn": lambda n: maps_of(n, degrees=20.0), "turn back": lambda n: maps_of(n, degrees=-35.0),
    "enlarge": lambda n: maps_of(n, scale=1.2), "shrink": lambda n: maps_of(n, scale=0.8),
    "shift": lambda n: maps_of(n, shift=(0.1, -0.07)),
    "crop": lambda n: maps_of(n, window=(0.2, 0.3, 0.5, 0.5)),
    "all": lambda n: draw_page_maps(SEED, n, 30, 0.2, 1, PAGE, CROP)}


@pytest.mark.parametrize("case", CASES)
def test_boxes_follow_ellipses_that_are_drawn_and_warped(case):
    """The tight box of each warped mask is the placed box, to about a pixel."""
    n, size = 12, CROP if case == "all" else PAGE
    random = np.random.default_rng(3)
    half = random.uniform(8, 40, (n, 2))  # px, long ones and flat ones
    centre = PAGE / 2 + random.uniform(-30, 30, (n, 2))
    boxes = np.concatenate([centre - half, centre + half], axis=1)[:, None] / PAGE  # [n, 1, 4]
    x, y = np.meshgrid(np.arange(PAGE) + 0.5, np.arange(PAGE) + 0.5)
    inside = [((x - c[0]) / h[0]) ** 2 + ((y - c[1]) / h[1]) ** 2 <= 1
              for c, h in zip(centre, half)]
    maps = CASES[case](n)
    masks = warp(tf.constant(np.uint8(inside)[..., None] * 255), maps, size).numpy()[..., 0] > 127
    for placed in modes(place_boxes, maps, np.float32(boxes)):
        checked = 0
        for mask, box in zip(masks, placed.numpy()[:, 0] * size):
            if (box < 1).any() or (box > size - 1).any():
                continue  # the mask does not show all of it
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            np.testing.assert_allclose(box, tight, atol=1.3)
            checked += 1
        assert checked >= 3


def test_boxes_are_exact_without_rotation():
    random = np.random.default_rng(0)
    corners = random.uniform(0, 1, (3, 20, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(2), corners.max(2)], axis=-1)
    windows = np.float32([[0.1, 0.2, 0.5, 0.4], [0.9, 0.1, -0.6, 0.5], [0, 0, 1, 1]])  # one flipped
    maps = compose(tf.eye(2, batch_shape=[3]), tf.zeros([3, 2]), windows)
    for placed in modes(place_boxes, maps, boxes):
        for k, (x, y, w, h) in enumerate(windows.astype(float)):
            expected = (boxes[k] - [x, y, x, y]) / [w, h, w, h]
            if w < 0:
                expected = expected[:, [2, 1, 0, 3]]
            np.testing.assert_allclose(placed[k], expected, atol=2e-6)


def test_the_rule_for_a_turned_box():
    """A circle's box does not grow; an upright line turned by 30 degrees leans by its sine."""
    box = np.float32([[[0.4, 0.4, 0.6, 0.6], [0.5, 0.3, 0.5, 0.7]]])
    placed = place_boxes(maps_of(1, degrees=30.0), box).numpy()[0]
    np.testing.assert_allclose(placed[0], box[0, 0], atol=1e-6)
    reach = np.array([0.2 * math.sin(math.pi / 6), 0.2 * math.cos(math.pi / 6)])
    np.testing.assert_allclose(placed[1], [*(0.5 - reach), *(0.5 + reach)], atol=1e-6)


def oracle_select(boxes, class_ids, count, max_boxes):
    """One crop, one box after the other."""
    kept, classes, left_out = [], [], 0
    for (x0, y0, x1, y1), class_id in list(zip(boxes, class_ids))[:count]:
        if not (0 <= (x0 + x1) / 2 < 1 and 0 <= (y0 + y1) / 2 < 1):
            continue
        box = [max(x0, 0), max(y0, 0), min(x1, 1), min(y1, 1)]
        if box[2] <= box[0] or box[3] <= box[1]:
            continue
        if len(kept) == max_boxes:
            left_out += 1
        else:
            kept.append(box)
            classes.append(class_id)
    padding = max_boxes - len(kept)
    return (kept + [[0] * 4] * padding, classes + [-1] * padding, len(kept), left_out)


@pytest.mark.parametrize("max_boxes", [1, 3, 60])
def test_selection_equals_the_slow_way(max_boxes):
    random = np.random.default_rng(max_boxes)
    n, m = 6, 40
    # Multiples of 1/8, so that many centres and sides lie on the border exactly.
    first = random.integers(-4, 9, (n, m, 2)) / 8
    last = first + random.integers(0, 7, (n, m, 2)) / 8
    boxes = np.concatenate([first, last], axis=-1).astype(np.float32)
    class_ids = random.integers(0, 4212, (n, m)).astype(np.int32)
    count = np.int32([40, 0, 7, 1, 39, 20])
    boxes[4] += 3  # none is in this crop
    expected = [np.array(part) for part in zip(*(oracle_select(*crop, max_boxes) for crop in zip(
        boxes, class_ids, count)))]
    assert expected[3].any() == (max_boxes < 60) and not expected[2][[1, 4]].any()
    select = lambda *arguments: select_boxes(*arguments, max_boxes)
    for result in modes(select, boxes, class_ids, count):
        assert [part.dtype for part in result] == [tf.float32, tf.int32, tf.int32, tf.int32]
        for part, wanted in zip(result, expected):
            assert (part.numpy() == wanted).all()


def test_what_lies_on_the_border():
    boxes = np.float32([[[-0.5, 0, 0.5, 1], [0.5, 0, 1.5, 1],  # centres at 0 and at 1
                         [-0.6, 0, 0.5, 1], [0.2, 0.2, 0.2, 0.4]]])
    kept = select_boxes(boxes, np.int32([[7, 8, 9, 10]]), np.int32([4]), 4)
    assert kept[0].numpy()[0].tolist() == [[0, 0, 0.5, 1]] + [[0] * 4] * 3
    assert kept[1].numpy()[0].tolist() == [7, -1, -1, -1] and kept[2] == 1 and kept[3] == 0
