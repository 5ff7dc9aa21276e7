"""Old paper as a scanner sees it: tone, fibres, stains, worm holes, the table round the book."""
import cv2
import numpy as np


def clouds(rng, height, width, scale, octaves=2):
    """Soft noise float32 [height, width], mean 0, spread about 1; blotches of about `scale` px."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cell = scale / 2 ** octave
        grid = rng.standard_normal((int(height / cell) + 4, int(width / cell) + 4)).astype(np.float32)
        large = cv2.resize(grid, (int(grid.shape[1] * cell) + 1, int(grid.shape[0] * cell) + 1),
                           interpolation=cv2.INTER_CUBIC)
        total += large[int(cell):, int(cell):][:height, :width] / 2 ** octave
    return total


def paper(rng, look, height, width):
    """A clean to dirty sheet: float32 [height, width, 3] (blue, green, red), 0..255."""
    tone = 2.5 * clouds(rng, height, width, height / 4) + _grain(rng, look, height, width)
    if look.laid:
        tone += look.laid * _laid_lines(rng, height, width)
    sheet = np.float32(look.colour) + tone[..., None]
    age = 0.5 * _edge(height, width, 0.10) + 0.25 * np.clip(clouds(rng, height, width, height / 3), 0, 2)
    brown = 0.10 * age + _stains(rng, look, height, width) + _foxing(rng, look, height, width)
    return sheet * (1 - brown[..., None] * np.float32((0.9, 0.62, 0.42)))


def bore(rng, look, page):
    """Worm holes through sheet and ink, in place on float32 [h, w, 3]."""
    height, width = page.shape[:2]
    count = rng.poisson(4 * look.worms)
    if not count:
        return
    hole = np.zeros((height, width), np.uint8)
    for _ in range(count):
        steps = rng.normal(0, 1, (int(rng.integers(4, 18)), 2)).cumsum(0)
        track = rng.uniform(0.03, 0.97, 2) * (width, height) + steps * height / 500
        cv2.polylines(hole, [np.round(track * 8).astype(np.int32)[:, None]], False, 255,
                      max(2, round(height / 480)), cv2.LINE_AA, 3)
    inside = cv2.GaussianBlur(hole, (0, 0), 0.8)[..., None] / np.float32(255)
    shadow = cv2.GaussianBlur(hole, (0, 0), 2.0)[..., None] / np.float32(255)
    behind = np.float32(look.colour) * 0.82  # the next leaf
    page *= 1 - 0.35 * shadow
    page += inside * (behind - page)


def scan(rng, look, page, gutter_right):
    """Uneven light, the fold of the book, the table; in place on float32 [h, w, 3]."""
    height, width = page.shape[:2]
    tilt = rng.uniform(-0.05, 0.05, 2)
    across = np.linspace(-1, 1, width, dtype=np.float32)
    light = 1 + tilt[0] * across[None, :] + tilt[1] * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    from_fold = np.linspace(1, 0, width, dtype=np.float32)
    if not gutter_right:
        from_fold = from_fold[::-1]
    light = light * (1 - 0.30 * np.exp(-(from_fold / 0.025)) - 0.10 * np.exp(-from_fold / 0.12))
    page *= light[..., None]
    if look.surround:
        _table(rng, look, page, gutter_right)
    page += rng.standard_normal((height, width, 1), np.float32) * 1.5


def _grain(rng, look, height, width):
    """Fibres: fine noise drawn out along the sheet, and single hairs."""
    noise = rng.standard_normal((height, width), np.float32)
    tone = 3.0 * cv2.GaussianBlur(noise, (0, 0), 0.8)
    tone += look.fibres * 11 * cv2.GaussianBlur(noise, (0, 0), sigmaX=0.7, sigmaY=5.0)
    hairs = np.zeros((height, width), np.uint8)
    for _ in range(int(height * width / 4500)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        angle, bend, length = rng.uniform(0, np.pi), rng.normal(0, 0.5), rng.uniform(8, 30)
        turn = angle + bend * np.linspace(0, 1, 5)
        hair = np.stack([x + length / 5 * np.cos(turn).cumsum(), y + length / 5 * np.sin(turn).cumsum()], 1)
        cv2.polylines(hairs, [np.round(hair * 8).astype(np.int32)[:, None]], False,
                      int(rng.integers(40, 255)), 1, cv2.LINE_AA, 3)
    return tone + look.fibres * cv2.GaussianBlur(hairs, (0, 0), 0.7) * np.float32(-0.035)


def _laid_lines(rng, height, width):
    """The mould's bamboo: fine level lines, and threads across them; float32 [height, width]."""
    waver = clouds(rng, height, width, height / 2, 1)
    y = np.arange(height, dtype=np.float32)[:, None] + 2 * waver
    x = np.arange(width, dtype=np.float32)[None, :] + 2 * waver
    threads = np.maximum(0, np.cos(x * (2 * np.pi / (height / 18))) - 0.98) * 50
    return 1.6 * np.sin(y * (2 * np.pi / 5.0)) - 2.5 * threads


