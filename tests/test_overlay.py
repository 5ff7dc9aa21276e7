import cv2
import numpy as np
import pytest

from reports.page_overlay import MISSED, NEUTRAL, RIGHT, WRONG, character, draw_page
from tests.helpers import needs_opencv_5

pytestmark = needs_opencv_5

PAGE = np.full((1500, 1400, 3), 255, np.uint8)
BOXES = [[100, 200, 80, 90], [500, 600, 60, 70]]
LABELS = ["U+3042", "U+5C71"]


def draw(folder, *arguments, **options):
    draw_page(folder / "p.png", *arguments, **options)
    return cv2.imread(str(folder / "p.png"))


def assert_outlined(drawn, box, colour):
    x, y, w, h = box
    for at in ((y, x + w // 2), (y + h, x + w // 2), (y + h // 2, x), (y + h // 2, x + w)):
        assert tuple(drawn[at]) == colour


def painted(drawn, colour, x, y, w, h):
    return int((drawn[y:y + h, x:x + w] == colour).all(2).sum())


def test_characters_of_labels():
    assert character("U+3042") == "あ" and character("U+2000B") == "\U0002000b"
    assert character("class 7") == "class 7"


@pytest.mark.parametrize("right, colours", [(None, [NEUTRAL, NEUTRAL]),
                                            ([True, False], [RIGHT, WRONG])])
def test_boxes_are_drawn_in_their_colours_with_text_beside(tmp_path, right, colours):
    drawn = draw(tmp_path, PAGE, np.array(BOXES) + 0.3, LABELS, right)
    assert drawn.shape[1] == PAGE.shape[1] and (drawn.shape[0] == PAGE.shape[0]) == (right is None)
    for (x, y, w, h), colour in zip(BOXES, colours):
        assert_outlined(drawn, (x, y, w, h), colour)
        assert painted(drawn, colour, x + w + 3, y - 5, 50, h) > 30
        assert painted(drawn, MISSED, 0, 0, 1400, 1500) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]


def test_missed_characters_are_drawn_round_the_others_and_labelled_below(tmp_path):
    x, y, w, h = BOXES[1]
    drawn = draw(tmp_path, PAGE, BOXES, LABELS, [True, False], ([BOXES[1]], ["U+5DDD"]))
    assert_outlined(drawn, BOXES[1], WRONG)
    assert_outlined(drawn, (x - 2, y - 2, w + 4, h + 4), MISSED)
    assert painted(drawn, WRONG, x + w + 6, y, 50, h // 2 + 5) > 30
    assert painted(drawn, MISSED, x + w + 6, y, 50, h // 2 - 5) == 0
    assert painted(drawn, MISSED, x + w + 6, y + h // 2 + 5, 50, h // 2) > 30
    assert painted(drawn, MISSED, 100, 200, 200, 200) == 0


@pytest.mark.parametrize("right, missed, colours", [
    ([True, False], None, [RIGHT, WRONG]), (None, (np.zeros((0, 4)), []), [NEUTRAL, MISSED]),
    ([True, False], ([[900, 900, 50, 50]], ["U+3042"]), [RIGHT, WRONG, MISSED])])
def test_the_legend_stands_under_the_page_with_all_its_colours(tmp_path, right, missed, colours):
    drawn = draw(tmp_path, PAGE, BOXES, LABELS, right, missed)
    legend = drawn[PAGE.shape[0]:]
    assert 40 < len(legend) < 100 and (legend == 255).all(2).mean() > 0.5
    for colour in (NEUTRAL, RIGHT, WRONG, MISSED):
        assert (painted(legend, colour, 0, 0, 1400, 100) > 900) == (colour in colours)


def test_the_legend_counts(tmp_path, monkeypatch):
    texts = []
    monkeypatch.setattr(cv2, "putText", lambda image, text, *_: texts.append(text))
    draw(tmp_path, PAGE, BOXES * 2, LABELS * 2, [True, False, True, True], (BOXES, ["a", "b"]))
    assert texts[-3:] == ["read right 3", "read wrong 1", "missed 2"]
    draw(tmp_path, PAGE, np.zeros((0, 4)), [], None, (BOXES, ["a", "b"]))
    assert texts[-2:] == ["read 0", "missed 2"]


def test_names_of_classes_are_tags_that_stay_on_the_page(tmp_path):
    boxes = [[100.4, 300.2, 400, 400], [1300, 5, 90, 200], [700, 800, 300, 300]]
    drawn = draw(tmp_path, PAGE, boxes[:2], ["dining table", "traffic light"], [True, False],
                 (boxes[2:], ["teddy bear"]))
    assert painted(drawn, RIGHT, 100, 272, 120, 28) > 1500
    assert painted(drawn, (255, 255, 255), 104, 274, 60, 24) > 100
    assert painted(drawn, WRONG, 1250, 0, 150, 31) > 1500  # neither above the page nor right of it
    assert painted(drawn, WRONG, 1250, 0, 48, 31) > 250
    assert painted(drawn, MISSED, 700, 1074, 110, 28) > 1500
    assert painted(drawn, MISSED, 700, 770, 300, 26) == 0


def test_characters_at_the_right_edge_stand_left_of_their_boxes(tmp_path):
    drawn = draw(tmp_path, PAGE, [[1310, 200, 85, 90]], ["U+5C71"])
    assert painted(drawn, NEUTRAL, 1250, 200, 57, 60) > 30


def test_small_pages_are_enlarged_until_text_is_legible(tmp_path):
    drawn = draw(tmp_path, np.zeros((300, 200, 3), np.uint8), [[10, 10, 50, 50]], ["U+3042"])
    assert drawn.shape == (2100, 1400, 3)
    assert_outlined(drawn, (70, 70, 350, 350), NEUTRAL)
