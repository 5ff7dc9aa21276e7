"""Non-maximum suppression of detected boxes, hard and soft, on the host."""
import numpy as np
import tensorflow as tf


def non_max_suppression(boxes, scores, iou, groups=None):
    """Which boxes stay, int64 [k], by falling score (of equal scores the first comes first).

    A box goes if a kept one of the same group with a higher score overlaps it by an intersection
    over union above `iou`. boxes: float [n, 4] x y w h, px, w and h >= 0; a box without area
    neither suppresses nor is suppressed. scores: float [n], finite. iou: 0..1. groups: int [n], as
    a rule the class; None: all boxes are of one group. Raises ValueError.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = np.asarray(scores, np.float32)
    groups = np.zeros(len(boxes), np.int64) if groups is None else np.asarray(groups)
    _check(boxes, scores, groups)
    if not 0 <= iou <= 1:
        raise ValueError(f"iou must be 0..1, got {iou}")
    corners = np.concatenate([boxes[:, 1::-1], boxes[:, 1::-1] + boxes[:, :1:-1]], 1)  # y x y x
    kept = [np.zeros(0, np.int64)]
    for members in _members(groups):
        best = tf.image.non_max_suppression(corners[members], scores[members],
                                            max_output_size=len(members), iou_threshold=iou)
        kept.append(members[best.numpy()])
    kept = np.concatenate(kept)
    return kept[np.lexsort([kept, -scores[kept]])]


def soft_nms(boxes, scores, sigma=0.5, groups=None):
    """What soft suppression multiplies each score by, float64 [n], 0..1; no box is taken away.

    The best box that waits is taken and each other waiting one of its group loses the factor
    exp(-iou^2 / sigma), until none waits; of equal scores the first is taken first. The caller drops
    what has become too low; as scores only fall, it comes to the same as dropping it on the way.
    boxes: float [n, 4] x y w h, px, w and h >= 0; one without area overlaps nothing. scores: float
    [n], >= 0. sigma: above 0. groups: int [n]; None: all boxes are of one group. Raises ValueError.
    Source: Bodla et al., "Soft-NMS", 2017, arXiv:1704.04503, the Gaussian form.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    scores = np.asarray(scores, np.float64)
    groups = np.zeros(len(boxes), np.int64) if groups is None else np.asarray(groups)
    _check(boxes, scores, groups)
    if not sigma > 0 or (scores < 0).any():
        raise ValueError("soft_nms needs sigma above 0 and no score below 0, got "
                         f"{sigma} and {scores.min(initial=0)}")
    first, second, iou = _overlapping(boxes, groups)
    order = np.argsort(first, kind="stable")
    others, decay = second[order], np.exp(-iou[order] ** 2 / sigma)
    starts = np.searchsorted(first[order], np.arange(len(boxes) + 1)).tolist()
    factors, left, waits = np.ones(len(boxes)), scores.copy(), np.ones(len(boxes), bool)
    for _ in range(len(boxes)):
        best = left.argmax()
        waits[best], left[best] = False, -1
        pairs = slice(starts[best], starts[best + 1])
        still = waits[others[pairs]]
        hit = others[pairs][still]
        factors[hit] *= decay[pairs][still]
        left[hit] = scores[hit] * factors[hit]
    return factors


def _overlapping(boxes, groups):
    """Each ordered pair of different boxes of a group with an area in common, and its IoU.

    (int64 [p], int64 [p], float64 [p]). Only pairs that meet in x are ever listed, so that a page of
    small boxes costs much less than n^2.
    """
    order = np.argsort(boxes[:, 0], kind="stable")
    x, y, w, h = boxes[order].T
    counts = np.maximum(np.searchsorted(x, x + w) - np.arange(1, len(x) + 1), 0)  # begin inside it
    a = np.repeat(np.arange(len(x)), counts)
    b = a + 1 + np.arange(len(a)) - np.repeat(np.cumsum(counts) - counts, counts)
    wide = np.minimum((x + w)[a], (x + w)[b]) - x[b]
    high = np.minimum((y + h)[a], (y + h)[b]) - np.maximum(y[a], y[b])
    meet = (wide > 0) & (high > 0) & (groups[order][a] == groups[order][b])
    a, b, common = a[meet], b[meet], (wide * high)[meet]
    iou = common / ((w * h)[a] + (w * h)[b] - common)
    a, b = order[a], order[b]
    return np.concatenate([a, b]), np.concatenate([b, a]), np.concatenate([iou, iou])


def _members(groups):
    """Indices of each group's boxes, rising: list of int64 [m]."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    return [m for m in np.split(order, starts) if len(m)]


def _check(boxes, scores, groups):
    if not len(boxes) == len(scores) == len(groups):
        raise ValueError("suppression needs a score and a group for each box, got "
                         f"{len(boxes)} boxes, {len(scores)} scores and {len(groups)} groups")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("boxes and scores must be finite: drop those that are not before the "
                         "suppression, and see what made them")
    if len(boxes) and boxes[:, 2:].min() < 0:
        raise ValueError(f"boxes are x y w h with w and h >= 0, got {boxes[:, 2:].min()}: give "
                         "sizes, not the far corner")