def _edge(height, width, reach):
    """1 at the sheet's edge, falling to 0 `reach` of the height inside: float32 [height, width]."""
    y = np.minimum(np.arange(height), np.arange(height)[::-1]).astype(np.float32)[:, None]
    x = np.minimum(np.arange(width), np.arange(width)[::-1]).astype(np.float32)[None, :]
    return np.clip(1 - np.minimum(y, x) / (reach * height), 0, 1) ** 2


def _stains(rng, look, height, width):
    """Water stains: pale inside, a brown rim where they dried; strength float32 [height, width]."""
    total = np.zeros((height, width), np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    ragged = clouds(rng, height, width, height / 22, 3)
    for _ in range(rng.poisson(5 * look.stains)):
        on_edge = rng.random() < 0.7
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        if on_edge:
            cx = cx if rng.random() < 0.5 else rng.choice([0, width])
            cy = rng.choice([0, height]) if 0 < cx < width else cy
        radius = height * rng.uniform(0.015, 0.09)
        distance = np.hypot(x - cx, y - cy) / radius + 0.16 * ragged  # 1 at the rim
        strength = rng.uniform(0.06, 0.22)
        inside = 1 / (1 + np.exp(np.clip((distance - 1) * 0.35 * radius, -30, 30)))
        rim = np.exp(-((distance - 1) * radius / (height * 0.004)) ** 2) * inside
        total += strength * (0.35 * inside + 0.9 * rim)
    return total


def _foxing(rng, look, height, width):
    """Small rusty spots; strength float32 [height, width]."""
    spots = np.zeros((height, width), np.uint8)
    for _ in range(rng.poisson(25 * look.foxing)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(spots, centre, int(rng.integers(1, max(2, height // 300) + 1)),
                   int(rng.integers(60, 200)), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(spots, (0, 0), height / 900) * np.float32(0.5 / 255)


def _table(rng, look, page, gutter_right):
    """The dark table and the edges of the leaves below, on the three free sides; in place."""
    height, width = page.shape[:2]
    inset = [round(height * rng.uniform(0.008, 0.022)) for _ in range(3)]  # top, bottom, outer side
    dark = np.float32((34, 38, 38)) * rng.uniform(0.7, 1.3)
    leaves = max(1, round(height * 0.004))
    waver = clouds(rng, 1, max(height, width), height / 3, 2)[0] * height * 0.0015

    def cover(strip, depth):
        """strip [depth axis, along, 3] from the outer edge inwards."""
        along = waver[:strip.shape[1], None]
        into = np.arange(strip.shape[0], dtype=np.float32)[None, :] - depth - along  # [along, depth]
        below = np.where(np.sin(into * 2.2) > 0.1, 0.78, 0.5)[..., None] * np.float32(look.colour)
        outside = np.where((into < -leaves)[..., None], dark, below)
        blend = np.clip(into + 0.5, 0, 1)[..., None]
        strip[:] = np.transpose(outside * (1 - blend) + np.transpose(strip, (1, 0, 2)) * blend, (1, 0, 2))

    margin = max(inset) + 3 * leaves + 8
    cover(page[:margin], inset[0])
    cover(page[::-1][:margin], inset[1])
    side = page if gutter_right else page[:, ::-1]
    cover(np.transpose(side, (1, 0, 2))[:margin], inset[2])
