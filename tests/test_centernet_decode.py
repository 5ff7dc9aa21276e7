"""CenterNet's decoding against NumPy loops: ties, borders, plateaus, too many peaks, none."""
import numpy as np
import pytest
import tensorflow as tf

from models.centernet_decode import decode_boxes, find_peaks, gather_cells, resize_maps


def peaks_oracle(heat, threshold):
    """Per image: a list of (score, row, column, channel), the highest first."""
    found = []
    for image in heat:
        h, w, k = image.shape
        peaks = []
        for row, column, channel in np.ndindex(h, w, k):
            score = image[row, column, channel]
            around = [(image[i, j, channel], (i, j) < (row, column))
                      for i in range(max(0, row - 1), min(h, row + 2))
                      for j in range(max(0, column - 1), min(w, column + 2))
                      if (i, j) != (row, column)]
            if score > threshold and all(score > other if earlier else score >= other
                                         for other, earlier in around):
                peaks.append((score, row, column, channel))
        found.append(sorted(peaks, key=lambda p: (-p[0], *p[1:])))
    return found


def ways(call, *inputs):
    """Eagerly, compiled by XLA, and as a map of tf.data."""
    inputs = tuple(map(tf.constant, inputs))
    yield call(*inputs)
    yield tf.function(call, jit_compile=True)(*inputs)
    yield next(iter(tf.data.Dataset.from_tensors(inputs).map(call)))


@pytest.mark.parametrize("shape, levels, max_peaks, threshold", [
    ((3, 12, 9, 1), 12, 200, 0.4),    # ties
    ((2, 10, 11, 5), 6, 30, 0.3),     # several channels, more peaks than the cap, ties
    ((2, 8, 8, 3), 2, 400, 0.5),      # plateaus; fewer cells than the cap
    ((2, 7, 7, 1), 10 ** 6, 49, 0.0), ((1, 1, 1, 1), 10, 3, 0.1),
    ((2, 6, 5, 2), 10, 7, 1.0)])      # none
def test_peaks_equal_a_loop_over_cells(shape, levels, max_peaks, threshold):
    heat = np.random.default_rng(levels).integers(0, levels + 1, shape) / levels
    heat = heat.astype(np.float32)
    want = peaks_oracle(heat, np.float32(threshold))
    if threshold == 0.3:
        assert min(map(len, want)) > max_peaks
    for got in ways(lambda heat: find_peaks(heat, max_peaks, threshold), heat):
        assert got["score"].shape == [shape[0], max_peaks] and got["score"].dtype == tf.float32
        assert got["cells"].shape == [shape[0], max_peaks, 2]
        assert {got[name].dtype for name in ("cells", "channel", "count")} == {tf.int32}
        np.testing.assert_array_equal(got["count"], [len(peaks) for peaks in want])
        for i, peaks in enumerate(want):
            rows = np.zeros((max_peaks, 4), np.float32)
            rows[:min(len(peaks), max_peaks)] = np.reshape(peaks[:max_peaks], (-1, 4))
            np.testing.assert_array_equal(got["score"][i], rows[:, 0])
            np.testing.assert_array_equal(got["cells"][i], rows[:, 1:3])
            np.testing.assert_array_equal(got["channel"][i], rows[:, 3])


def test_peaks_on_the_borders_and_corners_are_found():
    heat = np.zeros((1, 9, 9, 1), np.float32)
    places = [(0, 0), (0, 4), (0, 8), (4, 0), (4, 8), (8, 0), (8, 4), (8, 8)]
    for place in places:
        heat[0][place] = 0.9
    peaks = find_peaks(tf.constant(heat), 8, 0.5)
    assert peaks["count"].numpy() == [8]
    assert list(map(tuple, peaks["cells"][0].numpy())) == places


@pytest.mark.parametrize("other", [(4, 5), (5, 3), (5, 4), (5, 5)])
def test_of_two_equal_cells_that_touch_the_first_is_a_peak(other):
    heat = np.zeros((1, 9, 9, 2), np.float32)
    heat[0, 4, 4] = heat[0][other] = 0.9
    for peaks in ways(lambda heat: find_peaks(heat, 9, 0.5), heat):
        assert peaks["count"].numpy() == [2]  # one in each channel
        np.testing.assert_array_equal(peaks["cells"][0, :2], [[4, 4], [4, 4]])


