"""Covers of books, records and films: a look, drawn anew for each product, and words on it in an invented hand.

A cover is drawn flat, at FINE times its size; `seen` puts it into a picture as a camera might see it, and
tells where each word is then. Both are pure functions of what they are given.
"""
import math
from typing import NamedTuple

import cv2
import numpy as np

from records.demo_tags import ring
from records.demo_words import word_mask

FINE = 2          # pictures are rendered at this many times their size
SIDE = 150 * FINE  # px, the longer side of a flat cover
SHAPES = (0.7, 1.0, 0.72, 0.8)  # width of a cover to its height: books, records, films, software
INK = 0.25        # share of full ink from which a pixel counts to its word's box


class Look(NamedTuple):
    """What covers of one kind have in common. shape: of SHAPES; hue: 0..180; motif, frame: numbers."""
    shape: int
    hue: float
    motif: int
    frame: int


class Word(NamedTuple):
    """text, and the corners of its ink on the flat cover, float [4, 2], px."""
    text: str
    corners: np.ndarray


def look_of(kind):
    """The Look of the kind-th of all kinds: neighbours differ in all."""
    return Look(kind // 5 % len(SHAPES), (kind * 67) % 180, kind % 5, kind // 2 % 3)


def draw_cover(look, title, small, rng):
    """(uint8 [h, w, 3] BGR, list of Word). title: words for large lines of their own, small: for the foot."""
    height, width = SIDE, round(SIDE * SHAPES[look.shape])
    if SHAPES[look.shape] > 1:
        height, width = round(SIDE / SHAPES[look.shape]), SIDE
    dark = rng.random() < 0.5
    hue = look.hue + rng.normal(0, 6)
    paper = _colour(hue, rng.uniform(60, 150), rng.uniform(60, 120) if dark else rng.uniform(190, 250))
    cover = np.full((height, width, 3), paper, np.float32)
    _motif(cover, look, hue, dark, rng)
    _frame(cover, look, _colour(hue + 90, 120, 90 if not dark else 220), width)
    words, y = [], height * rng.uniform(0.07, 0.14)
    ink = np.float32(_colour(hue + rng.uniform(60, 120), rng.uniform(0, 90), 250 if dark else rng.uniform(10, 60)))
    for text in title:
        line = rng.uniform(0.13, 0.19) * SIDE
        y += _write(cover, words, text, y, line, ink, paper, rng) * rng.uniform(0.95, 1.1)
    y = max(y, height * 0.72) + height * rng.uniform(0, 0.05)
    for text in small:
        line = rng.uniform(0.10, 0.115) * SIDE
        if y + line < height:
            y += _write(cover, words, text, y, line, ink, paper, rng)
    return np.clip(cover, 0, 255).astype(np.uint8), words


def _write(cover, words, text, y, line, ink, paper, rng):
    """Draws a word on a ground that lets it be read, line px high or less; returns the height it took, px."""
    height, width = cover.shape[:2]
    mask = word_mask(text, round(line), rng)
    room = width * 0.9
    if mask.shape[1] > room:
        mask = cv2.resize(mask, (int(room), max(8, round(line * max(0.75, room / mask.shape[1])))),
                          interpolation=cv2.INTER_AREA)
    y, x = int(min(y, height - mask.shape[0])), int(rng.uniform(0.04 * width, 0.97 * width - mask.shape[1]))
    here = cover[y:y + mask.shape[0], x:x + mask.shape[1]]
    ground = cv2.GaussianBlur(cv2.dilate(mask, np.ones((9, 9), np.uint8)), (0, 0), 4)[..., None] / np.float32(255)
    here += (np.float32(paper) - here) * (0.8 * ground)
    here += (ink - here) * (mask[..., None] / np.float32(255))
    ys, xs = np.nonzero(mask > 255 * INK)
    x0, y0, x1, y1 = x + xs.min(), y + ys.min(), x + xs.max() + 1, y + ys.max() + 1
    words.append(Word(text, np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)))
    return mask.shape[0]


