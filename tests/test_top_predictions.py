"""Images beside their predictions: each thing drawn is looked for in the picture's pixels."""
import cv2
import numpy as np
import pytest

from reports import top_predictions
from reports.page_overlay import NEUTRAL, RIGHT
from reports.top_predictions import (BAR, GAP, LINE, MARGIN, NOT_SHOWN, PANEL, SIDE, TEXT, percent,
                                     draw_top_predictions, top_rows)
from tests.helpers import needs_opencv_5

ACROSS = SIDE + GAP + PANEL + 2 * MARGIN


def image(h, w, c=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (h, w, c)).astype(np.uint8)


def draw(folder, *arguments, **options):
    """The picture, BGR as OpenCV has it."""
    draw_top_predictions(folder / "top.png", *arguments, **options)
    assert [p.name for p in folder.iterdir()] == ["top.png"]
    return cv2.imread(str(folder / "top.png"))


def lengths(drawn, k, colour, top=0, columns=3, down=SIDE + MARGIN, n=5):
    """px of that colour in each bar of image k."""
    x, y = MARGIN + k % columns * ACROSS + SIDE + GAP, MARGIN + k // columns * down + top
    bars = [drawn[y + TEXT + 6 + i * LINE:][:BAR, x:x + PANEL] for i in range(n)]
    found = [(bar == colour).all(2) for bar in bars]
    assert all((f == f[0]).all() for f in found), "bars are straight"
    return [int(f[0].sum()) for f in found]


def test_top_rows_are_the_best_of_each():
    names, shares = top_rows(np.array([[.1, .5, .4], [.4, .2, .4]]), ["a", "b", "c"], 2)
    assert names == [["b", "c"], ["a", "c"]] and shares.tolist() == [[.5, .4], [.4, .4]]
    assert top_rows(np.array([[.1, .9]]), ["a", "b"])[0] == [["b", "a"]]


def test_bars_are_as_long_as_the_probabilities(tmp_path):
    shares = [[.5, .25, .125, .1, .025], [1, 0, 0, 0, 0], [.3, .3, .2, .1, .1], [.9, .05, .05, 0, 0]]
    drawn = draw(tmp_path, [image(20, 20)] * 4, [list("abcde")] * 4, shares)
    assert drawn.shape == (MARGIN + 2 * (SIDE + MARGIN), 3 * ACROSS, 3)
    for k, own in enumerate(shares):
        assert lengths(drawn, k, NEUTRAL) == [round(share * PANEL) for share in own]
    assert (drawn[MARGIN + SIDE + MARGIN:, ACROSS:] == 255).all(), "no fifth and sixth"


