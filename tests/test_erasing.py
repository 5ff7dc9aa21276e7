"""Erasing against plain loops and simulated draws; eagerly, in tf.data and compiled."""
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from pipeline.erasing import Erasing, draw_erasing, erase
from pipeline.randomness import hashed_uniform

SEED = tf.constant([1, 2], tf.int64)
FINE = 1_000_000  # px of a side at which rounding to pixels cannot be seen
MEAN = (0.1, 0.5, 0.7)


def modes(function, *arguments):
    """The function's results eagerly, inside tf.data, and compiled."""
    yield function(*arguments).numpy()
    yield next(iter(tf.data.Dataset.from_tensors(arguments).map(function))).numpy()
    yield tf.function(function, jit_compile=True)(*arguments).numpy()


def test_erase_equals_the_loops():
    size, random = 9, np.random.default_rng(0)
    images = random.uniform(-3, -1, (6, size, size, 3)).astype(np.float32)  # no noise is below 0
    spans = np.sort(random.integers(0, size + 1, (6, 4, 2, 2)), axis=2).astype(np.int32)
    boxes = spans.reshape(6, 4, 4)  # x0 y0 x1 y1
    boxes[1, 0] = 0
    boxes[2, 0] = 0, 0, size, size
    plan = {"boxes": boxes[:, 0], "key": np.arange(6, dtype=np.int32), "holes": boxes[:, 1:]}
    noise = hashed_uniform(tf.range(6), (size, size, 3)).numpy()
    for names in (["boxes", "key"], ["holes"], ["boxes", "key", "holes"], []):
        expected = images.copy()
        if "boxes" in names:
            for i, (x0, y0, x1, y1) in enumerate(plan["boxes"]):
                expected[i, y0:y1, x0:x1] = 255 * noise[i, y0:y1, x0:x1]
        if "holes" in names:
            for i in range(6):
                for x0, y0, x1, y1 in plan["holes"][i]:
                    expected[i, y0:y1, x0:x1] = 255 * np.float32(MEAN)
        part = {name: plan[name] for name in names}
        for result in modes(lambda i, p: erase(i, p, MEAN), images, part):
            np.testing.assert_allclose(result, expected, rtol=1e-6)
        rows = erase(images.reshape(6, size, size * 3), part, MEAN)
        np.testing.assert_allclose(rows, expected.reshape(6, size, -1), rtol=1e-6)
    np.testing.assert_allclose(255 * erase(images / 255, plan, MEAN, 1.0), erase(images, plan, MEAN),
                               rtol=1e-5)


def test_holes_are_zero_after_normalisation():
    plan = draw_erasing(SEED, 8, 16, Erasing(holes=2))
    images = np.full((8, 16, 16, 3), 250, np.float32)
    normal = erase(images, plan, MEAN).numpy() / 255 - np.float32(MEAN)
    holes = np.abs(normal).max(-1) < 1e-6
    assert holes.any((1, 2)).all() and not holes.all((1, 2)).any()
    gray = erase(images, plan, (0.5,)).numpy()  # one mean for all channels
    assert set(np.unique(gray)) == {127.5, 250}


def simulated(n, size, options):
    """RandomErasing's boxes, drawn one by one: width, height."""
    random, sides = np.random.default_rng(0), []
    for _ in range(n):
        for _ in range(10):
            area, log_ratio = random.uniform(*options.area), random.uniform(*np.log(options.ratio))
            height = round(size * np.sqrt(area * np.exp(log_ratio)))
            width = round(size * np.sqrt(area / np.exp(log_ratio)))
            if height < size and width < size:
                sides.append((width, height))
                break
    return np.array(sides).T


def corners_and_sides(boxes):
    """Of the boxes that are not empty, int [m, 2] twice."""
    sides = boxes[:, 2:] - boxes[:, :2]
    assert (sides.any(1) == sides.all(1)).all()
    return boxes[sides.any(1), :2], sides[sides.any(1)]


def test_area_and_ratio_are_uniform_where_every_box_fits():
    options = Erasing(p=1.0, area=(0.02, 0.1), ratio=(0.5, 3))
    boxes = draw_erasing(SEED, 20000, FINE, options)["boxes"].numpy()
    width, height = corners_and_sides(boxes)[1].T
    assert len(width) == 20000
    area = width / FINE * height / FINE
    assert scipy.stats.kstest(area, "uniform", (0.02, 0.08)).pvalue > 1e-3
    low, high = np.log(options.ratio)
    assert scipy.stats.kstest(np.log(height / width), "uniform", (low, high - low)).pvalue > 1e-3
    assert abs(np.corrcoef(area, height / width)[0, 1]) < 0.03


