"""Images, each with its most probable classes and their probabilities beside it, for people."""
import cv2
import numpy as np

from inference.ranking import top_k
from records.files import replaced
from reports.lettering import put_text, text_width
from reports.page_overlay import NEUTRAL, RIGHT, character

MOST_IMAGES, MOST_CLASSES = 120, 10  # of a picture, of an image: at most 1,656 x 16,535 px
SIDE, PANEL = 192, 300  # px: the square that holds an image, the width of what stands beside it
GAP, MARGIN = 16, 22    # px: between the two, round the cells
TEXT, LINE = 15, 33     # px: height of text, distance of the classes
BAR = 6                 # px, height of a bar
LONGEST = 200           # characters of a name that are looked at
INK, GREY, TRACK, PAPER = (40, 40, 40), (115, 115, 115), (232, 232, 232), 255  # BGR
NOT_SHOWN = (40, 40, 200)  # of the true class where it is not among those drawn
ELLIPSIS = "…"


def top_rows(probabilities, class_names, k=5):
    """(names, shares float [n, k]) for draw_top_predictions: the k best of each row (all, if there are
    fewer classes), best first. probabilities: float [n, classes]."""
    ranked = top_k(probabilities, min(k, len(class_names)))
    return ([[class_names[c] for c in row] for row in ranked],
            np.take_along_axis(np.asarray(probabilities), ranked, 1))


def draw_top_predictions(path, images, names, shares, truth=None, titles=None, columns=3):
    """Writes a PNG of the images, row by row, each with its classes and their bars beside it.

    images: n of uint8 [h, w, 1 or 3], RGB, each of its own size; drawn at most 192 px wide and high,
    small ones enlarged by a whole factor so that every pixel stays what it is. names: for each image
    those of 1 to 10 classes, best first; shares: their probabilities, float 0..1, drawn as bars of
    which a full one is 1. truth: the name of each image's true class, or None; it is marked and
    green, and named in a line of its own where it is not among the others. titles: str [n], for
    instance ids, or None. U+XXXX comes with its character. Text that is too long is shortened in its middle.

    Of more than 120 images the first are drawn, and a line at the foot says how many are not.
    Raises ValueError.
    """
    _check(path, images, names, shares, truth, titles, columns)
    n = len(images)
    drawn = min(n, MOST_IMAGES)
    columns = min(columns, drawn)
    n_lines = max(len(row) for row in names[:drawn])
    top = LINE - 6 if titles is not None else 0  # px of a cell above its first class
    down = max(SIDE, top + n_lines * LINE + (LINE if truth is not None else 0)) + MARGIN
    across = SIDE + GAP + PANEL + 2 * MARGIN
    foot = LINE if drawn < n else 0
    canvas = np.full((MARGIN + -(-drawn // columns) * down + foot, columns * across, 3), PAPER, np.uint8)
    for k in range(drawn):
        x, y = MARGIN + k % columns * across, MARGIN + k // columns * down
        _image(canvas, images[k], x, y)
        x += SIDE + GAP
        if titles is not None:
            put_line(canvas, titles[k], x, y, PANEL, GREY)
        _classes(canvas, names[k], shares[k], None if truth is None else truth[k], x, y + top)
    if foot:
        put_line(canvas, f"the first {drawn} of {n:,} images", MARGIN, canvas.shape[0] - LINE, PANEL, GREY)
    with replaced(path) as beside:
        beside.write_bytes(cv2.imencode(".png", canvas)[1])


def _image(canvas, image, x, y):
    """Draws an image, centred in the square of SIDE px that begins at (x, y)."""
    image = fitted(image, SIDE)
    height, width = image.shape[:2]
    x, y = x + (SIDE - width) // 2, y + (SIDE - height) // 2
    canvas[y:y + height, x:x + width] = image[..., ::-1]
    cv2.rectangle(canvas, (x - 1, y - 1), (x + width, y + height), TRACK, 1)  # ends a white image


def fitted(image, side):
    """The image [h, w, c] with `side` px as its longer side at most; a small one is enlarged by a whole
    factor, so that every pixel stays what it is."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image.repeat(int(scale), axis=0).repeat(int(scale), axis=1)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image.reshape(*image.shape[:2], -1)  # which a single channel loses


def _classes(canvas, names, shares, truth, x, y):
    """A name, a percentage and a bar for each class; then the true one, if it is none of them."""
    for name, share in zip(names, shares):
        colour = RIGHT if name == truth else NEUTRAL
        figure = percent(share)
        width = text_width(figure, TEXT)
        put_text(canvas, figure, (x + PANEL - width, y + TEXT), INK, TEXT, 500)
        text = f"{named(name)} (true)" if name == truth else named(name)  # not by colour alone
        put_line(canvas, text, x, y, PANEL - width - GAP, RIGHT if name == truth else INK)
        bar = y + TEXT + 6
        cv2.rectangle(canvas, (x, bar), (x + PANEL - 1, bar + BAR - 1), TRACK, cv2.FILLED)
        length = round(float(share) * PANEL)
        if length:
            cv2.rectangle(canvas, (x, bar), (x + length - 1, bar + BAR - 1), colour, cv2.FILLED)
        y += LINE
    if truth is not None and truth not in names:
        put_line(canvas, f"true: {named(truth)}", x, y, PANEL, NOT_SHOWN)


def percent(share):
    """0.123 -> "12.3 %"; what would be told as 0 or 100 without being it is told as beyond 0.1, 99.9."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if 0.9995 <= share < 1 else f"{share * 100:.1f} %"


def named(name):
    """The name of a class; U+XXXX with its character."""
    return name if character(name) == name else f"{name} {character(name)}"


def put_line(canvas, text, x, y, width, colour):
    """A line of text, its upper left corner at (x, y), with as much of it as goes into `width` px."""
    text = "".join(c if c.isprintable() else " " for c in str(text)[:LONGEST])  # others end or crash it
    shown, left_out = text, 0
    while text_width(shown, TEXT) > width and left_out < len(text):
        left_out += 1
        head = (len(text) - left_out + 1) // 2
        shown = text[:head] + ELLIPSIS + text[head + left_out:]
    put_text(canvas, shown, (x, y + TEXT), colour, TEXT, 500)


def _check(path, images, names, shares, truth, titles, columns):
    n = len(images)
    given = [n, len(names), len(shares), *(len(v) for v in (truth, titles) if v is not None)]
    if n == 0 or set(given) != {n} or columns < 1:
        raise ValueError(f"{path} needs one image at least, names, shares, truth and titles for each, "
                         f"and one column: got {', '.join(map(str, given))} in {columns} columns")
    for k, (image, row, own) in enumerate(zip(images, names, shares)):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
            raise ValueError(f"image {k} of {path} must be uint8 [h, w, 1 or 3], got {image.dtype} "
                             f"{list(image.shape)}")
        own = np.asarray(own)
        if not 1 <= len(row) <= MOST_CLASSES or len(own) != len(row) or (
                not ((own >= 0) & (own <= 1)).all()):
            raise ValueError(f"image {k} of {path} needs 1 to {MOST_CLASSES} classes and for each a "
                             f"probability from 0 to 1: got {len(row)} names, {own.tolist()}")
