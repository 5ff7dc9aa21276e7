"""Test-time views: which parts of a record are shown to the network, one after the other."""
import numpy as np
import tensorflow as tf

from pipeline.geometry import compose, nine_views, warp

# Corners first, then the middle: top left, top right, bottom left, bottom right (shares of the slack).
PLACES = ((0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.5))
KINDS = ("one", "crops5", "crops6", "crops7", "crops10", "crops20", "nine")  # of all records alike
TILES = 3  # squares of an image, of its own shape


def view_maps(kind, size, record_size, share):
    """Maps float32 [v, 2, 3] as pipeline.geometry has them, seen from the network's input.

    kind: one, the middle crop; crops5, the four corners and the middle; crops6, and the whole record;
    crops7, and before it the crop inset by a quarter of the margin on every side (system A, which has
    124 px records, 112 px crops and 118 px for this one); crops10 and crops20, the five places at two
    and four sizes, evenly from the crop's towards the whole (system A's own of these counts are not
    published); nine, the middle crop and Turtle Recall's nine flips and turns of it.
    size: side of the network's input, record_size: of the record, px. share: side of the crop as a
    share of the record's; where it is meant to be `size` px, it is exactly that. Raises ValueError.
    """
    if abs(share * record_size - size) < 0.5:
        share = size / record_size
    if kind.startswith("crops") and share == 1:
        raise ValueError(f"--views={kind}: the crop of this run is the whole record, so all would be "
                         "alike: train with --eval_crop below 1, or choose --views=nine")
    five = lambda side: [(x * (1 - side), y * (1 - side), side, side) for x, y in PLACES]
    boxes = {
        "one": five(share)[4:], "nine": five(share)[4:] * 10, "crops5": five(share),
        "crops6": five(share) + five(1)[4:], "crops7": five(share) + five((1 + share) / 2)[4:] + five(1)[4:],
        "crops10": [box for k in range(2) for box in five(share + (1 - share) * k / 2)],
        "crops20": [box for k in range(4) for box in five(share + (1 - share) * k / 4)]}[kind]
    n = len(boxes)
    turns = tf.eye(2, batch_shape=[n])
    if kind == "nine":
        turns = tf.concat([turns[:1], nine_views()[:, :, :2]], axis=0)
    return compose(turns, tf.zeros([n, 2]), tf.constant(boxes, tf.float32)).numpy()


def tile_maps(aspect, share):
    """Maps float32 [n, TILES, 2, 3]: squares along the longer side of images that were stretched to a square.

    aspect: float [n], width / height of each image. The first square lies at one end and the last at the
    other; of a square image all are the whole. share: side of the crop in the middle of each square.
    """
    sides = np.stack([np.minimum(1, 1 / np.asarray(aspect, np.float64)), np.minimum(1, aspect)], axis=1)  # [n, x y]
    place = np.linspace(0, 1, TILES)[:, None]
    corners = place * (1 - sides[:, None]) + sides[:, None] * (1 - share) / 2  # [n, TILES, x y]
    maps = np.zeros((len(sides), TILES, 2, 3), np.float32)
    maps[..., 0, 0], maps[..., 1, 1] = share * sides[:, :1], share * sides[:, 1:]
    maps[..., 2] = corners
    return maps


def show_own_views(images, maps, size):
    """uint8 [b, v, size, size, c] of images uint8 [b, h, w, c], each by its own maps [b, v, 2, 3]."""
    return tf.stack([warp(images, view, size) for view in tf.unstack(maps, axis=1)], axis=1)


def show_views(images, maps, size):
    """uint8 [b, v, size, size, c] of images uint8 [b, h, w, c]; or [b, v, p, size, size, c] of [b, p, h, w, c].
    maps: [v, 2, 3], known beforehand.

    A view whose pixels fall on pixels of the record is picked, not resampled.
    """
    if images.shape.rank == 5:
        b, p, *shape = images.shape
        shown = show_views(tf.reshape(images, [b * p, *shape]), maps, size)
        return tf.transpose(tf.reshape(shown, [b, p, *shown.shape[1:]]), [0, 2, 1, 3, 4, 5])
    _, height, width, channels = images.shape
    pixels = tf.reshape(images, [-1, height * width, channels])
    views = []
    for view in maps:
        places = _whole_pixels(view, size, height, width)
        if places is None:
            every = tf.tile(tf.constant(view[None]), [tf.shape(images)[0], 1, 1])
            views.append(warp(images, tf.ensure_shape(every, [images.shape[0], 2, 3]), size))
        else:
            views.append(tf.reshape(tf.gather(pixels, places, axis=1), [-1, size, size, channels]))
    return tf.stack(views, axis=1)


def _whole_pixels(view, size, height, width):
    """int [size * size], the pixel that each pixel of the view shows; None where it lies between."""
    share = (np.arange(size) + 0.5) / size
    across, down = np.meshgrid(share, share)
    at = view.astype(np.float64) @ np.stack([across.ravel(), down.ravel(), np.ones(size * size)])
    at = at * [[width], [height]] - 0.5
    whole = np.round(at)
    inside = (whole >= 0) & (whole < [[width], [height]])
    if np.abs(at - whole).max() > 1e-3 or not inside.all():
        return None
    x, y = whole.astype(np.int64)
    return y * width + x
