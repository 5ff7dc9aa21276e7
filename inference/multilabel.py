"""Several labels per image: the F2 score of iMet, thresholds put to use, figures out of fold.

Everywhere here truth and predicted are bool [n, k], images by labels; an image may have no label.
"groups" are {name: int [m]}, the label columns of each group ("culture", "tag").
"""
import numpy as np

BETA = 2.0  # of the iMet Collection challenge: recall counts more than precision
BLOCK = 1 << 20  # values that one step works on


class MultilabelError(ValueError):
    """Arrays that do not belong together, or groups, thresholds or folds that do not fit them."""


def f2_per_image(truth, predicted, beta=BETA):
    """F-beta of each image, float64 [n], 0..1: (1 + b^2) right / (b^2 true + predicted).

    An image whose truth and prediction are both empty scores 1; where only one is empty, 0. The same
    as scikit-learn's fbeta_score(zero_division=1) of each row, whose mean is its average="samples".
    Memory: a few MB besides the result. Raises MultilabelError.
    """
    truth, predicted = checked_bool("truth", truth), checked_bool("predicted", predicted)
    if truth.shape != predicted.shape:
        raise MultilabelError(f"truth is {list(truth.shape)} and predicted {list(predicted.shape)}: both "
                              "are [images, labels] of the same images and labels")
    scores = np.empty(len(truth))
    for rows in blocks(truth.shape):
        right = (truth[rows] & predicted[rows]).sum(1)
        scores[rows] = f_beta(right, truth[rows].sum(1), predicted[rows].sum(1), beta)
    return scores


def mean_f2(truth, predicted, beta=BETA):
    """The mean of f2_per_image over the images, n > 0: the score of iMet. Raises MultilabelError."""
    scores = f2_per_image(truth, predicted, beta)
    if not len(scores):
        raise MultilabelError("a mean needs one image at least, got none")
    return float(scores.mean())


