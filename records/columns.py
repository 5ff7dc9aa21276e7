"""Characters of a page -> its columns of text, for what reads whole columns.

A column is a chain of boxes, each under the one before. Boxes of side notes in two narrow columns make
columns of their own, and such notes part the column that they stand in.
"""
import numpy as np

from records.annotations import AnnotationError

OVERLAP = 0.5  # of the narrower box's width, at least, that two neighbours of a column share
GAP = 1.5  # median heights of the page's boxes that may lie between two of a column


def chains(boxes):
    """Lists of places in `boxes`, each from top to bottom; the columns from right to left, as they are read.

    boxes: [n, 4] x y w h, px. The next of a box is the one whose middle is the nearest below its own, among
    those that share OVERLAP of the narrower width with it; of several with the same next the nearest keeps
    it. Memory: a few numbers for every pair of boxes of the page.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not len(boxes):
        return []
    x, y, w, h = boxes.T
    middle = y + h / 2
    shared = np.minimum(x + w, (x + w)[:, None]) - np.maximum(x, x[:, None])
    below = middle - middle[:, None]  # [n, n]: how far the second lies below the first
    apart = y - (y + h)[:, None]
    fits = ((shared >= OVERLAP * np.minimum(w, w[:, None])) & (shared > 0) & (apart <= GAP * np.median(h)) &
            ((below > 0) | (below == 0) & (np.arange(len(boxes)) > np.arange(len(boxes))[:, None])))
    np.fill_diagonal(fits, False)
    distance = np.where(fits, below, np.inf)
    following = np.where(fits.any(1), distance.argmin(1), -1)
    # Each box is the next of one at most.
    wanted = np.where(np.arange(len(boxes)) == following[:, None], distance, np.inf)  # [n, next]
    kept = wanted.argmin(0)
    following = np.array([b if b >= 0 and kept[b] == a else -1 for a, b in enumerate(following)])
    starts = sorted(set(range(len(boxes))) - set(following.tolist()),
                    key=lambda place: (-(x[place] + w[place] / 2), y[place]))
    found = []
    for place in starts:
        found.append([])
        while place >= 0:
            found[-1].append(place)
            place = following[place]
    return found


def into_columns(image, file, most=None):
    """Makes a SourceImage of characters one of columns, in place: its boxes are the columns', its labels their
    texts; of a detector's boxes the scores are the means of theirs.

    file: of the annotations, for messages. most: characters of a column; a longer one is cut into parts as
    even as can be. Raises AnnotationError for a label that is no character.
    """
    found = [part.tolist() for column in chains(image.boxes)
             for part in np.array_split(column, -(-len(column) // (most or len(column))))]
    boxes = np.asarray(image.boxes)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    first = np.array([corners[column, :2].min(0) for column in found]).reshape(-1, 2)
    last = np.array([corners[column, 2:].max(0) for column in found]).reshape(-1, 2)
    image.boxes = np.concatenate([first, last - first], axis=1).astype(boxes.dtype)
    image.labels = ["".join(_character(image.labels[place], image, file) for place in column)
                    for column in found]
    image.numbers = np.arange(len(found))
    if image.scores is not None:
        image.scores = np.array([image.scores[column].mean() for column in found])
    if image.detected is not None:
        name, rows = image.detected
        image.detected = name, np.array([rows[column[0]] for column in found], np.int64)


def _character(label, image, file):
    """`U+3042` -> `あ`; "" of what has not been read."""
    try:
        return chr(int(label.removeprefix("U+"), 16)) if label else ""
    except (ValueError, OverflowError):
        raise AnnotationError(f"{file}: label {label!r} of page {image.image_id} is not of the form U+XXXX") from None
