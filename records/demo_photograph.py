"""One photograph of a rendered turtle: pose, body, ground, light, what lies before it, the camera.

All of it but the shell is drawn from the photograph's own random numbers, so that neither ground,
light nor place in the picture tells who it is.
"""
import math
from typing import NamedTuple

import cv2
import numpy as np

from records.demo_shell import SIDE, smooth_noise

GROUNDS = ("sand", "water", "grass")
LOCATIONS = ("Left", "Right", "Top")  # where the photographer stands
FINE = 1.5  # rendered at this many times the size of the photograph


class Pose(NamedTuple):
    """All of it Python's own floats. rotation: radians. radius: half width of the shell, centre: x y, both as shares of the picture's
    side. lean: x y, shift of the dome's top, a share of the radius, in the picture's axes.
    keystone: x y, perspective's change of scale over the radius."""
    rotation: float
    radius: float
    centre: tuple
    lean: tuple
    keystone: tuple


def draw_pose(rng, location):
    side = {"Left": -1, "Right": 1, "Top": 0}[location]
    rotation = rng.uniform(-np.pi, np.pi)
    across = side * rng.uniform(0.2, 0.55) + rng.normal(0, 0.10)  # of the turtle's own axes
    along = rng.normal(0, 0.18)
    c, s = math.cos(rotation), math.sin(rotation)
    lean = c * across - s * along, s * across + c * along
    steepness = rng.uniform(0.08, 0.3)
    return Pose(rotation, rng.uniform(0.28, 0.36), (rng.uniform(0.42, 0.58), rng.uniform(0.42, 0.58)), lean,
                (lean[0] * steepness, lean[1] * steepness))


def _to_turtle(pose, shell, x, y):
    """Picture's x, y in half widths from its centre -> the turtle's frame on the ground, unstretched.

    Undoes perspective, then rotation, then the shell's length. Arrays of any one shape.
    """
    depth = 1 + pose.keystone[0] * x + pose.keystone[1] * y
    x, y = x / depth, y / depth
    c, s = math.cos(pose.rotation), math.sin(pose.rotation)
    return c * x + s * y, (-s * x + c * y) / shell.aspect


def _dome(pose, shell, x, y):
    """Where the picture's points lie on the dome: u, v in the turtle's frame; height z, 0..1.

    A point of the dome at height z is seen shifted by z times the lean: solved by repetition.
    """
    u, v = _to_turtle(pose, shell, x, y)
    for _ in range(6):
        z = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
        u, v = _to_turtle(pose, shell, x - pose.lean[0] * shell.height * z, y - pose.lean[1] * shell.height * z)
    return u, v, np.sqrt(np.clip(1 - u * u - v * v, 0, 1))


def photograph(shell, rng, location, size):
    """uint8 [size, size, 3], BGR: the shell in a pose, on a ground, in a light, all of them from `rng`."""
    side = round(size * FINE)
    pose = draw_pose(rng, location)
    ground_name = GROUNDS[rng.integers(len(GROUNDS))]
    axis = (np.arange(side, dtype=np.float32) + 0.5) / side
    px, py = np.meshgrid(axis, axis)
    x, y = (px - pose.centre[0]) / pose.radius, (py - pose.centre[1]) / pose.radius
    light = rng.uniform(-np.pi, np.pi)
    towards = math.cos(light), math.sin(light)  # the light, in the picture's axes

    picture = _ground(rng, ground_name, side)
    picture *= 1 - 0.55 * _shadow(pose, shell, x + 0.22 * towards[0], y + 0.22 * towards[1])[..., None]
    picture = _body(rng, picture, pose, shell, x, y)
    u, v, z = _dome(pose, shell, x, y)
    on_shell = np.clip((1.0 - np.hypot(u, v)) * 40, 0, 1)[..., None]
    picture += (_lit_shell(rng, shell, pose, u, v, z, towards) - picture) * on_shell
    picture = _cover(rng, picture, ground_name, side)
    picture = _daylight(rng, picture, towards, px, py)
    return _camera(rng, picture, size)


