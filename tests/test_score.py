"""The Kuzushiji score and submission against a plain reading of the rule."""
import csv

import numpy as np
import pytest

from inference.kuzushiji_score import Score, match_page, score_pages
from inference.submissions import (SubmissionError, centre_points, read_submission,
                                   write_submission)


def oracle(truth, predictions):
    """True boxes in file order; each takes the first unused prediction inside with its label."""
    tp = fp = fn = 0
    for page in truth:
        unused = list(zip(*predictions[page]))
        for label, (x, y, w, h) in zip(*truth[page]):
            for candidate in unused:
                if candidate[0] == label and x < candidate[1][0] < x + w and y < candidate[1][1] < y + h:
                    unused.remove(candidate)
                    tp += 1
                    break
            else:
                fn += 1
        fp += len(unused)
    return tp, fp, fn


@pytest.mark.parametrize("seed", range(8))
def test_score_equals_the_plain_rule(seed):
    random = np.random.default_rng(seed)
    truth, predictions = {}, {}
    for page in "abcd":
        n, m = random.integers(0, 40, 2)
        truth[page] = ([f"U+{k}" for k in random.integers(0, 3, n)],
                       random.integers(0, 60, (n, 4)) + [0, 0, 5, 5])
        predictions[page] = ([f"U+{k}" for k in random.integers(0, 3, m)],
                             [tuple(p) for p in random.integers(0, 100, (m, 2)).tolist()])
    tp, fp, fn = oracle(truth, predictions)
    score = score_pages(truth, predictions)
    assert (score.matched, score.predicted, score.true) == (tp, tp + fp, tp + fn)
    assert score.f1 == pytest.approx(2 * tp / (2 * tp + fp + fn) if tp else 0)


def test_the_border_is_outside_and_file_order_decides():
    box = [[10, 10, 20, 20]]
    for point, inside in (((10, 15), False), ((11, 11), True), ((30, 15), False), ((29, 29), True),
                          ((15, 10), False), ((15, 30), False)):
        assert (match_page(["a"], box, ["a"], [point]) == [0]) is inside
    # The first true box takes the prediction, although the second contains it too.
    assert match_page(["a", "a"], [[0, 0, 50, 50], [10, 10, 5, 5]], ["a"], [(12, 12)]) == [0, -1]
    assert match_page(["a"], box, ["b", "a", "a"], [(15, 15)] * 3) == [1]


def test_empty_pages_count_nothing():
    nothing = ([], np.zeros((0, 4), int))
    assert score_pages({"p": nothing}, {"p": ([], [])}) == Score(0, 0, 0)
    assert Score(0, 0, 0).f1 == 0.0
    assert score_pages({"p": nothing}, {"p": (["a"], [(1, 1)])}) == Score(0, 1, 0)


def test_submission_round_trip_has_every_page(tmp_path):
    boxes = np.array([[0, 0, 11, 21], [5, 7, 2, 2]])
    path = tmp_path / "s.csv"
    left_out = write_submission(path, ["p", "empty"], ["p", "p"], ["U+3042", "U+3044"],
                                centre_points(boxes), [0.5, 0.9])
    assert left_out == 0
    assert path.read_text() == "image_id,labels\np,U+3042 5 10 U+3044 6 8\nempty,\n"
    pages = read_submission(path)
    assert pages["p"][0] == ["U+3042", "U+3044"] and pages["p"][1].tolist() == [[5, 10], [6, 8]]
    assert pages["empty"][0] == []


def test_most_confident_1200_are_kept(tmp_path):
    n = 1300
    confidence = np.random.default_rng(0).permutation(n) / n
    left_out = write_submission(tmp_path / "s.csv", ["p"], ["p"] * n, [f"U+{i:04X}" for i in range(n)],
                                np.ones((n, 2), int), confidence)
    labels = read_submission(tmp_path / "s.csv")["p"][0]
    assert left_out == 100 and len(labels) == 1200
    assert labels == [f"U+{i:04X}" for i in range(n) if confidence[i] >= 100 / n]


@pytest.mark.parametrize("labels, says", [
    ("U+3042 1", "2 fields"), ("U+3042 1 2.5", "'2.5' is not a whole number"),
    (" ".join(["U+3042 1 2"] * 1201), "1201 characters")])
def test_bad_submissions_are_named(tmp_path, labels, says):
    with open(tmp_path / "s.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image_id", "labels"], ["p", ""], ["q", labels]])
    with pytest.raises(SubmissionError, match=f"row 3, page q: {says}"):
        read_submission(tmp_path / "s.csv")


def test_double_and_unknown_pages(tmp_path):
    (tmp_path / "s.csv").write_text("image_id,labels\np,\np,\n")
    with pytest.raises(SubmissionError, match="row 3.*already"):
        read_submission(tmp_path / "s.csv")
    with pytest.raises(SubmissionError, match="'q', which is not among"):
        write_submission(tmp_path / "t.csv", ["p"], ["q"], ["U+3042"], [[1, 1]], [1.0])
    assert not (tmp_path / "t.csv").exists()
