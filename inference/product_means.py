"""What several runs said of products, as one: the weighted mean of probabilities, block by block."""
import dataclasses

import numpy as np
from scipy.special import softmax

from inference.prediction_blocks import PredictionError, check_room, in_half, write_npz
from records.files import replaced

TOP = 5  # best classes of a product that are kept by themselves
LEAST = 1e-30  # the least probability told, as in inference.ensembles
BLOCK = 1 << 22  # logits that one step works on, 16 MiB of float32


@dataclasses.dataclass
class Member:
    """What one run said. logits: float [m, classes], in memory or mapped. places: int64, rows of it: where
    of_pictures, of each picture of all products, none missing; else of each product, -1 for one it did not
    predict. weight: > 0."""
    logits: np.ndarray
    places: np.ndarray
    of_pictures: bool
    weight: float = 1.0


def product_means(members, indptr):
    """Yields float32 [b, classes], the probabilities of the products, in order.

    A member of pictures gives a product the mean of its pictures' probabilities; the members that predicted a
    product are averaged by their weights. indptr: int [n + 1], product i has the pictures indptr[i] to
    indptr[i + 1], one at least. Memory: 100 MB, whatever is mapped.

    Raises PredictionError for logits that are no numbers, and a product that no member predicted.
    """
    n, classes, start = len(indptr) - 1, members[0].logits.shape[1], 0
    while start < n:  # so many products at a time that the logits of their pictures fit
        most = indptr[start] + max(1, BLOCK // classes)
        stop = max(start + 1, int(np.searchsorted(indptr, most, "right")) - 1)
        yield _means(members, indptr, start, stop)
        start = stop


def _means(members, indptr, start, stop):
    total, weights = 0.0, np.zeros((stop - start, 1), np.float32)
    first = indptr[start:stop] - indptr[start]
    count = np.diff(indptr[start:stop + 1])[:, None]
    for member in members:
        if member.of_pictures:
            places = member.places[indptr[start]:indptr[stop]]
            own, weight = np.add.reduceat(_probabilities(member, places), first, axis=0) / count, member.weight
        else:
            places = member.places[start:stop]
            has = (places >= 0)[:, None]
            own, weight = np.where(has, _probabilities(member, np.maximum(places, 0)), 0), has * member.weight
        total, weights = total + np.float32(member.weight) * own, weights + np.float32(weight)
    if not weights.all():
        raise PredictionError(f"nobody predicted product {start + int(np.argmin(weights))} of the store")
    return (total / weights).astype(np.float32)


def _probabilities(member, places):
    logits = member.logits[places].astype(np.float32)
    if not np.isfinite(logits).all():
        raise PredictionError("a member's logits are not all numbers: predict with it again")
    return softmax(logits, axis=1)


def save_product_predictions(path, ids, class_names, means, store, records, keep_logits=True, labels=None):
    """Writes an .npz as inference.predict.save_predictions does, log-probabilities (-69.1 at least) in the place of
    logits, and besides top_classes int32 [n, 5], numbers of the most probable classes, best first, and their
    top_probabilities float32 [n, 5]. keep_logits: False leaves the logits out, whose size is 2 bytes x products x
    classes. means: an iterable of probabilities [b, classes], in the order of ids.

    Returns the two arrays of the best.
    """
    n, k = len(ids), min(TOP, len(class_names))
    classes, shares = np.zeros((n, k), np.int32), np.zeros((n, k), np.float32)

    def told():
        start = 0
        for block in means:
            order = best_first(block, k)
            classes[start:start + len(block)] = order
            shares[start:start + len(block)] = np.take_along_axis(block, order, 1)
            start += len(block)
            if keep_logits:
                yield in_half(np.log(np.maximum(block, LEAST)))
    path.parent.mkdir(parents=True, exist_ok=True)
    check_room(path.parent, 2 * n * len(class_names) if keep_logits else 0)
    blocks = {"logits": (np.float16, (n, len(class_names)), told())} if keep_logits else {}
    if not keep_logits:
        list(told())
    # Written when all the blocks have gone by.
    blocks |= {"top_classes": (np.int32, (n, k), [classes]), "top_probabilities": (np.float32, (n, k), [shares])}
    known = {} if labels is None else {"labels": np.asarray(labels, np.int64)}
    with replaced(path) as beside:
        write_npz(beside, blocks, ids=np.array(ids, str), class_names=np.array(class_names, str),
                  store=np.array(store, str), records=np.array(records, str), **known)
    return classes, shares


def best_first(scores, k):
    """int64 [n, k], the classes of the k highest of scores [n, classes], falling, of equal ones the first."""
    left, best = np.array(scores, np.float32), []
    for _ in range(k):
        best.append(left.argmax(1))
        left[np.arange(len(left)), best[-1]] = -np.inf
    return np.stack(best, axis=1)
