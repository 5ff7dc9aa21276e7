"""Words of Latin letters in an invented hand: OpenCV 5's built-in typeface with a weight, slant, spacing
and unsteadiness of each word's own.
"""
import functools
import math
import string

import cv2
import numpy as np

ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + " "
EM = 96          # px, at which a letter is drawn before it is bent into its place
ROOM = EM // 4   # px to the left of a letter and above it
ABOVE, BELOW = 0.91, 0.33  # em above and below the line that a tall or a hanging letter takes, jitter included
WEIGHTS = range(300, 901, 100)


def need_typeface():
    """Raises ValueError where OpenCV has no typeface."""
    if not hasattr(cv2, "FontFace"):
        raise ValueError(f"rendering words needs OpenCV 5, and this is {cv2.__version__}: render them in the "
                         "environment of requirements.txt; what is rendered is read in any")


def word_mask(text, height, rng):
    """The ink of a line of text: uint8 [height, w], 0..255, cut at the left and right of the ink.

    text: of ALPHABET, more than spaces. height: px, 8 or more, from above the tallest letter to below the
    ones that hang, whether the text has such or not; the letters stand on 73% of it. rng: a NumPy Generator,
    the only source of chance. Raises ValueError.
    """
    odd = sorted(set(text) - set(ALPHABET))
    if odd or not text.strip():
        raise ValueError(f"text {text!r} {f'has {odd[0]!r}' if odd else 'has no letter'}: it must be of "
                         "A-Z, a-z, 0-9 and spaces")
    if height < 8:
        raise ValueError(f"height {height} px: at least 8")
    fine = max(1, round(80 / height))  # drawn at so many times the size, so that nothing aliases
    em, weight = fine * height / (ABOVE + BELOW), int(rng.choice(WEIGHTS))
    slant, spacing, narrow = rng.normal(0.06, 0.1), rng.normal(0.02, 0.03), rng.uniform(0.8, 1.1)
    wave, phase = rng.uniform(0, 0.02), rng.uniform(0, 2 * math.pi)
    room = math.ceil(em)
    canvas = np.zeros((fine * height, fine * math.ceil((1.4 * em * len(text) + 2 * room) / fine)), np.uint8)
    x = float(room)
    for place, letter in enumerate(text):
        turn, grow, drop, apart = rng.normal(0, (0.03, 0.03, 0.01, 0.015)).clip(-0.06, 0.06)
        ink, advance = _letter(letter, weight)
        c, s = math.cos(turn), math.sin(turn)
        bend = np.array([[c, -s], [s, c]]) @ [[narrow, -slant], [0, 1]] * (em / EM * (1 + grow))
        at = x, em * (ABOVE + drop + wave * math.sin(phase + 1.3 * place))
        left, right = int(x) - room, int(x) + 2 * room
        shift = at - bend @ (ROOM, ROOM + EM) - (left, 0)
        here = canvas[:, left:right]
        np.maximum(here, cv2.warpAffine(ink, np.column_stack([bend, shift]), here.shape[::-1]), out=here)
        x += em * (advance * narrow + spacing + apart)
    canvas = cv2.resize(canvas, (canvas.shape[1] // fine, height), interpolation=cv2.INTER_AREA)
    columns = np.flatnonzero(canvas.max(0))
    return np.ascontiguousarray(canvas[:, columns[0]:columns[-1] + 1])


@functools.lru_cache(maxsize=None)
def _letter(letter, weight):
    """(uint8 [h, w] with the letter's start on the line at x = ROOM, y = ROOM + EM; its advance, em)."""
    canvas = np.zeros((EM + EM // 2 + ROOM, 2 * EM), np.uint8)
    (end, _), ink = cv2.putText(canvas, letter, (ROOM, ROOM + EM), (255,), cv2.FontFace("sans"), EM, weight)
    return ink, (end - ROOM) / EM
