"""Predictions of several labels per image combined: means over the members that tell a label at all.

A member may know only some of the labels, as a network of one group does: the others tell the rest.
"""
import numpy as np
from scipy.special import expit

from inference.ensembles import EnsembleError, least_weights

HOW = ("mean_logits", "mean_probabilities")
LEAST = 1e-7  # of a probability and of what it lacks to 1, where a logarithm is taken
BLOCK = 1 << 20  # values that one step of a fit works on


def combine_labels(members, n_labels, how, weights=None):
    """Logits float32 [n, n_labels] of the ensemble.

    members: an iterable of (columns int [m], logits float [n, m], finite), walked once, each let go
    before the next is asked for; together they have every column. how: the mean of the logits, or the
    logit of the mean of the sigmoids. weights: float, one for each member; None: all alike. A label's
    are those of the members that tell it. Raises EnsembleError.
    """
    if how not in HOW:
        raise EnsembleError(f"several labels are combined by {' or '.join(HOW)}, not by {how}")
    total, share = None, np.zeros(n_labels)
    for number, (columns, logits) in enumerate(members):
        if total is None:
            total = np.zeros((len(logits), n_labels), np.float32)
        if not np.isfinite(logits).all():
            raise EnsembleError(f"member {number} has logits that are not finite: see what made them")
        weight = 1.0 if weights is None else weights[number]
        total[:, columns] += np.float32(weight) * _term(logits, how)
        share[columns] += weight
    if total is None or not (share > 0).all():
        raise EnsembleError(f"{int((share <= 0).sum())} of {n_labels} labels are told by no member")
    total /= share.astype(np.float32)
    return total if how == "mean_logits" else logit(total)


def fit_label_weights(members, truth, how):
    """Weights float64 [members], >= 0, sum 1, of the least mean binary cross-entropy, which is convex in
    them. members: list of logits float [n, k]; truth: bool [n, k]. Raises EnsembleError."""
    if how not in HOW:
        raise EnsembleError(f"weights are fitted for {' or '.join(HOW)}, not for {how}")
    rows = max(BLOCK // truth.shape[1], 1)

    def loss(weights):
        value, gradient = 0.0, np.zeros(len(members))
        for start in range(0, len(truth), rows):
            part = [_term(logits[start:start + rows], how).astype(np.float64) for logits in members]
            true = truth[start:start + rows]
            mixed = sum(weight * own for weight, own in zip(weights, part))
            if how == "mean_logits":
                value += np.logaddexp(0, mixed).sum() - mixed[true].sum()
                error = expit(mixed) - true
            else:
                mixed = np.clip(mixed, LEAST, 1 - LEAST)
                value -= np.log(np.where(true, mixed, 1 - mixed)).sum()
                error = np.where(true, -1 / mixed, 1 / (1 - mixed))
            gradient += [np.vdot(error, own) for own in part]
        return value / truth.size, gradient / truth.size
    return least_weights(loss, np.full(len(members), 1 / len(members)))


def logit(probabilities):
    """float32, finite."""
    p = np.clip(probabilities, LEAST, 1 - LEAST)
    return (np.log(p) - np.log1p(-p)).astype(np.float32)


def _term(logits, how):
    return logits if how == "mean_logits" else expit(logits)