def group_f2(truth, predicted, groups, beta=BETA):
    """{"all": mean F2, name: mean F2 over the columns of that group alone, ...}, all images in each.

    An image without a true label of a group, and given none, scores 1 in that group, so that a group
    that few images have scores high: compare it with itself only. Groups may overlap or leave labels
    out. Memory: copies of a group's columns. Raises MultilabelError.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if "all" in groups:
        raise MultilabelError("a group is called 'all', which is the name of the figure over all labels: "
                              "give it another")
    figures = {"all": mean_f2(truth, predicted, beta)}
    for name, columns in groups.items():
        columns = checked_columns(name, columns, truth.shape[1])
        figures[name] = mean_f2(truth[:, columns], predicted[:, columns], beta)
    return figures


def apply_thresholds(probabilities, thresholds, at_least=0):
    """Which labels are given, bool [n, k]: those whose probability is the label's threshold or above.

    probabilities: float [n, k], 0..1. thresholds: float [k]; above 1: the label is never given. Both
    are compared in float64, so that those of inference.multilabel_thresholds do what they were fitted
    for. at_least: so many of the most probable labels of each image are given whatever their
    thresholds, 0..k; of equally probable ones the first. Raises MultilabelError.
    """
    probabilities = checked_probabilities(probabilities)
    thresholds = np.asarray(thresholds, np.float64)
    n_labels = probabilities.shape[1]
    if thresholds.shape != (n_labels,) or np.isnan(thresholds).any():
        raise MultilabelError(f"thresholds are a number for each of {n_labels} labels, got "
                              f"{list(thresholds.shape)} with {np.isnan(thresholds).sum()} NaN")
    if not 0 <= at_least <= n_labels:
        raise MultilabelError(f"at_least is in 0..{n_labels}, the number of labels, got {at_least}")
    predicted = np.empty(probabilities.shape, bool)
    for rows in blocks(probabilities.shape):
        predicted[rows] = probabilities[rows] >= thresholds
        if at_least:
            order = np.argsort(-probabilities[rows], axis=1, kind="stable")[:, :at_least]
            np.put_along_axis(predicted[rows], order, True, 1)
    return predicted


def cross_fitted(probabilities, truth, folds, fit, at_least=0):
    """(predicted bool [n, k], thresholds: list of float64 [k], one per fold, by rising fold number).

    No row is told by thresholds that saw it: those of a fold are fit(probabilities, truth) of the rows
    of all other folds. folds: int [n], any numbers, two different ones at least. fit: a function such
    as functools.partial(fit_group_thresholds, groups=groups). at_least: as of apply_thresholds.
    Memory: a copy of the rows fitted to, and what fit needs. Raises MultilabelError.
    """
    probabilities, truth = checked_pair(probabilities, truth)
    folds = checked_folds(folds, len(truth))
    predicted, fitted = np.zeros(truth.shape, bool), []
    for fold in np.unique(folds):
        mine = folds == fold
        fitted.append(np.asarray(fit(probabilities[~mine], truth[~mine]), np.float64))
        predicted[mine] = apply_thresholds(probabilities[mine], fitted[-1], at_least)
    return predicted, fitted


def frequent_labels(truth, at_least):
    """Labels that `at_least` images or more have, bool [k]; at_least: >= 0."""
    if at_least < 0:
        raise MultilabelError(f"a number of images is >= 0, got {at_least}")
    return checked_bool("truth", truth).sum(0) >= at_least


def f_beta(right, true, predicted, beta):
    """F-beta of counts, broadcast: float64; 1 where nothing is true and nothing predicted."""
    whole = beta ** 2 * true + predicted
    empty = whole == 0
    return np.where(empty, 1.0, (1 + beta ** 2) * right / (whole + empty))


def blocks(shape):
    """Slices of rows of [rows, values] with about BLOCK values each."""
    rows = max(BLOCK // max(shape[1], 1), 1)
    return [slice(start, start + rows) for start in range(0, shape[0], rows)]


def checked_bool(name, array):
    array = np.asarray(array)
    if array.ndim != 2 or array.dtype != bool:
        raise MultilabelError(f"{name} is bool [images, labels], got {array.dtype} {list(array.shape)}: "
                              "give array > 0 for numbers of 0 and 1")
    return array


def checked_probabilities(probabilities):
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or not np.issubdtype(probabilities.dtype, np.floating):
        raise MultilabelError(f"probabilities are float [images, labels], got {probabilities.dtype} "
                              f"{list(probabilities.shape)}")
    if probabilities.size and not (probabilities.min() >= 0 and probabilities.max() <= 1):  # NaN: neither
        raise MultilabelError(f"probabilities are from 0 to 1 and never NaN, got {probabilities.min()} to "
                              f"{probabilities.max()}: put logits through a sigmoid first")
    return probabilities


def checked_pair(probabilities, truth):
    probabilities, truth = checked_probabilities(probabilities), checked_bool("truth", truth)
    if probabilities.shape != truth.shape or not truth.size:
        raise MultilabelError(f"probabilities are {list(probabilities.shape)} and truth {list(truth.shape)}: "
                              "both are [images, labels] of the same images and labels, one at least")
    return probabilities, truth


def checked_folds(folds, n):
    """Fold numbers int [n], of two folds at least."""
    folds = np.asarray(folds)
    if folds.shape != (n,) or not np.issubdtype(folds.dtype, np.integer):
        raise MultilabelError(f"folds are a whole number for each of {n} images, got {folds.dtype} "
                              f"{list(folds.shape)}")
    if len(np.unique(folds)) < 2:
        raise MultilabelError(f"all {n} images are of fold {folds[:1].tolist()}: with one fold nothing is "
                              "left to fit on; assign two or more")
    return folds


def checked_columns(name, columns, n_labels):
    columns = np.asarray(columns)
    if columns.ndim != 1 or not len(columns) or not np.issubdtype(columns.dtype, np.integer) or (
            columns.min() < 0 or columns.max() >= n_labels) or len(set(columns.tolist())) < len(columns):
        raise MultilabelError(f"group {name!r} needs different label columns in 0..{n_labels - 1}, one at "
                              f"least, got {columns.dtype} {columns[:10].tolist()}")
    return columns
