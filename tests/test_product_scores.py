"""Submission of products and its score by level, number of images and part, against plain Python."""
import numpy as np
import pytest

from inference.product_scores import figures_of, right_by_level, score_table
from inference.product_submissions import matched, read_products, write_product_submission
from inference.submissions import SubmissionError

NAMES = ["100", "101", "102", "103", "104"]
LEVELS = [{"name": "category_level1", "names": ["a", "b"], "of_class": [0, 0, 1, 1, 0]},
          {"name": "category_level2", "names": ["p", "q", "r"], "of_class": [0, 0, 1, 2, 0]},
          {"name": "category_level3", "names": ["x"], "of_class": [0] * 5}]


def test_scores_by_level_number_of_images_and_part():
    random = np.random.default_rng(0)
    given = random.choice(NAMES, 200)
    truth = np.where(random.random(200) < 0.5, given, random.choice([*NAMES, "999"], 200))
    count, parts = random.integers(1, 5, 200), random.choice(["text", "", "shape"], 200)
    table = score_table(right_by_level(given, truth, NAMES, LEVELS), count, parts)
    level = lambda k, name: LEVELS[k]["names"][LEVELS[k]["of_class"][NAMES.index(name)]] if name in NAMES else None
    same = {"accuracy": lambda g, t: g == t, "accuracy_level1": lambda g, t: level(0, g) == level(0, t),
            "accuracy_level2": lambda g, t: level(1, g) == level(1, t)}
    groups = {"all": [True] * 200, **{f"images{k}": count == k for k in (1, 2, 3, 4)},
              "shape": parts == "shape", "text": parts == "text"}
    assert table.index.tolist() == list(groups) and table.columns.tolist() == ["products", *same]
    for row, chosen in groups.items():
        pairs = [(g, t) for g, t, c in zip(given, truth, chosen) if c]
        assert table.loc[row, "products"] == len(pairs)
        for column, right in same.items():
            assert table.loc[row, column] == pytest.approx(np.mean([right(*pair) for pair in pairs]))
    figures = figures_of(table)
    assert figures["accuracy_level2"] == table.loc["all", "accuracy_level2"]
    assert figures["accuracy_level1_images3"] == table.loc["images3", "accuracy_level1"]
    assert figures["accuracy_text"] == table.loc["text", "accuracy"] and len(figures) == 7 * 3


def test_without_levels_and_parts_there_is_accuracy_alone():
    table = score_table(right_by_level(["1", "2"], ["1", "3"], ["1", "2", "3"], []), np.array([1, 1]))
    assert figures_of(table) == {"accuracy": 0.5, "accuracy_images1": 0.5}


def test_submission_is_in_the_samples_order_and_read_again(tmp_path):
    path = tmp_path / "s.csv"
    write_product_submission(path, ["7", "8", "9"], ["1", "2", "3"], ["9", "7", "8"])
    assert path.read_text() == "_id,category_id\n9,3\n7,1\n8,2\n"
    truth = tmp_path / "t.csv"
    truth.write_text("_id,category_id,part\n8,5,\n9,3,text\n7,1,\n")
    known = read_products(truth, ["category_id"])
    assert known["part"].tolist() == ["", "text", ""]
    assert matched(path, read_products(path, ["category_id"]), truth, known).tolist() == ["2", "3", "1"]
    write_product_submission(path, ["7", "8"], ["1", "2"])
    with pytest.raises(SubmissionError, match="1 are only in .*t.csv, the first '9'"):
        matched(path, read_products(path, ["category_id"]), truth, known)


@pytest.mark.parametrize("ids, sample, says", [
    (["1", "2"], ["1", "2", "3"], "not written: the store and the sample .* only in the sample, the first '3'"),
    (["1", "2"], ["1"], "1 are only in the store, the first '2'"),
    (["1", "1"], ["1"], "the store names the product '1' twice"),
    (["1"], ["1", "1"], "the sample names the product '1' twice")])
def test_other_products_than_the_samples_are_refused_and_nothing_is_written(ids, sample, says, tmp_path):
    with pytest.raises(SubmissionError, match=says):
        write_product_submission(tmp_path / "s.csv", ids, ["5"] * len(ids), sample)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text, says", [
    ("_id\n1\n", "no column category_id"), ("_id,category_id\n1,2\n1,3\n", "row 3: the _id '1' stands"),
    ("_id,category_id\n1,2\n,3\n", "row 3: a field"), ("_id,category_id\n1,\n", "row 2: a field"),
    ("", "cannot be read")])
def test_files_that_are_no_submission_are_named(text, says, tmp_path):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(SubmissionError, match=says):
        read_products(tmp_path / "x.csv", ["category_id"])
