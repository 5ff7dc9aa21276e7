"""CenterNet's targets against loops over pixels; the radius against every box at its limit."""
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from models.centernet_targets import centernet_targets, gaussian_radius

SIDE, STRIDE = 96, 4
GRID = SIDE // STRIDE


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return shared / (area - shared)


def least_iou(width, height, radius, generator):
    """Over boxes whose corners moved by `radius` exactly, and by random amounts up to it."""
    box = np.array([0, 0, width, height], float)
    moves = [np.array(move) for move in itertools.product((-radius, 0, radius), repeat=4)]
    moves += list(generator.uniform(-radius, radius, (200, 4)))
    return min(iou(box, box + move) for move in moves)


def proper_roots(w, h, t):
    """Both corners inwards, both outwards, one in and one out."""
    inwards = ((w + h) - math.sqrt((w + h) ** 2 - 4 * (1 - t) * w * h)) / 4
    outwards = (-t * (w + h) + math.sqrt((t * (w + h)) ** 2 + 4 * t * (1 - t) * w * h)) / (4 * t)
    moved = ((w + h) - math.sqrt((w + h) ** 2 - 4 * w * h * (1 - t) / (1 + t))) / 2
    return inwards, outwards, moved


def well_known_radius(w, h, t):
    cases = [(1, -(w + h), w * h * (1 - t) / (1 + t)), (4, -2 * (w + h), (1 - t) * w * h),
             (4 * t, 2 * t * (w + h), (t - 1) * w * h)]
    return min((-b + math.sqrt(b * b - 4 * a * c)) / 2 for a, b, c in cases)


# Width, height, overlap; the proper root (also found by bisection of `least_iou`), the radius, what
# the well-known code gives before it is cut to a whole number.
RADII = [(10, 10, 0.7, 0.81670, 0, 2.73320), (32, 32, 0.7, 2.61344, 2, 8.74624),
         (128, 128, 0.7, 10.45376, 10, 34.98497), (10, 100, 0.7, 1.39923, 1, 5.27393),
         (100, 10, 0.7, 1.39923, 1, 5.27393), (40, 30, 0.5, 5.0, 5, 14.24429),
         (4, 4, 0.2, 1.10557, 1, 1.97771)]


@pytest.mark.parametrize("w, h, overlap, root, radius, well_known", RADII)
def test_radius_is_pinned(w, h, overlap, root, radius, well_known):
    assert min(proper_roots(w, h, overlap)) == pytest.approx(root, abs=1e-5)
    size = tf.constant([[w, h]], tf.float32) * 1.00001  # 5.0 exactly is a matter of rounding
    for call in (gaussian_radius, tf.function(gaussian_radius, jit_compile=True)):
        assert call(size, overlap).numpy() == [radius]
    assert well_known_radius(w, h, overlap) == pytest.approx(well_known, abs=1e-5)
    assert least_iou(w, h, well_known, np.random.default_rng(0)) < overlap / 2


def test_radius_keeps_the_overlap_and_no_larger_one_does():
    generator = np.random.default_rng(1)
    for _ in range(60):
        w, h = np.exp(generator.uniform(math.log(0.5), math.log(200), 2))
        overlap = generator.uniform(0.1, 0.95)
        root = min(proper_roots(w, h, overlap))
        assert root == proper_roots(w, h, overlap)[0], "the first case is the least"
        assert least_iou(w, h, root, generator) >= overlap - 1e-9
        assert least_iou(w, h, root * 1.001, generator) < overlap
        if abs(root - round(root)) > 1e-3:
            assert gaussian_radius(np.float32([[w, h]]), overlap).numpy() == [math.floor(root)]


def kernel_value(kernel, dy, dx, w, h, overlap):
    if kernel == "3x3":
        return {0: 1.0, 1: 0.75, 2: 0.5}[abs(dy) + abs(dx)] if max(abs(dy), abs(dx)) <= 1 else 0.0
    radius = math.floor(min(proper_roots(w, h, overlap)))
    sigma = (2 * radius + 1) / 6
    inside = max(abs(dy), abs(dx)) <= radius
    return math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma)) if inside else 0.0


