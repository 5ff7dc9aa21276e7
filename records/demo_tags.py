"""What is to be seen on rendered artworks: 40 things, each a function that draws it with a Pen.

A thing is drawn in a frame of its own, x right, y down, both about -1..1; the Pen knows where in the
picture that frame lies. The order of TAGS is that of their frequency, the most frequent first.
"""
import math

import cv2
import numpy as np

TAGS = {}


def tag(function):
    TAGS[function.__name__.strip("_")] = function
    return function


def ring(n, radius=1.0, start=-90.0, x=0.0, y=0.0):
    """n corners, float [n, 2], of a regular polygon round x, y; the first at `start`, degrees."""
    turn = np.radians(start) + 2 * np.pi * np.arange(n) / n
    return np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], 1)


class Pen:
    """Draws in a turned frame on a float32 [h, w, 3] picture, and remembers how far it went.

    centre: x y, and half, the frame's half side: px. turn: radians. colour, other, ink: BGR, 0..255;
    ink is the outline's.
    """

    def __init__(self, picture, centre, half, turn, colour, other, ink):
        self.picture, self.centre, self.half = picture, np.array(centre), half
        c, s = math.cos(turn), math.sin(turn)
        self.matrix = np.array([[c, -s], [s, c]]) * half
        self.colour, self.other, self.ink = colour, other, ink
        self.outline = max(1, round(0.09 * half))  # px
        self.low, self.high = np.full(2, np.inf), np.full(2, -np.inf)

    def box(self):
        """x0 y0 x1 y1, float px, of all that was drawn."""
        return *self.low, *self.high

    def _placed(self, points, reach):
        placed = np.asarray(points, float) @ self.matrix.T + self.centre
        self.low = np.minimum(self.low, placed.min(0) - reach)
        self.high = np.maximum(self.high, placed.max(0) + reach)
        return [np.round(placed * 16).astype(np.int32)]

    def area(self, points, colour=None, outlined=True):
        points = self._placed(points, self.outline / 2 if outlined else 0)
        cv2.fillPoly(self.picture, points, self.colour if colour is None else colour, cv2.LINE_AA, 4)
        if outlined:
            cv2.polylines(self.picture, points, True, self.ink, self.outline, cv2.LINE_AA, 4)

    def disc(self, x, y, rx, ry=None, colour=None, turn=0.0, outlined=True):
        around = ring(24) * (rx, ry or rx)
        c, s = math.cos(turn), math.sin(turn)
        self.area(around @ np.array([[c, s], [-s, c]]) + (x, y), colour, outlined)

    def line(self, points, width=0.2, colour=None):
        """width: of the frame's half side. A line of ink has no outline."""
        thick, colour = max(1, round(width * self.half)), self.colour if colour is None else colour
        outline = 0 if colour == self.ink else self.outline
        points = self._placed(points, thick / 2 + outline)
        if outline:
            cv2.polylines(self.picture, points, False, self.ink, thick + 2 * outline, cv2.LINE_AA, 4)
        cv2.polylines(self.picture, points, False, colour, thick, cv2.LINE_AA, 4)


@tag
def flower(pen):
    pen.line([(0, 0.1), (0.05, 1)], 0.12, pen.other)
    for x, y in ring(5, 0.42, y=-0.3):
        pen.disc(x, y, 0.36)
    pen.disc(0, -0.3, 0.26, colour=pen.other)


@tag
def figure(pen):
    pen.line([(-0.45, 1), (0, 0.25), (0.45, 1)], 0.2)
    pen.line([(-0.7, -0.1), (0, -0.2), (0.7, -0.1)], 0.18)
    pen.area([(-0.28, -0.38), (0.28, -0.38), (0.22, 0.4), (-0.22, 0.4)])
    pen.disc(0, -0.7, 0.27, colour=pen.other)


@tag
def tree(pen):
    pen.area([(-0.14, 1), (-0.1, 0), (0.1, 0), (0.14, 1)], pen.other)
    for x, y, r in ((-0.42, -0.1, 0.4), (0.42, -0.1, 0.4), (0, -0.5, 0.48), (0, -0.05, 0.4)):
        pen.disc(x, y, r)


@tag
def bird(pen):
    pen.area([(-0.5, 0.1), (-1, -0.15), (-1, 0.35)])
    pen.disc(0, 0.1, 0.62, 0.36)
    pen.disc(0.58, -0.25, 0.28)
    pen.area([(0.8, -0.35), (1.15, -0.2), (0.8, -0.1)], pen.other)
    pen.area([(-0.35, 0), (0.3, 0), (-0.35, -0.85)], pen.other)
    pen.line([(0.0, 0.45), (0.0, 0.85)], 0.06)


