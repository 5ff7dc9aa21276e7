"""Centre lines of a printed glyph, so that a brush can write the character anew.

OpenCV's built-in CJK face ("uni") has even, printed strokes. Its glyphs are thinned to one pixel
(Zhang and Suen, 1984), cut at the crossings and joined again straight through each crossing, which
gives paths close to what a hand would write.
"""
import functools

import cv2
import numpy as np

EM = 128              # px, the size at which glyphs are traced
CANVAS = EM * 3 // 2  # px
SPACING = 0.025       # em between the points of a stroke
MISSING = "\u0378"    # unassigned in Unicode: what the face draws for it is its empty box


def glyph(char, em=EM):
    """Ink of the printed glyph: uint8 [1.5 em, 1.5 em], 255 = ink; its em box is centred."""
    side = em * 3 // 2
    paper = np.zeros((side, side), np.uint8)
    origin = (side // 2 - em // 2, side // 2 + round(0.38 * em))
    cv2.putText(paper, char, origin, (255,), _face(), em)
    return paper


@functools.lru_cache(maxsize=None)
def _face():
    return cv2.FontFace("uni")


@functools.lru_cache(maxsize=None)
def strokes(char):
    """Strokes of a character: tuple of float32 [n, 2] (x, y) in em, (0, 0) = middle of the em box.

    Each runs the way it is written (left to right, top to bottom), points SPACING apart; the strokes
    are ordered from the top left to the bottom right.
    """
    ink = cv2.GaussianBlur(glyph(char), (0, 0), 1.0) > 127  # rounded corners thin without spurs
    if not ink.any():
        raise ValueError(f"the glyph of {char!r} (U+{ord(char):04X}) is blank")
    line = _thin(ink)
    depth = cv2.distanceTransform(ink.astype(np.uint8), cv2.DIST_L2, 5)
    half_width = float(np.median(depth[line]))
    paths, ends = _paths_and_nodes(line, half_width)
    traced = [_resample(p) for p in _join(paths, ends)]
    written = [_as_written(p / EM) for p in traced if len(p) >= 2]
    return tuple(sorted(written, key=lambda p: p[0, 1] + 0.5 * p[0, 0]))


@functools.lru_cache(maxsize=None)
def _thinning_tables():
    """bool [2, 256]: may a pixel go, given its 8 neighbours (bit 0 = north, clockwise), per half-step.

    Also int [256]: how many separate runs of neighbours it has (3 or more at a crossing).
    """
    near = (np.arange(256)[:, None] >> np.arange(8)) & 1
    count = near.sum(1)
    runs = ((near == 0) & (np.roll(near, -1, 1) == 1)).sum(1)
    n, e, s, w = near[:, 0], near[:, 2], near[:, 4], near[:, 6]
    border = (count >= 2) & (count <= 6) & (runs == 1)
    return np.stack([border & (n * e * s == 0) & (e * s * w == 0),
                     border & (n * e * w == 0) & (n * s * w == 0)]), runs


def _neighbours(line):
    weights = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)
    return cv2.filter2D(line.astype(np.uint8), cv2.CV_32F, weights,
                        borderType=cv2.BORDER_CONSTANT).astype(np.uint8)


def _thin(ink):
    """One-pixel centre line of a bool image [h, w]."""
    removable, _ = _thinning_tables()
    line = ink.copy()
    while True:
        before = np.count_nonzero(line)
        for half_step in removable:
            line &= ~half_step[_neighbours(line)]
        if np.count_nonzero(line) == before:
            return line


def _paths_and_nodes(line, half_width):
    """Cut the centre line at its crossings.

    Returns paths, float32 [n, 2] (x, y) in px from the middle, and ends: {node: [(path, 0 or -1)]}.
    Everything within a stroke's half width of a crossing is one node, which swallows both spurs and
    the short bridge that thinning leaves in the middle of an X.
    """
    _, runs = _thinning_tables()
    crossing = line & (runs[_neighbours(line)] >= 3)
    reach = max(2, round(0.9 * half_width))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    blob = cv2.dilate(crossing.astype(np.uint8), disc)
    _, node_of = cv2.connectedComponents(blob, connectivity=8)
    paths, ends = [], {}
    for pixels in _walks(line & (blob == 0)):
        start_node, end_node = (_node_beside(node_of, pixels[i]) for i in (0, -1))
        if len(pixels) < 3 and bool(start_node) != bool(end_node):
            continue  # a spur
        points = [np.array(p[::-1], np.float32) for p in pixels]
        first, last = (_middle(node_of, line, node) if node else _lengthened(side, half_width)
                       for node, side in ((start_node, points), (end_node, points[::-1])))
        index = len(paths)
        paths.append(np.array([first, *points, last], np.float32) - CANVAS / 2)
        for node, end in ((start_node, 0), (end_node, -1)):
            if node:
                ends.setdefault(node, []).append((index, end))
    return paths, ends


