"""What a CenterNet is trained on: the boxes of a batch of crops -> heatmaps and targets per box.

Zhou et al., "Objects as Points", 2019, arXiv:1904.07850 (Gaussian kernel, one map per class); the
3x3 kernel on one map of all characters is that of the 5th place of Kuzushiji Recognition 2019.
"""
import math

import tensorflow as tf

KERNELS = ("3x3", "gaussian")


def centernet_targets(boxes, class_ids, count, *, side, stride=4, kernel="3x3", n_heatmaps=1,
                      min_overlap=0.7):
    """Targets of a batch of square crops; the grid has g = side / stride cells a side.

    boxes: float32 [b, m, 4], x0 y0 x1 y1 in px of the crop, clipped to it; the first `count` of
    the m are real, the rest is padding. class_ids: int32 [b, m]. count: int32 [b], 0..m.
    side: of the crop, px, a multiple of `stride`. n_heatmaps: 1 for all characters in one map,
    else the class id is the channel (one beyond n_heatmaps is an InvalidArgumentError on a CPU).
    kernel: "3x3" is 1 at the centre, 0.75 beside it and 0.5 at the corners; "gaussian" has the
    radius of `gaussian_radius` and sigma (2 radius + 1) / 6, 0 outside the square of that radius.
    Where kernels overlap the larger value holds; what reaches over the border is dropped.

    Returns a dict of
    heatmap: float32 [b, g, g, n_heatmaps], 0..1, exactly 1 at centres and nowhere else;
    cells: int32 [b, m, 2], (row, column) of the cell that holds the centre, 0 in padding;
    offset: float32 [b, m, 2], (x, y) of the centre in its cell, in cells, 0..1;
    size: float32 [b, m, 2], (width, height) in cells; both are 0 in padding;
    class_ids: int32 [b, m], -1 in padding; mask: float32 [b, m], 1 if real, 0 in padding.
    Raises ValueError for a side, kernel, n_heatmaps or min_overlap that cannot be.
    """
    _check(side, stride, kernel, n_heatmaps, min_overlap)
    grid = side // stride
    real = tf.sequence_mask(count, tf.shape(boxes)[1])  # bool [b, m]
    mask = tf.cast(real, tf.float32)
    boxes = boxes / stride * mask[:, :, None]  # in cells
    centres = (boxes[:, :, :2] + boxes[:, :, 2:]) / 2  # [b, m, 2] x y
    corners = tf.clip_by_value(tf.floor(centres), 0, grid - 1)
    size = boxes[:, :, 2:] - boxes[:, :, :2]
    cells = tf.cast(corners[:, :, ::-1], tf.int32)
    profile = (_pyramid_windows(mask) if kernel == "3x3" else
               _gaussian_windows(size, mask, grid, min_overlap))
    channels = class_ids if n_heatmaps > 1 else tf.zeros_like(class_ids)
    return {"heatmap": _draw(profile, cells, channels, grid, n_heatmaps), "cells": cells,
            "offset": centres - corners, "size": size, "mask": mask,
            "class_ids": tf.where(real, class_ids, -1)}


