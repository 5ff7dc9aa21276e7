"""Brush drawings for the pages without text: mountains, reeds, waves."""
import cv2
import numpy as np

from records.demo_brush import draw_path
from records.demo_strokes import smooth


def draw(rng, height, width):
    """A drawing as coverage: ink and wash, both uint8 [height, width], 255 = full."""
    ink = np.zeros((height, width), np.uint8)
    wash = np.zeros((height, width), np.uint8)
    if rng.random() < 0.6:
        _moon(rng, ink, wash)  # first: what stands before it hides it
    scene = (_mountains, _reeds, _waves)[rng.integers(3)]
    scene(rng, ink, wash)
    if rng.random() < 0.7:
        _birds(rng, ink)
    return ink, cv2.GaussianBlur(wash, (0, 0), height / 160)


def _stroke(rng, ink, points, width, value=255):
    """One brush stroke through a few points: pressed, then lifted; width in px."""
    points = np.asarray(points, float)
    at = np.linspace(0, len(points) - 1, max(12, 10 * len(points)))
    path = np.stack([np.interp(at, np.arange(len(points)), points[:, k]) for k in (0, 1)], 1)
    path = smooth(path, 4.0)
    t = np.linspace(0, 1, len(path))
    radii = width / 2 * (0.35 + 0.65 * np.sin(np.pi * np.clip(t * 1.1 + 0.12, 0, 1)))
    radii *= 1 + 0.25 * smooth(rng.normal(0, 1, (len(path), 2)), 3.0)[:, 0]
    draw_path(ink, path, radii, value)


def _ridge(rng, x0, x1, base, rise, levels=6):
    """A mountain outline by midpoint displacement: float [2**levels + 1, 2] (x, y), px."""
    heights = np.array([0.0, rise * rng.uniform(0.7, 1.0), 0.0])
    spread = rise * 0.28
    for _ in range(levels - 1):
        middle = (heights[:-1] + heights[1:]) / 2 + rng.normal(0, spread, len(heights) - 1)
        heights = np.insert(heights, np.arange(1, len(heights)), middle)
        spread *= 0.5
    return np.stack([np.linspace(x0, x1, len(heights)), base - heights], 1)


def _hide(ink, wash, ridge):
    """Clear all that is below a ridge line, in place."""
    body = np.round(np.concatenate([ridge, [ridge[-1], ridge[0]]])).astype(np.int32)
    for layer in (ink, wash):
        cv2.fillPoly(layer, [body], 0)


def _graded(wash, ridge, bottom, value):
    """Grey from `value` at a ridge line to nothing at the bottom (y, px), in place."""
    outline = np.concatenate([ridge, [[ridge[-1, 0], bottom], [ridge[0, 0], bottom]]])
    body = np.zeros_like(wash)
    cv2.fillPoly(body, [np.round(outline).astype(np.int32)], value)
    y, x = np.arange(wash.shape[0])[:, None], np.arange(wash.shape[1])
    line = np.interp(x, ridge[:, 0], ridge[:, 1])[None, :]
    fade = np.clip((bottom - y) / np.maximum(1, bottom - line), 0, 1)
    sides = np.clip(np.minimum(x - ridge[0, 0], ridge[-1, 0] - x) / (0.12 * np.ptp(ridge[:, 0])), 0, 1)
    np.maximum(wash, (body * fade * sides).astype(np.uint8), out=wash)


def _mountains(rng, ink, wash):
    height, width = ink.shape
    for depth in np.linspace(0, 1, rng.integers(3, 5)):
        base = height * (0.45 + 0.35 * depth)
        x0 = width * rng.uniform(0.08, 0.35)
        x1 = width * rng.uniform(0.65, 0.92)
        ridge = _ridge(rng, x0, x1, base, height * rng.uniform(0.14, 0.26))
        _hide(ink, wash, ridge)  # what lies behind
        _graded(wash, ridge, base, int(50 + 60 * depth))
        _stroke(rng, ink, ridge, height * (0.004 + 0.004 * depth))
        for x, y in ridge[3:-3:3]:  # folds of the slope
            length = (base - y) * rng.uniform(0.15, 0.55)
            lean = rng.normal(0.15, 0.25) * length
            _stroke(rng, ink, [(x, y), (x + lean * 0.3, y + length * 0.5), (x + lean, y + length)],
                    height * 0.003, int(rng.integers(130, 230)))
    for _ in range(rng.integers(3, 9)):  # mist and water
        x, y = width * rng.uniform(0.1, 0.7), height * rng.uniform(0.82, 0.9)
        _stroke(rng, ink, [(x, y), (x + width * 0.1, y - 3), (x + width * rng.uniform(0.15, 0.25), y)],
                height * 0.002, 170)


