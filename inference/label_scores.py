"""What several labels per image score out of fold: thresholds by group of labels, F2 of all and of each."""
import zlib

import numpy as np
import pandas as pd

from inference.multilabel import cross_fitted, group_f2
from inference.multilabel_thresholds import fit_group_thresholds, fit_label_thresholds

OTHERS = "others"  # the group of labels without a prefix


def label_groups(class_names):
    """{what stands before :: in the names: int columns}, in order of first appearance."""
    groups = {}
    for column, name in enumerate(class_names):
        prefix, colons, _ = name.partition("::")
        groups.setdefault(prefix if colons else OTHERS, []).append(column)
    return {name: np.array(columns) for name, columns in groups.items()}


def halves(ids):
    """int [n]: two parts of the records, as good as drawn, but each record's part is a function of the ids
    alone. ids: str [n], n >= 2."""
    order = np.argsort([zlib.crc32(record_id.encode()) for record_id in ids], kind="stable")
    part = np.empty(len(order), int)
    part[order] = np.arange(len(order)) % 2
    return part


def fit_thresholds(probabilities, truth, class_names, kind="group"):
    """Thresholds float64 [k] of the best mean F2 on these records. kind: group, or label, which begins from
    those of the groups. See inference.multilabel_thresholds."""
    thresholds = fit_group_thresholds(probabilities, truth, label_groups(class_names))
    return thresholds if kind == "group" else fit_label_thresholds(probabilities, truth, thresholds)


def label_figures(probabilities, truth, folds, class_names, kind="group"):
    """({"f2": ..., "f2_GROUP": ...}, thresholds float64 [k]).

    The figures are those of thresholds that each fold has from the others; folds: int [n], two different
    ones at least. The thresholds returned are fitted on all, for other records.
    """
    fit = lambda probabilities, truth: fit_thresholds(probabilities, truth, class_names, kind)
    predicted, _ = cross_fitted(probabilities, truth, folds, fit)
    return named_f2(truth, predicted, class_names), fit(probabilities, truth)


def named_f2(truth, predicted, class_names):
    """{"f2": mean F2 of all labels, "f2_GROUP": of those of a group, if there are several}."""
    groups = label_groups(class_names)
    found = group_f2(truth, predicted, groups if len(groups) > 1 else {})
    return {"f2" if name == "all" else f"f2_{name}": value for name, value in found.items()}


def label_fold_table(folds, probabilities, truth, class_names, kind="group"):
    """DataFrame, index "fold": records and figures of each, then "mean", "std" and "together". folds: int [n]."""
    fit = lambda probabilities, truth: fit_thresholds(probabilities, truth, class_names, kind)
    predicted, _ = cross_fitted(probabilities, truth, folds, fit)
    numbers = np.unique(folds)
    rows = pd.DataFrame({str(k): named_f2(truth[folds == k], predicted[folds == k], class_names)
                         for k in numbers}).T
    table = pd.concat([rows, rows.mean().to_frame("mean").T, rows.std(ddof=1).to_frame("std").T,
                       pd.DataFrame({"together": named_f2(truth, predicted, class_names)}).T])
    counts = [int((folds == k).sum()) for k in numbers]
    table.insert(0, "records", pd.array([*counts, None, None, sum(counts)], "Int64"))
    table.index.name = "fold"
    return table


def told(figures):
    """The figures in words."""
    more = ", ".join(f"{name[3:]} {value:.4f}" for name, value in figures.items() if name.startswith("f2_"))
    return f"F2 {figures['f2']:.4f}" + (f" ({more})" if more else "")
