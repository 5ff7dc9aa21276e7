"""What the false-positive predictor knows of a detected and read box (system A), for training and use.

Everything is free of px: a page of twice the size gives the same features. So the published "page
size" is the page's aspect here, widths are in page widths, heights in page heights, areas in page
areas and distances in page diagonals.
"""
import re

import numpy as np
import pandas as pd

COLUMNS = ("image_id", "x", "y", "w", "h", "score", "label", "label_score")
N_NEAREST = 5
TINY = 1e-12  # parts of the page: above the rounding of a mean, far below any difference of boxes

_SIZES = tuple(f"{size}_{by}" for size in ("w", "h", "area")
               for by in ("of_page", "of_mean", "in_std", "of_median"))
_OWN = ("label_score", "score", "hiragana", "overlap", *_SIZES)
_PLACE = tuple(f"{axis}_{by}" for axis in ("x", "y")
               for by in ("of_page", "from_mean", "in_std", "from_median"))
_WAY = ("distance", "right", "down")
FEATURES = (*_OWN, "page_aspect", *_PLACE, "count",
            *(f"near{k}_{name}" for k in range(1, N_NEAREST + 1) for name in (*_OWN, *_WAY)))


def box_features(readings, page_sizes):
    """DataFrame of FEATURES, float32 [n, features], with the rows and the index of `readings`.

    readings: DataFrame of COLUMNS, boxes px from the page's top-left corner, scores 0..1, label_score
    may be NaN; the rows of a page may stand anywhere and in any order. page_sizes: {image_id: (width,
    height)}, px.

    hiragana: 1 for labels U+3040 to U+309F. overlap: the sum of the intersections with each other box,
    in areas of the box. w, h, area: *_of_page, *_of_mean and *_of_median are ratios, *_in_std is the
    deviation from the mean in standard deviations. x, y: of the centre, *_from_mean and *_from_median
    are differences. near1 is the box with the nearest centre: its own features, its distance, and the
    cosine and sine of its direction (right, down). A ratio to nothing (boxes all alike, a box without
    area) is 0; neighbours that are not there are NaN.

    A page of n boxes takes three n x n float64 arrays at once: 45 MB at 1,300 boxes. Raises
    ValueError naming the page.
    """
    _check(readings, page_sizes)
    features = np.zeros((len(readings), len(FEATURES)), np.float32)
    boxes = readings[["x", "y", "w", "h"]].to_numpy(np.float64)
    scores = readings[["label_score", "score"]].to_numpy(np.float64)
    hiragana = np.array([bool(re.fullmatch("U\\+30[4-9][0-9A-F]", label))
                         for label in readings["label"]], np.float64)
    values = np.c_[boxes, scores, hiragana.reshape(-1, 1)]  # [n, 7]
    for image_id, rows in readings.groupby("image_id", sort=False).indices.items():
        # Sorted by what they are, so that the order of rows changes neither ties nor roundings.
        rows = rows[np.lexsort(values[rows].T[::-1])]
        features[rows] = _of_page(values[rows], *page_sizes[image_id])
    return pd.DataFrame(features, columns=list(FEATURES), index=readings.index)


def _of_page(values, width, height):
    """Features [n, features] of a page's boxes. values: [n, 7] x y w h label_score score hiragana."""
    (x, y, w, h), own = values.T[:4], values[:, 4:]
    centres = np.c_[x + w / 2, y + h / 2]  # px
    sizes = np.c_[w / width, h / height, w * h / (width * height)]
    overlap = _ratio(_intersections(x, y, w, h) / (width * height), sizes[:, 2])
    own = np.c_[own, overlap, _relative(sizes, ratios=True)]  # [n, 16]
    place = _relative(centres / (width, height), ratios=False)  # [n, 8]
    page = np.broadcast_to([width / height], (len(values), 1))
    count = np.full((len(values), 1), len(values))
    return np.c_[own, page, place, count, _nearest(centres, own, np.hypot(width, height))]


def _relative(values, *, ratios):
    """Each column of values [n, k] by itself and relative to its mean, std and median: [n, 4k].

    ratios: to the mean and the median; else differences from them.
    """
    columns = []
    for column in values.T:
        mean, std, median = column.mean(), column.std(), np.median(column)
        by_mean, by_median = ((_ratio(column, mean), _ratio(column, median)) if ratios else
                              (column - mean, column - median))
        columns += [column, by_mean, _ratio(column - mean, std), by_median]
    return np.stack(columns, 1)


def _ratio(values, to):
    """values / to, 0 where `to` is nothing."""
    to = np.broadcast_to(to, np.shape(values))
    return np.divide(values, to, out=np.zeros(np.shape(values)), where=to > TINY)


def _intersections(x, y, w, h):
    """Sum of each box's common areas with every other, px²: float64 [n]."""
    across = _common(x, w)  # [n, n]
    across *= _common(y, h)
    np.fill_diagonal(across, 0)
    return across.sum(1)


def _common(start, length):
    """Common length of each pair of intervals, [n, n]."""
    end = start + length
    common = np.minimum.outer(end, end)
    common -= np.maximum.outer(start, start)
    return np.maximum(common, 0, out=common)


def _nearest(centres, own, diagonal):
    """Features of the N_NEAREST boxes with the nearest centres, [n, N_NEAREST * 19], nearest first.

    centres: [n, 2], px; own: [n, 16]; diagonal: of the page, px. Of equally near ones the first of
    the (sorted) boxes comes first.
    """
    n = len(centres)
    found = np.full((n, N_NEAREST, own.shape[1] + len(_WAY)), np.nan)
    squares, down = (np.square(np.subtract.outer(c, c)) for c in centres.T)  # [n, n]
    squares += down
    everyone = np.arange(n)
    squares[everyone, everyone] = np.inf  # not itself
    for k in range(min(N_NEAREST, n - 1)):
        other = squares.argmin(1)  # [n]; the first of equals
        distance = np.sqrt(squares[everyone, other]) / diagonal
        squares[everyone, other] = np.inf
        way = (centres[other] - centres) / diagonal  # [n, 2]
        found[:, k] = np.c_[own[other], distance, _ratio(way, distance[:, None])]
    return found.reshape(n, -1)


def _check(readings, page_sizes):
    missing = [name for name in COLUMNS if name not in readings]
    if missing:
        raise ValueError(f"readings must have the columns {', '.join(COLUMNS)}; "
                         f"{', '.join(missing)} missing")
    for image_id in readings["image_id"].unique():
        if image_id not in page_sizes:
            raise ValueError(f"page {image_id!r} has boxes but no size: page_sizes must hold the width "
                             f"and height of every page, got those of {len(page_sizes)}")
        if not all(0 < side < np.inf for side in page_sizes[image_id]):
            raise ValueError(f"page {image_id!r} has the size {page_sizes[image_id]}: width and height "
                             "must be above 0 px")
    numbers = readings[["x", "y", "w", "h", "score"]].to_numpy(np.float64)
    label_score = readings["label_score"].to_numpy(np.float64)
    right = np.isfinite(numbers).all(1) & (numbers[:, 2:4] >= 0).all(1) & ~np.isinf(label_score)
    if not right.all():
        row = readings.iloc[int(np.argmin(right))]
        raise ValueError(f"page {row['image_id']!r} has a box x y w h score label_score = "
                         f"{[float(row[k]) for k in ('x', 'y', 'w', 'h', 'score', 'label_score')]}: all "
                         "must be finite (label_score may be NaN), w and h at least 0")
