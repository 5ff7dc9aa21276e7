"""The Kuzushiji score and submission against a plain reading of the rule."""
import csv

import numpy as np
import pytest

from inference.kuzushiji_score import (Score, false_positives_on, match_page, score_centres,
                                       score_pages)
from inference.submissions import (SubmissionError, centre_points, read_submission,
                                   write_submission)
from records.annotations import AnnotationError
from records.unread import read_unread


def oracle(truth, predictions):
    """True boxes in file order; each takes the first unused prediction inside with its label."""
    tp = fp = fn = 0
    for page in truth:
        unused = list(zip(*predictions[page]))
        for label, (x, y, w, h) in zip(*truth[page]):
            for candidate in unused:
                px, py = candidate[1]
                if candidate[0] == label and x < px < x + w and y < py < y + h:
                    unused.remove(candidate)
                    tp += 1
                    break
            else:
                fn += 1
        fp += len(unused)
    return tp, fp, fn


def random_pages(seed, n_labels=3):
    random = np.random.default_rng(seed)
    truth, predictions = {}, {}
    for page in "abcd":
        n, m = random.integers(0, 40, 2)
        truth[page] = ([f"U+{k}" for k in random.integers(0, n_labels, n)],
                       random.integers(0, 60, (n, 4)) + [0, 0, 5, 5])
        predictions[page] = ([f"U+{k}" for k in random.integers(0, n_labels, m)],
                             [tuple(p) for p in random.integers(0, 100, (m, 2)).tolist()])
    return truth, predictions


@pytest.mark.parametrize("seed", range(8))
def test_score_equals_the_plain_rule(seed):
    truth, predictions = random_pages(seed)
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


@pytest.mark.parametrize("seed", range(8))
def test_centres_score_by_the_same_rule_with_one_label(seed):
    truth, predictions = random_pages(seed)
    tp, fp, fn = oracle(*({page: ([""] * len(labels), places)
                           for page, (labels, places) in pages.items()}
                          for pages in (truth, predictions)))
    score = score_centres(truth, predictions)
    assert (score.matched, score.predicted, score.true) == (tp, tp + fp, tp + fn)
    assert score.matched > score_pages(truth, predictions).matched
    assert score_centres({"p": (["a"], [[0, 0, 9, 9]])}, {"p": (["b"], [(4, 4)])}) == Score(1, 1, 1)


@pytest.mark.parametrize("seed", range(8))
def test_false_positives_are_put_where_they_lie(seed):
    random = np.random.default_rng(seed)
    truth, predictions = random_pages(seed)
    truth = {page: (labels[:6], boxes[:6]) for page, (labels, boxes) in truth.items()}
    unread = {page: [(kind, *box) for kind, box in zip(
        random.choice(["ruby", "shine_through"], 12),
        (random.integers(0, 80, (12, 4)) // [1, 1, 3, 3] + [0, 0, 2, 2]).tolist())]
        for page in "abd"}
    expected = {"ruby": 0, "shine_through": 0, "character": 0, "other": 0}
    for page in truth:
        left = list(predictions[page][1])
        for x, y, w, h in truth[page][1]:
            hits = [p for p in left if x < p[0] < x + w and y < p[1] < y + h]
            left = left if not hits else left[:left.index(hits[0])] + left[left.index(hits[0]) + 1:]
        for px, py in left:
            place, least = "other", np.inf
            for kind, x, y, w, h in unread.get(page, []):
                within = x < px < x + w and y < py < y + h
                if within and (w * h < least or w * h == least and kind == "ruby"):
                    place, least = kind, w * h
            if any(x < px < x + w and y < py < y + h for x, y, w, h in truth[page][1]):
                place = "character"
            expected[place] += 1
    counts = false_positives_on(truth, predictions, unread)
    assert counts == expected and counts["ruby"] + counts["shine_through"] > 0
    score = score_centres(truth, predictions)
    assert sum(counts.values()) == score.predicted - score.matched


def test_false_positives_of_one_page():
    truth = {"p": (["a", "b"], [[0, 0, 20, 20], [100, 0, 20, 20]]), "empty": ([], [])}
    points = [(10, 10), (10, 11), (25, 5), (60, 60), (65, 65), (25, 4), (200, 200)]
    predictions = {"p": (["c"] * 7, points), "empty": (["a"], [(5, 5)])}
    unread = {"p": [("ruby", 22, 2, 6, 6), ("shine_through", 0, 0, 64, 64)]}
    assert false_positives_on(truth, predictions, unread) == {
        "ruby": 2, "shine_through": 1, "character": 1, "other": 3}
    assert false_positives_on(truth, predictions, {}) == {"character": 1, "other": 6}
    with pytest.raises(ValueError, match="'other'.*rename"):
        false_positives_on(truth, predictions, {"p": [("other", 0, 0, 1, 1)]})


def test_unread_boxes_are_read_and_bad_rows_named(tmp_path):
    path = tmp_path / "unread.csv"
    head = "image_id,kind,x,y,w,h\n"
    path.write_text(head + "p,ruby,1,2,3,4\nq,shine_through,0,0,5,6\np,ruby,7,8,9,10\n")
    assert read_unread(path) == {"p": [("ruby", 1, 2, 3, 4), ("ruby", 7, 8, 9, 10)],
                                 "q": [("shine_through", 0, 0, 5, 6)]}
    path.write_text(head)
    assert read_unread(path) == {}
    for row, says in (("p,ruby,1,2,3", "a field for each column"),
                      ("p,ruby,1,2,3,4,5", "a field for each column"),
                      (",ruby,1,2,3,4", "image_id '' .*not be empty"),
                      ("p,,1,2,3,4", "kind '' must"),
                      ("p,ruby,1.5,2,3,4", "x '1.5' is not a whole"),
                      ("p,ruby,1,-2,3,4", "y '-2' is not a whole"),
                      ("p,ruby,1,2,3,0", "3 x 0 px: it must have a size")):
        path.write_text(head + "p,ruby,1,2,3,4\n" + row + "\n")
        with pytest.raises(AnnotationError, match=f"unread.csv, row 3: .*{says}"):
            read_unread(path)
    path.write_text("image_id,x,y,w,h\n")
    with pytest.raises(AnnotationError, match="image_id, x, y, w, h; it must have .*kind missing"):
        read_unread(path)
    with pytest.raises(AnnotationError, match="nowhere.csv cannot be read"):
        read_unread(tmp_path / "nowhere.csv")


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
