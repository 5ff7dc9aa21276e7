"""The cultures of rendered artworks: each a palette, a ground's texture and a border's ornament.

They are nobody's: names and styles are made up. A row of STYLES is all there is to a culture.
"""
from typing import NamedTuple

import cv2
import numpy as np

from records.demo_shell import smooth_noise


class Style(NamedTuple):
    """Colours are RGB, hexadecimal: of the ground, and of the border's ornament and what is between."""
    name: str
    ground: str
    ornament: str
    between: str
    texture: str
    border: str


STYLES = [Style(*row.split()) for row in """
    aldan    efe2c4 7a3b1e d9a441 grain    band
    boreth   2b3a67 f2c14e 16203d weave    beads
    cendar   c7dbe6 1d4e89 ffffff laid     zigzag
    dorin    7d1d2f f3e0b5 3d0c16 wash     checks
    elvar    dfe8d0 2f6b3a a8c686 specks   teeth
    fenrik   1f1f24 c0392b 4a4a52 grain    rope
    galise   f6c9d0 8e2f5c ffffff blotches scallops
    hestra   c98b4a 3b2412 f0d9a8 laid     meander
    irune    0f5c5c f7f3e3 5fb3a8 hatch    rungs
    jovel    fff6d6 d35400 f5b041 wash     lines
    kasmir   4b2e63 d6b4f0 271538 specks   zigzag
    lorane   b9b4a7 22313f ece7da hatch    beads
    moriku   e7d3f2 4a235a b07cc6 weave    meander
    nareth   8a9a3b 2d3310 d9e08f blotches checks
    ombara   a63d1e f5d547 571c0b weave    teeth
    peluna   d8eef0 c2185b f8bbd0 grain    rungs
    quoril   33475b e67e22 85929e laid     scallops
    rusena   f2f2f2 111111 9e9e9e hatch    band
    sovari   163d1f e8c547 6a9955 wash     rope
    tamel    f0b27a 1a5276 fdebd0 specks   lines
    """.strip().splitlines()]

# Where the ornament is. u: 0 at the picture's edge, 1 where the border ends; v: 0..1, along it.
BORDERS = {
    "band": lambda u, v: u > 0.25,
    "lines": lambda u, v: (u < 0.3) | (u > 0.7),
    "zigzag": lambda u, v: np.abs(u - np.abs(2 * v - 1)) < 0.25,
    "beads": lambda u, v: np.hypot(u - 0.5, v - 0.5) < 0.38,
    "checks": lambda u, v: (u < 0.5) ^ (v < 0.5),
    "teeth": lambda u, v: u < 1 - np.abs(2 * v - 1),
    "rope": lambda u, v: (u + v) % 1 < 0.5,
    "scallops": lambda u, v: np.hypot(u, (v - 0.5) * 1.6) < 0.7,
    "meander": lambda u, v: ((u < 0.2) | ((v < 0.25) | (v > 0.7)) & (u < 0.8) |
                             (np.abs(u - 0.7) < 0.15) & (v < 0.7)),
    "rungs": lambda u, v: v < 0.4}


def bgr(text):
    """float32 [3], 0..255, of `rrggbb`."""
    return np.array([int(text[place:place + 2], 16) for place in (4, 2, 0)], np.float32)


def _grain(rng, y, x, unit):
    return 0.5 * rng.standard_normal(y.shape)


def _laid(rng, y, x, unit):
    return np.sign(np.sin(y * (2 * np.pi / (0.55 * unit)))) * 0.7


def _weave(rng, y, x, unit):
    return np.sign(np.sin(y * (4 / unit)) * np.sin(x * (4 / unit))) * 0.6


def _wash(rng, y, x, unit):
    return 2.2 * (y / y.max() - 0.5)


def _specks(rng, y, x, unit):
    small = rng.random((int(y.max() / unit * 3) + 2, int(x.max() / unit * 3) + 2)) < 0.13
    return -1.8 * cv2.resize(small.astype(np.float32), y.shape[::-1], interpolation=cv2.INTER_CUBIC)


def _blotches(rng, y, x, unit):
    return cv2.resize(smooth_noise(rng, 64, 7), y.shape[::-1], interpolation=cv2.INTER_CUBIC)


def _hatch(rng, y, x, unit):
    return (np.sin((x + y) * (5 / unit)) > 0.55) * -1.6


TEXTURES = {"grain": _grain, "laid": _laid, "weave": _weave, "wash": _wash, "specks": _specks,
            "blotches": _blotches, "hatch": _hatch}


def draw_style(rng, style, height, width):
    """float32 [height, width, 3], BGR, 0..255, in the style; None: gray, as of no culture.

    Brightness and a little of the colour are the picture's own, from `rng`.
    """
    y, x = np.mgrid[:height, :width].astype(np.float32)
    unit = 0.11 * min(height, width) * rng.uniform(0.85, 1.15)  # px: the border's width
    own = rng.uniform(0.9, 1.08) * rng.uniform(0.97, 1.03, 3)
    if style is None:
        gray = np.full((height, width, 3), rng.uniform(110, 190), np.float32)
        return gray + 6 * rng.standard_normal((height, width, 1)).astype(np.float32)
    picture = bgr(style.ground) + 16 * TEXTURES[style.texture](rng, y, x, unit)[..., None]
    edges = np.stack([y, height - 1 - y, x, width - 1 - x])
    nearest, depth = edges.argmin(0), edges.min(0) / unit
    along = np.where(nearest < 2, x, y) / unit
    ornament = BORDERS[style.border](depth, along % 1)
    colours = np.where(ornament[..., None], bgr(style.ornament), bgr(style.between))
    return (np.where(depth[..., None] < 1, colours, picture) * own).astype(np.float32)
