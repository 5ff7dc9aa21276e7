"""A page in a square record: padded to one aspect ratio, then resized, and coordinates both ways.

Coordinates are continuous pixels: pixel i covers i..i+1. The page's top-left corner is that of the
record, so widths and heights transform as points do.
"""
import dataclasses
import math

import cv2
import numpy as np

LONGEST = 100  # times as long as it is wide: no page, and its padding would not fit in memory


@dataclasses.dataclass(frozen=True)
class Letterbox:
    """How a page of width x height px lies in its record of size x size px.

    The page is padded at the right or at the bottom, by whole pixels, until height:width is
    `aspect`; then each side is resized to `size`, so that all records have one shape (system D:
    aspect 1.5, size 1536).
    """
    width: int
    height: int
    size: int
    aspect: float

    @property
    def padded(self):
        """(width, height) px of the padded page."""
        # The small number: 10 * 1.1 is 11.000000000000002 in floating point, and not to be 12.
        return (max(self.width, math.ceil(self.height / self.aspect - 1e-6)),
                max(self.height, math.ceil(self.width * self.aspect - 1e-6)))

    @property
    def scale(self):
        """(x, y): px of the record per px of the page."""
        width, height = self.padded
        return self.size / width, self.size / height

    def draw(self, page):
        """The record, uint8 [size, size, c], of a page uint8 [height, width, c].

        The padding has the mean colour of the page's border. Shrinks by area, enlarges by cubic
        interpolation. Raises ValueError for a page of another size.
        """
        if page.shape[:2] != (self.height, self.width):
            raise ValueError(f"the page is {page.shape[1]} x {page.shape[0]} px, its letterbox is "
                             f"for {self.width} x {self.height} px: make one for each size")
        border = np.concatenate([page[0], page[-1], page[:, 0], page[:, -1]])
        fill = border.mean(0).round().astype(np.uint8)
        width, height = self.padded
        # The side that needs no padding first: the padded page itself may be very large.
        for axis in ((1, 0) if height > self.height else (0, 1)):
            page = _pad(page, axis, (height, width)[axis], fill)  # [h, w, c]
            page = _resize(page, axis, self.size)
        return page  # [size, size, c]

    def to_record(self, points):
        """Points (x, y) in px of the page -> px of the record; float64 [..., 2]."""
        return np.asarray(points, np.float64) * self.scale

    def to_page(self, points):
        """Points (x, y) in px of the record -> px of the page; float64 [..., 2]."""
        return np.asarray(points, np.float64) / self.scale


def is_strip(width, height):
    """Whether an image is too long and narrow to be letterboxed."""
    return max(width, height) > LONGEST * min(width, height)


def _pad(page, axis, length, fill):
    """Lengthens `axis` (0 downwards, 1 to the right) with the colour `fill`, [c]."""
    if page.shape[axis] == length:
        return page
    shape = list(page.shape)
    shape[axis] = length
    padded = np.empty(shape, np.uint8)
    padded[:] = fill
    padded[:page.shape[0], :page.shape[1]] = page
    return padded


def _resize(page, axis, length):
    shape = list(page.shape)
    if shape[axis] == length:
        return page
    # Each axis on its own: OpenCV's area interpolation needs both to shrink.
    interpolation = cv2.INTER_AREA if shape[axis] > length else cv2.INTER_CUBIC
    shape[axis] = length
    return cv2.resize(page, (shape[1], shape[0]), interpolation=interpolation).reshape(shape)