def expected(boxes, class_ids, count, kernel, n_heatmaps, overlap):
    b, m = class_ids.shape
    want = {"heatmap": np.zeros((b, GRID, GRID, n_heatmaps)), "cells": np.zeros((b, m, 2), int),
            "offset": np.zeros((b, m, 2)), "size": np.zeros((b, m, 2)), "mask": np.zeros((b, m)),
            "class_ids": np.full((b, m), -1)}
    for i in range(b):
        for j in range(count[i]):
            x0, y0, x1, y1 = boxes[i, j].astype(float) / STRIDE
            x, y, w, h = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
            row, column = min(int(y), GRID - 1), min(int(x), GRID - 1)
            want["cells"][i, j], want["offset"][i, j] = (row, column), (x - column, y - row)
            want["size"][i, j], want["mask"][i, j] = (w, h), 1
            want["class_ids"][i, j] = class_ids[i, j]
            channel = class_ids[i, j] if n_heatmaps > 1 else 0
            for r in range(GRID):
                for c in range(GRID):
                    value = kernel_value(kernel, r - row, c - column, w, h, overlap)
                    here = want["heatmap"][i, r, c]
                    here[channel] = max(here[channel], value)
    return want


def random_batch(seed, b=4, m=9, n_classes=5):
    """Boxes of all shapes, many over the border before clipping; one crop empty, one full."""
    generator = np.random.default_rng(seed)
    centres = generator.uniform(0, SIDE, (b, m, 2))
    half = np.exp(generator.uniform(math.log(1), math.log(SIDE), (b, m, 2))) / 2
    boxes = np.clip(np.concatenate([centres - half, centres + half], -1), 0, SIDE)
    boxes[1, 0] = [0, 0, SIDE, SIDE]
    boxes[1, 1] = [SIDE, SIDE, SIDE, SIDE]  # the centre on the far corner
    boxes[1, 2] = boxes[1, 3] = [8, 8, 30, 40]
    count = generator.integers(1, m + 1, b).astype(np.int32)
    count[0], count[1] = 0, m
    class_ids = generator.integers(0, n_classes, (b, m)).astype(np.int32)
    return boxes.astype(np.float32), class_ids, count  # padding holds boxes too: it must not show


def ways(call, batch):
    """Eagerly, compiled by XLA, and as a map of tf.data."""
    yield call(*map(tf.constant, batch))
    yield tf.function(call, jit_compile=True)(*map(tf.constant, batch))
    data = tf.data.Dataset.from_tensors(tuple(batch)).map(call)
    for name, spec in data.element_spec.items():
        assert spec.shape.is_fully_defined(), name
    yield next(iter(data))


@pytest.mark.parametrize("kernel, n_heatmaps, overlap", [
    ("3x3", 1, 0.7), ("3x3", 5, 0.7), ("gaussian", 1, 0.7), ("gaussian", 5, 0.7),
    ("gaussian", 5, 0.25)])
def test_targets_equal_a_loop_over_pixels(kernel, n_heatmaps, overlap):
    batch = random_batch(n_heatmaps)
    want = expected(*batch, kernel, n_heatmaps, overlap)

    def call(boxes, class_ids, count):
        return centernet_targets(boxes, class_ids, count, side=SIDE, stride=STRIDE, kernel=kernel,
                                 n_heatmaps=n_heatmaps, min_overlap=overlap)
    for got in ways(call, batch):
        assert set(got) == set(want)
        for name, value in want.items():
            assert got[name].dtype == (tf.int32 if value.dtype == int else tf.float32), name
            np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
        # The focal loss takes the cells that are exactly 1 for positives.
        np.testing.assert_array_equal(got["heatmap"].numpy() == 1, want["heatmap"] == 1)
        assert not got["heatmap"].numpy()[0].any()


def test_a_class_beyond_the_heatmaps_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError):
        centernet_targets(*map(tf.constant, random_batch(3)), side=SIDE, n_heatmaps=2)


@pytest.mark.parametrize("options, says", [
    ({"side": 510}, "multiple of the stride 4 px, got 510; take 512"),
    ({"side": 512, "kernel": "gauss"}, "3x3, gaussian, got 'gauss'"),
    ({"side": 512, "n_heatmaps": 0}, "n_heatmaps >= 1"), ({"side": 512, "min_overlap": 1}, "< 1")])
def test_impossible_targets_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        centernet_targets(*random_batch(0), **options)
