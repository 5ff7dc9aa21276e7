"""Scores of products: accuracy of their category and of the wider ones it belongs to, over all and in parts."""
import numpy as np
import pandas as pd

WIDER_LEVELS = 2  # of Store.class_levels, the widest: category_level1 and category_level2


def right_by_level(given, truth, class_names, class_levels):
    """{column: bool [n]} of whether each product is right: accuracy, in its category; accuracy_level1, …, in
    the wider ones.

    given, truth: [n], categories, as class_names calls them. class_levels: of Store.class_levels. A category that is
    none of class_names belongs to nothing: there it is wrong at every wider level.
    """
    given, truth = np.asarray(given, object), np.asarray(truth, object)
    index = pd.Index(np.asarray(class_names, object))
    codes, true_codes = index.get_indexer(given), index.get_indexer(truth)
    known = (codes >= 0) & (true_codes >= 0)
    right = {"accuracy": given == truth}
    for number, level in enumerate(class_levels[:WIDER_LEVELS], 1):
        of_class = np.asarray(level["of_class"])
        right[f"accuracy_level{number}"] = known & (of_class[codes] == of_class[true_codes])
    return right


def score_table(right, n_images, parts=None, what="products"):
    """DataFrame of the mean of each of `right`, and `what`, how many they are: a row "all", a row for each
    number of images ("images1", …), and for each name in parts (str [n]; "" for no part)."""
    groups = {"all": np.ones(len(n_images), bool)}
    groups |= {f"images{k}": n_images == k for k in np.unique(n_images)}
    if parts is not None:
        groups |= {name: parts == name for name in sorted(set(parts) - {""})}
    means = {name: {what: rows.sum()} | {column: own[rows].mean() for column, own in right.items()}
             for name, rows in groups.items()}
    return pd.DataFrame(means).T.astype({what: int})


def figures_of(table):
    """{name: float} of a score_table: accuracy, accuracy_level1, …, accuracy_images1, accuracy_level1_images1."""
    return {column if row == "all" else f"{column}_{row}": float(table.loc[row, column])
            for row in table.index for column in table.columns if column.startswith("accuracy")}