@tag
def star(pen):
    points = np.empty((10, 2))
    points[::2], points[1::2] = ring(5), ring(5, 0.4, -54)
    pen.area(points)


@tag
def boat(pen):
    pen.area([(-1, 0.35), (1, 0.35), (0.6, 0.85), (-0.6, 0.85)])
    pen.line([(0, 0.35), (0, -1)], 0.08)
    pen.area([(0.1, -0.95), (0.8, 0.15), (0.1, 0.15)], pen.other)
    pen.area([(-0.1, -0.7), (-0.1, 0.15), (-0.65, 0.15)], pen.other)


@tag
def sun(pen):
    for turn in range(0, 360, 45):
        tip, = ring(1, 1.05, turn)
        left, = ring(1, 0.62, turn - 13)
        right, = ring(1, 0.62, turn + 13)
        pen.area([tip, left, right])
    pen.disc(0, 0, 0.5)


@tag
def vase(pen):
    half = [(0.28, -0.95), (0.16, -0.6), (0.62, -0.05), (0.55, 0.45), (0.25, 0.95)]
    pen.area(half + [(-x, y) for x, y in half[::-1]])
    pen.area([(-0.6, -0.02), (0.6, -0.02), (0.58, 0.28), (-0.58, 0.28)], pen.other)


@tag
def stripes(pen):
    for x in (-0.8, -0.27, 0.27, 0.8):
        pen.area([(x - 0.14, -0.9), (x + 0.14, -0.9), (x + 0.14, 0.9), (x - 0.14, 0.9)])


@tag
def fish(pen):
    pen.area([(-0.45, 0), (-1, -0.5), (-0.85, 0), (-1, 0.5)], pen.other)
    pen.disc(0.2, 0, 0.75, 0.42)
    pen.disc(0.6, -0.1, 0.1, colour=pen.ink, outlined=False)
    pen.line([(0.3, -0.22), (0.2, 0), (0.3, 0.22)], 0.05, pen.other)


@tag
def crown(pen):
    pen.area([(-0.8, 0.6), (-0.95, -0.5), (-0.45, 0), (0, -0.75), (0.45, 0), (0.95, -0.5), (0.8, 0.6)])
    for x, y in ((-0.95, -0.55), (0, -0.8), (0.95, -0.55)):
        pen.disc(x, y, 0.15, colour=pen.other)
    pen.area([(-0.8, 0.35), (0.8, 0.35), (0.8, 0.65), (-0.8, 0.65)], pen.other)


@tag
def circles(pen):
    for x, y in ((-0.45, -0.3), (0.45, -0.3), (0, 0.4)):
        pen.line(np.vstack([ring(24, 0.48, x=x, y=y), ring(1, 0.48, x=x, y=y)]), 0.14)


@tag
def house(pen):
    pen.area([(-0.7, -0.1), (0.7, -0.1), (0.7, 0.9), (-0.7, 0.9)])
    pen.area([(-1, -0.1), (0, -0.95), (1, -0.1)], pen.other)
    pen.area([(-0.18, 0.3), (0.18, 0.3), (0.18, 0.9), (-0.18, 0.9)], pen.ink, outlined=False)


@tag
def moon(pen):
    outer = ring(40, 0.95, 0)[5:36]
    inner = ring(40, 0.75, 0, x=0.38)[8:33][::-1]
    pen.area(np.vstack([outer, inner]))


@tag
def mountains(pen):
    pen.area([(-0.1, 0.7), (0.5, -0.4), (1.1, 0.7)])
    pen.area([(-1.1, 0.7), (-0.3, -0.85), (0.5, 0.7)])
    pen.area([(-0.56, -0.35), (-0.3, -0.85), (-0.04, -0.35), (-0.18, -0.15), (-0.3, -0.35), (-0.42, -0.15)],
             (250, 250, 250))


@tag
def heart(pen):
    t = np.linspace(0, 2 * np.pi, 40)[:-1]
    pen.area(np.stack([np.sin(t) ** 3, -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t)
                                         - np.cos(4 * t)) / 16], 1))


@tag
def snake(pen):
    x = np.linspace(-0.95, 0.8, 40)
    pen.line(np.stack([x, 0.42 * np.sin(x * 6.5)], 1), 0.22)
    pen.disc(0.85, 0.42 * math.sin(0.8 * 6.5), 0.24, colour=pen.other)


