import cv2
import numpy as np
import pytest

from reports.page_overlay import NEUTRAL, RIGHT, WRONG, character, draw_page


def test_characters_of_labels():
    assert character("U+3042") == "あ" and character("U+2000B") == "\U0002000b"
    assert character("class 7") == "class 7"


@pytest.mark.parametrize("right, colours", [(None, [NEUTRAL, NEUTRAL]),
                                            ([True, False], [RIGHT, WRONG])])
def test_boxes_are_drawn_in_their_colours_with_text_beside(tmp_path, right, colours):
    page = np.full((1200, 1000, 3), 255, np.uint8)
    boxes = [[100, 200, 80, 90], [500, 600, 60, 70]]
    draw_page(tmp_path / "p.png", page, boxes, ["U+3042", "U+5C71"], right)
    drawn = cv2.imread(str(tmp_path / "p.png"))
    assert drawn.shape == page.shape
    for (x, y, w, h), colour in zip(boxes, colours):
        for at in ((y, x + w // 2), (y + h, x + w // 2), (y + h // 2, x), (y + h // 2, x + w)):
            assert tuple(drawn[at]) == colour
        beside = drawn[y:y + h, x + w + 3:x + w + 50]
        assert (beside == colour).all(2).sum() > 30
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]


def test_small_pages_are_enlarged_until_text_is_legible(tmp_path):
    draw_page(tmp_path / "p.png", np.zeros((300, 200, 3), np.uint8), [[10, 10, 50, 50]], ["U+3042"])
    assert cv2.imread(str(tmp_path / "p.png")).shape == (1500, 1000, 3)
