"""Features of boxes against a plain loop over the page, and what must not change them."""
import math
import statistics
import time

import numpy as np
import pandas as pd
import pytest

from inference.box_features import COLUMNS, FEATURES, box_features

LABELS = ["U+3042", "U+303F", "U+3040", "U+309F", "U+30A0", "U+4E00", "", "tree", "U+1B002"]


def page(random, n, image_id="p", width=2400, height=3900, whole=False):
    boxes = np.c_[random.uniform(0, width, n), random.uniform(0, height, n),
                  random.uniform(20, 200, (n, 2))]
    boxes = boxes.round() if whole else boxes
    return pd.DataFrame({"image_id": image_id, **dict(zip("xywh", boxes.T)), "score": random.random(n),
                         "label": random.choice(LABELS, n), "label_score": random.random(n)})


def over(value, by):
    return 0.0 if abs(by) < 1e-11 else value / by


def sized(values, value):
    mean = statistics.fmean(values)
    return [value, over(value, mean), over(value - mean, statistics.pstdev(values)),
            over(value, statistics.median(values))]


def placed(values, value):
    mean = statistics.fmean(values)
    return [value, value - mean, over(value - mean, statistics.pstdev(values)),
            value - statistics.median(values)]


def oracle(boxes, width, height):
    """Features of the boxes (dicts) of one page, in the order of FEATURES."""
    own = []
    for i, a in enumerate(boxes):
        common = 0.0
        for j, b in enumerate(boxes):
            across = min(a["x"] + a["w"], b["x"] + b["w"]) - max(a["x"], b["x"])
            down = min(a["y"] + a["h"], b["y"] + b["h"]) - max(a["y"], b["y"])
            if i != j and across > 0 and down > 0:
                common += across * down
        kana = a["label"][:2] == "U+" and 0x3040 <= int(a["label"][2:], 16) <= 0x309F
        own.append([a["label_score"], a["score"], float(kana), over(common, a["w"] * a["h"]),
                    *sized([b["w"] / width for b in boxes], a["w"] / width),
                    *sized([b["h"] / height for b in boxes], a["h"] / height),
                    *sized([b["w"] / width * b["h"] / height for b in boxes],
                           a["w"] / width * a["h"] / height)])
    centres = [(b["x"] + b["w"] / 2, b["y"] + b["h"] / 2) for b in boxes]
    rows = []
    for i, (x, y) in enumerate(centres):
        row = [*own[i], width / height, *placed([c[0] / width for c in centres], x / width),
               *placed([c[1] / height for c in centres], y / height), float(len(boxes))]
        near = sorted((j for j in range(len(boxes)) if j != i), key=lambda j: (
            (centres[j][0] - x) ** 2 + (centres[j][1] - y) ** 2, boxes[j]["x"], boxes[j]["y"],
            boxes[j]["w"], boxes[j]["h"], boxes[j]["label_score"], boxes[j]["score"], own[j][2]))
        for j in near[:5]:
            distance = math.dist(centres[j], (x, y))
            row += [*own[j], distance / math.hypot(width, height), over(centres[j][0] - x, distance),
                    over(centres[j][1] - y, distance)]
        rows.append(row + [math.nan] * (len(FEATURES) - len(row)))
    return rows


def assert_equals_oracle(readings, sizes):
    features = box_features(readings, sizes)
    assert tuple(features.columns) == FEATURES and features.index.equals(readings.index)
    assert (features.dtypes == np.float32).all() and not np.isinf(features.to_numpy()).any()
    for image_id, (width, height) in sizes.items():
        of_page = (readings["image_id"] == image_id).to_numpy()
        expected = oracle(readings[of_page].to_dict("records"), width, height)
        np.testing.assert_allclose(features[of_page], np.reshape(expected, (-1, len(FEATURES))),
                                   rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [0, 1, 2, 5, 6, 7, 60])
@pytest.mark.parametrize("whole", [True, False])
def test_they_equal_the_plain_loop(seed, n, whole):
    random = np.random.default_rng(seed)
    readings = page(random, n, whole=whole)
    if n > 6:
        readings.iloc[3:6] = readings.iloc[0:3].to_numpy()  # twice the same
        readings.loc[6, ["w", "h"]] = 0.0
    assert_equals_oracle(readings, {"p": (2400, 3900)})


def test_equally_near_ones_come_in_an_order_of_their_own():
    grid = [(100.0 * x, 100.0 * y) for x in range(5) for y in range(4)]
    readings = page(np.random.default_rng(1), 20)
    readings[["x", "y"]], readings["w"], readings["h"] = grid, 33.3, 71.7
    assert_equals_oracle(readings, {"p": (700, 500)})


