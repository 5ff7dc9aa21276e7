"""From which probability on a box is kept, so that the Kuzushiji score is best."""
import numpy as np
import pandas as pd

from inference.kuzushiji_score import inside
from inference.submissions import centre_points

DEFAULT = 0.5


def choose_threshold(probability, readings, truth):
    """(threshold, f1, table): the least probability to keep that gives the best micro F1.

    probability: float [n], as a rule out of fold; readings: DataFrame with image_id, x, y, w, h, label
    [n]; truth: {image_id: (labels, boxes [k, 4])}, all pages that count, also those without readings.
    table: threshold (rising), matched, predicted, f1: every probability there is, and 0.5. Of equally
    good ones it is the one nearest 0.5.

    Exact: dropping a box can leave its true one to another of the same label, so each label of each
    page is matched anew, by the rule of inference.kuzushiji_score, for every probability it has. The
    cap on the characters of a page is left out of account. Raises ValueError.
    """
    probability = np.asarray(probability, np.float64)
    _check(probability, readings, truth)
    points = centre_points(readings[["x", "y", "w", "h"]].to_numpy(np.float64))
    labels = readings["label"].to_numpy()
    steps = [(np.inf, 0)]  # (probability, true boxes that are matched more from there down)
    for image_id, rows in readings.groupby("image_id", sort=False).indices.items():
        by_label = {label: [] for label in truth[image_id][0]}
        for label, box in zip(*truth[image_id], strict=True):
            by_label[label].append(box)
        for label, boxes in by_label.items():
            mine = rows[labels[rows] == label]
            steps += _steps(boxes, points[mine].tolist(), probability[mine].tolist())
    at, more = np.array(sorted(steps)).T
    thresholds = np.unique(np.append(probability, DEFAULT))
    matched = _sum_from(at, more, thresholds).astype(np.int64)
    predicted = _sum_from(np.sort(probability), np.ones(len(probability)), thresholds).astype(np.int64)
    total = predicted + sum(len(boxes) for _, boxes in truth.values())
    f1 = np.divide(2 * matched, total, out=np.zeros(len(thresholds)), where=total > 0)
    best = thresholds[f1 == f1.max()]
    threshold = best[np.argmin(np.abs(best - DEFAULT))]
    table = pd.DataFrame({"threshold": thresholds, "matched": matched, "predicted": predicted, "f1": f1})
    return float(threshold), float(f1.max()), table


def _steps(boxes, points, probability):
    """[(probability, change of the number of matched boxes)] of one label's boxes and predictions."""
    if not points:
        return []
    near = [[n for n, point in enumerate(points) if inside(point, box)] for box in boxes]
    steps, before = [], 0
    for least in sorted({probability[n] for candidates in near for n in candidates}, reverse=True):
        used = set()
        for candidates in near:
            found = next((n for n in candidates if probability[n] >= least and n not in used), None)
            if found is not None:
                used.add(found)
        steps.append((least, len(used) - before))
        before = len(used)
    return steps


def _sum_from(at, values, thresholds):
    """Sum of the values whose place is the threshold or above, for each. at: float, rising."""
    sums = np.append(np.cumsum(values[::-1])[::-1], 0)
    return sums[np.searchsorted(at, thresholds, side="left")]


def _check(probability, readings, truth):
    if len(probability) != len(readings):
        raise ValueError(f"{len(probability)} probabilities for {len(readings)} readings")
    if not np.all((probability >= 0) & (probability <= 1)):
        raise ValueError("probabilities must be from 0 to 1 (NaN is not allowed)")
    missing = set(readings["image_id"]) - set(truth)
    if missing:
        raise ValueError(f"page {min(missing)!r} has readings but no truth ({len(truth)} pages have): "
                         "leave it out, or give the annotations that have it")
