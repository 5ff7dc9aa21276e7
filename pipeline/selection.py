"""Which records train and which validate: arithmetic on the manifest, nothing repacked."""
import numpy as np

from records.splits import TRAIN_VALUES, VAL_VALUES


class SelectionError(ValueError):
    """The split that was asked for is not in the manifest, or leaves a side empty."""


def split_rows(manifest, split=None, val_fold=None):
    """(training rows, validation rows), int64 indices into the manifest, each in its order.

    split: name of a split_* column. val_fold: the fold that validates. Neither: all rows train and
    none validates. Rows of source "test" are on neither side; of "pseudo", never in validation.
    """
    source = manifest["source"].to_numpy()
    if split is not None:
        column = f"split_{split}"
        if column not in manifest:
            names = [c[6:] for c in manifest if c.startswith("split_")]
            raise SelectionError(f"--split={split}: the store has {', '.join(names) or 'no split'}; "
                                 "splits are made by create_tfrecords.py --val_split")
        train = manifest[column].isin(TRAIN_VALUES).to_numpy()
        val = manifest[column].isin(VAL_VALUES).to_numpy()
    elif val_fold is not None:
        folds = manifest["fold"].to_numpy()
        if val_fold not in folds:
            raise SelectionError(f"--val_fold={val_fold}: the store has the folds "
                                 f"{', '.join(map(str, sorted(set(folds))))} (-1: none); folds "
                                 "are made by create_tfrecords.py --n_folds")
        val = folds == val_fold
        train = ~val
    else:
        train, val = np.ones(len(manifest), bool), np.zeros(len(manifest), bool)
    train_rows = np.flatnonzero(train & (source != "test"))
    val_rows = np.flatnonzero(val & (source == "train"))
    if not len(train_rows):
        raise SelectionError("the split leaves no record to train on")
    return train_rows, val_rows


def label_matrix(indptr, indices, columns):
    """uint8 [n, len(columns)]: 1 where a record has the class of a column; a byte each.

    indptr int [n + 1], indices int: the classes of every record, as a sparse matrix's rows. columns: int,
    classes, in the order of the matrix's columns.
    """
    place = np.full(max(indices.max(initial=-1), np.max(columns, initial=-1)) + 1, -1)
    place[columns] = np.arange(len(columns))
    row, column = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)), place[indices]
    matrix = np.zeros((len(indptr) - 1, len(columns)), np.uint8)
    matrix[row[column >= 0], column[column >= 0]] = 1
    return matrix


def is_shared(manifest, split):
    """bool [n]: rows that are in the validation of `split` only by the rare-class rule."""
    return (manifest[f"split_{split}"] != "val").to_numpy() if split else \
        np.zeros(len(manifest), bool)


def repeat_rare(rows, labels, at_least):
    """`rows` with those of rare classes repeated: `at_least // count` more copies (system A).

    rows: int [n]. labels: int [n], the class of each row. Classes with `at_least` rows or more stay
    as they are.
    """
    counts = np.bincount(labels, minlength=1)[labels]
    return np.repeat(rows, np.where(counts < at_least, 1 + at_least // counts, 1))