def gaussian_radius(size, min_overlap):
    """The radius, in whole cells, within which both corners of a box may move at an IoU that still
    is at least `min_overlap`: the largest such that every box with its corners moved by at most the
    radius, in x and in y, has that IoU.

    size: float32 [..., 2] width and height in cells. min_overlap: above 0, below 1. Returns float32
    [...], whole numbers.

    CornerNet (Law and Deng, 2018, arXiv:1808.01244) tells three cases apart, each a quadratic
    a r^2 + b r + c = 0 in r, for w x h and overlap t:
    both corners inwards    (w - 2r)(h - 2r) = t w h            4, -2(w + h), (1 - t) w h
    both outwards           w h = t (w + 2r)(h + 2r)            4t, 2t(w + h), (t - 1) w h
    one inwards, one out    (w - r)(h - r)(1 + t) = 2 t w h     1, -(w + h), w h (1 - t) / (1 + t)
    The well-known code returns the least of (-b + sqrt(b^2 - 4ac)) / 2: over 2 instead of 2a, and
    the larger root where the first and third case ask for the smaller. At t = 0.7 that is 2.8 times
    the root of the second case, and boxes with their corners that far inside overlap by 0.21 only
    (squares). Here are the proper roots, because they keep what min_overlap promises. The first
    case's is the least for every box and overlap, so that it alone is computed; a recipe that wants
    the wider kernels of the well-known code at 0.7 sets an overlap of 0.2.
    """
    total, area = tf.reduce_sum(size, axis=-1), tf.reduce_prod(size, axis=-1)
    root = tf.sqrt(total ** 2 - 4 * (1 - min_overlap) * area)
    # The same as (total - root) / 4, without the cancellation.
    return tf.floor(tf.math.divide_no_nan((1 - min_overlap) * area, total + root))


def _pyramid_windows(mask):
    """float32 [b, m, 3, 3]: the kernel of each box that is real, 0 in padding."""
    slope = tf.constant([0.25, 0.0, 0.25])
    return (1 - slope[:, None] - slope) * mask[:, :, None, None]


def _gaussian_windows(size, mask, grid, min_overlap):
    """float32 [b, m, k, k], k odd: the kernel of each box, 0 outside its radius and in padding.

    k is 2 * the radius of a box that fills the crop + 1.
    """
    widest = int((1 - math.sqrt(min_overlap)) / 2 * grid)
    steps = tf.range(-widest, widest + 1, dtype=tf.float32)  # [k]
    radius = gaussian_radius(size, min_overlap)[:, :, None]  # [b, m, 1]
    sigma = (2 * radius + 1) / 6
    line = tf.where(tf.abs(steps) <= radius, tf.exp(-steps ** 2 / (2 * sigma ** 2)), 0.0)
    return (line * mask[:, :, None])[:, :, :, None] * line[:, :, None, :]


def _draw(windows, cells, channels, grid, n_heatmaps):
    """The greatest value at each cell: windows float32 [b, m, k, k] about cells int32 [b, m, 2] in
    channels int32 [b, m] -> float32 [b, grid, grid, n_heatmaps]."""
    n, k = tf.shape(windows)[0], windows.shape[2]
    steps = tf.range(k) - k // 2
    rows, columns = cells[:, :, :1] + steps, cells[:, :, 1:] + steps  # [b, m, k]
    inside = _within(rows, grid)[:, :, :, None] & _within(columns, grid)[:, :, None, :]
    at = tf.where(inside & (windows > 0))  # [drawn, 4]: little of most windows is in their radius
    index = tf.stack([tf.cast(at[:, 0], tf.int32), tf.gather_nd(rows, at[:, :3]),
                      tf.gather_nd(columns, tf.gather(at, [0, 1, 3], axis=1)),
                      tf.gather_nd(channels, at[:, :2])], axis=1)
    return tf.tensor_scatter_nd_max(tf.zeros([n, grid, grid, n_heatmaps]), index,
                                    tf.gather_nd(windows, at))


def _within(at, grid):
    return (at >= 0) & (at < grid)


def _check(side, stride, kernel, n_heatmaps, min_overlap):
    if side < stride or side % stride:
        raise ValueError(f"the side of a crop must be a multiple of the stride {stride} px, got "
                         f"{side}; take {max(1, round(side / stride)) * stride}")
    if kernel not in KERNELS:
        raise ValueError(f"a heatmap's kernel is one of {', '.join(KERNELS)}, got {kernel!r}")
    if n_heatmaps < 1 or not 0 < min_overlap < 1:
        raise ValueError("targets need n_heatmaps >= 1 and 0 < min_overlap < 1, "
                         f"got {n_heatmaps} and {min_overlap}")
