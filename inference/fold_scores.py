"""What cross-validation says: the figures of each fold out of fold, their mean and spread, and all."""
import numpy as np
import pandas as pd

from inference.ranking import known_or_new, reciprocal_ranks, top_k, top_k_known
from records.files import write_text

K = 5  # of MAP@5


def fold_table(folds, known=None):
    """DataFrame of figures, index "fold": a row for each fold, then "mean", "std" and "together".

    folds: an iterable of (fold, ids str [n], labels int [n], logits float [n, classes]), the
    predictions that each fold's model makes of its own validation records. One that reads them as
    it goes holds those of one fold at a time. known: bool [classes], or None.

    Columns: records (Int64; NA for mean and std); accuracy and map_at_5 over all classes; with `known`
    also accuracy_known_new and map_at_5_known_new, where all that are not known are one class and a
    ranking is that of system B's submission. Of fewer than five classes all are ranked.
    mean, std: of the folds' figures, each fold counted once; the sample standard deviation, NaN of
    one fold. together: all records as one set, so larger folds count more.
    Raises ValueError, naming the record, when an id comes twice.
    """
    values, where, n_classes = {}, {}, None
    for fold, ids, labels, logits in folds:
        if fold in values:
            raise ValueError(f"fold {fold} comes twice: give each fold its own predictions")
        labels, logits = np.asarray(labels), np.asarray(logits)
        n_classes = logits.shape[-1] if n_classes is None else n_classes
        _check(fold, ids, labels, logits, n_classes)
        for record in ids:
            if record in where:
                raise ValueError(f"record {record!r} is in fold {where[record]} and in fold {fold}: out "
                                 "of fold each record is predicted once; give predictions of one packing"
                                 if where[record] != fold else
                                 f"record {record!r} comes twice in fold {fold}: predict it again")
            where[record] = fold
        values[fold] = _record_figures(labels, logits, known)
    if not values:
        raise ValueError("there are no folds to rate: give the predictions of one at least")
    table = pd.DataFrame({fold: figures.mean() for fold, figures in values.items()}).T
    rows = pd.concat([table, table.mean().to_frame("mean").T, table.std(ddof=1).to_frame("std").T,
                      pd.concat(values.values()).mean().to_frame("together").T])
    counts = [len(figures) for figures in values.values()]
    rows.insert(0, "records", pd.array([*counts, None, None, sum(counts)], "Int64"))
    rows.index = pd.Index(rows.index.astype(str), name="fold")
    return rows


def write_fold_table(path, table):
    """Writes the table of fold_table as CSV, six decimals, empty where there is no value."""
    write_text(path, table.to_csv(lineterminator="\n", float_format="%.6f"))


def _record_figures(labels, logits, known):
    """DataFrame [n]: what each record adds to each mean."""
    ranked = top_k(logits, min(K, logits.shape[1]))
    figures = {"accuracy": (ranked[:, 0] == labels).astype(np.float64),
               "map_at_5": reciprocal_ranks(labels, ranked)}
    if known is not None:
        known = np.asarray(known)
        n_names = int(known.sum()) + (not known.all())
        ranked, labels = top_k_known(logits, known, min(K, n_names)), known_or_new(labels, known)
        figures["accuracy_known_new"] = (ranked[:, 0] == labels).astype(np.float64)
        figures["map_at_5_known_new"] = reciprocal_ranks(labels, ranked)
    return pd.DataFrame(figures)


def _check(fold, ids, labels, logits, n_classes):
    if logits.ndim != 2 or logits.shape[1] != n_classes or not len(logits) or (
            labels.shape != logits.shape[:1] or len(ids) != len(labels)):
        raise ValueError(f"fold {fold} needs an id, a label and {n_classes} logits for each record, and "
                         f"one record at least: got {len(ids)} ids, labels {list(labels.shape)}, logits "
                         f"{list(logits.shape)}")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(f"fold {fold}: labels must be int 0..{n_classes - 1}, got {labels.dtype} "
                         f"{labels.min()}..{labels.max()}")
