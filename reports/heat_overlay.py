"""Images under their heat maps, a label each, for people."""
import cv2
import numpy as np

from records.files import replaced
from reports.lettering import put_text, text_width
from reports.top_predictions import GREY, INK, LINE, TEXT, fitted, named, percent, put_line

GAP, MARGIN = 12, 18  # px: between an image and its text, between the cells
PAPER = 255
COLOURS = cv2.COLORMAP_INFERNO  # the hottest is the brightest
ALPHA = 0.5  # of the heat's colour over the image
SCALE, SCALE_HEIGHT = 160, 12  # px, of the colours' legend
MOST_IMAGES = 60   # of a picture
LEAST_SIDE = 96    # px, of what has text below it


def overlay(image, heat, alpha=ALPHA):
    """The image with its heat map over it, uint8 [h, w, 3], BGR.

    image: uint8 [h, w, 1 or 3], RGB. heat: float [h, w], 0..1, coloured from black to yellow. alpha: 0..1,
    the share of the heat's colour. Raises ValueError.
    """
    _check(image, heat, alpha)
    heat = np.asarray(heat)
    image = _bgr(image)
    colours = cv2.applyColorMap((heat * 255).round().astype(np.uint8), COLOURS)
    return cv2.addWeighted(colours, alpha, image, 1 - alpha, 0)


def _check(image, heat, alpha):
    heat = np.asarray(heat)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"a heat map lies over an image of uint8 [h, w, 1 or 3], got {image.dtype} "
                         f"{list(image.shape)}")
    if heat.shape != image.shape[:2] or not ((heat >= 0) & (heat <= 1)).all() or not 0 <= alpha <= 1:
        reach = f" from {heat.min():g} to {heat.max():g}" if heat.size else ""
        raise ValueError(f"the heat over an image of {list(image.shape[:2])} must be of that shape and from 0 "
                         f"to 1, got {list(heat.shape)}{reach}; and alpha from 0 to 1, got {alpha}")


def draw_heat_maps(path, images, heats, names, shares, titles, method, side=256, alpha=ALPHA):
    """Writes a PNG with a row for each image: itself over its title, then under the heat of each label,
    over the label's name and probability; a legend of the colours at the foot.

    images: n of uint8 [h, w, 1 or 3], RGB. heats: for each float [k, h, w], 0..1. names: of its k labels;
    shares: their probabilities, 0..1. titles: str [n]. method: what made the heat maps, for the legend.
    side: px of an image's longer side at most, >= 96; small ones are enlarged by a whole factor. Text that
    is too long is shortened in its middle. Of more than 60 images the first are drawn, and the foot says so.
    Raises ValueError.
    """
    given = [len(images), len(heats), len(names), len(shares), len(titles)]
    if set(given) != {len(images)} or not len(images) or side < LEAST_SIDE:
        raise ValueError(f"{path} needs one image at least, and for each its heat, names, shares and a title, "
                         f"in {LEAST_SIDE} px or more: got {', '.join(map(str, given))} in {side} px")
    for k, (heat, row, own) in enumerate(zip(heats, names, shares)):
        own = np.asarray(own, np.float64)
        if not len(heat) == len(row) == len(own) or not ((own >= 0) & (own <= 1)).all():
            raise ValueError(f"image {k} of {path} needs a name and a probability from 0 to 1 for each of its "
                             f"{len(heat)} heat maps: got {len(row)} names, {own.tolist()}")
        for one in heat:
            _check(images[k], one, alpha)
    drawn = min(len(images), MOST_IMAGES)
    down = side + LINE + MARGIN
    columns = 1 + max(len(heat) for heat in heats[:drawn])
    foot = LINE + MARGIN
    canvas = np.full((MARGIN + drawn * down + foot, MARGIN + columns * (side + MARGIN), 3), PAPER, np.uint8)
    for k in range(drawn):
        y = MARGIN + k * down
        _cell(canvas, fitted(_bgr(images[k]), side), MARGIN, y, side, titles[k], None)
        for place, (heat, name, share) in enumerate(zip(heats[k], names[k], shares[k]), 1):
            picture = _enlarged(images[k], heat, side, alpha)
            _cell(canvas, picture, MARGIN + place * (side + MARGIN), y, side, named(name), percent(share))
    _legend(canvas, MARGIN, MARGIN + drawn * down, method, drawn, len(images))
    with replaced(path) as beside:
        beside.write_bytes(cv2.imencode(".png", canvas)[1])


def _bgr(image):
    return np.ascontiguousarray(np.broadcast_to(image[..., ::-1], (*image.shape[:2], 3)))


def _enlarged(image, heat, side, alpha):
    """The overlay as it is drawn: the image's pixels stay squares, the heat stays smooth."""
    height, width = image.shape[:2]
    if max(height, width) > side:
        return fitted(overlay(image, heat, alpha), side)
    image = fitted(image, side)
    heat = cv2.resize(np.asarray(heat, np.float32), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return overlay(image, heat.clip(0, 1), alpha)


def _cell(canvas, picture, x, y, side, text, figure):
    """The picture, uint8 [h, w, 3], BGR, in the middle of its square; text, and a figure at the right."""
    height, width = picture.shape[:2]
    left, top = x + (side - width) // 2, y + (side - height) // 2
    canvas[top:top + height, left:left + width] = picture
    y, room = y + side + GAP // 2, side
    if figure is not None:
        length = text_width(figure, TEXT)
        put_text(canvas, figure, (x + side - length, y + TEXT), INK, TEXT, 500)
        room -= length + GAP
    put_line(canvas, text, x, y, room, GREY if figure is None else INK)


def _legend(canvas, x, y, method, drawn, n):
    """`METHOD  0 [colours] 1`, and how many images are not drawn."""
    width = canvas.shape[1] - 2 * MARGIN
    colours = np.tile(np.linspace(0, 255, SCALE).round().astype(np.uint8), (SCALE_HEIGHT, 1))
    colours = cv2.applyColorMap(colours, COLOURS)
    put_line(canvas, f"{method}:  0", x, y, width, GREY)
    x += text_width(f"{method}:  0", TEXT) + GAP
    place = canvas[y + 4:y + 4 + SCALE_HEIGHT, x:x + SCALE]
    place[:] = colours[:, :place.shape[1]]
    put_line(canvas, "1" + (f"    the first {drawn} of {n:,} images" if drawn < n else ""),
             x + SCALE + GAP, y, width, GREY)
