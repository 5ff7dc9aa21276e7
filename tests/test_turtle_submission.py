"""Turtle Recall's submission against its rule told in plain Python, and files of another form."""
import numpy as np
import pytest

from inference.submissions import SubmissionError
from inference.turtle_submission import (COLUMNS, NEW_TURTLE, known_classes, read_turtle_submission,
                                         read_turtle_truth, sample_image_ids, score_turtles, turtle_rows,
                                         write_turtle_submission)

NAMES = [f"t_id_{k:02}" for k in range(20)]
KNOWN = NAMES[1::2]


def oracle(row, names, known):
    """The rule, name by name: take the five best, rename, drop repeats, fill up with the known."""
    ranked = [names[k] for k in sorted(range(len(row)), key=lambda k: (-row[k], k))]
    five = []
    for name in ranked[:5]:
        name = name if name in known else NEW_TURTLE
        if name not in five:
            five.append(name)
    for name in ranked:
        if len(five) < 5 and name in known and name not in five:
            five.append(name)
    return five


def probabilities(seed, n=150, ties=False):
    random = np.random.default_rng(seed)
    values = random.integers(1, 5, (n, 20)).astype(float) if ties else random.random((n, 20)) ** 4
    return (values / values.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n_known", [4, 5, 10, 19, 20])
def test_rows_follow_the_rule(n_known, ties):
    scores = probabilities(n_known, ties=ties)
    known = np.random.default_rng(n_known).permutation(NAMES)[:n_known].tolist()
    rows = turtle_rows(scores, NAMES, known)
    assert rows.tolist() == [oracle(row, NAMES, known) for row in scores.tolist()]
    assert all(len(set(row)) == 5 for row in rows.tolist())


def test_rows_of_the_competitions_size():
    random = np.random.default_rng(0)
    names = [f"t_id_{k:04}" for k in range(2265)]
    known = random.permutation(names)[:100].tolist()
    scores = random.normal(0, 3, (490, 2265)).astype(np.float16)  # with ties, as of saved logits
    rows = turtle_rows(scores, names, known)
    for k in range(0, 490, 7):
        assert rows[k].tolist() == oracle(scores[k].tolist(), names, set(known))


def test_a_score_of_its_own_puts_new_turtle_where_it_belongs():
    scores = np.full((4, 20), -np.inf, np.float32)  # similarities; the classes outside have none
    scores[:, 1:12:2] = [.9, .8, .7, .6, .5, .4]
    one, three, five, seven, nine = KNOWN[:5]
    rows = turtle_rows(scores, NAMES, KNOWN, [.95, .9, .65, .45]).tolist()
    assert rows == [[NEW_TURTLE, one, three, five, seven], [one, NEW_TURTLE, three, five, seven],
                    [one, three, five, NEW_TURTLE, seven], [one, three, five, seven, nine]]
    assert turtle_rows(scores, NAMES, KNOWN, .65).tolist() == [rows[2]] * 4
    # The class outside with the best score of all is not looked at.
    scores[:, 0] = 1
    assert turtle_rows(scores, NAMES, KNOWN, .65).tolist() == [rows[2]] * 4
    assert turtle_rows(scores, NAMES, KNOWN)[0].tolist() == rows[0]


def test_too_few_or_strange_known_ids_are_refused():
    scores = probabilities(0)
    with pytest.raises(SubmissionError, match="5 different names, but there are 3 known ids and new_t"):
        turtle_rows(scores, NAMES, NAMES[:3])
    with pytest.raises(SubmissionError, match="are 0 known"):
        turtle_rows(scores, NAMES, [])
    with pytest.raises(SubmissionError, match="are 4 known ids:"):
        turtle_rows(scores[:, :4], NAMES[:4], NAMES[:4])
    with pytest.raises(SubmissionError, match="1 of 3 known ids are none of the 20 classes .*'t_id_x'"):
        turtle_rows(scores, NAMES, [*NAMES[:2], "t_id_x"])
    with pytest.raises(SubmissionError, match="stands for all that are not known"):
        known_classes([*NAMES, NEW_TURTLE], [NEW_TURTLE])
    assert known_classes(NAMES, KNOWN).tolist() == [False, True] * 10


def test_a_submissions_score_is_that_of_scikit_learn(tmp_path):
    """MAP@5 with one right name is the average precision of a row whose scores fall with the place."""
    from sklearn.metrics import average_precision_score
    random = np.random.default_rng(3)
    ids = [f"i{k}" for k in range(200)]
    rows = turtle_rows(probabilities(3)[random.integers(0, 150, 200)], NAMES, KNOWN)
    truth = dict(zip(ids, random.choice([*NAMES, NEW_TURTLE], 200).tolist()))
    path = tmp_path / "truth.csv"
    path.write_text("turtle_id,image_id\n" + "".join(f"{truth[i]},{i}\n" for i in reversed(ids)))
    assert read_turtle_truth(path) == truth
    right = [truth[i] if truth[i] in KNOWN else NEW_TURTLE for i in ids]
    precisions = [average_precision_score(row == name, 5 - np.arange(5)) if name in row else 0
                  for row, name in zip(rows, right)]
    figures = score_turtles(dict(zip(ids, rows.tolist())), read_turtle_truth(path), set(KNOWN))
    assert figures["map_at_5"] == pytest.approx(np.mean(precisions))
    assert figures["accuracy"] == np.mean([row[0] == name for row, name in zip(rows, right)])
    with pytest.raises(SubmissionError, match="1 only in one, for instance 'i7'"):
        score_turtles(dict(zip(ids, rows.tolist())), {k: v for k, v in truth.items() if k != "i7"}, set(KNOWN))
    with pytest.raises(SubmissionError, match="or none"):
        score_turtles({}, {}, set(KNOWN))
    path.write_text("image_id,name\na,b\n")
    with pytest.raises(SubmissionError, match="turtle_id missing"):
        read_turtle_truth(path)


def test_written_in_the_samples_order_and_read_again(tmp_path):
    sample = tmp_path / "sample.csv"
    sample.write_text("image_id,prediction1\nc,x\na,\n\"b,1\",x\n")
    order = sample_image_ids(sample)
    assert order == ["c", "a", "b,1"]
    rows = turtle_rows(probabilities(1, 3), NAMES, KNOWN)
    path = tmp_path / "submission.csv"
    write_turtle_submission(path, ["a", "b,1", "c"], rows, order)
    lines = path.read_text().splitlines()
    assert lines[0] == "image_id,prediction1,prediction2,prediction3,prediction4,prediction5"
    assert lines[1] == ",".join(["c", *rows[2]]) and lines[3].startswith('"b,1",')
    assert list(read_turtle_submission(path).items()) == [
        (name, rows[k].tolist()) for name, k in (("c", 2), ("a", 0), ("b,1", 1))]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sample.csv", "submission.csv"]


@pytest.mark.parametrize("ids, names, sample, says", [
    ("ab", "vwxyz", "abc", "1 of the sample's 3 images have no prediction \\(the first: 'c'"),
    ("abc", "vwxyz", "ab", "1 images are not in the sample \\(the first: 'c'"),
    ("ab", "vwxyz", "aba", "the sample names an image twice"),
    ("aa", "vwxyz", "a", "image 'a': it comes twice"),
    ("ab", "vwxyv", "ab", "image 'a': 'v' stands there twice"),
    ("ab", "vwxy", "ab", "image 'a': it needs 5 names"),
    ("ab", ["v", "w", "", "y", "z"], "ab", "none of them empty")])
def test_what_is_no_submission_is_not_written(tmp_path, ids, names, sample, says):
    with pytest.raises(SubmissionError, match=says):
        write_turtle_submission(tmp_path / "s.csv", ids, [list(names)] * len(ids), list(sample))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("line, says", [
    ("b,1,2,3,4", "row 3, image 'b': it needs 5 names"),
    ("b,1,2,,4,5", "row 3, image 'b': it needs 5 names, none of them empty"),
    ("b,1,2,3,4,5,6", "row 3, image 'b': it has more than 6 fields"),
    ("b,1,new_turtle,3,new_turtle,5", "row 3, image 'b': 'new_turtle' stands there twice"),
    ("a,1,2,3,4,5", "row 3, image 'a': the image stands there already"),
    (",1,2,3,4,5", "row 3, image '': an image id is needed")])
def test_a_damaged_file_is_refused_with_its_row(tmp_path, line, says):
    path = tmp_path / "s.csv"
    path.write_text(f"{','.join(COLUMNS)}\na,1,2,3,4,new_turtle\n{line}\n")
    with pytest.raises(SubmissionError, match=f"{path}, {says}"):
        read_turtle_submission(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "s.csv"
    with pytest.raises(SubmissionError, match=f"{path} cannot be read"):
        read_turtle_submission(path)
    path.write_text("image_id,prediction1,prediction2\na,b,c\n")
    with pytest.raises(SubmissionError, match=f"{path} .*prediction3, prediction4, prediction5 missing"):
        read_turtle_submission(path)
    assert sample_image_ids(path) == ["a"]
    path.write_text("image,labels\n")
    with pytest.raises(SubmissionError, match="image_id missing"):
        sample_image_ids(path)
