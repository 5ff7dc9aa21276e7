"""The predictions of several classifiers combined, from what they left on disk; no network runs.

mean_logits         the mean of the logits: "soft voting" of system A
mean_probabilities  the mean of the softmax probabilities: the 30 predictions of system B
geometric_mean      that of the softmax probabilities, made to sum to 1. It is the softmax of the mean
                    logits, as what softmax divides by is the same for all classes of a record
hard_vote           the class that most members (by weight) put first
"""
import math

import numpy as np
import scipy.optimize

HOW = ("mean_logits", "mean_probabilities", "geometric_mean", "hard_vote")
FITTED = HOW[:3]
LEAST = 1e-30  # the least probability told: beyond any wish for order, finite as a logarithm
TIE = 1e-6  # votes of all; sums of weights that differ by less differ by rounding
BLOCK = 1 << 22  # values that one step works on, 16 MiB of float32


class EnsembleError(ValueError):
    """Members that cannot be combined, or weights that do not fit them."""


def combine(members, how, weights=None):
    """Log-probabilities float32 [n, classes] of the ensemble; for mean_logits its logits.

    members: an iterable of logits float [n, classes], finite. Each is let go before the next is
    asked for: one that reads them as it goes holds two arrays, 8 bytes per record and class, and
    some 100 MB; hard_vote 4 bytes per record and member besides. n may be 0.
    weights: float [members], >= 0, not all 0; None: all alike. Only their ratios count.
    Log-probabilities are at least log(1e-30) = -69.1.

    hard_vote: of classes with equal votes the one of the higher mean probability wins, then the
    first. Its probabilities are (votes + s * mean probability) / (1 + s), where the votes sum to 1
    and s is 1 / members (those of a weight above 0), or half the lead of the most votes over the next
    fewer where that is less: weights may differ by little, and the mean must not outdo a vote.
    Raises EnsembleError.
    """
    _check_how(how, HOW)
    weights = None if weights is None else _shares(weights)
    total, votes, number = None, [], 0
    for logits in members:
        logits = np.asarray(logits)
        if total is None:
            total = np.zeros(logits.shape, np.float32)
        _check_logits(logits, total.shape, number)
        if weights is not None and number == len(weights):
            raise EnsembleError(f"there are more members than the {number} weights: give each one")
        weight = np.float32(1 if weights is None else weights[number])
        for rows in _blocks(total.shape):
            total[rows] += weight * _term(logits[rows], how, number)
        if how == "hard_vote":
            votes.append(logits.argmax(1).astype(np.int32))
        number += 1
        del logits  # or it would be held while the next one is read
    if total is None or weights is not None and number < len(weights):
        raise EnsembleError(f"there are {number} members"
                            + ("" if weights is None else f" for {len(weights)} weights")
                            + ": give one at least, and each weight its member")
    if weights is None:
        total /= np.float32(number)
        weights = np.full(number, 1 / number)
    for rows in _blocks(total.shape):
        total[rows] = _told(total[rows], how, [vote[rows] for vote in votes], weights)
    return total


