"""A grid of training examples as the network gets them, each with its target below, for people."""
import cv2
import numpy as np

from records.files import replaced
from reports.lettering import put_text, text_width
from reports.page_overlay import NEUTRAL, WHITE, character

GAP = 8            # px between cells
THICK = 2          # px, of a box's outline
TEXT, LINE = 14, 20  # px: height of text, distance of its lines
MOST_LINES = 4     # of a caption; what is more is cut off
TAIL = 5           # characters at the end of a line that are never left out
LONGEST = 1000     # characters before them that are looked at
INK, PAPER = (40, 40, 40), 255
ELLIPSIS = "…"


def denormalise(images, mean, std):
    """The network's images, float [n, h, w, c], back to uint8. mean, std: per channel, of 0..1."""
    images = np.asarray(images).astype(np.float32) * np.float32(std) + np.float32(mean)
    return (images * 255).round().clip(0, 255).astype(np.uint8)


def caption(target, class_names, most=3):
    """Lines "name share" of a target, float [k], by falling share; a share of 1 is left out.

    U+XXXX comes with its character. After `most` lines it only says how many more there are.
    """
    target = np.asarray(target, np.float32)
    order = [k for k in np.argsort(-target, kind="stable") if target[k] > 0]
    lines = [_named(class_names[k]) + (f" {target[k]:.2f}" if target[k] != 1 else "")
             for k in order[:most]]
    return lines + ([f"and {len(order) - most} more"] if len(order) > most else [])


def _named(name):
    return name if character(name) == name else f"{name} {character(name)}"


def draw_grid(path, images, captions, boxes=None, columns=8, cell=128, title=None):
    """Writes a PNG of the images, row by row, each over its caption.

    images: uint8 [n, h, w, 1 or 3], RGB. captions: n strings, or lists of lines; what is too long
    for its image is shortened. boxes: for each image (x0, y0, x1, y1, label or None)s, px, or None.
    cell: px, the least width of an image: smaller ones are enlarged.
    """
    n, height, width, channels = images.shape
    if n == 0:
        raise ValueError(f"no images to draw in {path}")
    boxes = [()] * n if boxes is None else boxes
    captions = [[lines] if isinstance(lines, str) else list(lines) for lines in captions]
    n_lines = min(MOST_LINES, max(map(len, captions)))
    scale = -(-cell // width)  # whole, so that every pixel stays what it is
    columns = min(columns, n)
    across, down = width * scale + GAP, height * scale + n_lines * LINE + 2 * GAP
    top = GAP + (LINE + GAP if title else 0)
    canvas = np.full((top - (-n // columns) * down, GAP + columns * across, 3), PAPER, np.uint8)
    if title:
        _write(canvas, title, GAP, GAP, canvas.shape[1] - 2 * GAP)
    for k, (image, lines, marks) in enumerate(zip(images, captions, boxes, strict=True)):
        x, y = GAP + k % columns * across, top + k // columns * down
        image = np.broadcast_to(image[..., ::-1], (height, width, 3))
        image = image.repeat(scale, axis=0).repeat(scale, axis=1)
        _mark(image, marks, scale)
        canvas[y:y + image.shape[0], x:x + image.shape[1]] = image
        for number, line in enumerate(lines[:n_lines]):
            _write(canvas, line, x, y + image.shape[0] + number * LINE, image.shape[1])
    with replaced(path) as beside:
        beside.write_bytes(cv2.imencode(".png", canvas)[1])


def _mark(image, boxes, scale):
    """Draws boxes (x0, y0, x1, y1, label or None), px before enlarging, with their labels on top."""
    for *corners, _ in boxes:
        x0, y0, x1, y1 = (round(float(value) * scale) for value in corners)
        cv2.rectangle(image, (x0, y0), (x1, y1), NEUTRAL, THICK)
    for x0, y0, _, _, label in boxes:  # over all the boxes
        if label is not None:
            text = _printable(character(label)[:LONGEST])
            at = (max(0, round(x0 * scale)), max(TEXT, round(y0 * scale) - 2))
            for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):  # a rim, legible over ink
                put_text(image, text, (at[0] + dx, at[1] + dy), WHITE, TEXT, 600)
            put_text(image, text, at, NEUTRAL, TEXT, 600)


def _write(canvas, text, x, y, width):
    """One line of text, its upper left corner at (x, y). Of one longer than `width` px the middle is
    left out, so that a share at its end stays."""
    head, tail = _printable(text[:-TAIL][:LONGEST]), _printable(text[-TAIL:])
    text = head + tail
    while head and text_width(text, TEXT) > width:
        head = head[:-1]
        text = head + ELLIPSIS + tail
    put_text(canvas, text, (x, y + TEXT + 2), INK, TEXT, 500)


def _printable(text):
    """OpenCV ends a text at a zero, begins a line at a newline, and crashes at half a surrogate."""
    return "".join(c if c.isprintable() else " " for c in text)
