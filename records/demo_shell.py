"""The shell of one rendered turtle, seen from above: scutes, growth rings, rays and mottling.

All of it is a pure function of (seed, individual). The frame is x right, y to the tail, both -1..1;
the shell fills the disc of radius 1, stretched to its own height:width when it is photographed.
"""
from typing import NamedTuple

import cv2
import numpy as np

SIDE = 256            # px of the texture, over -1..1
RIM = 0.80            # radius where the marginal scutes begin
SEAM = 0.030          # half width of the dark line between scutes


class Shell(NamedTuple):
    """albedo: float32 [SIDE, SIDE, 3], BGR, 0..1. relief: float32 [SIDE, SIDE], 0 in a seam, 1 on a
    scute. height: float, the dome's over the half width. aspect: float, length over width."""
    albedo: np.ndarray
    relief: np.ndarray
    height: float
    aspect: float


def smooth_noise(rng, side, cells):
    """float32 [side, side], mean about 0, deviation about 1; `cells` blobs along a side."""
    grid = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    noise = cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
    return (noise - noise.mean()) / max(noise.std(), 1e-6)


def _step(values, at, width):
    """0 below `at`, 1 above, a smooth edge of `width` between."""
    t = np.clip((values - at) / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _scute_centres(rng):
    """(float32 [n, 2], how many are of the middle row, the first): a row down the middle and one on
    either side, each turtle's a little off."""
    middle = int(rng.choice([4, 5, 5, 5, 6]))
    centres = [(rng.normal(0, 0.035), y) for y in np.linspace(-0.66, 0.66, middle)]
    for side in (-1, 1):
        count = int(rng.choice([4, 4, 5]))
        reach = 0.52
        for y in np.linspace(-reach, reach, count):
            centres.append((side * (0.52 - 0.12 * abs(y)), y))
    return np.array(centres, np.float32) + rng.normal(0, 0.045, (len(centres), 2)).astype(np.float32), middle


def _scutes(rng, x, y):
    """(scute's number, int [s, s]; its zone: 0 middle row, 1 sides, 2 rim; the offset from its centre,
    [s, s, 2]; the relief, [s, s])."""
    warp = 0.020
    wx, wy = x + warp * smooth_noise(rng, SIDE, 7), y + warp * smooth_noise(rng, SIDE, 7)
    centres, middle_row = _scute_centres(rng)
    dx, dy = wx[..., None] - centres[:, 0], wy[..., None] - centres[:, 1]
    distance = np.hypot(dx * 1.12, dy)
    nearest = np.argsort(distance, axis=-1)[..., :2]
    first, second = (np.take_along_axis(distance, nearest[..., i:i + 1], -1)[..., 0] for i in (0, 1))
    number, edge = nearest[..., 0], (second - first) / 2
    take = lambda values: np.take_along_axis(values, number[..., None], -1)[..., 0]
    offset = np.stack([take(dx), take(dy)], -1)

    # Around them the marginal scutes: a ring of cells by angle.
    radius, angle = np.hypot(wx, wy), np.arctan2(wx, -wy)
    marginal = int(rng.integers(20, 27))
    bounds = (np.arange(marginal) + rng.uniform(-0.16, 0.16, marginal)) * 2 * np.pi / marginal - np.pi
    cell = np.searchsorted(bounds, angle) % marginal
    gap = np.abs((angle[..., None] - bounds + np.pi) % (2 * np.pi) - np.pi).min(-1) * radius
    rim = radius > RIM
    number = np.where(rim, len(centres) + cell, number)
    edge = np.where(rim, np.minimum(gap, radius - RIM), np.minimum(edge, RIM - radius))
    middle = bounds[cell] - np.pi / marginal
    at_rim = np.stack([wx - 0.9 * np.sin(middle), wy + 0.9 * np.cos(middle)], -1)
    offset = np.where(rim[..., None], at_rim, offset)
    zone = np.where(rim, 2, np.where(number < middle_row, 0, 1))
    return number, zone, offset, _step(edge, SEAM / 2, SEAM)


def _colour(hue, saturation, value):
    """BGR float32 [3], 0..1, of hue in degrees, saturation and value 0..1."""
    hsv = np.array([[[hue % 360, np.clip(saturation, 0, 1), np.clip(value, 0, 1)]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0]


def make_shell(seed, individual):
    """The Shell of an individual (int)."""
    rng = np.random.default_rng([seed, 0, individual])
    axis = ((np.arange(SIDE) + 0.5) / SIDE * 2 - 1).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    number, zone, offset, relief = _scutes(rng, x, y)
    count = number.max() + 1

    # A ground colour each for the middle row, the sides and the rim, and one for the markings. Those of
    # different individuals are often close to each other: colour alone is no name.
    base = np.stack([_colour(rng.uniform(0, 130), rng.uniform(0.15, 0.75), rng.uniform(0.22, 0.70))
                     for _ in range(3)])[zone]
    mark = _colour(rng.uniform(10, 100), rng.uniform(0.1, 0.9), rng.choice([0.10, 0.85]))
    patch = _colour(rng.uniform(0, 130), rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.75))

    tone = rng.normal(1, 0.13, count)[number]
    radius, angle = np.hypot(offset[..., 0], offset[..., 1]), np.arctan2(offset[..., 1], offset[..., 0])
    warp = smooth_noise(rng, SIDE, 14)
    rings = np.cos(radius * rng.uniform(45, 100) + warp * 0.7)
    spokes = rng.integers(3, 10, count)[number]
    rays = np.cos(angle * spokes + rng.uniform(0, 6.3, count)[number] + warp * 0.6)
    blots = _step(smooth_noise(rng, SIDE, int(rng.integers(6, 20))), rng.uniform(0.2, 1.1), 0.4)
    clouds = _step(smooth_noise(rng, SIDE, int(rng.integers(3, 6))), rng.uniform(0, 0.9), 0.6)
    heart = _step(-radius, -rng.uniform(0.05, 0.14), 0.05) * (rng.random(count) < rng.uniform(0, 0.9))[number]

    weight = rng.dirichlet([1.2, 1.2, 1.2]) * 1.5  # which kind of marking prevails
    marks = np.clip(weight[0] * _step(rays, 0.35, 0.7) * _step(radius, 0.03, 0.05)
                    + weight[1] * blots + weight[2] * heart, 0, 1)
    albedo = base * (tone + rng.uniform(0.03, 0.12) * rings)[..., None]
    albedo += (patch - albedo) * (0.75 * clouds)[..., None]
    albedo += (mark - albedo) * (0.9 * marks)[..., None]
    albedo *= 1 + 0.06 * smooth_noise(rng, SIDE, 90)[..., None]
    albedo *= (0.28 + 0.72 * relief)[..., None]
    return Shell(np.clip(albedo, 0, 1).astype(np.float32), relief.astype(np.float32),
                 float(rng.uniform(0.42, 0.58)), float(rng.uniform(1.14, 1.30)))
