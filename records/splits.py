"""Who trains and who validates: by group, by group with system A's rare-class rule, by fold.

A split is a column of the manifest with one of these values per record:
  train, val                   as its group says
  both                         of a rare class that one side lacks: used on both sides (leakage,
                               deliberate in system A, and told apart in every accuracy)
  moved_to_val, moved_to_train of a class that the other side lacks, with enough crops to part with
"""
import itertools
import warnings

import numpy as np

TRAIN_VALUES = ("train", "both", "moved_to_train")
VAL_VALUES = ("val", "both", "moved_to_val")
MOVED = 20  # crops
ENOUGH = 210  # crops of a class below which nothing is moved, only shared


def split_by_group(groups, val_groups):
    """groups: str [n]. Returns str [n], "train" or "val". Raises ValueError on an unknown group."""
    groups = np.asarray(groups, object)
    known = set(groups)
    for group in val_groups:
        if group not in known:
            raise ValueError(f"no record of group {group!r}; the groups are "
                             f"{', '.join(map(repr, sorted(known)[:30]))}")
    split = np.where(np.isin(groups.astype(str), list(val_groups)), "val", "train").astype(object)
    if (split == "val").all():
        raise ValueError(f"the validation groups {', '.join(val_groups)} hold every record: "
                         "nothing is left to train on")
    return split


def share_rare_classes(split, labels, seed, moved=MOVED, enough=ENOUGH):
    """System A's rule: every class occurs on both sides.

    A class that one side lacks gives `moved` random crops to it when it has at least `enough`;
    with fewer, all its crops are used on both sides. split: str [n] of "train" / "val";
    labels: str [n]. Returns str [n]. The draw depends on the seed and the class alone.
    """
    split, labels = np.array(split, object), np.asarray(labels, object)
    classes, codes = np.unique(labels.astype(str), return_inverse=True)
    in_val = np.bincount(codes, split == "val", len(classes)).astype(int)
    in_train = np.bincount(codes, split == "train", len(classes)).astype(int)
    by_class = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    for code in np.flatnonzero((in_val == 0) | (in_train == 0)):
        rows, count = by_class[code], in_val[code] + in_train[code]
        if count < enough:
            split[rows] = "both"
        else:
            random = np.random.default_rng([seed, *map(ord, classes[code])])
            chosen = random.choice(rows, moved, replace=False)
            split[chosen] = "moved_to_val" if in_val[code] == 0 else "moved_to_train"
    return split


def assign_folds(labels, groups, n_folds, seed, by_group=False):
    """Stratified K-fold numbers, int [n] in 0..n_folds-1; by_group keeps a group in one fold."""
    labels = np.asarray(labels, object).astype(str)
    if n_folds < 2 or n_folds > len(labels):
        raise ValueError(f"--n_folds {n_folds}: it must be from 2 to the number of records "
                         f"({len(labels)})")
    if by_group and len(set(groups)) < n_folds:
        raise ValueError(f"--n_folds {n_folds} by group, but there are {len(set(groups))} groups")
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # takes 2 s
    kind = StratifiedGroupKFold if by_group else StratifiedKFold
    folds = np.full(len(labels), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes with fewer records than folds
        parts = kind(n_folds, shuffle=True, random_state=seed).split(labels, labels, groups)
        try:
            for fold, (_, rows) in enumerate(parts):
                folds[rows] = fold
        except ValueError as error:
            raise ValueError(f"--n_folds {n_folds}: {error}") from error
    return folds


def assign_product_folds(first, n_records, labels, n_folds, seed):
    """Fold numbers, int [n] in 0..n_folds-1, of records that lie product by product, each of one label.

    first: int [products], ascending, where each begins; labels: int [n]. A product is in one fold. Of every
    label, and among those of every number of records, the folds have equally many products, but for one.
    Memory and time are those of a sort.
    """
    if n_folds < 2 or n_folds > len(first):
        raise ValueError(f"--n_folds {n_folds}: it must be from 2 to the number of products ({len(first)})")
    sizes = np.diff(first, append=n_records)
    chance = np.random.default_rng([seed, 0]).random(len(first))
    folds = np.empty(len(first), np.int64)
    folds[np.lexsort((chance, sizes, labels[first]))] = np.arange(len(first)) % n_folds
    return np.repeat(folds, sizes)


def assign_multilabel_folds(labels, n_folds, seed):
    """Fold numbers, int [n] in 0..n_folds-1, by which every label is shared out as evenly as may be.

    labels: n lists of names (or numbers), which may be empty. Iterative stratification (Sechidis,
    Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, 2011): of the label with the fewest
    records left, each goes to the fold that wants most of that label, then of records at all, then to any.
    Ours, and not the package iterative-stratification, because that one takes a dense table and installs a
    top-level package `tests`, which hides a project's own. Memory: a few numbers per label of a record.
    """
    n = len(labels)
    if n_folds < 2 or n_folds > n:
        raise ValueError(f"--n_folds {n_folds}: it must be from 2 to the number of records ({n})")
    code = {name: place for place, name in enumerate(sorted(set(itertools.chain.from_iterable(labels))))}
    of_record = [[code[name] for name in names] for names in labels]
    random = np.random.default_rng(seed)
    records_of = [[] for _ in code]
    for record in random.permutation(n).tolist():
        for label in of_record[record]:
            records_of[label].append(record)
    left = np.array([len(records) for records in records_of], np.int64)  # of each label
    wanted = np.repeat(left[:, None] / n_folds, n_folds, axis=1)  # [labels, n_folds] records, still
    room = np.full(n_folds, n / n_folds)  # records, still
    folds = np.full(n, -1)

    def most(values, among):
        best = values[among].max()
        return among[values[among] == best]

    def give(record, fold):
        folds[record] = fold
        room[fold] -= 1
        wanted[of_record[record], fold] -= 1
        left[of_record[record]] -= 1
    everywhere = np.arange(n_folds)
    while left.any():
        label = random.choice(np.flatnonzero(left == left[left > 0].min()))
        for record in records_of[label]:
            if folds[record] < 0:
                give(record, random.choice(most(room, most(wanted[label], everywhere))))
    for record in random.permutation(np.flatnonzero(folds < 0)).tolist():  # those without any label
        give(record, random.choice(most(room, everywhere)))
    return folds
