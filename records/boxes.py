"""Boxes x y w h with fractions of pixels -> whole pixels inside a page."""
import numpy as np

CLOSE = 1e-3  # px: less than this beyond a pixel's edge is rounding, COCO has two decimals


def rounded_outward(boxes):
    """The smallest boxes of whole pixels round float boxes. [n, 4] x y w h -> int64 [n, 4]."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    first = np.floor(boxes[:, :2] + CLOSE)
    last = np.maximum(np.ceil(boxes[:, :2] + boxes[:, 2:] - CLOSE), first + 1)
    return np.concatenate([first, last - first], axis=1).astype(np.int64)


def clipped(boxes, limits):
    """The parts of boxes [n, 4] x y w h inside `limits`, (width, height) px of one page or [n, 2].

    w or h is 0 where there is none.
    """
    first = np.clip(boxes[:, :2], 0, limits)
    last = np.clip(boxes[:, :2] + boxes[:, 2:], 0, limits)
    return np.concatenate([first, last - first], axis=1)


def touching(boxes, width, height):
    """Which boxes have a part on the page, bool [n]; one without width or height is its corner.

    boxes: float [n, 4] x y w h, px.
    """
    first, size = boxes[:, :2], boxes[:, 2:]
    common = np.minimum(first + size, [width, height]) - np.maximum(first, 0)
    return ((common > 0) | (common == 0) & (size == 0)).all(axis=1)


def rounded_onto(boxes, width, height):
    """Float boxes with corners rounded and moved onto the page, each at least 1 x 1 px.

    boxes: float [n, 4] x y w h, px; those `touching` it. Returns int64 [n, 4].
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    limits = np.array([width, height])
    corners = np.clip(np.stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]), 0, limits)
    first, last = np.floor(corners + 0.5).astype(np.int64)
    first = np.minimum(first, limits - 1)
    return np.concatenate([first, np.maximum(last - first, 1)], axis=1)
