"""The most probable classes of each record, best first, and how they are rated: MAP@k.

With a mask of the known classes, all the others count as one, "new" (index NEW), as system B's
submission and its validation over known + new individuals have it.
"""
import numpy as np

NEW = -1  # the index of a class that is not among the known ones
BLOCK = 1 << 22  # scores that one step works on: some 50 MB of float32 scores and what is made of them


def top_k(scores, k):
    """Indices of the k best classes, int64 [n, k], best first; of equal scores the lower index.

    scores: [n, c], -inf allowed; 1 <= k <= c. n may be 0. Raises ValueError, also for NaN.
    """
    scores = np.asarray(scores)
    if scores.ndim != 2 or not 1 <= k <= scores.shape[1]:
        raise ValueError(f"the best {k} are taken from scores [records, classes] with {k} classes at "
                         f"least, got {list(scores.shape)}")
    ranked = np.empty((len(scores), k), np.int64)
    for rows in _blocks(scores):
        ranked[rows] = _top_k(scores[rows], k)
    return ranked


def top_k_known(scores, known, k, new_score=None):
    """As top_k, among the known classes and NEW, which comes once in a row at most: int64 [n, k].

    scores: [n, c]. known: bool [c]. The rule of system B's submission: of the best k classes each
    that is not known turns into NEW, and for NEW's repeats the known classes next in order follow at
    the end. That is the order of the known classes and NEW by score, where NEW has the best score
    (and in a tie the index) of the classes that are not known.

    new_score: float [n], or one number for all; taken as NEW's score in place of that. A known class
    with the same score comes first, so that NEW leads exactly where all known are below it: a
    threshold on the best known score can be given as it is.

    k - 1 known classes are enough where there can be a NEW. Raises ValueError.
    """
    scores = np.asarray(scores)
    known = _mask(known, scores)
    inside, outside = np.flatnonzero(known), np.flatnonzero(~known)
    may_be_new = new_score is not None or len(outside) > 0
    if not len(inside) or not 1 <= k <= len(inside) + may_be_new:
        raise ValueError(f"{k} names per record are asked for, but there are {len(inside)} known classes"
                         f"{' and new' if may_be_new else ''}: give more known classes")
    if not may_be_new:
        return top_k(scores, k)
    if new_score is not None:
        new_score = _new_scores(new_score, scores)
    n_ranked = min(k, len(inside))
    result = np.empty((len(scores), k), np.int64)
    for rows in _blocks(scores):
        block = scores[rows]
        ranked = inside[_top_k(block[:, inside], n_ranked)]
        best = np.take_along_axis(block, ranked, 1)
        if new_score is not None:
            ahead = best >= new_score[rows, None]
        else:
            first = outside[block[:, outside].argmax(1)][:, None]  # argmax: the lowest index of a tie
            new = np.take_along_axis(block, first, 1)
            ahead = (best > new) | (best == new) & (ranked < first)
        result[rows] = _with_new(ranked, ahead.sum(1, keepdims=True), k)
    return result


def known_or_new(labels, known):
    """Labels int64 [n] with NEW for each that is not known. labels: int [n], of 0..c-1 or NEW already;
    known: bool [c]. Raises ValueError."""
    labels, known = np.asarray(labels), np.asarray(known, bool)
    wrong = (labels < NEW) | (labels >= len(known))
    if wrong.any():
        raise ValueError(f"label {labels[wrong][0]} (record {np.flatnonzero(wrong)[0]}) is none of the "
                         f"{len(known)} classes that `known` tells of")
    return np.where(known[labels], labels, NEW).astype(np.int64)  # NEW either way, where it is so


def reciprocal_ranks(labels, ranked):
    """float64 [n]: 1 / (the place of the true class in its row, from 1), 0 where it is not there.

    labels: int [n], one true class each; ranked: int [n, k], best first; of a class that stands in a
    row twice the first place counts. The mean is MAP@k, as with one true class the average
    precision of a row is just that.
    """
    labels, ranked = np.asarray(labels), np.asarray(ranked)
    if ranked.ndim != 2 or labels.shape != ranked.shape[:1]:
        raise ValueError(f"each row of the ranking needs its one true class: got {list(labels.shape)} "
                         f"labels for a ranking of {list(ranked.shape)}")
    right = ranked == labels[:, None]
    return np.where(right.any(1), 1 / (1.0 + right.argmax(1)), 0.0)


def map_at_k(labels, ranked):
    """Mean average precision at k, float: the mean of `reciprocal_ranks`. Raises ValueError."""
    values = reciprocal_ranks(labels, ranked)
    if not len(values):
        raise ValueError("there are no records to rate: MAP@k needs one at least")
    return float(values.mean())


def _blocks(scores):
    """Slices of rows of about BLOCK scores, each seen to have no NaN."""
    step = max(1, BLOCK // scores.shape[1])
    for start in range(0, len(scores), step):
        rows = slice(start, start + step)
        unknown = np.isnan(scores[rows]).any(1)
        if unknown.any():
            raise ValueError(f"record {start + np.flatnonzero(unknown)[0]} has a score that is NaN, "
                             "which has no place in an order: see what made it")
        yield rows


def _top_k(scores, k):
    """top_k of a block. Only the k best are sorted: of 2,265 classes an eighth of the time."""
    n, c = scores.shape
    least = np.partition(scores, c - k, axis=1)[:, c - k, None]  # the k-th best score of each row
    chosen, equal = scores > least, scores == least
    wanted = k - chosen.sum(1, keepdims=True)  # of those equal to it
    crowded = (equal.sum(1, keepdims=True) > wanted)[:, 0]
    equal[crowded] &= equal[crowded].cumsum(1, dtype=np.int32) <= wanted[crowded]
    index = np.nonzero(chosen | equal)[1].reshape(n, k)  # rising
    values = np.take_along_axis(scores, index, 1)
    falling = k - 1 - values[:, ::-1].argsort(1, kind="stable")[:, ::-1]  # equal ones stay in order
    return np.take_along_axis(index, falling, 1)


def _with_new(ranked, place, k):
    """int [n, k]: `ranked` [n, k or k - 1] with NEW put in before column `place` [n, 1]."""
    column = np.arange(k)
    source = np.minimum(column - (column > place), ranked.shape[1] - 1)  # [n, k]
    return np.where(column == place, NEW, np.take_along_axis(ranked, source, 1))


def _mask(known, scores):
    known = np.asarray(known)
    if scores.ndim != 2 or known.dtype != bool or known.shape != scores.shape[1:]:
        raise ValueError("known must tell of each class, bool [classes], whether it is known: got "
                         f"{known.dtype} {list(known.shape)} for scores {list(scores.shape)}")
    return known


def _new_scores(new_score, scores):
    """[n], in the scores' own type: 0.9 and a float32 of 0.9 are meant to be equal."""
    n = len(scores)
    floating = np.issubdtype(scores.dtype, np.floating)
    new_score = np.asarray(new_score, scores.dtype if floating else np.float64)
    if new_score.shape not in ((), (n,)) or np.isnan(new_score).any():
        raise ValueError(f"new_score must be a number, or one for each of {n} records, and not NaN: got "
                         f"{list(new_score.shape)}")
    return np.broadcast_to(new_score, n)