def _motif(cover, look, hue, dark, rng):
    """What is drawn in the middle: discs, triangles, bars, rings or waves, in the look's colours."""
    height, width = cover.shape[:2]
    for _ in range(int(rng.integers(3, 7))):
        colour = _colour(hue + rng.normal(35, 12), rng.uniform(80, 200), rng.uniform(60, 150) if dark else
                         rng.uniform(140, 230))
        centre = rng.uniform((0.1, 0.25), (0.9, 0.8)) * (width, height)
        half = rng.uniform(0.08, 0.22) * width
        if look.motif == 0:
            _fill(cover, ring(24) * half + centre, colour)
        elif look.motif == 1:
            _fill(cover, ring(3, start=rng.uniform(0, 120)) * half + centre, colour)
        elif look.motif == 2:
            bar = np.array([(0, -0.2), (width, -0.2), (width, 0.2), (0, 0.2)])
            _fill(cover, bar * (1, half) + (0, centre[1]), colour)
        elif look.motif == 3:
            cv2.polylines(cover, [_fixed(ring(24) * half + centre)], True, colour, max(2, round(half * 0.25)),
                          cv2.LINE_AA, 4)
        else:
            x = np.linspace(0, width, 40)
            wave = centre[1] + half * 0.5 * np.sin(x / width * rng.uniform(8, 16) + rng.uniform(0, 6))
            cv2.polylines(cover, [_fixed(np.stack([x, wave], 1))], False, colour, max(2, round(half * 0.3)),
                          cv2.LINE_AA, 4)


def _frame(cover, look, colour, width):
    height = cover.shape[0]
    if look.frame == 1:
        cv2.rectangle(cover, (4, 4), (width - 5, height - 5), colour, 4)
    elif look.frame == 2:
        cover[:, :round(width * 0.03)] = colour


def _fixed(points):
    return np.round(points * 16).astype(np.int32)


def _fill(cover, points, colour):
    cv2.fillPoly(cover, [_fixed(points)], colour, cv2.LINE_AA, 4)


def _colour(hue, saturation, value):
    """BGR floats 0..255. hue: degrees / 2, any; the others 0..255."""
    hsv = np.array([[[hue % 180, saturation, value]]], np.float64).clip(0, 255).astype(np.uint8)
    return tuple(map(float, cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0]))


def backdrop(rng, side, plain):
    """float32 [side, side, 3]: nearly white, or a coloured ground with a soft pattern of light."""
    if plain:
        return np.full((side, side, 3), rng.uniform(238, 255), np.float32)
    colour = np.float32(_colour(rng.uniform(0, 180), rng.uniform(0, 110), rng.uniform(70, 235)))
    light = cv2.resize(rng.normal(1, 0.12, (4, 4)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return colour * light[..., None]


def seen(cover, words, rng, size, plain):
    """(uint8 [size, size, 3] BGR, [(text, x, y, w, h)] whole px): the cover in a picture, turned a little.

    plain: straight and on white, as shops show it first. A word of which less than 90% is in the picture
    is not told.
    """
    side = size * FINE
    height, width = cover.shape[:2]
    turn = rng.normal(0, 0.015 if plain else 0.09)
    scale = side / max(height, width) * (rng.uniform(0.88, 0.98) if plain else rng.uniform(0.8, 1.02))
    centre = side / 2 + rng.normal(0, 0.01 if plain else 0.025, 2) * side
    c, s = math.cos(turn) * scale, math.sin(turn) * scale
    lean = 0 if plain else rng.normal(0, 0.05)
    matrix = np.array([[c, -s + lean * scale, 0], [s, c, 0]])
    matrix[:, 2] = centre - matrix[:, :2] @ (width / 2, height / 2)
    picture = backdrop(rng, side, plain)
    onto = lambda image, flags: cv2.warpAffine(image, matrix, (side, side), flags=flags)
    there = onto(np.full((height, width), 255, np.uint8), cv2.INTER_LINEAR)[..., None] / np.float32(255)
    shadow = cv2.GaussianBlur(there, (0, 0), 4 * FINE)[..., None]
    picture *= 1 - 0.35 * np.roll(shadow, (3 * FINE, 3 * FINE), (0, 1))
    picture += (onto(cover, cv2.INTER_LINEAR) - picture) * there
    boxes = []
    for text, corners in words:
        low, high = (f(corners @ matrix[:, :2].T + matrix[:, 2], 0) / FINE for f in (np.min, np.max))
        inside = np.clip(high, 0, size) - np.clip(low, 0, size)
        if (inside > 0).all() and inside.prod() >= 0.9 * (high - low).prod():
            x, y = np.floor(low.clip(0)).astype(int)
            right, bottom = np.ceil(high.clip(None, size)).astype(int)
            boxes.append((text, int(x), int(y), int(right - x), int(bottom - y)))
    return developed(picture, rng, size), boxes


def developed(picture, rng, size):
    """uint8 [size, size, 3] of a float32 picture FINE times as large: exposure, blur, noise."""
    picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA) * rng.uniform(0.85, 1.08)
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.2, 0.55))
    picture += rng.uniform(0.5, 3) * rng.standard_normal(picture.shape, np.float32)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)
