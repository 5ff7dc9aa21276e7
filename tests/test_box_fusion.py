"""Boxes of several detectors merged, against plain loops in float64 that share no code with it."""
import math
import time

import numpy as np
import pandas as pd
import pytest

from inference.box_fusion import METHODS, merge_boxes, merge_detections
from inference.boxes import soft_nms
from records.detections import COLUMNS, read_detections, write_detections

LABELS = ("U+3042", "U+4E00", "U+306E")


def overlap(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    if w <= 0:
        return 0.0
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return w * h / (a[2] * a[3] + b[2] * b[3] - w * h) if h > 0 else 0.0


def frame(rows):
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({n: float for n in ("x", "y", "w", "h", "score", "label_score")})


def page(random, n, size, image_id="p", labelled=0.8):
    """A member's random boxes, some alike, some without area, some without a label."""
    rows = []
    for _ in range(n):
        label = str(random.choice(LABELS)) if random.random() < labelled else ""
        unsaid = not label and random.random() < 0.5
        rows.append([image_id, *random.uniform(0, size, 2), *random.uniform(10, 40, 2),
                     random.uniform(0.05, 1), label, math.nan if unsaid else random.uniform(0, 1)])
    for k in range(n // 8):
        rows[-1 - k][1:5] = rows[k][1:5]
    for row in rows[::11]:
        row[3] = 0.0
    return frame(rows)


def moved(random, table):
    """What another detector may see of the same page: boxes moved, some lost, scores its own."""
    seen = table[random.random(len(table)) < 0.8].copy()
    for name in "xywh":
        seen[name] = (seen[name] + random.normal(0, 2, len(seen))).clip(lower=0)
    seen["score"] = random.uniform(0.05, 1, len(seen))
    changed = (random.random(len(seen)) < 0.3) & (seen.label != "").to_numpy()
    seen.loc[changed, "label"] = LABELS[1]
    return seen


def rows_of(members, weights):
    """Every box as a dict with its member and weight, those of no weight left out."""
    weights = [1.0] * len(members) if weights is None else [w / max(weights) for w in weights]
    return [row | {"member": m, "weight": weights[m], "box": [row[c] for c in "xywh"]}
            for m, member in enumerate(members) if weights[m] for row in member.to_dict("records")]


def nms_oracle(rows, iou, rank_by, per_label):
    kept = []
    for row in sorted(rows, key=lambda row: -row[rank_by] * row["weight"]):
        if all(overlap(k["box"], row["box"]) <= iou or per_label and k["label"] != row["label"]
               for k in kept):
            kept.append(row)
    return sorted(kept, key=rows.index)


def soft_oracle(rows, rank_by, per_label, sigma, least):
    factors, waiting = [1.0] * len(rows), set(range(len(rows)))
    while waiting:
        best = max(sorted(waiting), key=lambda k: rows[k][rank_by] * rows[k]["weight"] * factors[k])
        waiting.remove(best)
        for k in waiting if rows[best]["w"] else ():
            if not per_label or rows[k]["label"] == rows[best]["label"]:
                factors[k] *= math.exp(-overlap(rows[k]["box"], rows[best]["box"]) ** 2 / sigma)
    changed = [row | {rank_by: row[rank_by] * factor} for row, factor in zip(rows, factors)]
    return [row for row in changed if row[rank_by] >= least]


def mean(values, weights):
    return sum(v * w for v, w in zip(values, weights)) / sum(weights)


def wbf_oracle(rows, iou, rank_by, per_label, all_weights):
    clusters, middles = [], []  # lists of rows, the surest first, and their fused boxes
    trust = lambda row: row["weight"] * max(row[rank_by], 1e-12)
    middle = lambda cluster: [mean([row[c] for row in cluster], list(map(trust, cluster)))
                              for c in "xywh"]
    for row in sorted(rows, key=lambda row: -trust(row)):
        overlaps = [overlap(box, row["box"]) if not per_label or cluster[0]["label"] == row["label"]
                    else 0 for cluster, box in zip(clusters, middles)]
        most = max(overlaps, default=0)
        if most > iou:
            clusters[overlaps.index(most)].append(row)
            middles[overlaps.index(most)] = middle(clusters[overlaps.index(most)])
        else:
            clusters.append([row])
            middles.append(row["box"])
    return [told(cluster, box, all_weights) for cluster, box in zip(clusters, middles)]


def told(cluster, box, all_weights):
    seen_by = {row["member"]: row["weight"] for row in cluster}
    score = mean([row["score"] for row in cluster], [row["weight"] for row in cluster])
    voters = [row for row in cluster if row["label"]] or cluster
    votes = {}
    for row in voters:
        votes[row["label"]] = votes.get(row["label"], 0) + row["weight"] * row["label_score"]
    label = max(votes, key=lambda name: votes[name])  # dicts keep their order: the surest first
    return dict(zip("xywh", box)) | {
        "image_id": cluster[0]["image_id"], "label": label,
        "score": score * sum(seen_by.values()) / all_weights,
        "label_score": votes[label] / sum(row["weight"] for row in voters)}


def oracle(members, method, iou, weights=None, rank_by="score", per_label=False, sigma=0.5,
           least_score=0.001):
    rows = rows_of(members, weights)
    if method == "nms":
        merged = nms_oracle(rows, iou, rank_by, per_label)
    elif method == "soft_nms":
        merged = soft_oracle(rows, rank_by, per_label, sigma, least_score)
    else:
        total = len(members) if weights is None else sum(weights) / max(weights)
        merged = wbf_oracle(rows, iou, rank_by, per_label, total)
    return frame([[row[c] for c in COLUMNS] for row in merged])


def equal(merged, expected):
    """Same boxes; rows of the same score may stand in any order where the scores are rounded."""
    score = merged.score.to_numpy()
    assert tuple(merged.columns) == COLUMNS and (score[:-1] >= score[1:]).all()
    assert merged.index.tolist() == list(range(len(merged)))
    order = lambda table: table.round(7).sort_values(list("xywh") + ["score", "label"])
    merged, expected = merged.loc[order(merged).index], expected.loc[order(expected).index]
    assert merged.label.tolist() == expected.label.tolist()
    assert merged.image_id.tolist() == expected.image_id.tolist()
    numbers = ["x", "y", "w", "h", "score", "label_score"]
    np.testing.assert_allclose(merged[numbers], expected[numbers], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n, size, iou, settings", [
    (1, 50, 0.3, {}), (30, 60, 0.3, {}), (60, 300, 0.55, {}),
    (40, 120, 0.3, {"per_label": True}), (40, 120, 0.5, {"weights": [0.5, 2.0, 1.0]}),
    (40, 120, 0.5, {"weights": [3, 0, 1], "sigma": 0.1, "least_score": 0.2}),
    (40, 120, 0.3, {"rank_by": "label_score", "weights": [1, 1, 0.7]})])
def test_methods_equal_the_plain_loops(method, n, size, iou, settings):
    for seed in range(3):
        random = np.random.default_rng(seed)
        first = page(random, n, size, labelled=1 if "rank_by" in settings else 0.8)
        members = [first, moved(random, first), moved(random, first)]
        equal(merge_boxes(members, method, iou, **settings), oracle(members, method, iou, **settings))


@pytest.mark.parametrize("method", METHODS)
def test_a_full_page_of_1300_boxes_is_right_and_quick(method):
    random = np.random.default_rng(1)
    first = page(random, 725, 700, labelled=1)
    members = [first, moved(random, first)]
    assert 1250 < sum(map(len, members)) < 1350
    used = math.inf
    for _ in range(3):
        started = time.process_time()
        merged = merge_boxes(members, method, 0.3)
        used = min(used, time.process_time() - started)
    assert used < 0.25, used  # s; 0.01-0.04 on an idle core
    equal(merged, oracle(members, method, 0.3))


@pytest.mark.parametrize("method", METHODS)
def test_empty_pages(method):
    random = np.random.default_rng(0)
    some, none = page(random, 20, 80), frame([])
    nothing = merge_boxes([none, none], method, 0.3)
    assert len(nothing) == 0 and tuple(nothing.columns) == COLUMNS
    assert nothing.dtypes.tolist() == merge_boxes([some], method, 0.3).dtypes.tolist()
    for members in ([some, none], [none, some, none]):
        equal(merge_boxes(members, method, 0.3), oracle(members, method, 0.3))


def test_identical_boxes():
    box = ["p", 10.1, 20.2, 30.3, 40.4]
    members = [frame([[*box, 1.0, "a", 0.5]]), frame([[*box, 0.7, "b", 1.0]]),
               frame([[*box, 0.7, "b", 0.2]])]
    kept = merge_boxes(members, "nms", 0.9)
    assert kept.to_numpy().tolist() == [[*box, 1.0, "a", 0.5]]
    assert merge_boxes(members, "nms", 0.9, weights=[1e60] * 3).equals(kept)  # ratios count
    better = merge_boxes(members, "nms", 0.9, rank_by="label_score")  # the rule of system A
    assert better.to_numpy().tolist() == [[*box, 0.7, "b", 1.0]]
    soft = merge_boxes(members, "soft_nms").score.tolist()
    np.testing.assert_allclose(soft, [1, 0.7 * math.exp(-2), 0.7 * math.exp(-4)])
    assert len(merge_boxes(members, "soft_nms", least_score=0.05)) == 2
    fused = merge_boxes(members, "wbf", 0.9)
    np.testing.assert_allclose(fused[list("xywh")], [box[1:]])
    assert fused.label.tolist() == ["b"]
    np.testing.assert_allclose(fused[["score", "label_score"]], [[0.8, 0.4]])
    equal(merge_boxes(members, "wbf", 0.9, per_label=True),
          oracle(members, "wbf", 0.9, per_label=True))


def test_fusion_counts_the_members_that_saw_a_box():
    seen = frame([["p", 0, 0, 10, 10, 0.8, "a", 0.5]])
    twice = pd.concat([seen, seen])
    assert merge_boxes([seen, frame([])], "wbf", 0.5).score.tolist() == pytest.approx([0.4])
    assert merge_boxes([twice, frame([])], "wbf", 0.5).score.tolist() == pytest.approx([0.4])
    weighed = merge_boxes([seen, frame([])], "wbf", 0.5, weights=[3, 1]).score.tolist()
    assert weighed == pytest.approx([0.6])
    zeros = seen.assign(score=0.0)
    aside = zeros.assign(x=2.0)
    assert merge_boxes([zeros, aside], "wbf", 0.5).x.tolist() == pytest.approx([1.0])


def test_equal_scores_keep_the_order_of_members_and_rows():
    rows = [["p", 50.0 * k, 0, 10, 10, 0.5 + k % 2 / 4, "a", (k * 37 % 400) / 400]
            for k in range(400)]
    members = [frame(rows[150:]), frame(rows[:150])]
    in_order = sorted(rows[150:] + rows[:150], key=lambda row: -row[5])
    for method, rank_by in [(method, "score") for method in METHODS] + [("nms", "label_score")]:
        merged = merge_boxes(members, method, 0.3, rank_by=rank_by)
        assert merged.x.tolist() == [row[1] for row in in_order]


def test_a_fused_box_is_met_where_it_has_moved_to():
    members = [frame([["p", x, 0, 10, 10, 0.5, "a", 1.0]]) for x in (0, 6, 10.5)]  # the last meets 3..13
    assert merge_boxes(members, "wbf", 0.1).x.tolist() == pytest.approx([5.5])


def test_a_fused_score_is_never_above_1():
    random = np.random.default_rng(0)
    seen = frame([["p", 0, 0, 10, 10, 1.0, "a", 1.0]])
    for _ in range(20):
        fused = merge_boxes([seen] * 11, "wbf", 0.5, weights=random.uniform(0, 1, 11))
        assert 1 - 1e-12 < fused.score[0] <= 1 and 1 - 1e-12 < fused.label_score[0] <= 1


@pytest.mark.parametrize("method", METHODS)
def test_whole_files_are_merged_page_by_page_and_can_be_written(method, tmp_path):
    random = np.random.default_rng(3)
    one = pd.concat([page(random, 12, 60, name) for name in ("p2", "p0")], ignore_index=True)
    two = pd.concat([page(random, 12, 60, name) for name in ("p3", "p0")], ignore_index=True)
    for table in (one, two):  # all scores 1: a mean of them must not be rounded to above 1
        table["score"] = 1.0
    pages = ["p0", "p1", "p2", "p3"]
    weights = [0.1, 0.7]
    merged = merge_detections([one, two], pages, method, 0.3, weights=weights)
    assert merged.image_id.drop_duplicates().tolist() == ["p0", "p2", "p3"]
    for name in pages:
        parts = [table[table.image_id == name] for table in (one, two)]
        own = merged[merged.image_id == name].reset_index(drop=True)
        equal(own, oracle(parts, method, 0.3, weights=weights))
    write_detections(tmp_path / "d.csv", merged)
    np.testing.assert_allclose(read_detections(tmp_path / "d.csv").score, merged.score)
    nothing = merge_detections([one.iloc[:0], two.iloc[:0]], pages, method, 0.3)
    assert len(nothing) == 0 and nothing.dtypes.tolist() == merged.dtypes.tolist()


def test_soft_suppression_alone_keeps_groups_apart_and_takes_only_the_box_that_waits():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10], [0, 5, 10, 10], [5, 5, 0, 0]]
    scores = [0.5, 0.9, 0.8, 1.0]
    half, third = math.exp(-1 / 0.5), math.exp(-1 / 9 / 0.5)
    np.testing.assert_allclose(soft_nms(boxes, scores), [half * third, 1, third, 1])
    np.testing.assert_allclose(soft_nms(boxes, scores, groups=[0, 1, 0, 0]), [third, 1, 1, 1])
    np.testing.assert_allclose(soft_nms(boxes, scores, 1e-9), [0, 1, 0, 1])
    assert soft_nms(np.zeros((0, 4)), []).tolist() == []


