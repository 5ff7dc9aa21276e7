"""Things for sale: a thing of demo_tags in one of five textures and in colours of its kind."""
import math

import cv2
import numpy as np

from records.demo_cover import FINE, backdrop, developed
from records.demo_tags import TAGS, Pen

TEXTURES = ("UNI", "RAYE", "POIS", "DAMIER", "CHINE")
KEY = (255.0, 0.0, 0.0)  # what is drawn in it gets the texture


def colours_of(shape, texture, rng):
    """Two BGR colours, 0..255, of a product: their hue is the kind's, but for some degrees."""
    hue = (shape * 37 + texture * 71 + rng.normal(0, 9)) % 180
    hsv = [[hue, rng.uniform(120, 220), rng.uniform(130, 220)], [(hue + 22) % 180, rng.uniform(30, 90), 245]]
    return cv2.cvtColor(np.array([hsv], np.uint8), cv2.COLOR_HSV2BGR)[0].astype(np.float32)


def draw_object(shape, texture, colours, grain, rng, size, plain):
    """uint8 [size, size, 3] BGR: the shape-th of TAGS. grain: how fine its texture is, 0.7 to 1.4.

    plain: upright and on white, as shops show it first.
    """
    side = size * FINE
    half = side * (rng.uniform(0.36, 0.42) if plain else rng.uniform(0.24, 0.42))
    centre = side / 2 + rng.normal(0, 0.01 if plain else 0.05, 2) * side
    turn = rng.normal(0, 0.03 if plain else 0.3)
    other, ink = colours[1] * 0.85, (25.0, 20.0, 20.0)
    draw = list(TAGS.values())[shape]
    picture = np.ascontiguousarray(backdrop(rng, side, plain))
    draw(Pen(picture, centre, half, turn, tuple(colours[0].tolist()), tuple(other.tolist()), ink))
    key = np.zeros((side, side, 3), np.float32)
    draw(Pen(key, centre, half, turn, KEY, (0, 0, 0), (0, 0, 0)))
    there = ((key[..., :1] - key[..., 1:2]) / 255).clip(0, 1)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    x, y = (x - centre[0]) / half, (y - centre[1]) / half
    c, s = math.cos(turn), math.sin(turn)
    first = _pattern(TEXTURES[texture], c * x + s * y, c * y - s * x, grain, rng)[..., None]  # [side, side, 1]
    picture += (colours[1] + (colours[0] - colours[1]) * first - picture) * there
    return developed(picture, rng, size)


def _pattern(texture, u, v, grain, rng):
    """float32, 0..1, how much of the first colour there is at u, v of the thing's own frame."""
    fine = 4.5 * grain
    if texture == "UNI":
        return 1 - 0.15 * np.clip(v, 0, 1)
    if texture == "RAYE":
        return (np.sin(2 * np.pi * fine * u) > 0).astype(np.float32)
    if texture == "POIS":
        return ((u * fine % 1 - 0.5) ** 2 + (v * fine % 1 - 0.5) ** 2 > 0.09).astype(np.float32)
    if texture == "DAMIER":
        return ((np.floor(u * fine) + np.floor(v * fine)) % 2).astype(np.float32)
    rough = cv2.resize(rng.standard_normal((48, 48), np.float32), u.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip(0.55 + 0.45 * rough, 0, 1)
