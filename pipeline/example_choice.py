"""Which examples are left out of an epoch, and which come twice, by their losses: index arithmetic."""
import numpy as np

BLOCK = 4096  # records whose labels are held as float64 at a time


def choose_examples(places, labels, losses, drop_worst, mine_hardest, seed):
    """An epoch of the same length, without the worst records and with the hardest twice.

    places: int [m], which record stands in each place of an epoch; one that is oversampled stands in
    several. labels: int [n], 0.., class of each record; or uint8 [n, classes], of several labels, where no
    class is minded. losses: float [n], see worst_first.
    drop_worst, mine_hardest: shares of the n records, 0..0.5, rounded to whole records. seed: as
    numpy.random.default_rng takes it.

    Left out of all their places are the records of highest loss, but of a class never the last: the
    one of lowest loss stays. Others of the same class, drawn from those kept, take their places. Of
    those kept, the records of highest loss, at most half of them, then come twice as often as before,
    in places of those of lowest loss; of each class the one of highest loss stays.
    Returns (places int [m], left_out bool [n], repeated bool [n]), a pure function of the arguments.
    """
    places, labels = np.asarray(places), np.asarray(labels)
    if labels.ndim == 2:
        labels = np.zeros(len(labels), int)
    n, order = len(labels), worst_first(losses)
    last = n - 1 - np.unique(labels[order[::-1]], return_index=True)[1]  # one of each class
    left_out, repeated = np.zeros(n, bool), np.zeros(n, bool)
    left_out[np.delete(order, last)[:round(drop_worst * n)]] = True
    kept = order[~left_out[order]]
    filled = _filled(places, labels, left_out, np.random.default_rng(seed))

    hard = kept[:min(round(mine_hardest * n), len(kept) // 2)]
    rank = np.argsort(order)  # of each record, 0 for the highest loss
    more = places[np.isin(places, hard)]
    more = more[np.argsort(rank[more], kind="stable")]
    staying = np.union1d(hard, kept[np.unique(labels[kept], return_index=True)[1]])
    easy_first = np.argsort(-rank[filled], kind="stable")
    given_up = easy_first[~np.isin(filled[easy_first], staying)][:len(more)]
    filled[given_up] = more[:len(given_up)]
    repeated[more[:len(given_up)]] = True
    return filled, left_out, repeated


def worst_first(losses):
    """Numbers of the records, int [n], the highest loss first; what is no number counts as infinite."""
    return np.argsort(-np.where(np.isnan(losses), np.inf, losses), kind="stable")


def excess_losses(losses, labels):
    """How much higher each loss is than the record's labels lead one to expect, float64 [n].

    losses: float [n]. labels: uint8 [n, classes], 1 for each of several. What is to be expected is a
    constant and an amount for each label, by least squares over the records (each amount drawn to 0 as
    by one record more); without it, the worst would be those of many or of rare labels. A loss that is
    no finite number stays as it is, and has no say in what is to be expected.
    """
    losses = np.asarray(losses, np.float64)
    finite = np.isfinite(losses)
    width = labels.shape[1] + 1
    products, sums = np.eye(width), np.zeros(width)
    blocks = range(0, len(losses), BLOCK)
    design = lambda start: np.pad(labels[start:start + BLOCK], ((0, 0), (0, 1)), constant_values=1).astype(np.float64)
    for start in blocks:
        known = finite[start:start + BLOCK]
        rows = design(start)[known]  # [b, classes + 1], the last for the constant
        products += rows.T @ rows
        sums += rows.T @ losses[start:start + BLOCK][known]
    amounts = np.linalg.solve(products, sums)
    return np.where(finite, losses - np.concatenate([design(start) @ amounts for start in blocks] or [[]]), losses)


def _filled(places, labels, left_out, random):
    """`places` with one of the same class, drawn from those kept, in the place of each left out."""
    kept = np.flatnonzero(~left_out)
    by_class = kept[np.argsort(labels[kept], kind="stable")]
    counts = np.bincount(labels[kept], minlength=labels.max() + 1)
    first = np.cumsum(counts) - counts  # of each class in by_class
    gone = left_out[places]
    wanted = labels[places[gone]]
    filled = places.copy()
    filled[gone] = by_class[first[wanted] + random.integers(0, counts[wanted])]
    return filled
