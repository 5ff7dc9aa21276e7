"""Weights of classes from how often they occur: rare classes count more."""
import numpy as np

from models.registry import did_you_mean

KINDS = ("inverse", "effective")


def class_weights(counts, kind, beta=0.999):
    """The weight of each class, float32 [k], whose mean over the training records is 1.

    counts: int [k], >= 0, the records of each class. kind:
    inverse     n / (k count), with n the sum of the counts
    effective   (1 - beta) / (1 - beta^count), beta in 0..1 without 1: inverse to the effective
                number of records. Cui et al., "Class-Balanced Loss", 2019, arXiv:1901.05555.

    A class without records gets 1: with a softmax nothing multiplies it, and with a binary loss
    the class still has to learn that it is absent. Raises ValueError for anything else.
    """
    counts = np.asarray(counts)
    if (counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer)
            or not counts.any() or (counts < 0).any()):
        raise ValueError(f"class weights need one whole number >= 0 for each class, not all 0; got {counts}")
    if not 0 <= beta < 1:
        raise ValueError(f"the effective number of records needs 0 <= beta < 1, got {beta}")
    if kind not in KINDS:
        raise ValueError(f"no class weights {kind!r}{did_you_mean(str(kind), KINDS)} "
                         f"Known: {', '.join(KINDS)}.")
    present = counts > 0
    count = counts[present].astype(np.float64)
    weights = 1 / count if kind == "inverse" else (1 - beta) / (1 - beta ** count)
    result = np.ones(len(counts), np.float32)
    result[present] = weights * count.sum() / (weights * count).sum()
    return result