ONE = [["p", 0, 0, 1, 1, 0.5, "a", 0.5]]


@pytest.mark.parametrize("members, arguments, says", [
    ([ONE], {"method": "mean"}, "by nms, soft_nms, wbf, not by 'mean'"),
    ([], {}, "got none"), ([ONE], {"iou": None}, "nms needs an iou"),
    ([ONE], {"method": "wbf", "iou": 1.5}, "wbf needs an iou of 0..1, got 1.5"),
    ([ONE], {"rank_by": "area"}, "rank_by.*'area'"),
    ([ONE], {"weights": [1, 2]}, r"1 members need as many weights.*\[1.0, 2.0\]"),
    ([ONE, ONE], {"weights": [1, -1]}, "got"), ([ONE], {"weights": [0]}, "not all 0"),
    ([ONE], {"method": "soft_nms", "sigma": 0}, "sigma above 0"),
    ([ONE, [["q", *ONE[0][1:]]]], {}, "2 pages .'p', 'q'"),
    ([[["p", 0, 0, -1, 1, 0.5, "a", 0.5]]], {"method": "wbf"}, "'p': 1 boxes.*w -1"),
    ([[["p", 0, 0, 1, 1, 1.5, "a", 0.5]]], {}, "score 1.5"),
    ([[["p", 0, 0, 1, math.inf, 0.5, "a", 0.5]]], {}, "h inf"),
    ([[["p", 0, 0, 1, 1, 0.5, "a", math.nan]]], {}, "label_score nan"),
    ([[["p", 0, 0, 1, 1, 0.5, "", math.nan]]], {"rank_by": "label_score"}, "label_score nan")])
def test_impossible_arguments_are_refused(members, arguments, says):
    with pytest.raises(ValueError, match=says):
        merge_boxes([frame(rows) for rows in members], **({"method": "nms", "iou": 0.5} | arguments))


def test_files_of_other_pages_or_columns_are_refused():
    one = frame(ONE)
    with pytest.raises(ValueError, match="member 1 has boxes on 1 pages.*2 to merge.*'p'"):
        merge_detections([one.iloc[:0], one], ["q", "r"], "nms", 0.5)
    with pytest.raises(ValueError, match="twice"):
        merge_detections([one], ["p", "p"], "nms", 0.5)
    with pytest.raises(ValueError, match="member 1 lacks the columns w, label"):
        merge_boxes([one, one.drop(columns=["w", "label"])], "nms", 0.5)