def test_of_a_plateau_its_upper_ends_are_peaks():
    full = np.full((1, 6, 7, 1), 0.9, np.float32)
    v = np.zeros((1, 6, 7, 1), np.float32)
    for place in ((1, 1), (2, 2), (3, 3), (2, 4), (1, 5)):
        v[0][place] = 0.9
    for heat, want in ((full, [(0, 0)]), (v, [(1, 1), (1, 5)])):
        peaks = find_peaks(tf.constant(heat), 9, 0.5)
        assert peaks["count"].numpy() == [len(want)]
        assert list(map(tuple, peaks["cells"][0, :len(want)].numpy())) == want


def test_a_neighbour_of_the_next_lower_float_is_no_peak():
    heat = np.full((1, 1, 2, 1), 0.9, np.float32)
    heat[0, 0, 0] = np.nextafter(np.float32(0.9), np.float32(0))
    peaks = find_peaks(tf.constant(heat), 2, 0.5)
    assert peaks["count"].numpy() == [1] and list(peaks["cells"][0, 0].numpy()) == [0, 1]


def test_gather_cells_and_its_gradient():
    generator = np.random.default_rng(3)
    maps = generator.normal(size=(3, 5, 6, 4)).astype(np.float32)
    cells = np.stack([generator.integers(0, 5, (3, 8)), generator.integers(0, 6, (3, 8))], -1)
    cells[:, 1] = cells[:, 0]  # named twice
    factor = generator.normal(size=(3, 8, 4)).astype(np.float32)
    want, slope = np.zeros((3, 8, 4)), np.zeros(maps.shape)
    for i, j in np.ndindex(3, 8):
        row, column = cells[i, j]
        want[i, j] = maps[i, row, column]
        slope[i, row, column] += factor[i, j]

    def call(maps, cells):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            got = gather_cells(maps, cells)
            loss = tf.reduce_sum(got * factor)
        return got, tape.gradient(loss, maps)
    for got, gradient in ways(call, maps, cells.astype(np.int32)):
        np.testing.assert_array_equal(got, want.astype(np.float32))
        np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stride", [4, 2.5])
def test_boxes(stride):
    generator = np.random.default_rng(4)
    cells = generator.integers(0, 90, (2, 7, 2)).astype(np.int32)
    offset = generator.uniform(0, 1, (2, 7, 2)).astype(np.float32)
    size = generator.uniform(-3, 20, (2, 7, 2)).astype(np.float32)
    size[0, 0] = -1, 5
    for centres, boxes in ways(lambda *x: decode_boxes(*x, stride), cells, offset, size):
        for i, j in np.ndindex(2, 7):
            x = (cells[i, j, 1] + offset[i, j, 0]) * stride
            y = (cells[i, j, 0] + offset[i, j, 1]) * stride
            w, h = max(size[i, j, 0], 0) * stride, max(size[i, j, 1], 0) * stride
            np.testing.assert_allclose(centres[i, j], [x, y], rtol=1e-6)
            np.testing.assert_allclose(boxes[i, j], [x - w / 2, y - h / 2, x + w / 2, y + h / 2],
                                       rtol=1e-5, atol=1e-4)


def resize_oracle(maps, height, width, scale_y, scale_x):
    b, h, w, c = maps.shape
    out = np.zeros((b, height, width, c))
    for i, j in np.ndindex(height, width):
        y = min(max((i + 0.5) * scale_y - 0.5, 0), h - 1)
        x = min(max((j + 0.5) * scale_x - 0.5, 0), w - 1)
        top, left = int(y), int(x)
        for row, across in ((top, 1 - (y - top)), (min(top + 1, h - 1), y - top)):
            for column, along in ((left, 1 - (x - left)), (min(left + 1, w - 1), x - left)):
                out[:, i, j] += across * along * maps[:, row, column].astype(float)
    return out


@pytest.mark.parametrize("size, new, scale", [
    ((6, 9), (8, 12), (0.75, 0.75)), ((10, 15), (8, 12), (1.25, 1.25)), ((5, 7), (5, 7), (1, 1)),
    ((6, 5), (13, 4), (0.4, 1.7)), ((1, 1), (3, 2), (0.3, 0.5)), ((4, 4), (8, 8), (1.0, 1.0))])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_maps_are_resized_bilinearly(size, new, scale, dtype):
    maps = np.random.default_rng(5).random((2, *size, 3)).astype(dtype)
    want = resize_oracle(maps, *new, *scale)
    for got in ways(lambda maps: resize_maps(maps, *new, *scale), maps):
        assert got.dtype == tf.float32 and got.shape == [2, *new, 3]
        np.testing.assert_allclose(got, want, atol=1e-6)
    if size == new:
        np.testing.assert_array_equal(resize_maps(maps, *new, *scale), maps)