@pytest.mark.parametrize("h, w, c", [(192, 192, 3), (64, 32, 1), (28, 28, 3), (100, 150, 3)])
def test_small_images_are_shown_pixel_by_pixel_in_the_middle_of_their_square(tmp_path, h, w, c):
    given = image(h, w, c)
    drawn = draw(tmp_path, [given], [["a"]], [[1.0]])
    scale = SIDE // max(h, w)
    shown = np.kron(given, np.ones((scale, scale, 1), np.uint8))
    y, x = (MARGIN + (SIDE - side) // 2 for side in shown.shape[:2])
    assert (drawn[y:y + h * scale, x:x + w * scale] == shown[..., ::-1]).all()


@pytest.mark.parametrize("h, w, c", [(900, 300, 3), (300, 900, 1), (2000, 3, 3), (1, 5000, 1)])
def test_large_images_are_made_to_fit(tmp_path, h, w, c):
    dark = np.full((h, w, c), 30, np.uint8)
    drawn = draw(tmp_path, [dark], [["a"]], [[1.0]])
    rows, columns = np.nonzero((drawn[:, :MARGIN + SIDE + GAP // 2] == 30).all(2))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert max(height, width) == SIDE and (height > width) == (h > w)
    assert min(height, width) == max(1, round(min(h, w) * SIDE / max(h, w)))
    assert len(rows) == height * width


def test_the_true_class_is_green_or_told_below(tmp_path):
    names = [list("abcde"), list("abcde")]
    shares = [[.4, .3, .2, .1, 0]] * 2
    drawn = draw(tmp_path, [image(20, 20)] * 2, names, shares, truth=["c", "x"])
    down = max(SIDE, 5 * LINE + LINE) + MARGIN
    assert drawn.shape[0] == MARGIN + down
    assert lengths(drawn, 0, RIGHT, columns=2) == [0, 0, 60, 0, 0]
    assert lengths(drawn, 0, NEUTRAL, columns=2) == [120, 90, 0, 30, 0]
    assert lengths(drawn, 1, RIGHT, columns=2) == [0] * 5
    if top_predictions.text_width("x", TEXT):  # OpenCV 5
        told = (drawn == NOT_SHOWN).all(2)
        assert told[:, ACROSS:].any() and not told[:, :ACROSS].any()
        assert not told[:MARGIN + 5 * LINE].any()


def texts_written(monkeypatch):
    """Collects (text, x, x of its end, y) of all that is written."""
    written, write = [], cv2.putText

    def spy(canvas, text, at, *arguments):
        end = at[0] + cv2.getTextSize((1, 1), text, (0, 0), *arguments[1:])[2]
        written.append((text, at[0], end, at[1]))
        return write(canvas, text, at, *arguments)
    monkeypatch.setattr(cv2, "putText", spy)
    return written


@needs_opencv_5
def test_names_percentages_and_titles_stand_at_their_bars(tmp_path, monkeypatch):
    written = texts_written(monkeypatch)
    draw(tmp_path, [image(20, 20)], [["turtle", "U+3042"]], [[.876, .0001]], titles=["ID_1"],
         truth=["turtle"])
    left, right = MARGIN + SIDE + GAP, MARGIN + SIDE + GAP + PANEL
    where = {text: (x, end, y) for text, x, end, y in written}
    assert set(where) == {"ID_1", "turtle (true)", "87.6 %", "U+3042 あ", "< 0.1 %"}
    assert all(where[text][0] == left for text in ("ID_1", "turtle (true)", "U+3042 あ"))
    assert all(abs(where[text][1] - right) <= 1 for text in ("87.6 %", "< 0.1 %"))
    top = MARGIN + LINE - 6
    assert where["ID_1"][2] < top < where["turtle (true)"][2] == where["87.6 %"][2] == top + TEXT
    assert where["U+3042 あ"][2] == where["< 0.1 %"][2] == top + TEXT + LINE


@needs_opencv_5
@pytest.mark.parametrize("name", ["long name " * 1000, "字" * 100, "W" * 40])
def test_long_names_are_shortened_and_leave_the_percentage_alone(tmp_path, monkeypatch, name):
    written = texts_written(monkeypatch)
    drawn = draw(tmp_path, [image(20, 20)], [[name, "b"]], [[.5, .5]], titles=[name], truth=[name])
    right = MARGIN + SIDE + GAP + PANEL
    title, percent, long = written[:3]
    assert "…" in title[0] and "…" in long[0] and percent[0] == "50.0 %"
    assert right - 25 < title[2] <= right and percent[1] - GAP - 25 < long[2] <= percent[1] - GAP
    assert title[0].startswith(name[0]) and (drawn[:, right + 1:] == 255).all()


@pytest.mark.parametrize("name", ["a\0b", "two\nlines", "\ud800", "", "U+D800", "U+", "../x", "%s {}"])
def test_odd_names_are_only_text(tmp_path, monkeypatch, name):
    written = texts_written(monkeypatch)
    draw(tmp_path, [image(9, 9)], [[name]], [[1.0]], titles=[name], truth=["other" + name])
    assert all(text.isprintable() for text, *_ in written)


def test_percentages_never_claim_what_is_not():
    told = {0: "0.0 %", 1: "100.0 %", .0004: "< 0.1 %", .0005: "0.1 %", .9994: "99.9 %",
            .9996: "> 99.9 %", .5: "50.0 %"}
    assert {share: percent(share) for share in told} == told


def test_of_many_images_the_first_are_drawn_and_the_rest_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(top_predictions, "MOST_IMAGES", 4)
    written = texts_written(monkeypatch)
    drawn = draw(tmp_path, [image(20, 20)] * 6, [["a"]] * 6, [[1.0]] * 6, columns=2)
    assert drawn.shape == (MARGIN + 2 * (SIDE + MARGIN) + LINE, 2 * ACROSS, 3)
    if top_predictions.text_width("x", TEXT):
        assert written[-1][0] == "the first 4 of 6 images" and len(written) == 4 * 2 + 1
    one_column = draw(tmp_path, [image(20, 20)] * 3, [["a"]] * 3, [[1.0]] * 3, columns=1)
    assert one_column.shape == (MARGIN + 3 * (SIDE + MARGIN), ACROSS, 3)


@pytest.mark.parametrize("change, says", [
    ({"images": []}, "one image at least"), ({"truth": ["a", "b"]}, "got 1, 1, 1, 2 in 3"),
    ({"columns": 0}, "in 0 columns"), ({"images": [np.zeros((4, 4), np.uint8)]}, "image 0 .*\\[4, 4\\]"),
    ({"images": [np.zeros((4, 4, 3))]}, "got float64"), ({"shares": [[1.5]]}, "from 0 to 1"),
    ({"shares": [[np.nan]]}, "from 0 to 1"), ({"names": [["a", "b"]]}, "got 2 names"),
    ({"names": [["a"] * 11], "shares": [[0] * 11]}, "1 to 10 classes")])
def test_what_cannot_be_drawn_is_refused(tmp_path, change, says):
    given = {"images": [image(4, 4)], "names": [["a"]], "shares": [[1.0]]} | change
    with pytest.raises(ValueError, match=says):
        draw_top_predictions(tmp_path / "top.png", **given)
    assert not list(tmp_path.iterdir())
