import numpy as np
import pandas as pd
import pytest

from pipeline.selection import SelectionError, is_shared, repeat_rare, split_rows
from records.splits import assign_folds, share_rare_classes, split_by_group


def shared(counts):
    """counts: {class: (in training group, in validation group)} -> (labels, split)."""
    labels, groups = [], []
    for label, (train, val) in counts.items():
        labels += [label] * (train + val)
        groups += ["t"] * train + ["v"] * val
    return np.array(labels), share_rare_classes(split_by_group(groups, ["v"]), labels, seed=1)


def test_rare_class_rule():
    labels, split = shared({"many": (210, 0), "few": (209, 0), "val_many": (0, 300),
                            "val_few": (0, 4), "both_sides": (5, 1)})
    count = lambda label: pd.Series(split[labels == label]).value_counts().to_dict()
    assert count("many") == {"train": 190, "moved_to_val": 20}
    assert count("few") == {"both": 209}
    assert count("val_many") == {"val": 280, "moved_to_train": 20}
    assert count("val_few") == {"both": 4}
    assert count("both_sides") == {"train": 5, "val": 1}


def test_the_draw_depends_on_the_seed_only():
    labels, split = shared({"a": (500, 0), "b": (400, 1)})
    again = shared({"b": (400, 1), "a": (500, 0)})[1]
    assert (split[labels == "a"] == again[401:]).all()


def test_unknown_group_is_named():
    with pytest.raises(ValueError, match="no record of group 'x'.*'a', 'b'"):
        split_by_group(["a", "b"], ["x"])
    with pytest.raises(ValueError, match="nothing is left to train on"):
        split_by_group(["a", "b"], ["a", "b"])


def test_folds_are_stratified_and_can_keep_groups_together():
    labels = np.repeat(["x", "y"], [50, 25])
    folds = assign_folds(labels, [""] * 75, 5, seed=1)
    for label, each in (("x", 10), ("y", 5)):
        assert np.bincount(folds[labels == label]).tolist() == [each] * 5
    groups = np.arange(75) % 15
    folds = assign_folds(labels, groups, 5, seed=1, by_group=True)
    assert all(len(set(folds[groups == g])) == 1 for g in range(15))
    with pytest.raises(ValueError, match="3 groups"):
        assign_folds(labels, np.arange(75) % 3, 5, seed=1, by_group=True)


def manifest(**columns):
    return pd.DataFrame({"source": ["train"] * len(next(iter(columns.values())))} | columns)


def test_rows_of_each_side():
    table = manifest(split_s=["train", "val", "both", "moved_to_val", "moved_to_train"],
                     fold=[0, 1, 0, 1, 2])
    train, val = split_rows(table, "s")
    assert train.tolist() == [0, 2, 4] and val.tolist() == [1, 2, 3]
    assert is_shared(table, "s").tolist() == [True, False, True, True, True]
    train, val = split_rows(table, val_fold=1)
    assert train.tolist() == [0, 2, 4] and val.tolist() == [1, 3]
    with pytest.raises(SelectionError, match="--split=t: the store has s"):
        split_rows(table, "t")
    with pytest.raises(SelectionError, match="0, 1, 2"):
        split_rows(table, val_fold=7)


def test_pseudo_never_validates_and_test_is_on_no_side():
    table = manifest(split_s=["val", "train", "val", "train"])
    table["source"] = ["pseudo", "pseudo", "test", "test"]
    train, val = split_rows(table, "s")
    assert train.tolist() == [1] and val.tolist() == []


def test_rare_classes_are_repeated():
    labels = np.array([0] * 3 + [1] * 100 + [2] * 60)
    rows = np.arange(1000, 1163)
    repeated = repeat_rare(rows, labels, 100)
    counts = np.bincount(labels[repeated - 1000])
    assert counts.tolist() == [3 * (1 + 33), 100, 60 * 2]
