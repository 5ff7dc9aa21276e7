"""A page with its boxes and the characters that were read in them, drawn for people."""
import cv2
import numpy as np

from records.files import replaced

NEUTRAL, RIGHT, WRONG = (200, 90, 20), (40, 130, 40), (40, 40, 220)  # BGR
SHORTEST_SIDE = 1000  # px of the drawing; a smaller page is enlarged so that text is legible


def character(label):
    """`U+3042` -> the character; any other label as it is."""
    return chr(int(label[2:], 16)) if label.startswith("U+") else label


def draw_page(path, page, boxes, labels, right=None):
    """Writes a PNG of the page with each box and, beside it, its character.

    page: uint8 [h, w, 3], BGR. boxes: int [n, 4] x y w h, px. labels: [n]. right: bool [n] or None;
    blue where it is not known, green for right, red for wrong.
    """
    scale = max(1.0, SHORTEST_SIDE / min(page.shape[:2]))
    canvas = cv2.resize(page, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    canvas = cv2.addWeighted(canvas, 0.75, np.full_like(canvas, 255), 0.25, 0)  # pale, under the text
    face = cv2.FontFace("uni")
    colours = [NEUTRAL] * len(boxes) if right is None else [RIGHT if r else WRONG for r in right]
    for (x, y, w, h), label, colour in zip((np.asarray(boxes) * scale).round().astype(int), labels,
                                           colours):
        cv2.rectangle(canvas, (x, y), (x + w, y + h), colour, 2)
        height = int(np.clip(min(w, h) * 0.45, 14, 60))
        cv2.putText(canvas, character(label), (x + w + 2, y + h // 2 + height // 2), colour, face,
                    height, 500)
    with replaced(path) as beside:
        ok, data = cv2.imencode(".png", canvas)
        beside.write_bytes(data)