def test_boxes_all_alike_have_no_deviation():
    readings = pd.concat([page(np.random.default_rng(1), 1)] * 7, ignore_index=True)
    readings["w"] = 0.1 * 333  # the mean of seven such is not exactly it
    features = box_features(readings, {"p": (1000, 1000)})
    assert not features.filter(like="in_std").to_numpy().any()
    assert (features["near5_distance"] == 0).all() and (features["near5_right"] == 0).all()
    np.testing.assert_allclose(features["overlap"], 6, rtol=1e-6)
    assert_equals_oracle(readings, {"p": (1000, 1000)})


def test_scale_order_and_other_pages_change_nothing():
    random = np.random.default_rng(4)
    sizes = {"a": (2400, 3900), "b": (1000, 1500), "c": (300, 200), "none": (10, 10)}
    parts = [page(random, n, name, *sizes[name], whole=True)
             for name, n in (("a", 40), ("b", 3), ("c", 90))]
    parts[0].loc[10:19, list("xywh")] = parts[0].loc[0:9, list("xywh")].to_numpy()
    readings = pd.concat(parts, ignore_index=True)
    together = box_features(readings, sizes)
    twice = readings.copy()
    twice[list("xywh")] *= 2
    twice = box_features(twice, {k: (2 * w, 2 * h) for k, (w, h) in sizes.items()})
    pd.testing.assert_frame_equal(twice, together, check_exact=True)
    order = random.permutation(len(readings))
    shuffled = box_features(readings.iloc[order], sizes)
    pd.testing.assert_frame_equal(shuffled, together.iloc[order], check_exact=True)
    for part, name in zip(parts, sizes):
        alone = box_features(part, {name: sizes[name]})
        assert np.array_equal(alone, together[readings["image_id"] == name], equal_nan=True)
    stretched = box_features(readings, {**sizes, "a": (2400, 3901)})
    assert not np.array_equal(stretched[:40], together[:40], equal_nan=True)


def test_a_box_by_hand():
    readings = pd.DataFrame([("p", 10, 20, 20, 10, .5, "U+3042", .9),
                             ("p", 20, 20, 20, 30, .7, "x", np.nan)], columns=COLUMNS)
    first, second = box_features(readings, {"p": (100, 200)}).to_dict("records")
    assert first["overlap"] == pytest.approx(0.5) and second["overlap"] == pytest.approx(1 / 6)
    assert first["w_of_page"] == pytest.approx(.2) and first["h_of_page"] == pytest.approx(.05)
    assert second["area_of_page"] == pytest.approx(.03) and second["h_of_mean"] == pytest.approx(1.5)
    assert (first["w_in_std"], first["h_in_std"], second["h_in_std"]) == (0, -1, 1)
    assert first["x_of_page"] == pytest.approx(.2) and second["y_of_page"] == pytest.approx(.175)
    assert first["page_aspect"] == .5 and first["count"] == 2
    assert first["near1_right"] == second["near1_down"] * -1 == pytest.approx(math.sqrt(.5))
    assert first["near1_distance"] == pytest.approx(math.hypot(10, 10) / math.hypot(100, 200))
    assert math.isnan(first["near1_label_score"]) and math.isnan(first["near2_w_of_page"])
    assert (first["hiragana"], second["hiragana"], second["near1_hiragana"]) == (1, 0, 1)


def test_a_dense_page_is_quick():
    readings = page(np.random.default_rng(0), 1300)
    best = math.inf
    for _ in range(3):
        start = time.process_time()
        box_features(readings, {"p": (2400, 3900)})
        best = min(best, time.process_time() - start)
    assert best < 1  # 0.08 s on an idle core; a loop over pairs takes several


@pytest.mark.parametrize("change, says", [
    ({"w": -1.0}, "'p' has a box .*-1.0.*at least 0"), ({"x": np.nan}, "finite"),
    ({"score": np.inf}, "finite"),
    ({"label_score": np.inf}, "finite"), ({"image_id": "q"}, "'q' has boxes but no size")])
def test_what_cannot_be_is_refused(change, says):
    readings = page(np.random.default_rng(0), 4)
    for name, value in change.items():
        readings.loc[2, name] = value
    with pytest.raises(ValueError, match=says):
        box_features(readings, {"p": (2400, 3900)})


def test_missing_columns_and_pages_without_size_are_refused():
    readings = page(np.random.default_rng(0), 4)
    with pytest.raises(ValueError, match="label_score missing"):
        box_features(readings.drop(columns="label_score"), {"p": (1, 1)})
    with pytest.raises(ValueError, match=r"size \(0, 5\).*above 0"):
        box_features(readings, {"p": (0, 5)})
