"""Draws one demo page: the text written column by column, the sheet under it, the boxes round it."""
from typing import NamedTuple

import cv2
import numpy as np

from records import demo_brush, demo_drawings, demo_paper
from records.demo_text import HIRAGANA

EDGE = 0.35   # ink of at least this coverage is inside its box
SLACK = 3     # px, the most that an annotator's box is too large on a side
BLEED = 1     # px, that shine-through is seen beyond its strokes: it is blurred
RUBY, SHINE_THROUGH = "ruby", "shine_through"  # kinds of writing that is not to be read


class Column(NamedTuple):
    """A column of text: x of its middle, y of its top and bottom, px; number of characters."""
    x: float
    top: float
    bottom: float
    count: int


class Labelled(NamedTuple):
    """A character on the page and its box, px."""
    char: str
    x: int
    y: int
    w: int
    h: int


class Unread(NamedTuple):
    """Writing that is no part of the text, and the box of what is visible of it, px."""
    kind: str             # RUBY or SHINE_THROUGH
    x: int
    y: int
    w: int
    h: int


def columns(layout, rng):
    """The columns of a page, from the right: full ones, indented ones, short ones at a paragraph's end."""
    x0, y0, x1, y1 = layout.text
    pitch = (y1 - y0) / layout.rows
    placed = []
    for number in range(layout.columns):
        indent = 1 if rng.random() < 0.1 else 0
        short = int(rng.integers(1, layout.rows // 2)) if rng.random() < 0.1 else 0
        count = layout.rows - indent - short
        top = y0 + pitch * indent + rng.normal(0, 0.06) * pitch
        placed.append(Column(x1 - (number + 0.5) * layout.column_pitch + rng.normal(0, 0.03) * pitch,
                             top, top + count * pitch, count))
    return placed


def room(layout, rng):
    """How many characters the page of `columns(layout, rng)` holds."""
    return sum(column.count for column in columns(layout, rng))


def render(book, text, layout_seed, page_seed, left_leaf):
    """One page: image uint8 [h, w, 3] (blue, green, red), its characters in reading order as a list
    of Labelled, and what must not be read on it as a list of Unread: shine-through, then ruby.

    text: the page's characters, as many as `room` says for default_rng(layout_seed); None for a page
    with only a drawing. left_leaf: the page lies left of the fold.
    """
    layout, rng = book.layout, np.random.default_rng(page_seed)
    shape = layout.height, layout.width
    sheet = demo_paper.paper(rng, book.paper, *shape)
    unread = _shine_through(rng, book, sheet)
    ink = np.zeros(shape, np.float32)
    tooth = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), 0.8) * np.float32(0.75)
    labelled = []
    if text is None:
        drawing, wash = demo_drawings.draw(rng, *shape)
        _put(ink, tooth, drawing, 0, 0, 0.95)
        np.maximum(ink, wash * np.float32(1 / 255), out=ink)
    else:
        if layout.frame:
            _frame(rng, layout, ink, tooth)
        placed = columns(layout, np.random.default_rng(layout_seed))
        labelled, ruby = _text(rng, book, text, placed, ink, tooth)
        unread += ruby
    pooled = 1 - 0.10 * np.abs(demo_paper.clouds(rng, *shape, layout.size / 3, 1))
    absorbed = 1 - np.float32(book.ink) / np.float32(book.paper.colour)
    sheet *= 1 - (ink * pooled)[..., None] * absorbed  # multiplied: the fibres show through the ink
    demo_paper.bore(rng, book.paper, sheet)
    demo_paper.scan(rng, book.paper, sheet, gutter_right=left_leaf)
    return np.clip(sheet, 0, 255).astype(np.uint8), labelled, unread


def _put(ink, tooth, mask, x, y, density):
    """Lay a mask uint8 on the page's ink float32 [h, w], rough-edged by the paper's tooth; in place.

    Returns the box (x, y, w, h) of what is visible of it on the page, px, or None.
    """
    x0, y0 = max(0, x), max(0, y)
    x1, y1 = min(ink.shape[1], x + mask.shape[1]), min(ink.shape[0], y + mask.shape[0])
    if x1 <= x0 or y1 <= y0:
        return None
    cover = mask[y0 - y:y1 - y, x0 - x:x1 - x] * np.float32(1 / 255)
    cover = np.clip((cover + 0.28 * tooth[y0:y1, x0:x1] * (cover > 0.05) - 0.5) * 1.6 + 0.5, 0, 1)
    here = ink[y0:y1, x0:x1]
    np.maximum(here, cover * np.float32(density), out=here)
    x, y, w, h = demo_brush.ink_bounds(cover, EDGE)
    return (x0 + x, y0 + y, w, h) if w else None