@tag
def cat(pen):
    for side in (-1, 1):
        pen.area([(side * 0.8, -0.95), (side * 0.75, 0), (side * 0.15, -0.5)])
    pen.disc(0, 0.1, 0.8, 0.7)
    for side in (-1, 1):
        pen.disc(side * 0.32, -0.05, 0.14, colour=pen.other)
        for y in (0.3, 0.5):
            pen.line([(side * 0.25, 0.4), (side * 1.1, y - 0.05)], 0.06, pen.ink)
    pen.area([(-0.12, 0.25), (0.12, 0.25), (0, 0.42)], pen.ink, outlined=False)


@tag
def cross(pen):
    a, b = 0.27, 0.9
    pen.area([(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a),
              (-a, -a)])


@tag
def butterfly(pen):
    for side in (-1, 1):
        pen.disc(side * 0.52, -0.35, 0.52, 0.38, turn=side * -0.6)
        pen.disc(side * 0.42, 0.4, 0.4, 0.3, turn=side * 0.6, colour=pen.other)
        pen.line([(0, -0.5), (side * 0.35, -0.95)], 0.09, pen.ink)
    pen.disc(0, 0, 0.12, 0.62, colour=pen.ink)


@tag
def wheel(pen):
    for turn in range(0, 180, 45):
        pen.line([ring(1, 0.85, turn)[0], ring(1, 0.85, turn + 180)[0]], 0.07)
    pen.line(np.vstack([ring(32, 0.85), ring(1, 0.85)]), 0.16)
    pen.disc(0, 0, 0.2, colour=pen.other)


@tag
def eye(pen):
    x = np.linspace(-1, 1, 20)
    lid = 0.55 * (1 - x * x)
    pen.area(np.vstack([np.stack([x, -lid], 1), np.stack([x[::-1], lid[::-1]], 1)]), (245, 245, 245))
    pen.disc(0, 0, 0.42)
    pen.disc(0, 0, 0.18, colour=(10, 10, 10), outlined=False)


@tag
def hand(pen):
    for turn, long in ((-26, 0.85), (-9, 1.0), (8, 0.98), (25, 0.82)):
        a = math.radians(turn)
        pen.line([(0.5 * math.sin(a), 0.1), (1.1 * long * math.sin(a), 0.1 - 1.05 * long * math.cos(a))], 0.16)
    pen.line([(0.2, 0.5), (0.85, 0)], 0.17)
    pen.area([(-0.42, -0.05), (0.42, -0.05), (0.38, 0.6), (0.25, 1), (-0.25, 1), (-0.4, 0.6)])


@tag
def mushroom(pen):
    pen.area([(-0.22, 0), (0.22, 0), (0.32, 0.95), (-0.32, 0.95)], (235, 240, 245))
    pen.area(np.vstack([ring(40, 0.95, 180, y=0.1)[:21]]))
    for x, y, r in ((-0.45, -0.2, 0.15), (0.1, -0.5, 0.17), (0.5, -0.12, 0.13)):
        pen.disc(x, y, r, colour=(250, 250, 250), outlined=False)


@tag
def umbrella(pen):
    pen.line([(0, -0.2), (0, 0.8), (0.14, 0.95), (0.32, 0.8)], 0.09, pen.other)
    low = [(x, 0.05 - 0.2 * abs(math.sin((x + 1) * 1.5 * math.pi))) for x in np.linspace(1, -1, 25)]
    pen.area(np.vstack([ring(40, 1, 180, y=0.05)[:21], low]))
    pen.line([(0, -0.95), (0, -1.1)], 0.04)


@tag
def key(pen):
    pen.line(np.vstack([ring(20, 0.36, y=-0.58), ring(1, 0.36, y=-0.58)]), 0.18)
    pen.line([(0, -0.2), (0, 0.95)], 0.16)
    for y in (0.55, 0.88):
        pen.line([(0, y), (0.42, y)], 0.13)


@tag
def anchor(pen):
    pen.line(ring(40, 0.72, 10, y=0.15)[:18], 0.16)
    pen.line([(0, -0.5), (0, 0.87)], 0.16)
    pen.line([(-0.42, -0.28), (0.42, -0.28)], 0.14)
    pen.line(np.vstack([ring(16, 0.2, y=-0.75), ring(1, 0.2, y=-0.75)]), 0.09)


@tag
def cup(pen):
    pen.line([(0.55, -0.25), (1, -0.2), (0.95, 0.3), (0.5, 0.4)], 0.12)
    pen.area([(-0.75, -0.5), (0.6, -0.5), (0.45, 0.7), (-0.6, 0.7)])
    pen.disc(-0.07, -0.5, 0.67, 0.16, colour=pen.other)