def _walks(line):
    """Each simple run of a crossing-free centre line, as a list of (y, x) from end to end."""
    left = set(map(tuple, np.argwhere(line).tolist()))
    steps = ((-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))

    def beside(pixel):
        return [q for dy, dx in steps if (q := (pixel[0] + dy, pixel[1] + dx)) in left]

    tips = [p for p in sorted(left) if len(beside(p)) == 1]
    for start in tips + sorted(left):  # loops have no tip: start them at their top
        if start not in left:
            continue
        walk = [start]
        left.discard(start)
        while following := beside(walk[-1]):
            walk.append(following[0])
            left.discard(following[0])
        yield walk


def _lengthened(points, half_width):
    """Where a free end was before thinning took about 0.6 of the half width from it."""
    inward = points[min(len(points) - 1, 8)] - points[0]
    length = float(np.hypot(*inward))
    inward = inward / length if length else np.array((0.7, 0.7), np.float32)
    return points[0] - 0.6 * half_width * inward


def _node_beside(node_of, pixel):
    y, x = pixel
    return int(node_of[max(0, y - 1):y + 2, max(0, x - 1):x + 2].max())


def _middle(node_of, line, node):
    y, x = np.nonzero((node_of == node) & line)
    return float(x.mean()), float(y.mean())


def _join(paths, ends):
    """Join paths straight through the nodes: at each node the two that go on most straightly, and so on."""
    follows = {}
    for here in ends.values():
        heading = {end: _heading(paths[end[0]], end[1]) for end in here}
        pairs = sorted((float(heading[a] @ heading[b]), a, b)
                       for i, a in enumerate(here) for b in here[i + 1:])
        for cosine, a, b in pairs:
            straight = cosine < -0.6 or len(here) == 2
            if straight and a not in follows and b not in follows:
                follows[a], follows[b] = b, a
    unused = set(range(len(paths)))
    free_first = sorted(((i, e) for i in unused for e in (0, -1)), key=lambda end: end in follows)
    joined = []
    for index, end in free_first:
        if index not in unused:
            continue
        chain = []
        while index in unused:
            unused.discard(index)
            chain.append(paths[index] if end == 0 else paths[index][::-1])
            index, end = follows.get((index, -1 - end), (index, end))
        joined.append(np.concatenate(chain))
    return joined


def _heading(path, end):
    """Unit vector from a path's end into the path, taken over a tenth of an em."""
    path = path if end == 0 else path[::-1]
    vector = path[min(len(path) - 1, EM // 10)] - path[0]
    return vector / max(1e-6, float(np.hypot(*vector)))


def _resample(points):
    """Even steps of SPACING em along the path, with the stairs of the pixel grid smoothed away."""
    lengths = np.r_[0, np.cumsum(np.hypot(*np.diff(points, axis=0).T))]
    count = max(2, round(lengths[-1] / (SPACING * EM)) + 1)
    at = np.linspace(0, lengths[-1], count)
    even = np.stack([np.interp(at, lengths, points[:, k]) for k in (0, 1)], 1)
    return smooth(even, 1.0).astype(np.float32)


def smooth(points, sigma):
    """Gaussian smoothing of a path [n, 2] (sigma in points) that leaves its two ends where they are."""
    radius = min(len(points) - 1, max(1, round(3 * sigma)))
    window = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-3)) ** 2)
    window /= window.sum()
    before = 2 * points[0] - points[radius:0:-1]
    after = 2 * points[-1] - points[-2:-radius - 2:-1]
    longer = np.concatenate([before, points, after])
    return np.stack([np.convolve(longer[:, k], window, "valid") for k in (0, 1)], 1)


def _as_written(points):
    """The same path from its first-written end: left before right, top before bottom."""
    return points if (points[-1] - points[0]) @ (1.0, 1.2) >= 0 else points[::-1].copy()
