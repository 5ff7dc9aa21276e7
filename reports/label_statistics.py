"""How often labels occur, and which occur together."""
import numpy as np
import pandas as pd
import scipy.sparse


class LabelError(ValueError):
    """Labels that are not of the classes."""


def membership(label_ids, n_classes):
    """Sparse float64 [n, n_classes], 1 where a record has a label.

    label_ids: for each of n records its class ids as text, space-separated; "" for none. A label that is
    given twice counts once. Raises LabelError.
    """
    rows, columns = [], []
    for row, text in enumerate(label_ids):
        for part in set(text.split()):
            if not (part.isascii() and part.isdigit()) or int(part) >= n_classes:
                raise LabelError(f"label_ids of row {row} has {part!r}: class ids are whole numbers below the "
                                 f"{n_classes} classes")
            rows.append(row)
            columns.append(int(part))
    return scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), (len(label_ids), n_classes))


def label_table(has, class_names, groups=None):
    """DataFrame label[, group], count, share of the records; most frequent first, then by name.

    has: of membership. groups: of the classes, str [n_classes], or None.
    """
    counts = np.asarray(has.sum(0)).ravel().astype(np.int64)
    table = pd.DataFrame({"label": list(class_names)})
    if groups is not None:
        table["group"] = list(groups)
    table["count"], table["share"] = counts, counts / max(1, has.shape[0])
    return table.sort_values(["count", "label"], ascending=[False, True], ignore_index=True)


def pair_table(has, class_names):
    """DataFrame label_a, label_b, count, lift of the pairs that occur together; most frequent first.

    count: records that have both. lift: how many times as often as if labels were independent, of n records
    count * n / (count of a * count of b). label_a is the class of lower number. Memory: by the pairs that
    occur, not by all.
    """
    pairs = scipy.sparse.triu(has.T @ has, 1).tocoo()
    own = np.asarray(has.sum(0)).ravel()
    names = np.array(class_names, object)
    table = pd.DataFrame({"label_a": names[pairs.row], "label_b": names[pairs.col],
                          "count": pairs.data.astype(np.int64),
                          "lift": pairs.data * has.shape[0] / (own[pairs.row] * own[pairs.col])})
    return table.sort_values(["count", "label_a", "label_b"], ascending=[False, True, True], ignore_index=True)