@tag
def arrow(pen):
    pen.area([(-1, -0.17), (0.15, -0.17), (0.15, -0.6), (1, 0), (0.15, 0.6), (0.15, 0.17), (-1, 0.17)])


@tag
def ladder(pen):
    for y in (-0.7, -0.25, 0.2, 0.65):
        pen.line([(-0.4, y), (0.4, y)], 0.11, pen.other)
    for x in (-0.42, 0.42):
        pen.line([(x, -1), (x, 1)], 0.13)


@tag
def flag(pen):
    pen.line([(-0.75, -0.95), (-0.75, 1)], 0.11, pen.other)
    pen.area([(-0.7, -0.9), (0.1, -0.72), (0.95, -0.9), (0.95, 0.05), (0.1, 0.23), (-0.7, 0.05)])
    pen.area([(-0.7, -0.58), (0.1, -0.4), (0.95, -0.58), (0.95, -0.27), (0.1, -0.09), (-0.7, -0.27)], pen.other)


@tag
def leaf(pen):
    x = np.linspace(-0.95, 0.75, 20)
    wide = 0.55 * np.sin((x + 0.95) / 1.7 * np.pi) ** 0.8
    pen.line([(0.7, 0), (1.1, 0)], 0.06)
    pen.area(np.vstack([np.stack([x, -wide], 1), np.stack([x[::-1], wide[::-1]], 1)]))
    pen.line([(-0.75, 0), (0.7, 0)], 0.08, pen.ink)
    for at in (-0.4, 0, 0.4):
        for side in (-1, 1):
            pen.line([(at, 0), (at - 0.28, side * 0.3)], 0.06, pen.ink)


@tag
def spiral(pen):
    t = np.linspace(0.3, 5.4 * np.pi, 90)
    pen.line(np.stack([t * np.cos(t), t * np.sin(t)], 1) * (0.95 / t[-1]), 0.13)


@tag
def bell(pen):
    pen.disc(0, 0.72, 0.2, colour=pen.other)
    half = [(0.18, -0.85), (0.45, -0.5), (0.52, 0.2), (0.85, 0.62)]
    pen.area([(-x, y) for x, y in half[::-1]] + half)
    pen.disc(0, -0.92, 0.13, colour=pen.other)


@tag
def candle(pen):
    pen.area([(-0.24, -0.2), (0.24, -0.2), (0.24, 0.8), (-0.24, 0.8)])
    pen.area([(-0.65, 0.75), (0.65, 0.75), (0.5, 1), (-0.5, 1)], pen.other)
    pen.area([(0, -1.05), (0.2, -0.6), (0.13, -0.38), (-0.13, -0.38), (-0.2, -0.6)], (60, 190, 255))


@tag
def sword(pen):
    pen.area([(-0.13, 0.35), (-0.13, -0.75), (0, -1.1), (0.13, -0.75), (0.13, 0.35)], (225, 225, 215))
    pen.line([(0, 0.4), (0, 0.95)], 0.15)
    pen.line([(-0.5, 0.38), (0.5, 0.38)], 0.16)


@tag
def cloud(pen):
    puffs = (-0.6, 0.15, 0.35), (0.6, 0.15, 0.35), (-0.2, -0.15, 0.45), (0.3, -0.1, 0.4), (0, 0.2, 0.4)
    for colour, grow in ((pen.ink, 0.09), (pen.colour, 0)):
        for x, y, r in puffs:
            pen.disc(x, y, r + grow, colour=colour, outlined=False)


@tag
def lightning(pen):
    pen.area([(0.25, -1.05), (-0.55, 0.15), (-0.05, 0.1), (-0.3, 1.05), (0.6, -0.3), (0.08, -0.22),
              (0.55, -1.0)])


@tag
def checkers(pen):
    pen.area(ring(4, 1.2, -45))
    for row in range(4):
        for column in range(4):
            if (row + column) % 2:
                x, y = -0.85 + column * 0.425, -0.85 + row * 0.425
                square = ring(4, 0.425 / math.sqrt(2), 45, x + 0.2125, y + 0.2125)
                pen.area(square, pen.ink, outlined=False)


@tag
def hourglass(pen):
    pen.area([(-0.6, -0.8), (0.6, -0.8), (0.07, 0), (0.6, 0.8), (-0.6, 0.8), (-0.07, 0)])
    for y in (-0.88, 0.88):
        pen.area([(-0.75, y - 0.13), (0.75, y - 0.13), (0.75, y + 0.13), (-0.75, y + 0.13)], pen.other)
