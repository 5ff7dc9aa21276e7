"""The boxes that several detectors found on the same pages -> one set of boxes.

nms       the best of the boxes that lie on each other stays as it was, the others go: two snapshots
          of system A at iou 0.30 with rank_by "label_score"
soft_nms  all stay, less sure the more a better box covers them (Bodla et al., 2017, arXiv:1704.04503)
wbf       weighted box fusion: boxes on each other are averaged (Solovyev et al., 2019,
          arXiv:1910.13302)
"""
import numpy as np
import pandas as pd

from inference.boxes import non_max_suppression, soft_nms
from records.detections import COLUMNS, NUMBERS

METHODS = ("nms", "soft_nms", "wbf")
BOX = ["x", "y", "w", "h"]
TYPES = {"image_id": object, "label": object} | dict.fromkeys(NUMBERS, np.float64)
LEAST_TRUST = 1e-12  # of a box of score 0, so that those alone in a cluster have a mean


def merge_detections(members, pages, method, iou=None, **settings):
    """merge_boxes on each of `pages` (image ids): DataFrame of records.detections.COLUMNS, in their
    order.

    members: DataFrames over all pages; one that found nothing on a page has no row of it. settings:
    those of merge_boxes. ValueError for a row of another page, and for what merge_boxes refuses.
    """
    members, pages = [_plain(*member) for member in enumerate(members)], list(pages)
    known = set(pages)
    if len(known) < len(pages):
        raise ValueError(f"a page is named twice among the {len(pages)} pages to merge")
    for number, frame in enumerate(members):
        odd = [image_id for image_id in frame.image_id.unique() if image_id not in known]
        if odd:
            raise ValueError(f"member {number} has boxes on {len(odd)} pages that are none of the "
                             f"{len(pages)} to merge (the first: {odd[0]!r}): give detections of "
                             "the same store")
    rows = [frame.groupby("image_id").indices for frame in members]
    none = np.zeros(0, np.int64)
    merged = [merge_boxes([frame.take(of.get(page, none)) for frame, of in zip(members, rows)],
                          method, iou, **settings) for page in pages]
    found = [frame for frame in merged if len(frame)]
    return pd.concat(found, ignore_index=True) if found else _nothing()


def merge_boxes(members, method, iou=None, weights=None, rank_by="score", per_label=False,
                sigma=0.5, least_score=0.001):
    """The boxes of one page, DataFrame of records.detections.COLUMNS by falling score (of equal ones
    by member and row, in wbf by their surest box); other columns are left out.

    members: a DataFrame of COLUMNS for each detector, empty if it found nothing.
    method: of METHODS. iou: 0..1, what two boxes must exceed to be the same; soft_nms has no use for
    it. weights: float [members], >= 0, how far each is trusted: its boxes rank by weight times
    confidence (nms and soft_nms change no score by it); None: all alike; of weight 0: left out.
    rank_by: the column that is the confidence, "score" or "label_score".
    per_label: boxes of different labels leave each other alone; otherwise one place is one box.
    sigma, least_score: of soft_nms: the confidences fall, boxes that come below least_score go.

    wbf: boxes are walked by falling confidence, each joins the fused box that it overlaps most, or
    starts one. Position and size are means weighted by weight times confidence. score is the
    weighted mean of the boxes, times the share that the members which saw it have in all weights.
    label is the weighted vote: that of the highest sum of weight times label_score, of equal ones
    that of the surer box; label_score is that sum divided by all voters' weights, so that dissent
    lowers it. Boxes without a label vote only where there are no others.
    Raises ValueError.
    """
    table, member, weights = _joined(members, weights)
    _check(table, method, iou, rank_by)
    groups = pd.factorize(table.label)[0] if per_label else np.zeros(len(table), np.int64)
    boxes, confidence = table[BOX].to_numpy(), table[rank_by].to_numpy()
    ranks = confidence * weights[member]
    if method == "nms":
        merged = table.take(np.sort(non_max_suppression(boxes, ranks, iou, groups)))
    elif method == "soft_nms":
        confidence = confidence * soft_nms(boxes, ranks, sigma, groups)
        merged = table.assign(**{rank_by: confidence})[confidence >= least_score]
    else:
        trust = weights[member] * np.maximum(confidence, LEAST_TRUST)
        cluster, boxes = _fused(boxes, trust, iou, groups)
        merged = _told(table, cluster, boxes, trust, member, weights)
    return merged.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def _fused(boxes, trust, iou, groups):
    """(cluster of each box int64 [n], fused boxes float64 [clusters, 4] x y w h).

    boxes: float64 [n, 4] x y w h. trust: float64 [n], above 0: order of the walk and weight.
    """
    edges = np.zeros((4, len(boxes)))  # left, top, right, bottom of the fused boxes
    left, top, right, bottom = edges
    fused, totals, group_of = [], [], []
    cluster = np.zeros(len(boxes), np.int64)
    rows, trust_of, groups = boxes.tolist(), trust.tolist(), groups.tolist()
    for number in np.argsort(-trust, kind="stable").tolist():
        box, count = rows[number], len(fused)
        x, y, w, h = box
        meeting = ((left[:count] < x + w) & (right[:count] > x)
                   & (top[:count] < y + h) & (bottom[:count] > y)).nonzero()[0]
        place, most = count, iou
        for candidate in meeting.tolist():  # few, for which plain numbers are faster than arrays
            overlap = _iou(fused[candidate], box)
            if overlap > most and group_of[candidate] == groups[number]:
                place, most = candidate, overlap
        if place == count:
            fused.append(box)
            totals.append(0.0)
            group_of.append(groups[number])
        totals[place] += trust_of[number]
        part = trust_of[number] / totals[place]
        x, y, w, h = fused[place] = [old + (new - old) * part for old, new in zip(fused[place], box)]
        edges[:, place] = x, y, x + w, y + h
        cluster[number] = place
    return cluster, np.array(fused, np.float64).reshape(-1, 4)


