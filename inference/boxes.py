"""Non-maximum suppression of detected boxes, on the host."""
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
    _check(boxes, scores, iou, groups)
    corners = np.concatenate([boxes[:, 1::-1], boxes[:, 1::-1] + boxes[:, :1:-1]], 1)  # y x y x
    kept = [np.zeros(0, np.int64)]
    for members in _members(groups):
        best = tf.image.non_max_suppression(corners[members], scores[members],
                                            max_output_size=len(members), iou_threshold=iou)
        kept.append(members[best.numpy()])
    kept = np.concatenate(kept)
    return kept[np.lexsort([kept, -scores[kept]])]


def _members(groups):
    """Indices of each group's boxes, rising: list of int64 [m]."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    return [m for m in np.split(order, starts) if len(m)]


def _check(boxes, scores, iou, groups):
    if not len(boxes) == len(scores) == len(groups):
        raise ValueError("non_max_suppression needs a score and a group for each box, got "
                         f"{len(boxes)} boxes, {len(scores)} scores and {len(groups)} groups")
    if not 0 <= iou <= 1:
        raise ValueError(f"iou must be 0..1, got {iou}")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("boxes and scores must be finite: drop those that are not before the "
                         "suppression, and see what made them")
    if len(boxes) and boxes[:, 2:].min() < 0:
        raise ValueError(f"boxes are x y w h with w and h >= 0, got {boxes[:, 2:].min()}: give "
                         "sizes, not the far corner")
