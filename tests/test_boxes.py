"""Non-maximum suppression against a plain greedy loop in float64."""
import numpy as np
import pytest

from inference.boxes import non_max_suppression


def overlap(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(w, 0.0) * max(h, 0.0)
    return common / (a[2] * a[3] + b[2] * b[3] - common) if common else 0.0


def oracle(boxes, scores, iou, groups):
    kept = []
    for number in sorted(range(len(boxes)), key=lambda n: (-scores[n], n)):
        if all(groups[k] != groups[number] or overlap(boxes[k], boxes[number]) <= iou
               for k in kept):
            kept.append(number)
    return kept


def random_boxes(random, n):
    boxes = np.c_[random.uniform(-10, 150, (n, 2)), random.uniform(5, 60, (n, 2))]
    boxes[n // 2:n // 2 + n // 6] = boxes[:n // 6]  # identical ones
    boxes[::9, 2] = 0  # and some without area
    return boxes.astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n, n_groups", [(1, 1), (90, 1), (120, 4), (60, 40)])
def test_it_equals_the_plain_loop(seed, n, n_groups):
    random = np.random.default_rng(seed)
    boxes, scores = random_boxes(random, n), random.choice(15, n) / 15  # many equal scores
    groups = random.integers(0, n_groups, n) * 7 - 3
    for iou in (0.0, 0.3, 0.7, 1.0):
        kept = non_max_suppression(boxes, scores, iou, groups)
        assert kept.dtype == np.int64 and kept.tolist() == oracle(boxes, scores, iou, groups)
    if n_groups == 1:
        assert kept.tolist() == non_max_suppression(boxes, scores, 1.0).tolist()


def test_groups_are_kept_apart_and_the_limit_itself_stays():
    boxes = np.array([[0, 0, 10, 10]] * 3 + [[0, 0, 10, 5]])
    scores = [0.2, 0.9, 0.9, 0.5]
    assert non_max_suppression(boxes, scores, 0.4).tolist() == [1]
    assert non_max_suppression(boxes, scores, 0.5).tolist() == [1, 3]  # exactly 0.5 is not above it
    assert non_max_suppression(boxes, scores, 0.4, [0, 1, 2, 0]).tolist() == [1, 2, 3]
    assert non_max_suppression(boxes, scores, 0.4, [0, 1, 2, 3]).tolist() == [1, 2, 3, 0]


def test_nothing_in_nothing_out():
    kept = non_max_suppression(np.zeros((0, 4)), [], 0.5)
    assert kept.tolist() == [] and kept.dtype == np.int64
    assert non_max_suppression([], [], 0.5, []).tolist() == []


def test_without_area_nothing_is_suppressed():
    boxes = [[5, 5, 0, 0], [5, 5, 0, 0], [0, 0, 10, 10], [5, 0, 0, 10]]
    assert non_max_suppression(boxes, [0.1, 0.2, 0.3, 0.4], 0.0).tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("arguments, says", [
    (([[0, 0, 1, 1]], [], 0.5), "1 boxes, 0 scores"),
    (([[0, 0, 1, 1]], [1], 0.5, [1, 2]), "2 groups"),
    (([[0, 0, 1, 1]], [1], 1.5), "0..1, got 1.5"),
    (([[0, 0, -1, 1]], [1], 0.5), "got -1.0.*not the far corner"),
    (([[0, 0, np.nan, 1]], [1], 0.5), "finite"), (([[0, 0, 1, 1]], [np.inf], 0.5), "finite")])
def test_impossible_arguments_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        non_max_suppression(*arguments)