@pytest.mark.parametrize("size", [20, 112])
@pytest.mark.parametrize("area, ratio", [((0.02, 0.4), (0.3, 3.33)), ((0.3, 0.9), (0.2, 5))])
def test_boxes_are_those_of_the_definition(size, area, ratio):
    options = Erasing(1.0, area, ratio)
    boxes = draw_erasing(SEED, 10000, size, options)["boxes"].numpy()
    assert boxes.min() >= 0 and boxes.max() <= size
    corner, sides = corners_and_sides(boxes)
    width, height = sides.T
    expected = simulated(10000, size, options)
    assert abs(len(width) - expected.shape[1]) < 60
    assert 0 < sides.min() and sides.max() < size
    for ours, theirs in ((width, expected[0]), (height, expected[1]),
                         (width * height, expected.prod(0)),
                         (height / width, expected[1] / expected[0])):
        assert scipy.stats.ks_2samp(ours, theirs).pvalue > 1e-3
    dither = np.random.default_rng(0).random(corner.shape)
    place = (corner + dither) / (size - sides + 1)  # uniform among whole pixels
    assert all(scipy.stats.kstest(axis, "uniform").pvalue > 1e-3 for axis in place.T)
    assert abs(np.corrcoef(place.T)[0, 1]) < 0.05


def test_system_a_erases_half_of_the_images():
    boxes = draw_erasing(SEED, 20000, 112, Erasing(p=0.5))["boxes"].numpy()
    width, height = corners_and_sides(boxes)[1].T
    assert abs(len(width) / 20000 - 0.5) < 4 * np.sqrt(0.25 / 20000)
    area, ratio = width * height / 112**2, height / width
    assert 0.015 < area.min() < 0.025 and 0.39 < area.max() < 0.41
    assert 0.28 < ratio.min() < 0.32 and 3.1 < ratio.max() < 3.6


def test_values_are_uniform_and_differ_by_image_channel_and_step():
    images = np.full((8, 40, 40, 3), -1, np.float32)

    def values(step):
        plan = draw_erasing([1, step], 8, 40, Erasing(p=1.0))
        plan["boxes"] = tf.constant([[0, 0, 40, 40]] * 8)  # all of it
        return erase(images, plan, (0.5,)).numpy() / 255
    first, again, other = values(1), values(1), values(2)
    assert (first == again).all() and (first >= 0).all() and (first < 1).all()
    assert scipy.stats.kstest(first.ravel(), "uniform").pvalue > 1e-3
    series = [*first.reshape(8, -1), *other.reshape(8, -1)]
    assert np.abs(np.corrcoef(series) - np.eye(16)).max() < 0.08
    assert np.abs(np.corrcoef(first.reshape(-1, 3).T) - np.eye(3)).max() < 0.04
    assert abs(np.corrcoef(first[:, 1:].ravel(), first[:, :-1].ravel())[0, 1]) < 0.03


@pytest.mark.parametrize("side, hole_size", [(4, 0.5), (3, 0.35), (8, 1.0)])
def test_cutout_centres_are_uniform_and_holes_are_clipped(side, hole_size):
    holes = draw_erasing(SEED, 10000, 8, Erasing(holes=3, hole_size=hole_size))["holes"].numpy()
    assert holes.shape == (10000, 3, 4)
    centres = {}  # of the pixel in the middle, by the ends after clipping
    for pixel in range(8):
        ends = (max(pixel - side // 2, 0), min(pixel - side // 2 + side, 8))
        centres[ends] = centres.get(ends, 0) + 1
    for k in range(3):
        for axis in (0, 1):
            ends, counts = np.unique(holes[:, k, axis::2], axis=0, return_counts=True)
            assert {tuple(pair) for pair in ends.tolist()} == set(centres)
            expected = [centres[tuple(pair)] * 10000 / 8 for pair in ends.tolist()]
            assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3
    flat = holes[..., :2].reshape(-1, 6)
    assert np.abs(np.corrcoef(flat.T) - np.eye(6)).max() < 0.05


def test_plans_are_functions_of_seed_and_step():
    draw = lambda seed: draw_erasing(seed, 50, 20, Erasing(p=0.5, holes=2))
    plans = [draw(seed) for seed in (SEED, [1, 2], [1, 3])]
    plans += [next(iter(tf.data.Dataset.from_tensors(SEED).map(draw))),
              tf.function(draw, jit_compile=True)(SEED)]
    first, again, other, mapped, compiled = plans
    for name in ("boxes", "key", "holes"):
        assert first[name].shape == mapped[name].shape and first[name].dtype == tf.int32
        assert (first[name].numpy() != other[name].numpy()).any()
        for same in (again, mapped, compiled):
            assert (first[name].numpy() == same[name].numpy()).all()


def test_what_is_not_used_is_not_in_the_plan():
    assert draw_erasing(SEED, 4, 9, Erasing()) == {}
    assert set(draw_erasing(SEED, 4, 9, Erasing(p=0.5))) == {"boxes", "key"}
    assert set(draw_erasing(SEED, 4, 9, Erasing(holes=1))) == {"holes"}
    images = np.random.default_rng(0).random((4, 9, 9, 3)).astype(np.float32)
    assert (erase(images, {}, MEAN).numpy() == images).all()


@pytest.mark.parametrize("options, message", [
    (dict(p=1.5), "1.5"), (dict(area=(0.4, 0.02)), "(0.4, 0.02)"), (dict(area=(0, 0.4)), "(0, 0.4)"),
    (dict(ratio=(0.0, 3)), "(0.0, 3)"), (dict(holes=-1), "-1 holes"),
    (dict(holes=1, hole_size=1.2), "holes of 1.2"),
])
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError) as error:
        Erasing(**options)
    assert message in str(error.value)
