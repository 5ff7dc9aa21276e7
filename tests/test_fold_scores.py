"""The table of folds against figures added up record by record in plain Python."""
import csv
import statistics

import numpy as np
import pytest

from inference.fold_scores import fold_table, write_fold_table
from inference.turtle_submission import NEW_TURTLE, turtle_rows

SIZES = (30, 41, 7)
CLASSES = 9


def made_folds(n_classes=CLASSES, seed=0):
    random = np.random.default_rng(seed)
    folds, start = [], 0
    for fold, size in enumerate(SIZES):
        labels = random.integers(0, n_classes, size)
        logits = random.integers(-3, 3, (size, n_classes)).astype(np.float32)  # with ties
        logits[np.arange(size), labels] += 1
        folds.append((fold, [f"r{start + k}" for k in range(size)], labels, logits))
        start += size
    return folds


def rated(truth, names):
    """(right, 1 / rank or 0) of one record."""
    return float(names[0] == truth), 1 / (names.index(truth) + 1) if truth in names else 0.0


def of_record(label, row, known):
    names = sorted(range(len(row)), key=lambda c: (-row[c], c))[:5]
    figures = rated(label, names)
    if known is None:
        return figures
    ids = [f"t{c}" for c in range(len(row))]
    rows = turtle_rows(np.array([row]), ids, [i for i, k in zip(ids, known) if k])[0].tolist()
    return figures + rated(ids[label] if known[label] else NEW_TURTLE, rows)


@pytest.mark.parametrize("known", [None, np.arange(CLASSES) < 5, np.arange(CLASSES) % 2 == 0,
                                   np.ones(CLASSES, bool)])
def test_figures_of_each_fold_mean_spread_and_all_together(known):
    folds = made_folds()
    table = fold_table(iter(folds), known)
    columns = ["accuracy", "map_at_5"] + (
        [] if known is None else ["accuracy_known_new", "map_at_5_known_new"])
    assert list(table.columns) == ["records", *columns]
    assert list(table.index) == ["0", "1", "2", "mean", "std", "together"] and table.index.name == "fold"
    assert table["records"][["0", "1", "2", "together"]].tolist() == [*SIZES, sum(SIZES)]
    assert table["records"][["mean", "std"]].isna().all()
    records = [[of_record(label, row, known) for label, row in zip(labels.tolist(), logits.tolist())]
               for _, _, labels, logits in folds]
    for place, column in enumerate(columns):
        own = [statistics.fmean(record[place] for record in fold) for fold in records]
        wanted = [*own, statistics.fmean(own), statistics.stdev(own),
                  statistics.fmean(record[place] for fold in records for record in fold)]
        assert table[column].tolist() == pytest.approx(wanted, abs=1e-12), column
        assert wanted[3] != pytest.approx(wanted[5], abs=1e-3), "folds of unlike size tell them apart"


def test_few_classes_are_all_ranked():
    table = fold_table(made_folds(3), np.array([True, False, False]))
    assert (table["map_at_5"][:3] > table["accuracy"][:3]).all()
    assert (table["map_at_5_known_new"][:3] >= 0.5).all(), "of known and new one is first, one second"


def test_one_fold_has_no_spread():
    table = fold_table(made_folds()[:1])
    assert np.isnan(table.loc["std", "accuracy"])
    assert len(set(table["accuracy"][["0", "mean", "together"]])) == 1


def test_the_csv_says_the_same(tmp_path):
    table = fold_table(made_folds(), np.arange(CLASSES) < 5)
    path = tmp_path / "folds.csv"
    write_fold_table(path, table)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == list(table.index)
    assert [row["records"] for row in rows] == ["30", "41", "7", "", "", "78"]
    for column in table.columns[1:]:
        assert [float(row[column]) for row in rows] == pytest.approx(table[column].tolist(), abs=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["folds.csv"]
    write_fold_table(path, fold_table(made_folds()[:1]))
    assert path.read_text().splitlines()[3] == "std,,,"


def test_a_record_that_comes_twice_is_named():
    (a, ids, *rest), (b, others, *more), _ = made_folds()
    with pytest.raises(ValueError, match="record 'r3' is in fold 0 and in fold 1"):
        fold_table([(a, ids, *rest), (b, ["r3", *others[1:]], *more)])
    with pytest.raises(ValueError, match="record 'r0' comes twice in fold 0"):
        fold_table([(a, ["r0", *ids[:-1]], *rest)])
    with pytest.raises(ValueError, match="fold 0 comes twice"):
        fold_table([(a, ids, *rest), (a, others, *more)])


@pytest.mark.parametrize("change, says", [
    (lambda f, i, y, x: (f, i[1:], y, x), "29 ids, labels \\[30\\], logits \\[30, 9\\]"),
    (lambda f, i, y, x: (f, i, y, x[:, :8]), "9 logits"),
    (lambda f, i, y, x: (f, [], y[:0], x[:0]), "one record at least"),
    (lambda f, i, y, x: (f, i, y + 5, x), "labels must be int 0..8, got int64"),
    (lambda f, i, y, x: (f, i, y - 1, x), "labels must be int 0..8"),
    (lambda f, i, y, x: (f, i, y.astype(float), x), "got float64"),
    (lambda f, i, y, x: (f, i, y, x * np.nan), "NaN")])
def test_folds_that_do_not_fit_are_refused(change, says):
    first, second, third = made_folds()
    with pytest.raises(ValueError, match=says):
        fold_table([third, change(*first)])
    with pytest.raises(ValueError, match="no folds"):
        fold_table([])