def _reeds(rng, ink, wash):
    height, width = ink.shape
    foot = height * rng.uniform(0.84, 0.9)
    for _ in range(rng.integers(4, 8)):
        x = width * rng.uniform(0.25, 0.75)
        tall, lean = height * rng.uniform(0.35, 0.62), width * rng.normal(0, 0.12)
        t = np.linspace(0, 1, 8)[:, None]
        stem = np.concatenate([x + lean * t ** 2, foot - tall * t], 1)
        _stroke(rng, ink, stem, height * 0.005)
        for node in stem[2:]:
            for _ in range(rng.integers(1, 4)):
                length = height * rng.uniform(0.06, 0.13)
                angle = rng.choice([-1, 1]) * rng.uniform(0.5, 1.3)
                tip = node + length * np.array([np.sin(angle), -np.cos(angle) + rng.uniform(0.2, 0.9)])
                middle = (node + tip) / 2 - (0, length * 0.15)
                _stroke(rng, ink, [node, middle, tip], height * rng.uniform(0.006, 0.013),
                        int(rng.integers(150, 255)))
    ground = _ridge(rng, width * 0.12, width * 0.88, foot + height * 0.02, height * 0.03)
    _stroke(rng, ink, ground, height * 0.004, 200)
    _graded(wash, ground, foot + height * 0.06, 70)


def _waves(rng, ink, wash):
    height, width = ink.shape
    radius = width * rng.uniform(0.06, 0.09)
    sky = height * rng.uniform(0.45, 0.6)
    for row, y in enumerate(np.arange(sky, height * 0.9, radius * 0.62)):
        for x in np.arange(width * 0.12 + (row % 2) * radius, width * 0.88, 2 * radius):
            centre = np.array([x + rng.normal(0, radius * 0.06), y + radius + rng.normal(0, radius * 0.05)])
            angles = np.linspace(np.pi * 1.03, np.pi * 1.97, 9)
            arc = np.stack([np.cos(angles), np.sin(angles)], 1)
            crest = np.round(centre + radius * arc).astype(np.int32)
            cv2.fillPoly(ink, [crest], 0)  # each wave hides the one behind it
            for ring in (1.0, 0.78, 0.56, 0.34):
                _stroke(rng, ink, centre + ring * radius * arc,
                        height * (0.0045 if ring == 1.0 else 0.0025), int(rng.integers(160, 255)))
    shore = _ridge(rng, width * 0.12, width * 0.88, sky + radius, 0.3 * radius)
    _graded(wash, shore, height * 0.9, 60)


def _moon(rng, ink, wash):
    height, width = ink.shape
    centre = np.array([width * rng.uniform(0.2, 0.8), height * rng.uniform(0.16, 0.28)])
    radius = width * rng.uniform(0.05, 0.09)
    angles = np.linspace(0.3, 6.4, 24)
    _stroke(rng, ink, centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1), height * 0.003, 190)
    cv2.circle(wash, tuple(int(c) for c in centre), round(radius * 1.6), 30, -1)
    cv2.circle(wash, tuple(int(c) for c in centre), round(radius * 0.95), 0, -1)


def _birds(rng, ink):
    height, width = ink.shape
    start = np.array([width * rng.uniform(0.2, 0.7), height * rng.uniform(0.2, 0.35)])
    for _ in range(rng.integers(3, 8)):
        x, y = start + rng.normal(0, 1, 2) * (width * 0.09, height * 0.035)
        wing = width * rng.uniform(0.015, 0.028)
        _stroke(rng, ink, [(x - wing, y - wing * 0.5), (x - wing * 0.4, y - wing * 0.6), (x, y),
                           (x + wing * 0.5, y - wing * 0.7), (x + wing, y - wing * 0.4)], height * 0.003)
