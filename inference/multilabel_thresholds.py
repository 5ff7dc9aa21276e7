"""From which probability on a label is given, so that the mean F2 per image is best.

A threshold per group of labels ("culture", "tag"), and from there, for whoever wants, one per label.
Truth is bool [n, k], "groups" are {name: int [m] label columns}, as in inference.multilabel. What is
fitted here is too good on the rows fitted to: report inference.multilabel.cross_fitted.
"""
import numpy as np

from inference.multilabel import (BETA, MultilabelError, apply_thresholds, blocks, checked_columns,
                                  checked_pair, f_beta)

NEVER = 1.01  # the threshold of a label that is never given
UNIFORM = np.append(np.arange(101) / 100, NEVER)
MOST = 255  # candidates, so that the place of a probability among them is one byte
SAMPLED = 1 << 20  # values that the quantiles are taken of
TIE = 1e-12  # means of F2 that differ by less are equal
ROUNDS = 20


def fit_group_thresholds(probabilities, truth, groups, beta=BETA):
    """Thresholds float64 [k], equal within a group, that give the best mean F2 over all columns.

    probabilities: float [n, k], 0..1, of any float type; groups: every column is in exactly one.
    Each group's threshold in turn is set to its best while the others stay, until none gets better;
    twice, from the best one threshold for all and from the best of each group for itself. A group's
    search is exact over the candidates: 0, 0.01, ..., 1.01 and the middles between up to 153 quantiles
    of the probabilities (of all, dense at the top, and of the true labels), or between all values that
    there are where they are no more. Several groups may end at a local maximum. Of equally good
    candidates the middle of the widest plateau is taken.

    Memory: n * k bytes and some 50 MB besides what is given, whatever the number of groups: 120 MB
    for 109,237 x 1,103. Raises MultilabelError.
    """
    probabilities, truth = checked_pair(probabilities, truth)
    groups = _partition(groups, truth.shape[1])
    grid = candidate_thresholds(probabilities, truth, groups)
    counts = _Counts(probabilities, truth, grid, beta)
    everything = np.arange(truth.shape[1])
    common = _middle_candidate(counts.means(everything, counts.none, counts.true), grid)
    alone = [_middle_candidate(counts.means(columns, counts.none, counts.true_of(columns)), grid)
             for columns in groups]
    results = [_ascend(counts, groups, start) for start in ([common] * len(groups), alone)]
    _, chosen = max(results, key=lambda result: result[0])  # the first of equally good ones
    thresholds = np.empty(truth.shape[1])
    for columns, candidate in zip(groups, chosen):
        thresholds[columns] = grid[candidate]
    return thresholds


def fit_label_thresholds(probabilities, truth, start, least_positives=20, shrink=50.0, rounds=5, beta=BETA):
    """A threshold per label, float64 [k], from those of the groups, `start` float [k].

    Coordinate ascent on the mean F2: label after label, the most frequent first, is set while the
    others stay; at most `rounds` times through all. A label with fewer than `least_positives` images
    (>= 1) keeps its start. Another, of P images, goes the share P / (P + shrink) of the way from its
    start to the best threshold for it (the middle of the widest plateau; exact, every probability is
    tried), if that raises the mean F2: shrink 0 goes all the way. So the mean F2 of these rows never
    falls below that of `start`; that of others may, which cross_fitted tells.

    Memory: n * k bytes at the start, then 100 bytes per image. Time: a sort of n per label and round.
    Raises MultilabelError.
    """
    probabilities, truth = checked_pair(probabilities, truth)
    if least_positives < 1 or not 0 <= shrink < np.inf or rounds < 1:
        raise MultilabelError("least_positives and rounds are >= 1 and shrink is >= 0 and finite, got "
                              f"{least_positives}, {rounds} and {shrink}")
    start = np.array(start, np.float64)
    predicted = apply_thresholds(probabilities, start)  # refuses what are no thresholds
    right, given = _sums(truth, predicted), predicted.sum(1)
    true, positives = truth.sum(1), truth.sum(0)
    del predicted
    thresholds = start.copy()
    order = np.argsort(-positives, kind="stable")
    order = order[positives[order] >= least_positives]
    for _ in range(rounds):
        moved = False
        for label in order:
            p, t = probabilities[:, label].astype(np.float64), truth[:, label]
            on = p >= thresholds[label]
            others_right, others_given = right - (on & t), given - on
            gain = (f_beta(others_right + t, true, others_given + 1, beta)
                    - f_beta(others_right, true, others_given, beta))  # [n], of giving the label
            edges, values = _line(p, gain)
            share = positives[label] / (positives[label] + shrink)
            tried = start[label] + share * (_middle(edges, values, TIE * len(p)) - start[label])
            before, after = values[_cuts(edges, np.array([thresholds[label], tried]))]
            if after > before + TIE * len(p):
                thresholds[label], moved = tried, True
                on = p >= tried
                right, given = others_right + (on & t), others_given + on
        if not moved:
            break
    return thresholds


