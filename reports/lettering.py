"""Text on pictures, in OpenCV 5's own typeface, which has CJK too.

OpenCV 4 (requirements-addons.txt) has no such typeface: pictures go without text there, said once.
"""
import functools

import cv2

FACE = cv2.FontFace("uni") if hasattr(cv2, "FontFace") else None


def put_text(canvas, text, at, colour, height, weight):
    """Draws a line of text on a canvas, uint8 [h, w, 3]. at: its lower left corner, px; colour: BGR;
    height: px; weight: as of OpenCV's faces, 400 is regular."""
    if FACE is None:
        _say_there_is_no_text()
    else:
        cv2.putText(canvas, text, at, colour, FACE, height, weight)


def text_width(text, height):
    """px, at weight 500; 0 where text is not drawn."""
    return 0 if FACE is None else cv2.getTextSize((1, 1), text, (0, 0), FACE, height, 500)[2]


@functools.lru_cache(maxsize=None)
def _say_there_is_no_text():
    print(f"pictures are drawn without their text, which needs OpenCV 5 (this is {cv2.__version__}): "
          "requirements.txt has it")
