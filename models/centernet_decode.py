"""Heatmaps to peaks, and what the maps say at them to boxes. All of it compiles under XLA.

Zhou et al., "Objects as Points", 2019, arXiv:1904.07850: peaks of 3x3 neighbourhoods take the place
of non-maximum suppression.
"""
import numpy as np
import tensorflow as tf


def find_peaks(heat, max_peaks, threshold):
    """The peaks of a batch of heatmaps, the highest first.

    A peak is a cell above the threshold that no cell of its 3x3 neighbourhood in its own channel
    exceeds, and that none before it, in the order of (row, column), equals. So of two equal cells
    that touch only the first is a peak, and of a rectangular plateau; one that has several upper
    ends, such as a V, has a peak at each. Equal peaks come in the order of (row, column, channel).
    heat: float32 [b, h, w, k], probabilities 0..1. max_peaks: >= 1. threshold: 0..1.

    Returns a dict of
    score: float32 [b, max_peaks], descending, 0 in padding;
    cells: int32 [b, max_peaks, 2], (row, column), 0 in padding;
    channel: int32 [b, max_peaks], 0 in padding;
    count: int32 [b], the number of all peaks. Where it exceeds max_peaks the lowest were left out.
    """
    _, height, width, channels = heat.shape
    padded = tf.pad(heat, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-1.0)
    left, middle, right = padded[:, :, :-2], padded[:, :, 1:-1], padded[:, :, 2:]
    highest = tf.maximum(tf.maximum(left, right), middle)  # of each row's three, [b, h + 2, w, k]
    before = tf.maximum(highest[:, :-2], left[:, 1:-1])
    after = tf.maximum(highest[:, 2:], right[:, 1:-1])
    peak = (heat > before) & (heat >= after) & (heat > threshold)
    n = height * width * channels
    ranked = tf.reshape(tf.where(peak, heat, -1.0), [-1, n])
    score, at = tf.math.top_k(ranked, min(max_peaks, n))  # [b, p]; of equals the lower index first
    score, at = (tf.pad(x, [[0, 0], [0, max(0, max_peaks - n)]]) for x in (score, at))
    count = tf.reduce_sum(tf.cast(peak, tf.int32), axis=[1, 2, 3])
    real = tf.sequence_mask(tf.minimum(count, max_peaks), max_peaks)
    at = tf.where(real, at, 0)
    cell = at // channels
    return {"score": tf.where(real, score, 0.0), "count": count, "channel": at % channels,
            "cells": tf.stack([cell // width, cell % width], axis=-1)}


def gather_cells(maps, cells):
    """The vectors of the maps at given cells: maps [b, h, w, c], cells int32 [b, p, 2] (row,
    column) -> [b, p, c]. Gradients flow to the maps, summed where a cell is named twice."""
    return tf.gather_nd(maps, cells, batch_dims=1)


def decode_boxes(cells, offset, size, stride):
    """Cells, offsets and sizes to centres and boxes in px of what the network was given.

    cells: int32 [b, p, 2] (row, column). offset: float32 [b, p, 2] (x, y), in cells. size: float32
    [b, p, 2] (width, height), in cells; below 0 counts as 0. stride: px per cell.
    Returns centres float32 [b, p, 2] (x, y) and boxes float32 [b, p, 4] (x0, y0, x1, y1), px.
    """
    centres = (tf.cast(cells[:, :, ::-1], tf.float32) + offset) * stride  # [b, p, 2]
    half = tf.maximum(size, 0) * (stride / 2)
    return centres, tf.concat([centres - half, centres + half], axis=-1)


def resize_maps(maps, height, width, scale_y, scale_x):
    """Maps on another grid: cell i of it is the bilinear sample of `maps` at
    (i + 0.5) * scale - 0.5, the border repeated. No smoothing where the scale is above 1.

    maps: float [b, h, w, c]. height, width: of the new grid, cells. scale_y, scale_x: old cells per
    new cell. Sizes and scales are static. Returns float32 [b, height, width, c].
    """
    rows, columns = maps.shape[1:3]
    maps = _sample(tf.cast(maps, tf.float32), 1, rows, height, scale_y)
    return _sample(maps, 2, columns, width, scale_x)


def _sample(maps, axis, cells, new_cells, scale):
    """`maps` sampled along an axis: two taps by gather, at half the time of a matrix product and,
    on a GPU, without its TF32 rounding."""
    at = np.clip((np.arange(new_cells) + 0.5) * scale - 0.5, 0, cells - 1)
    low = np.floor(at).astype(np.int32)
    share = np.float32(at - low).reshape([-1] + [1] * (3 - axis))
    high = np.minimum(low + 1, cells - 1)
    return (tf.gather(maps, low, axis=axis) * (1 - share)
            + tf.gather(maps, high, axis=axis) * share)