def candidate_thresholds(probabilities, truth, groups):
    """The thresholds that the groups' search tries: float64, rising, at most 255, from 0 to NEVER.

    groups: list of int [m] columns.
    """
    room = MOST - len(UNIFORM)
    rows = _evenly(len(truth), max(SAMPLED // truth.shape[1], 1))
    values = np.unique(probabilities[rows])
    if len(values) > room + 1 or len(rows) < len(truth):
        each = max((room + 1) // (2 * len(groups)), 2)
        levels = 1 - np.geomspace(1, 1e-6, each)  # true labels are few: most thresholds lie at the top
        values = []
        for columns in groups:
            sample = probabilities[np.ix_(rows, columns)].astype(np.float64)
            values += [np.quantile(sample, levels), sample.max(keepdims=True).ravel()]
            if (true := sample[truth[np.ix_(rows, columns)]]).size:
                values.append(np.quantile(true, np.linspace(0, 1, each)))
        values = np.unique(np.concatenate(values))
        values = values[_evenly(len(values), room + 1)]
    values = values.astype(np.float64)
    return np.unique(np.concatenate([UNIFORM, (values[1:] + values[:-1]) / 2]))


class _Counts:
    """What each image would be given, and how much of it is right, for every candidate at once."""

    def __init__(self, probabilities, truth, grid, beta):
        self.truth, self.grid, self.size, self.beta = truth, grid, len(grid), beta
        self.true = truth.sum(1)
        self.none = (np.zeros(len(truth), np.int64),) * 2
        # Candidates that a probability reaches, 0..size: it is given from candidate j on if it is > j.
        self.reached = np.empty(truth.shape, np.uint8)
        for rows in blocks(truth.shape):
            self.reached[rows] = np.searchsorted(grid, probabilities[rows].astype(np.float64), "right")

    def true_of(self, columns):
        return _sums(self.truth, self.truth, columns)

    def means(self, columns, others, true):
        """Mean F-beta for each candidate, float64 [size], as the one threshold of these columns.

        others: (right, given), int [n] each, of the other columns. true: int [n], labels that count.
        """
        width = self.size + 1
        total = np.zeros(self.size)
        for rows in blocks((len(self.truth), max(len(columns), width))):
            reached = self.reached[rows][:, columns]  # [b, m]
            place = reached + np.arange(len(reached))[:, None] * width
            shape = (len(reached), width)
            given = others[1][rows, None] + _from_top(place.ravel(), shape)  # [b, size]
            right = others[0][rows, None] + _from_top(place[self.truth[rows][:, columns]], shape)
            total += f_beta(right, true[rows, None], given, self.beta).sum(0)
        return total / len(self.truth)

    def at(self, columns, candidate):
        """(right, given), int [n] each, of these columns with that candidate as the threshold."""
        right, given = np.empty((2, len(self.truth)), np.int64)
        for rows in blocks(self.truth.shape):
            on = self.reached[rows][:, columns] > candidate
            right[rows], given[rows] = (on & self.truth[rows][:, columns]).sum(1), on.sum(1)
        return right, given


def _ascend(counts, groups, start):
    """(mean F-beta, candidates [groups]) where no group alone gets better, from the candidates `start`."""
    chosen, best = list(start), -np.inf
    parts = [counts.at(columns, candidate) for columns, candidate in zip(groups, chosen)]
    for _ in range(ROUNDS):
        before = best
        for g, columns in enumerate(groups):
            others = [sum((part[i] for k, part in enumerate(parts) if k != g), counts.none[i]) for i in (0, 1)]
            means = counts.means(columns, others, counts.true)
            chosen[g], best = _middle_candidate(means, counts.grid), means.max()
            parts[g] = counts.at(columns, chosen[g])
        if best <= before + TIE or len(groups) == 1:
            break
    return best, chosen


def _from_top(place, shape):
    """[b, size]: how many of the places lie beyond each candidate. place: int, row * width + reached."""
    tally = np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)
    return tally[:, :0:-1].cumsum(1)[:, ::-1]


def _line(p, gain):
    """A label's threshold and its worth: (edges falling [m + 2], values [m + 1]).

    Any threshold in (edges[i + 1], edges[i]] gives the label to the images that sum to values[i] of
    the gain; edges: NEVER, the m different probabilities, 0.
    """
    order = np.argsort(-p, kind="stable")
    p = p[order]
    ends = np.append(np.flatnonzero(p[1:] != p[:-1]) + 1, len(p))
    values = np.append(0.0, gain[order].cumsum()[ends - 1])
    return np.concatenate([[NEVER], p[ends - 1], [0.0]]), values


def _cuts(edges, thresholds):
    """Which of a label's values a threshold has: how many different probabilities reach it."""
    return np.searchsorted(-edges[1:-1], -thresholds, "right")


def _middle(edges, values, tie):
    first, last = _widest(values, edges[:-1] - edges[1:], tie)
    low, high = edges[last + 1], edges[first]
    middle = (low + high) / 2
    return middle if middle > low else high


def _middle_candidate(means, grid):
    """The candidate, int, next to the middle of the widest plateau of the best."""
    first, last = _widest(means, np.diff(grid, prepend=0.0), TIE)
    middle = (grid[max(first - 1, 0)] + grid[last]) / 2
    return first + int(np.argmin(np.abs(grid[first:last + 1] - middle)))


def _widest(values, widths, tie):
    """(first, last) of the run of best values, to within `tie`, whose widths sum to most."""
    best = np.concatenate([[False], values >= values.max() - tie, [False]])
    starts, ends = np.flatnonzero(best[1:] & ~best[:-1]), np.flatnonzero(best[:-1] & ~best[1:])
    sums = np.append(0.0, np.cumsum(widths))
    run = np.argmax(sums[ends] - sums[starts])
    return int(starts[run]), int(ends[run]) - 1


def _sums(truth, predicted, columns=slice(None)):
    """Labels both true and predicted per image, int [n]."""
    sums = np.empty(len(truth), np.int64)
    for rows in blocks(truth.shape):
        sums[rows] = (truth[rows] & predicted[rows])[:, columns].sum(1)
    return sums


def _evenly(n, most):
    """At most `most` places in 0..n-1, evenly, the first and the last among them."""
    return np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).astype(np.int64))


def _partition(groups, n_labels):
    """The groups' columns, a list. Raises MultilabelError unless every label is in exactly one."""
    if not groups:
        raise MultilabelError("there are no groups: give {\"all\": all columns} for one threshold")
    columns = [checked_columns(name, own, n_labels) for name, own in groups.items()]
    times = np.bincount(np.concatenate(columns), minlength=n_labels)
    if (times != 1).any():
        label = int(np.flatnonzero(times != 1)[0])
        raise MultilabelError(f"label column {label} is in {times[label]} of the groups "
                              f"{', '.join(map(repr, groups))}: it must be in exactly one")
    return columns
