"""A page with its boxes and the characters that were read in them, drawn for people."""
import re

import cv2
import numpy as np

from records.files import replaced
from reports.lettering import put_text, text_width

NEUTRAL, RIGHT, WRONG, MISSED = (200, 90, 20), (40, 130, 40), (40, 40, 220), (190, 0, 190)  # BGR
WHITE = (255, 255, 255)
SHORTEST_SIDE = 1400  # px of the drawing; a smaller page is enlarged so that text is legible
LINE = 2              # px
TAG_HEIGHT = 22       # px, of the text of a label longer than a character
LEGEND_HEIGHT = 30    # px, of the legend's text


def character(label):
    """`U+3042` -> the character; any other label, and what cannot be printed, as it is."""
    code = re.fullmatch("U\\+([0-9A-F]{4,5})", label)
    return chr(int(code[1], 16)) if code and chr(int(code[1], 16)).isprintable() else label


def draw_page(path, page, boxes, labels, right=None, missed=None):
    """Writes a PNG of the page with each box and, beside it, its character.

    page: uint8 [h, w, 3], BGR. boxes: int or float [n, 4] x y w h, px. labels: [n]. right: bool [n]
    or None; blue where it is not known, green for right, red for wrong. missed: (boxes [k, 4],
    labels [k]) of the true characters that nothing matched, or None; purple, drawn round the others
    and labelled below them, so that a character read wrong shows what was read over what is there.
    A strip with the counts stands under the page if `right` or `missed` is given. Labels longer
    than a character (names of classes) are tags on the top edges of the boxes, of those missed at
    the bottom.
    """
    scale = max(1.0, SHORTEST_SIDE / min(page.shape[:2]))
    canvas = cv2.resize(page, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    canvas = cv2.addWeighted(canvas, 0.75, np.full_like(canvas, 255), 0.25, 0)  # pale, under text
    colours = [NEUTRAL] * len(boxes) if right is None else [RIGHT if r else WRONG for r in right]
    missed_boxes, missed_labels = ([], []) if missed is None else missed
    marks = [*_marks(missed_boxes, missed_labels, [MISSED] * len(missed_labels), scale, grow=LINE),
             *_marks(boxes, labels, colours, scale, grow=0)]
    for box, _, colour in marks:
        _rectangle(canvas, box, colour)
    for box, text, colour in marks:  # over all the boxes
        _write(canvas, box, text, colour)
    counts = []
    if right is not None:
        counts = [("read right", colours.count(RIGHT), RIGHT),
                  ("read wrong", colours.count(WRONG), WRONG)]
    elif missed is not None:
        counts = [("read", len(boxes), NEUTRAL)]
    if missed is not None:
        counts.append(("missed", len(missed_boxes), MISSED))
    if counts:
        canvas = np.concatenate([canvas, _legend(counts, canvas.shape[1])])
    with replaced(path) as beside:
        ok, data = cv2.imencode(".png", canvas)
        beside.write_bytes(data)


def _marks(boxes, labels, colours, scale, grow):
    """(box int x y w h on the drawing, `grow` px larger on each side; text; colour) of each."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4) * scale
    boxes += [-grow, -grow, 2 * grow, 2 * grow]
    return [(tuple(box), character(label), colour)
            for box, label, colour in zip(boxes.round().astype(int).tolist(), labels, colours,
                                          strict=True)]


def _rectangle(canvas, box, colour):
    x, y, w, h = box
    cv2.rectangle(canvas, (x, y), (x + w, y + h), colour, LINE)


def _write(canvas, box, text, colour):
    """The label of a box: a character right of it (left of it at the edge of the page), that of a
    missed one lower than the others; a longer label as a tag."""
    x, y, w, h = box
    if len(text) > 1:
        _tag(canvas, x, y + h if colour == MISSED else y, text, colour)
        return
    height = int(np.clip(np.sqrt(w * h) * 0.45, 18, 60))
    right_of_it = x + w + LINE + 1
    left = right_of_it if right_of_it + height <= canvas.shape[1] else x - LINE - 1 - height
    _haloed(canvas, (left, y + h if colour == MISSED else y + h // 2), text, colour, height)


def _haloed(canvas, at, text, colour, height):
    """Text with a white rim, legible over ink; `at`: its lower left corner."""
    for dx, dy in ((-2, 0), (2, 0), (0, -2), (0, 2)):
        put_text(canvas, text, (at[0] + dx, at[1] + dy), WHITE, height, 600)
    put_text(canvas, text, at, colour, height, 600)


def _tag(canvas, x, y, text, colour):
    """White text on a field of the colour, standing on the level y, moved to lie on the canvas."""
    width = text_width(text, TAG_HEIGHT)
    x = max(0, min(x, canvas.shape[1] - width - 8))
    y = max(y, TAG_HEIGHT + 8)
    cv2.rectangle(canvas, (x, y - TAG_HEIGHT - 8), (x + width + 8, y), colour, cv2.FILLED)
    put_text(canvas, text, (x + 4, y - 7), WHITE, TAG_HEIGHT, 500)


def _legend(counts, width):
    """A white strip [.., width, 3]: a field and a line of text for each (name, count, colour)."""
    strip = np.full((2 * LEGEND_HEIGHT, width, 3), 255, np.uint8)
    x, top, bottom = LEGEND_HEIGHT // 2, LEGEND_HEIGHT // 2, LEGEND_HEIGHT * 3 // 2
    for name, count, colour in counts:
        text = f"{name} {count:,}"
        cv2.rectangle(strip, (x, top), (x + LEGEND_HEIGHT, bottom), colour, cv2.FILLED)
        x += LEGEND_HEIGHT + 10
        put_text(strip, text, (x, bottom - 5), colour, LEGEND_HEIGHT, 600)
        x += text_width(text, LEGEND_HEIGHT) + LEGEND_HEIGHT
    return strip