def _iou(a, b):
    """Intersection over union of two boxes x y w h that meet; 0 if they do by rounding only."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / (a[2] * a[3] + b[2] * b[3] - wide * high)


def _told(table, cluster, boxes, trust, member, weights):
    """The fused boxes as rows; see merge_boxes for what score, label and label_score become."""
    n = len(boxes)
    by_trust = np.argsort(-trust, kind="stable")
    weight = weights[member]
    pairs = np.unique(np.stack([cluster, member]), axis=1)  # a member that saw it twice saw it
    share = np.bincount(pairs[0], weights[pairs[1]], n) / weights.sum()
    score = np.bincount(cluster, weight * table.score, n) / np.bincount(cluster, weight, n) * share
    labelled = table.label.to_numpy() != ""
    votes = labelled | (np.bincount(cluster, labelled, n) == 0)[cluster]
    voters = by_trust[votes[by_trust]]
    code, labels = pd.factorize(table.label.take(voters))  # numbered from the surest on
    pairs, where = np.unique(cluster[voters] * len(labels) + code, return_inverse=True)
    sums = np.bincount(where, (weight * table.label_score)[voters], len(pairs))
    first = np.full(len(pairs), len(voters))
    np.minimum.at(first, where, np.arange(len(voters)))
    of, named = np.divmod(pairs, max(len(labels), 1))
    order = np.lexsort([first, -sums, of])
    winners = order[np.searchsorted(of[order], np.arange(n))]
    told = sums[winners] / np.bincount(cluster[voters], weight[voters], n)
    merged = pd.DataFrame({
        "image_id": table.image_id.iloc[:1].tolist() * n, **dict(zip(BOX, boxes.T)),
        "score": np.minimum(score, 1),  # a share of all may be rounded to above 1
        "label": labels.to_numpy()[named[winners]], "label_score": told})
    return merged[list(COLUMNS)].astype(TYPES)


def _joined(members, weights):
    """(all rows that count, member int64 [n] of each, weights float64 [members], the largest 1)."""
    members = [_plain(*member) for member in enumerate(members)]
    if not members:
        raise ValueError("merging needs the boxes of one detector at least, got none")
    weights = np.ones(len(members)) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != (len(members),) or not np.isfinite(weights).all() or (
            weights < 0).any() or not weights.any():
        raise ValueError(f"{len(members)} members need as many weights, finite, >= 0 and not all 0, "
                         f"got {weights.tolist()}")
    member = np.repeat(np.arange(len(members)), [len(frame) for frame in members])
    table = pd.concat([frame for frame in members if len(frame)] or [_nothing()], ignore_index=True)
    counts = weights[member] > 0
    return table[counts].reset_index(drop=True), member[counts], weights / weights.max()


def _plain(number, frame):
    """A member's COLUMNS in the types of records.detections."""
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise ValueError(f"member {number} lacks the columns {', '.join(missing)}: detections have "
                         f"{', '.join(COLUMNS)}")
    return frame[list(COLUMNS)].astype(TYPES)


def _nothing():
    return pd.DataFrame(columns=list(COLUMNS)).astype(TYPES)


def _check(table, method, iou, rank_by):
    if method not in METHODS:
        raise ValueError(f"boxes are merged by {', '.join(METHODS)}, not by {method!r}")
    if rank_by not in ("score", "label_score"):
        raise ValueError(f"rank_by must be score or label_score, got {rank_by!r}")
    if method != "soft_nms" and (iou is None or not 0 <= iou <= 1):
        raise ValueError(f"{method} needs an iou of 0..1, got {iou}")
    pages = table.image_id.unique()
    if len(pages) > 1:
        raise ValueError(f"the boxes to merge are of {len(pages)} pages ({pages[0]!r}, {pages[1]!r}, "
                         "...): give those of one page, or all to merge_detections")
    unsaid = table.label_score.isna() & (table.label == "") & (rank_by == "score")
    unfit = ~(np.isfinite(table[[*BOX, "score"]]).all(axis=1) & (table[["w", "h"]] >= 0).all(axis=1)
              & table.score.between(0, 1) & (table.label_score.between(0, 1) | unsaid))
    if unfit.any():
        row = table[unfit].iloc[0]
        raise ValueError(f"page {row.image_id!r}: {unfit.sum()} boxes cannot be merged, the first "
                         f"with {', '.join(f'{n} {row[n]:g}' for n in NUMBERS)}: boxes must be "
                         "finite, sizes not below 0, scores 0..1; label_score may be left out only "
                         "without a label and where it does not rank")