def fit_weights(members, labels, how):
    """(weights float64 [members], >= 0, sum 1; figures) that tell validation records best.

    They minimise the mean cross-entropy of the combined prediction, which is convex in them, and
    always come out the same. how: of FITTED. members: as of `combine`, but walked several times: a
    list, or an object that reads them anew on each walk. labels: int [n], n > 0, true classes.
    figures: log_loss_equal, log_loss_fitted, accuracy_equal, accuracy_fitted; of weights all alike
    and of those returned. They are of the records fitted to, so a little too good.
    Memory: mean_probabilities needs only that of the true class, 8 bytes per record and member, and
    what `combine` does; the others hold the logits of all members at once. Raises EnsembleError.
    """
    _check_how(how, FITTED)
    if iter(members) is members:
        raise EnsembleError("the members are walked several times: give a list, or an object whose "
                            "__iter__ begins anew, not a generator")
    labels = np.asarray(labels)
    if how == "mean_probabilities":
        told = [np.exp(_log_probabilities(logits, labels)) for logits in members]
        loss = _mixture_loss
    else:
        members = told = [np.asarray(logits) for logits in members]
        for number, logits in enumerate(members):
            _check_logits(logits, members[0].shape, number)
            _check_labels(labels, logits.shape)
        loss = _logits_loss
    if not len(told):
        raise EnsembleError("there are no members to weigh")
    equal = np.full(len(told), 1 / len(told))
    weights = least_weights(lambda weights: loss(weights, told, labels), equal)
    figures = {}
    for name, tried in (("equal", equal), ("fitted", weights)):
        combined = combine(members, how, tried)
        figures[f"log_loss_{name}"] = float(-_log_probabilities(combined, labels).mean())
        figures[f"accuracy_{name}"] = float((combined.argmax(1) == labels).mean())
    return weights, figures


def check_members(names, ids, class_names):
    """Raises EnsembleError, naming the two, unless all members are of the same records and classes.

    names: str [members], for the message. ids: the record ids of each, in any order, each once.
    class_names: the classes of each; their order counts, as logits stand in it.
    """
    for name, own in zip(names, ids, strict=True):
        if len(set(own)) < len(own):
            seen = set()
            twice = next(i for i in own if i in seen or seen.add(i))
            raise EnsembleError(f"{name!r} has the id {twice!r} more than once: predict again")
    for name, own, classes in zip(names, ids, class_names, strict=True):
        _check_same("ids", names[0], ids[0], name, own)
        _check_same("classes", names[0], class_names[0], name, classes)
        place = next((k for k, pair in enumerate(zip(class_names[0], classes))
                      if pair[0] != pair[1]), None)
        if place is not None:
            raise EnsembleError(f"{names[0]!r} and {name!r} have the same classes in another order "
                                f"(number {place}: {class_names[0][place]!r}, {classes[place]!r}): "
                                "combine models that were trained on the same packing")


def _check_same(what, name, own, other_name, other):
    only, other_only = set(own) - set(other), set(other) - set(own)
    if only or other_only:
        sides = (f"{len(some)} only in {whose!r}"
                 + (f" (for instance {min(some, key=str)!r})" if some else "")
                 for whose, some in ((name, only), (other_name, other_only)))
        raise EnsembleError(f"{name!r} and {other_name!r} differ in their {what}: "
                            f"{', '.join(sides)}; predict the same records with models of the same "
                            "packing")


def _check_how(how, allowed):
    if how not in allowed:
        raise EnsembleError(f"predictions are combined here by {', '.join(allowed)}, not by {how!r}")


def _check_logits(logits, shape, number):
    if logits.ndim != 2 or not logits.shape[1] or logits.shape != shape:
        raise EnsembleError(f"the logits of member {number} have the shape {list(logits.shape)}, needed "
                            f"is [records, classes] as of the first, {list(shape)}: predict the same "
                            "records with all")


def _check_labels(labels, shape):
    if labels.shape != shape[:1] or not len(labels) or not np.issubdtype(labels.dtype, np.integer) or (
            labels.min() < 0 or labels.max() >= shape[1]):
        raise EnsembleError(f"fitting needs a true class, int 0..{shape[1] - 1}, for each of {shape[0]} "
                            f"records, and one record at least; got {list(labels.shape)} of "
                            f"{labels.dtype}, the first {labels[:5].tolist()}")


def _shares(weights):
    """The weights as float64 that sum to 1."""
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise EnsembleError("weights must be a number for each member, finite, >= 0 and not all 0, got "
                            f"{weights.tolist()}")
    return weights / weights.max() / (weights / weights.max()).sum()


