"""The columns of the second level: what is told of an image and a label (1st place of system C).

A row is an image and a label; the same function makes it for training and for use. All of it is
float32, value by value, so that a row does not depend on what is computed beside it.
"""
import itertools
import re

import numpy as np

EPSILON = np.float32(1e-6)  # what divisors are raised by
OVER_MODELS = ("mean", "median", "std", "max", "min")
OF_LABEL = ("group", "frequency")
NAME = r"[A-Za-z0-9_.-]+"  # LightGBM refuses some characters and changes others


def feature_names(models, image_columns=()):
    """Names of the columns, in their order: list of str.

    models: names of M first-level models; image_columns: names of what is told of an image. With the
    models in the order given, a before b before c:
      M          a                           its probability
      3 a pair   a+b, a/b, a*b               a/b is a / (b + EPSILON)
      3 a triple a+b+c, a/(b+c), a*b*c       a/(b+c) is a / (b + c + EPSILON)
      5          mean, median, std, max, min over the models; std is that of M, not M - 1
      f          the image's columns
      2          group, frequency            of the label
    M = 8 makes 8 + 3 * 28 + 3 * 56 + 5 = 265 columns, f and 2 more. Raises ValueError for names that
    are double, empty, or of other characters than letters of ASCII, digits, "_", "." and "-".
    """
    models, image_columns = list(models), list(image_columns)
    if not models:
        raise ValueError("the second level needs a first-level model at least: models is empty")
    for name in (*models, *image_columns):
        if not (isinstance(name, str) and re.fullmatch(NAME, name)):
            raise ValueError(f"{name!r} cannot be a column's name: use letters (A to Z), digits, '_', "
                             "'.' and '-'")
    names = list(models)
    for a, b in itertools.combinations(models, 2):
        names += [f"{a}+{b}", f"{a}/{b}", f"{a}*{b}"]
    for a, b, c in itertools.combinations(models, 3):
        names += [f"{a}+{b}+{c}", f"{a}/({b}+{c})", f"{a}*{b}*{c}"]
    names += [*OVER_MODELS, *image_columns, *OF_LABEL]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two columns are called {double!r}: each model and each column of images needs "
                         f"a name of its own, other than {', '.join((*OVER_MODELS, *OF_LABEL))}")
    return names


def second_level_features(probabilities, image_values, groups, frequencies, out=None):
    """The columns of feature_names for R rows: float32 [features, R], a column's values in sequence.

    That is the order in which they are made quickest; its transpose [R, features] is what LightGBM
    takes, as it is. probabilities: float32 [M, R], 0..1. image_values: float32 [f, R], those of the
    rows' images. groups: the number of each row's label's group, [R]; frequencies: the share of
    training images that have the label, [R]. out: float32 [features, R] to write to.
    """
    m, n = probabilities.shape
    n_pairs, n_triples = m * (m - 1) // 2, m * (m - 1) * (m - 2) // 6
    n_features = m + 3 * n_pairs + 3 * n_triples + len(OVER_MODELS) + len(image_values) + len(OF_LABEL)
    out = np.empty((n_features, n), np.float32) if out is None else out
    if out.shape != (n_features, n) or out.dtype != np.float32:
        raise ValueError(f"out must be float32 {[n_features, n]}, got {out.dtype} {list(out.shape)}")
    out[:m] = probabilities
    raised = probabilities + EPSILON  # of divisors, [M, R]
    sums, products, at = {}, {}, m
    for a, b in itertools.combinations(range(m), 2):
        sums[a, b] = np.add(out[a], out[b], out=out[at])
        np.divide(out[a], raised[b], out=out[at + 1])
        products[a, b] = np.multiply(out[a], out[b], out=out[at + 2])
        at += 3
    for a, b, c in itertools.combinations(range(m), 3):
        np.add(sums[a, b], out[c], out=out[at])
        divisor = np.add(sums[b, c], EPSILON, out=out[at + 1])
        np.divide(out[a], divisor, out=divisor)
        np.multiply(products[a, b], out[c], out=out[at + 2])
        at += 3
    _over_models(out[:m], out[at:at + len(OVER_MODELS)])
    at += len(OVER_MODELS)
    out[at:at + len(image_values)] = image_values
    out[-2], out[-1] = groups, frequencies
    return out


def mean_over_models(values):
    """Mean over the first axis of float32 [M, R], added in the order of the models: NumPy's own sum
    has an order that depends on the shape."""
    mean = values[0].copy()
    for more in values[1:]:
        mean += more
    return np.divide(mean, np.float32(len(values)), out=mean)


def _over_models(probabilities, out):
    """OVER_MODELS of probabilities [M, R] into out [5, R]."""
    mean, median, std, most, least = out
    mean[:] = mean_over_models(probabilities)
    np.sqrt(mean_over_models(np.square(probabilities - mean)), out=std)
    order = np.sort(probabilities, axis=0)
    np.copyto(most, order[-1])
    np.copyto(least, order[0])
    low, high = order[(len(order) - 1) // 2], order[len(order) // 2]
    np.multiply(np.add(low, high, out=median), np.float32(0.5), out=median)
