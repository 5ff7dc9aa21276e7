"""COCO average precision against a plain reading of its definition, in float64."""
import numpy as np
import pytest

from inference.coco_score import average_precision

THRESHOLDS = np.linspace(0.5, 0.95, 10)
ALL, NONE = ({"AP": value, "AP50": value, "AP75": value, "AR": value} for value in (1.0, 0.0))


def overlap(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(w, 0.0) * max(h, 0.0)
    return common / (a[2] * a[3] + b[2] * b[3] - common) if common else 0.0


def oracle_of_class(truth, detections, label, threshold, most):
    """(AP, recall) of one class at one threshold: greedy by score, 101 points of recall."""
    ranked, total = [], 0
    for number, (image_id, (labels, boxes)) in enumerate(truth.items()):
        true = [box for one, box in zip(labels, boxes) if one == label]
        total += len(true)
        found = [(score, box) for one, box, score in zip(*detections[image_id]) if one == label]
        found = sorted(found, key=lambda f: -f[0])[:most]
        for place, (score, box) in enumerate(found):
            best = max(((overlap(box, t), k) for k, t in enumerate(true) if t is not None),
                       default=(0, -1))
            hit = best[0] >= threshold
            if hit:
                true[best[1]] = None
            ranked.append((-score, number, place, hit))
    hits = np.array([hit for *_, hit in sorted(ranked)], float)
    if not len(hits):
        return 0.0, 0.0
    recall = hits.cumsum() / total
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    points = [max((p for p, r in zip(precision, recall) if r >= at), default=0.0)
              for at in np.linspace(0, 1, 101)]
    return np.mean(points), recall[-1]


def oracle(truth, detections, most):
    classes = sorted({label for labels, _ in truth.values() for label in labels})
    table = np.array([[oracle_of_class(truth, detections, label, at, most) for label in classes]
                      for at in THRESHOLDS])  # [iou, class, (AP, recall)]
    return {"AP": table[..., 0].mean(), "AP50": table[0, :, 0].mean(),
            "AP75": table[5, :, 0].mean(), "AR": table[..., 1].mean()}


def random_images(random, classes, images=5):
    """True boxes, and detections: most of them moved a little, some of another class, some twice,
    some of nothing, one class that no image has."""
    truth, detections = {}, {}
    for image in range(images):
        n = int(random.integers(0, 12)) if image else 0  # the first image is empty
        boxes = np.c_[random.uniform(0, 200, (n, 2)), random.uniform(10, 60, (n, 2))]
        labels = random.integers(0, classes, n)
        truth[f"page {image}"] = [f"c{k}" for k in labels], boxes
        moved = boxes * random.uniform(0.9, 1.1, boxes.shape)
        stray = np.c_[random.uniform(0, 200, (5, 2)), random.uniform(0, 60, (5, 2))]
        found = np.concatenate([moved, moved[::2] + 1, stray])
        read = np.concatenate([labels, labels[::2], random.integers(0, classes + 1, 5)])
        wrong = random.random(len(read)) < 0.15
        read = np.where(wrong, random.integers(0, classes, len(read)), read)
        scores = random.choice(20, len(read)) / 20  # some are equal
        detections[f"page {image}"] = [f"c{k}" for k in read], found, scores
    return truth, detections


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("classes, most", [(1, 1300), (4, 1300), (1, 6)])
def test_it_equals_the_plain_definition(capsys, seed, classes, most):
    truth, detections = random_images(np.random.default_rng(seed), classes)
    found = average_precision(truth, detections, most)
    assert found == pytest.approx(oracle(truth, detections, most), abs=1e-9)
    assert 0.02 < found["AP"] < 0.98 and found["AP50"] > found["AP75"]
    assert capsys.readouterr().out == ""


def grid(n):
    number = np.arange(n)
    return np.stack([number % 40 * 20, number // 40 * 20, np.full(n, 15), np.full(n, 15)], 1)


def test_more_detections_than_cocos_own_hundred_count():
    truth = {"p": (["a"] * 400, grid(400))}
    perfect = {"p": (["a"] * 400, grid(400).astype(np.float32), np.linspace(1, 0, 400))}
    assert average_precision(truth, perfect) == pytest.approx(ALL)
    assert average_precision(truth, perfect, 100)["AR"] == pytest.approx(0.25)


def test_perfect_none_and_wrong():
    truth = {"p": (["a", "b"], [[0, 0, 10, 10], [50, 50, 10, 20]]), "empty": ([], np.zeros((0, 4)))}
    none = {"p": ([], [], []), "empty": ([], np.zeros((0, 4)), np.zeros(0))}
    assert average_precision(truth, none) == NONE
    perfect = none | {"p": (*truth["p"], [0.5, 0.1])}
    assert average_precision(truth, perfect) == pytest.approx(ALL)
    swapped = none | {"p": (["b", "a"], truth["p"][1], [0.5, 0.1])}
    assert average_precision(truth, swapped) == NONE
    one_class = {"p": (["", ""], truth["p"][1]), "empty": truth["empty"]}
    regardless = none | {"p": (["", ""], truth["p"][1], [0.5, 0.1])}
    assert average_precision(one_class, regardless)["AP"] == 1
    # A detection on the page without any box costs precision once it is the surest.
    stray = perfect | {"empty": (["a"], [[0, 0, 10, 10]], [0.9])}
    assert average_precision(truth, stray)["AP"] == pytest.approx(0.75)


def test_nothing_to_be_found_has_no_score():
    truth = {"p": ([], np.zeros((0, 4)))}
    for detections in (([], [], []), (["a"], [[0, 0, 5, 5]], [0.5])):
        assert average_precision(truth, {"p": detections}) == {
            "AP": None, "AP50": None, "AP75": None, "AR": None}


@pytest.mark.parametrize("detections, says", [
    ({}, "1 images .*'p'.*give"), ({"p": ([], [], []), "q": ([], [], [])}, "'q'"),
    ({"p": (["a"], [[0, 0, 1, 1]], [])}, "1 labels, but 1 and 0"),
    ({"p": (["a"], [[0, 0, 1, 1]] * 2, [1])}, "1 labels, but 2 and 1"),
    ({"p": (["a"], [[0, 0, 1, 1]], [np.nan])}, "not finite"),
    ({"p": (["a"], [[0, np.inf, 1, 1]], [1])}, "not finite")])
def test_bad_detections_are_named(detections, says):
    with pytest.raises(ValueError, match=says):
        average_precision({"p": (["a"], [[0, 0, 1, 1]])}, detections)
