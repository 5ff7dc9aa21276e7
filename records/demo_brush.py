"""A brush: writes the strokes of a character in the hand of a book, as ink on a small canvas."""
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from records.demo_strokes import SPACING, smooth, strokes

REACH = 2.0         # the canvas of a character, in its sizes: room for slant, long tails, displacement
VISIBLE = 90        # of 255: coverage that the eye takes for ink; boxes are drawn round it


@dataclass(frozen=True)
class Hand:
    """How one book is written. Lengths are in em (the character's size) where nothing else is said."""
    seed: int            # of the shapes this hand gives each character
    width: float         # of a stroke, half of it
    contrast: float      # 0..1, how much thinner level strokes are than upright ones
    slant: float         # shift right per unit up
    rise: float          # shift up per unit right: level strokes climb to the right
    aspect: float        # width over height of a character
    habit: float         # displacement common to all instances of a character
    wobble: float        # displacement of each instance
    cursive: float       # sigma of the smoothing of strokes, in points of SPACING em
    taper: float         # 0..1, share of strokes that end in a point
    run_on: float        # 0..1, share of gaps between successive strokes that get a thin line
    link: float          # 0..1, share of successive characters joined by a stroke
    dry: float           # 0..1, share of strokes split by dry bristles when the brush runs out
    kana: float          # size of kana relative to kanji


class Ink(NamedTuple):
    """A written character: mask uint8 [h, w], 255 = ink; x, y: its top left corner relative to the
    middle of the character, px; entry, exit: where the brush came down and left, likewise."""
    mask: np.ndarray
    x: int
    y: int
    entry: tuple
    exit: tuple