def _text(rng, book, text, placed, ink, tooth):
    """Write all columns; returns the characters with their boxes, and the ruby beside them."""
    labelled, ruby, start = [], [], 0
    load = rng.uniform(0.5, 1.0)
    for column in placed:
        chars = text[start:start + column.count]
        start += column.count
        written, beside = _column(rng, book, chars, column, ink, tooth, load)
        labelled += written
        ruby += beside
        load = rng.uniform(0.5, 1.0)
    return labelled, ruby


def _column(rng, book, chars, column, ink, tooth, load):
    """Write one column, its links and its ruby; returns the characters, and the ruby, with boxes."""
    hand, size = book.hand, book.layout.size
    written, loads = [], []
    for char in chars:
        scale = hand.kana if "\u3040" <= char <= "\u30ff" else 1.0
        written.append(demo_brush.write(char, size * scale * rng.uniform(0.84, 1.14), hand, rng, load))
        loads.append(load)
        load = load - rng.uniform(0.02, 0.12) if load > 0.25 else 1.0  # the brush is dipped anew
    labelled, ruby, previous_exit = [], [], None
    drift = np.cumsum(rng.normal(0, 0.045, len(chars))) * size
    for char, mark, top, shift, ink_load in zip(chars, written, _tops(column, written), drift, loads):
        x = round(column.x + 0.5 * shift + rng.normal(0, 0.02) * size)
        y = round(top - mark.y)  # of the character's middle
        density = 0.72 + 0.26 * ink_load
        box = _put(ink, tooth, mark.mask, x + mark.x, y + mark.y, density)
        if box is None:
            raise ValueError(f"'{char}' falls outside the page or has no visible ink; raise --page_height")
        labelled.append(Labelled(char, *_annotated(rng, box, ink.shape)))
        entry = np.add(mark.entry, (x, y))
        if previous_exit is not None and rng.random() < hand.link:
            _link(rng, ink, tooth, previous_exit, entry, hand.width * size, density)
        previous_exit = np.add(mark.exit, (x, y))
        if rng.random() < book.layout.ruby * (1.0 if char > "\u30ff" else 0.2):
            ruby += _ruby(rng, book, ink, tooth, x + mark.x + mark.mask.shape[1], y)
    return labelled, ruby


def _tops(column, written):
    """y of each character's ink: between its place in an even grid and its place with even gaps."""
    heights = np.array([mark.mask.shape[0] for mark in written])
    pitch = (column.bottom - column.top) / len(written)
    gap = (column.bottom - column.top - heights.sum()) / len(written)
    even_gaps = column.top + gap / 2 + np.cumsum(heights + gap) - heights - gap
    grid = column.top + pitch * (np.arange(len(written)) + 0.5) + [mark.y for mark in written]
    return 0.65 * even_gaps + 0.35 * grid


def _annotated(rng, box, shape):
    """A tight box grown by an annotator's slack of 1 to SLACK px on each side, inside the page."""
    x, y, w, h = box
    left, top, right, bottom = rng.integers(1, SLACK + 1, 4).tolist()
    x0, y0 = max(0, x - left), max(0, y - top)
    return x0, y0, min(shape[1], x + w + right) - x0, min(shape[0], y + h + bottom) - y0


def _link(rng, ink, tooth, start, end, half_width, density):
    """The brush goes on from one character into the next, where that is near."""
    reach = float(np.hypot(*(end - start)))
    if not 2 < reach < 28 * half_width:
        return
    margin = round(reach)
    corner = np.floor(np.minimum(start, end)).astype(int) - margin
    w, h = (np.ceil(np.abs(end - start)).astype(int) + 2 * margin).tolist()
    detail = 4
    canvas = np.zeros((h * detail, w * detail), np.uint8)
    demo_brush.link(canvas, (start - corner) * detail, (end - corner) * detail,
                    0.8 * half_width * detail, rng)
    canvas = cv2.resize(canvas, (w, h), interpolation=cv2.INTER_AREA)
    _put(ink, tooth, canvas, int(corner[0]), int(corner[1]), density)