def _lit_shell(rng, shell, pose, u, v, z, towards):
    """float32 [s, s, 3]: the shell's colours where u, v say, under light from `towards`."""
    at = lambda a: ((a + 1) * (SIDE / 2) - 0.5).astype(np.float32)
    colour = cv2.remap(shell.albedo, at(u), at(v), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    relief = cv2.remap(shell.relief, at(u), at(v), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    c, s = math.cos(pose.rotation), math.sin(pose.rotation)
    lx, ly = c * towards[0] + s * towards[1], -s * towards[0] + c * towards[1]  # of the turtle's axes
    high = rng.uniform(0.5, 1.1)
    normal_z = 0.45 + 0.55 * z
    lit = (u * lx + v * ly) * shell.height + high * normal_z
    colour = colour * np.clip(0.35 + 0.75 * lit, 0.12, 1.6)[..., None]
    gloss = (0.05, 0.15, 0.4)[rng.integers(3)]  # dry, damp, wet
    near = np.exp(-((u - 0.45 * lx) ** 2 + (v - 0.45 * ly) ** 2) / rng.uniform(0.02, 0.10))
    return colour + (gloss * near * (0.6 + 0.4 * relief))[..., None]


def _shadow(pose, shell, x, y):
    """float32 [s, s], 0..1: the soft shadow of the shell."""
    u, v = _to_turtle(pose, shell, x, y)
    return np.clip((1.12 - np.hypot(u, v)) * 4, 0, 1)


def _body(rng, picture, pose, shell, x, y):
    """Draws head, tail and four limbs, whose looks are the photograph's, not the individual's."""
    u, v = _to_turtle(pose, shell, x, y)
    skin = np.float32((0.26, 0.36, 0.38)) * np.float32(rng.uniform(0.65, 1.45, 3) * 0.3 + rng.uniform(0.5, 1.0))
    scales = 1 + 0.22 * smooth_noise(rng, len(x), 40)
    parts = [(rng.normal(0, 0.08), -1.12, 0.24, 0.34, rng.normal(0, 0.2)),
             (rng.normal(0, 0.04), 1.10, 0.07, 0.20, rng.normal(0, 0.3))]
    for across in (-1, 1):
        parts += [(across * 0.92, -0.62 + rng.normal(0, 0.06), 0.17, 0.50, across * rng.uniform(0.7, 1.5)),
                  (across * 0.72, 0.82 + rng.normal(0, 0.05), 0.15, 0.33, across * rng.uniform(1.9, 2.6))]
    nearest = np.full_like(u, 2)  # 1 at the edge of the nearest part
    for cu, cv, wide, long, turn in parts:
        c, s = math.cos(turn), math.sin(turn)
        a, b = (c * (u - cu) + s * (v - cv)) / wide, (c * (v - cv) - s * (u - cu)) / long
        nearest = np.minimum(nearest, np.sqrt(a * a + b * b))
    shade = (1.15 - 0.5 * nearest * nearest) * scales
    return picture + (skin * shade[..., None] - picture) * np.clip((1 - nearest) * 12, 0, 1)[..., None]


def _ground(rng, name, side):
    """float32 [s, s, 3], BGR, 0..1."""
    grain = rng.standard_normal((side, side), np.float32)
    if name == "sand":
        tone = 1 + 0.07 * grain + 0.08 * smooth_noise(rng, side, 5) + 0.05 * smooth_noise(rng, side, 40)
        return np.array([0.50, 0.66, 0.76], np.float32) * rng.uniform(0.75, 1.15) * tone[..., None]
    if name == "water":
        ripple = np.abs(smooth_noise(rng, side, 6) + 0.6 * smooth_noise(rng, side, 14))
        caustic = np.exp(-ripple * rng.uniform(3, 7))
        deep = np.float32((rng.uniform(0.45, 0.75), rng.uniform(0.40, 0.60), rng.uniform(0.08, 0.30)))
        return (deep * (0.8 + 0.12 * smooth_noise(rng, side, 4))[..., None]
                + 0.35 * caustic[..., None])
    ground = np.full((side, side, 3), (0.10, 0.24, 0.17), np.float32) * (1 + 0.1 * grain[..., None])
    return _blades(rng, ground, side, 420, rng.uniform(0, side, (420, 2)))


def _blades(rng, picture, side, count, feet):
    """Draws `count` blades of grass from their feet, float [n, 2] px."""
    lean = rng.normal(0, 0.5)
    for (fx, fy), turn, long, tone, hue in zip(feet, rng.normal(lean, 0.45, count), rng.uniform(0.06, 0.2, count),
                                               rng.uniform(0.5, 1.25, count), rng.uniform(0.25, 0.6, count)):
        tip = fx + side * long * np.sin(turn), fy - side * long * np.cos(turn)
        points = np.array([(fx - side * 0.007, fy), tip, (fx + side * 0.007, fy)])
        cv2.fillPoly(picture, [np.round(points * 16).astype(np.int32)],
                     (0.16 * tone, 0.62 * tone, hue * tone), cv2.LINE_AA, 4)
    return picture


def _cover(rng, picture, ground_name, side):
    """What lies before the turtle: blades, heaped sand or glare on water; a leaf or two on any."""
    picture = np.ascontiguousarray(picture, np.float32)
    amount = rng.random()
    if ground_name == "grass":
        count = int(4 + 30 * amount)
        picture = _blades(rng, picture, side, count, rng.uniform(0.25, 0.95, (count, 2)) * side)
    elif ground_name == "sand":
        heap = np.clip((smooth_noise(rng, side, 7) - 2.3 + amount) * 3, 0, 0.95)[..., None]
        picture += (_ground(rng, "sand", side) - picture) * heap
    else:
        glare = np.clip((smooth_noise(rng, side, 11) - 1.6 + 0.8 * amount) * 0.5, 0, 0.7)[..., None]
        picture += (np.float32((0.95, 0.93, 0.88)) - picture) * glare
    for _ in range(rng.integers(0, 3)):
        centre, axes = rng.uniform(0.15, 0.85, 2) * side, side * rng.uniform(0.03, 0.085) * np.array([1, 0.45])
        tone = rng.uniform(0.4, 1)
        cv2.ellipse(picture, tuple(np.round(centre * 16).astype(int).tolist()),
                    tuple(np.round(axes * 16).astype(int).tolist()), rng.uniform(0, 360), 0, 360,
                    (0.12 * tone, rng.uniform(0.25, 0.6) * tone, 0.55 * tone), -1, cv2.LINE_AA, 4)
    return picture


def _daylight(rng, picture, towards, px, py):
    """Brightness, colour cast, a fall-off across the picture, and shadows that things outside it cast."""
    side = len(px)
    fall = 1 + rng.uniform(0, 0.35) * ((px - 0.5) * towards[0] + (py - 0.5) * towards[1])
    if rng.random() < 0.4:
        edge = np.clip((smooth_noise(rng, side, int(rng.integers(2, 7))) - rng.uniform(-0.3, 0.8)) * 3, 0, 1)
        fall = fall * (1 - rng.uniform(0.2, 0.5) * edge)
    cast = np.exp(rng.normal(0, 0.06, 3)).astype(np.float32)
    return picture * (fall * math.exp(rng.normal(-0.05, 0.18)))[..., None] * cast


def _camera(rng, picture, size):
    """Blur, noise, gamma; uint8 [size, size, 3]."""
    picture = np.clip(picture, 0, 1.2).astype(np.float32)
    picture = cv2.GaussianBlur(picture, (0, 0), FINE * rng.uniform(0.3, 0.9) * size / 160 + 0.01)
    picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    picture = np.clip(picture, 0, 1) ** rng.uniform(0.8, 1.2)
    picture += rng.uniform(0.005, 0.025) * rng.standard_normal(picture.shape, np.float32)
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