def _blocks(shape, at_once=1):
    """Slices of rows such that `at_once` of [rows, classes] have about BLOCK values."""
    rows = max(BLOCK // (shape[1] * at_once), 1)
    return [slice(start, start + rows) for start in range(0, shape[0], rows)]


def _term(logits, how, number):
    """What of a member's logits [b, classes] is summed up, float32 [b, classes]."""
    term = logits.astype(np.float32)
    if not np.isfinite(term).all():
        raise EnsembleError(f"member {number} has logits that are not finite: see what made them")
    if how == "mean_logits":
        return term
    term -= term.max(1, keepdims=True)
    if how == "geometric_mean":
        return term
    np.exp(term, out=term)
    return term / term.sum(1, keepdims=True)


def _told(mean, how, votes, weights):
    """The ensemble's values from the mean of its terms, float32 [b, classes]."""
    if how == "mean_logits":
        return mean
    if how == "geometric_mean":
        mean = mean - mean.max(1, keepdims=True)
        return np.maximum(mean - np.log(np.exp(mean).sum(1, keepdims=True)), math.log(LEAST))
    if how == "hard_vote":
        mean = _voted(mean.astype(np.float64), votes, weights)
    return np.log(np.maximum(mean, LEAST))


def _voted(mean, votes, weights):
    """Hard voting's probabilities [b, classes]; mean: of the probabilities; votes: int [members][b]."""
    counts = np.zeros_like(mean)
    for vote, weight in zip(votes, weights):
        counts[np.arange(len(mean)), vote] += weight
    most = counts.max(1, keepdims=True)
    first = counts > most - TIE
    counts = np.where(first, most, counts)
    lead = most - np.where(first, -np.inf, counts).max(1, keepdims=True)
    counts += np.minimum(1 / np.count_nonzero(weights), lead / 2) * mean
    return counts / counts.sum(1, keepdims=True)


def _log_probabilities(logits, labels):
    """That of each record's true class, float64 [n], at least log(LEAST)."""
    logits = np.asarray(logits)
    _check_logits(logits, logits.shape, 0)
    _check_labels(labels, logits.shape)
    told = np.empty(len(logits))
    for rows in _blocks(logits.shape):
        block = logits[rows].astype(np.float64)
        block -= block.max(1, keepdims=True)
        told[rows] = (np.take_along_axis(block, labels[rows, None], 1)[:, 0]
                      - np.log(np.exp(block).sum(1)))
    return np.maximum(told, math.log(LEAST))


def _mixture_loss(weights, right, labels):
    """(mean cross-entropy, gradient [members]); right: probability of `labels`, [members][n]."""
    mixed = sum(weight * own for weight, own in zip(weights, right))
    return -np.log(mixed).mean(), -np.array([(own / mixed).mean() for own in right])


def _logits_loss(weights, members, labels):
    """As _mixture_loss, of the weighted mean of logits [members][n, classes]."""
    loss, gradient = 0.0, np.zeros(len(weights))
    for rows in _blocks(members[0].shape, len(members)):
        part = [logits[rows].astype(np.float64) for logits in members]
        mixed = sum(weight * logits for weight, logits in zip(weights, part))
        mixed -= mixed.max(1, keepdims=True)
        true = np.arange(len(mixed)), labels[rows]
        log_sums = np.log(np.exp(mixed).sum(1, keepdims=True))
        loss += (log_sums[:, 0] - mixed[true]).sum()
        error = np.exp(mixed - log_sums)
        error[true] -= 1
        gradient += [np.vdot(error, logits) for logits in part]
    return loss / len(labels), gradient / len(labels)


def least_weights(loss, equal):
    """The weights, >= 0 and of sum 1, of least loss: float64 [members]. loss: a convex function of weights
    giving (value, gradient [members]). equal: where to begin, all alike."""
    if len(equal) == 1:
        return equal
    found = scipy.optimize.minimize(
        loss, equal, jac=True, method="SLSQP", bounds=[(0, 1)] * len(equal),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-10, "maxiter": 300})
    weights = np.maximum(found.x, 0)
    weights = weights / weights.sum()
    return weights if loss(weights)[0] < loss(equal)[0] else equal