def write(char, size, hand, rng, load=1.0):
    """One instance of a character, `size` px high, with a brush whose ink load is 0 (dry) .. 1."""
    detail = _detail(size)
    side = int(np.ceil(REACH * size)) * detail
    paths = _shaped(char, hand, rng)
    half_width = hand.width * rng.uniform(0.85, 1.15) * _crowding(paths)
    canvas = np.zeros((side, side), np.uint8)
    previous_end = None
    for path in paths:
        radii = _pressure(path, half_width, hand, rng)
        points = path * (size * detail) + side / 2
        if previous_end is not None and rng.random() < hand.run_on:
            _run_on(canvas, previous_end, points[0], half_width * size * detail)
        draw_path(canvas, points, np.maximum(radii * size * detail, 0.45 * detail))
        if rng.random() < hand.dry * (1.3 - load):
            _bristles(canvas, points, radii * size * detail, rng)
        previous_end = points[-1]
    canvas = cv2.resize(canvas, (side // detail,) * 2, interpolation=cv2.INTER_AREA)
    x, y, w, h = ink_bounds(canvas, threshold=20)
    middle = side // detail // 2
    first = min(paths, key=lambda p: p[0, 1])
    last = max(paths, key=lambda p: p[-1, 1])
    return Ink(canvas[y:y + h, x:x + w], x - middle, y - middle,
               tuple(first[0] * size), tuple(last[-1] * size))


def ink_bounds(mask, threshold=VISIBLE):
    """(x, y, w, h) of the pixels of a mask uint8 [h, w] that are at least `threshold`; px."""
    rows = np.flatnonzero(mask.max(1) >= threshold)
    columns = np.flatnonzero(mask.max(0) >= threshold)
    if not len(rows):
        return 0, 0, 0, 0
    return (int(columns[0]), int(rows[0]),
            int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1)


def draw_path(canvas, points, radii, value=255):
    """A stroke of varying width on uint8 [h, w]: points float [n, 2] (x, y) and radii [n], px."""
    at = np.round(points * 8).astype(int).tolist()  # 3 fractional bits
    widths = np.maximum(1, np.round(radii[:-1] + radii[1:])).astype(int).tolist()
    for start, end, width in zip(at, at[1:], widths):
        cv2.line(canvas, start, end, value, width, cv2.LINE_8, 3)


def link(canvas, start, end, half_width, rng):
    """A thin S-shaped stroke between two characters, in place on uint8 [h, w]; px."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    t = np.linspace(0, 1, 14)[:, None]
    bend = np.array([rng.normal(0, 0.1), 0]) * np.hypot(*(end - start))
    points = start + (end - start) * t + bend * np.sin(np.pi * t)
    draw_path(canvas, points, half_width * (0.8 - 0.35 * np.sin(np.pi * t[:, 0])))


def _detail(size):
    """Drawn how many times finer than the page, so that shrinking gives smooth edges."""
    return 5 if size < 40 else 4 if size < 80 else 3


def _crowding(paths):
    """Factor that thins the strokes of characters with many of them."""
    length = SPACING * sum(len(p) for p in paths)
    return min(1.0, (4.5 / length) ** 0.4)


def _waves(rng, amplitude, count=4):
    """A smooth random displacement: function from points [n, 2] in em to displacements [n, 2] in em."""
    frequency = rng.normal(0, 1, (2, count)) * 4.5  # radians per em
    phase = rng.uniform(0, 2 * np.pi, count)
    weight = rng.normal(0, amplitude / np.sqrt(count / 2), (count, 2))
    return lambda points: np.sin(points @ frequency + phase) @ weight


def _shaped(char, hand, rng):
    """The strokes of one instance, float [n, 2] in em: the hand's habit, its slant, this time's wobble."""
    traced = strokes(char)
    habit_rng = np.random.default_rng([hand.seed, ord(char)])
    habit, wobble = _waves(habit_rng, hand.habit), _waves(rng, hand.wobble)
    aspect = hand.aspect * habit_rng.uniform(0.92, 1.06) * rng.uniform(0.9, 1.06)
    slant, rise = hand.slant + rng.normal(0, 0.02), hand.rise + rng.normal(0, 0.015)
    shape = np.array([[aspect, -rise], [-slant, 1.0]])  # row vectors: (x, y) @ shape
    moved = []
    for path in traced:
        points = path + habit(path) + wobble(path) + rng.normal(0, 0.008, 2)
        if len(points) > 4:
            points = smooth(points, hand.cursive)
        moved.append(points @ shape)
    return moved


def _pressure(path, half_width, hand, rng):
    """Half width along a stroke, em: pressed at the start, thin when level, a point or a stop at the end."""
    steps = np.gradient(path, axis=0)
    length = SPACING * len(path)
    along = np.linspace(0, length, len(path))
    level = steps[:, 0] ** 2 / np.maximum(1e-9, (steps ** 2).sum(1))
    radii = 1 - hand.contrast * level
    radii *= 1 + rng.uniform(0.1, 0.6) * np.exp(-((along - 0.04) / 0.06) ** 2)
    radii *= 1 + rng.uniform(0.1, 0.3) * np.sin(along * rng.uniform(4, 10) + rng.uniform(0, 6))
    remaining = length - along
    dx, dy = path[-1] - path[max(0, len(path) - 6)]
    if dy > -0.02 and abs(dx) < 3 * dy + 0.1 and rng.random() < hand.taper:
        tail = min(0.7 * length, rng.uniform(0.2, 0.4))
        radii *= 0.2 + 0.8 * np.clip(remaining / tail, 0, 1) ** 0.8
    else:
        radii *= 1 + rng.uniform(0, 0.35) * np.exp(-(remaining / 0.05) ** 2)
    radii *= 0.55 + 0.45 * np.clip(along / 0.05, 0, 1)  # the brush comes down with its tip
    return half_width * radii


def _run_on(canvas, start, end, half_width):
    """The thin trace of a brush that is barely lifted between two strokes of a character."""
    if np.hypot(*(end - start)) < 14 * half_width:
        t = np.linspace(0, 1, 8)[:, None]
        draw_path(canvas, start + (end - start) * t,
                  half_width * (0.5 - 0.25 * np.sin(np.pi * t[:, 0])))


def _bristles(canvas, points, radii, rng):
    """Light streaks along the later part of a stroke, where the bristles part."""
    if len(points) < 12:
        return
    steps = np.gradient(points, axis=0)
    normal = np.stack([-steps[:, 1], steps[:, 0]], 1)
    normal /= np.maximum(1e-6, np.hypot(*normal.T))[:, None]
    for _ in range(rng.integers(2, 5)):
        begin = int(len(points) * rng.uniform(0.3, 0.8))
        end = min(len(points), begin + int(rng.integers(4, 16)))
        streak = points[begin:end] + normal[begin:end] * radii[begin:end, None] * rng.uniform(-0.8, 0.8)
        at = np.round(streak * 8).astype(np.int32)[:, None]
        cv2.polylines(canvas, [at], False, int(rng.integers(0, 110)),
                      max(1, round(float(radii.mean()) / 4)), cv2.LINE_8, 3)