def _ruby(rng, book, ink, tooth, x, y):
    """One to three small kana right of a character: read by people, not labelled; each one's box."""
    size = 0.36 * book.layout.size
    count = int(rng.integers(1, 4))
    boxes = []
    for place in range(count):
        char = HIRAGANA[rng.integers(len(HIRAGANA) - 1)]
        mark = demo_brush.write(char, size, book.hand, rng)
        boxes.append(_put(ink, tooth, mark.mask, round(x + 0.6 * size) + mark.x,
                          round(y + (place - (count - 1) / 2) * size * 1.15) + mark.y, 0.85))
    return [Unread(RUBY, *box) for box in boxes if box]


def _frame(rng, layout, ink, tooth):
    """The printed border, worn here and there, and thin rules between the columns where the book has them."""
    x0, y0, x1, y1 = layout.text
    margin = round(0.2 * layout.size)
    line = max(2, round(0.075 * layout.size))
    lines = np.zeros(ink.shape, np.uint8)
    corners = [(x0 - margin, y0 - margin), (x1 + margin, y1 + margin)]
    corners = np.array(corners) + rng.normal(0, 1.0, (2, 2)).round().astype(int)
    cv2.rectangle(lines, corners[0].tolist(), corners[1].tolist(), 255, line, cv2.LINE_AA)
    if layout.frame == 2:
        inner = round(1.6 * line)
        cv2.rectangle(lines, (corners[0] + inner).tolist(), (corners[1] - inner).tolist(), 255,
                      max(1, line // 3), cv2.LINE_AA)
    if layout.rules:
        for number in range(1, layout.columns):
            x = round(x1 - number * layout.column_pitch)
            cv2.line(lines, (x, corners[0][1].item()), (x, corners[1][1].item()), 200, max(1, line // 4),
                     cv2.LINE_AA)
    bend_x, bend_y = (demo_paper.clouds(rng, *ink.shape, layout.height / 3, 1) * 1.5 for _ in range(2))
    y, x = np.mgrid[:ink.shape[0], :ink.shape[1]].astype(np.float32)
    lines = cv2.remap(lines, x + bend_x, y + bend_y, cv2.INTER_LINEAR)
    worn = np.clip(1.15 - 0.25 * np.maximum(0, demo_paper.clouds(rng, *ink.shape, 12.0, 2)), 0, 1)
    _put(ink, tooth, (lines * worn).astype(np.uint8), 0, 0, 0.9)


def _shine_through(rng, book, sheet):
    """The text of the other side, mirrored, blurred and bluish; in place on float32 [h, w, 3].

    Returns each of its characters' box, as a list of Unread.
    """
    layout = book.layout
    if book.paper.shine < 0.2:
        return []
    half = layout.height // 2, layout.width // 2  # blurred anyway: written at half the size
    back = np.zeros(half, np.float32)
    even = np.zeros(half, np.float32)
    boxes = []
    for column in columns(layout, rng):
        pitch = (column.bottom - column.top) / column.count
        for place in range(column.count):
            char = HIRAGANA[rng.integers(len(HIRAGANA) - 1)]
            mark = demo_brush.write(char, layout.size / 2, book.hand, rng)
            boxes.append(_put(back, even, mark.mask, round(column.x / 2) + mark.x,
                              round((column.top + (place + 0.5) * pitch) / 2) + mark.y, 1.0))
    back = cv2.resize(back[:, ::-1], sheet.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    back = cv2.GaussianBlur(back, (0, 0), 2.2)
    patchy = np.clip(0.7 + 0.35 * demo_paper.clouds(rng, *sheet.shape[:2], layout.height / 8), 0.1, 1)
    sheet *= 1 - (back * patchy)[..., None] * np.float32((0.13, 0.18, 0.21)) * book.paper.shine
    return [_seen_through(box, half, sheet.shape) for box in boxes if box]


def _seen_through(box, half, shape):
    """A box on the sheet of `half` the size, mirrored onto the page of `shape`, in whole px."""
    x, y, w, h = box
    scale = np.divide(shape[1::-1], half[::-1])  # x, y
    corner = np.floor([half[1] - x - w, y] * scale).astype(int) - BLEED
    end = np.ceil([half[1] - x, y + h] * scale).astype(int) + BLEED
    corner, end = np.maximum(corner, 0), np.minimum(end, shape[1::-1])
    return Unread(SHINE_THROUGH, *corner.tolist(), *(end - corner).tolist())
