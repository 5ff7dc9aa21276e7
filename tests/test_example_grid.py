import cv2
import numpy as np
import pytest

from reports.example_grid import GAP, LINE, caption, denormalise, draw_grid
from reports.page_overlay import NEUTRAL
from tests.helpers import needs_opencv_5

NAMES = ["U+3042", "U+304B", "dining table", "U+D800"]


def images(n, h, w, c, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, c)).astype(np.uint8)


def draw(folder, *arguments, **options):
    """The picture, RGB."""
    draw_grid(folder / "grid.png", *arguments, **options)
    assert [p.name for p in folder.iterdir()] == ["grid.png"]
    return cv2.imread(str(folder / "grid.png"))[..., ::-1]


def cell(drawn, k, columns, width, height, n_lines=1, top=GAP):
    """The k-th image of the picture and the field of its caption."""
    x = GAP + k % columns * (width + GAP)
    y = top + k // columns * (height + n_lines * LINE + 2 * GAP)
    return (drawn[y:y + height, x:x + width],
            drawn[y + height:y + height + n_lines * LINE, x:x + width])


@needs_opencv_5
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("h, w, scale", [(24, 24, 6), (112, 112, 2), (60, 128, 1), (190, 190, 1)])
def test_every_pixel_is_in_the_picture_enlarged_to_a_legible_cell(tmp_path, h, w, scale, channels):
    batch = images(5, h, w, channels)
    drawn = draw(tmp_path, batch, list("abcde"), columns=3)
    assert w * scale >= 128
    assert drawn.shape == (GAP + 2 * (h * scale + LINE + 2 * GAP), GAP + 3 * (w * scale + GAP), 3)
    for k, image in enumerate(batch):
        shown, text = cell(drawn, k, 3, w * scale, h * scale)
        assert (shown == np.kron(image, np.ones((scale, scale, 1), np.uint8))).all()
        assert (text < 128).any()
    assert (cell(drawn, 5, 3, w * scale, h * scale)[0] == 255).all()


@needs_opencv_5
def test_few_images_make_a_narrow_picture_and_a_title_stands_above(tmp_path):
    batch = images(2, 128, 128, 3)
    drawn = draw(tmp_path, batch, ["", ""], title="the title")
    assert drawn.shape[1] == GAP + 2 * (128 + GAP)
    assert (drawn[:LINE + GAP] < 128).any()
    shown, text = cell(drawn, 1, 2, 128, 128, top=LINE + 2 * GAP)
    assert (shown == batch[1]).all() and (text == 255).all()


@needs_opencv_5
def test_captions_of_several_lines_stand_below_each_other(tmp_path):
    drawn = draw(tmp_path, images(2, 128, 128, 3), [["one", "two", "three"], "one"])
    texts = [cell(drawn, k, 2, 128, 128, 3)[1] for k in range(2)]
    assert all((texts[0][k * LINE:(k + 1) * LINE] < 128).any() for k in range(3))
    assert (texts[0][:LINE] == texts[1][:LINE]).all() and (texts[1][LINE:] == 255).all()


def texts_written(monkeypatch):
    """Collects what draw_grid writes and where it ends."""
    written, write = [], cv2.putText

    def spy(image, text, at, *arguments):
        written.append((text, at[0] + cv2.getTextSize((1, 1), text, (0, 0), *arguments[1:])[2]))
        return write(image, text, at, *arguments)
    monkeypatch.setattr(cv2, "putText", spy)
    return written


@needs_opencv_5
@pytest.mark.parametrize("name", ["a long name " * 1000, "字" * 500, "W" * 19])
def test_long_names_are_shortened_to_their_image_and_keep_their_share(tmp_path, monkeypatch, name):
    written = texts_written(monkeypatch)
    drawn = draw(tmp_path, images(1, 128, 128, 3), [[f"{name} 0.62", "short 0.38"]], title=name)
    title, long, short = written
    for text, end in (title, long):
        assert "…" in text and text.startswith(name[0]) and end <= GAP + 128
        assert end > 128 - 20, "no more than needed is left out"
    assert long[0].endswith(" 0.62") and short[0] == "short 0.38"
    assert (drawn[:, -GAP:] == 255).all()


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "a\0b", "two\nlines", "\ud800", "",
                                  "U+D800", "U+110000", "U+", "\u202eright to left", "%s %d {}"])
def test_odd_names_are_only_text(tmp_path, monkeypatch, name):
    written = texts_written(monkeypatch)
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    draw(folder, images(1, 128, 128, 3), [caption([0.6, 0.4], [name, "b"])],
         [[(10, 20, 50, 60, name)]], title=name)
    assert all(text.isprintable() for text, _ in written)
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "here", "grid.png"]


@needs_opencv_5
def test_boxes_are_outlined_on_their_own_image_with_their_labels(tmp_path):
    batch = np.full((2, 64, 64, 1), 255, np.uint8)
    boxes = [[(10.2, 20, 30, 50, None), (40, 30, 60, 60, "U+3042")], []]
    drawn = draw(tmp_path, batch, ["a", "b"], boxes)
    shown, other = (cell(drawn, k, 2, 128, 128)[0] for k in range(2))
    colour = (shown == NEUTRAL[::-1]).all(2)
    for x0, y0, x1, y1 in ((20, 40, 60, 100), (80, 60, 120, 120)):
        edges = np.array([[y0, x0 + 9], [y1 - 1, x0 + 9], [y0 + 9, x0], [y0 + 9, x1 - 1]])
        assert colour[tuple(edges.T)].all()
        assert not colour[y0 + 3:y1 - 3, x0 + 3:x1 - 3].any()
    assert (shown[44:57, 80:100] != 255).any(2).sum() > 40 and not colour[20:38, 20:60].any()
    assert (other == 255).all() and (batch == 255).all()


@needs_opencv_5
def test_boxes_beyond_the_image_stay_in_it(tmp_path):
    batch = np.full((3, 128, 128, 3), 255, np.uint8)
    drawn = draw(tmp_path, batch, ["", "", ""],
                 [[], [(-30, -30, 200, 200, "x"), (100, -50, 300, 90, "a long label " * 100)], []])
    shown = cell(drawn, 1, 3, 128, 128)[0]
    assert all((shown[:18, x:x + 20] != 255).any() for x in (0, 100)), "labels are moved to lie in it"
    drawn[GAP:GAP + 128, 2 * GAP + 128:2 * GAP + 256] = 255
    assert (drawn == 255).all()


def test_captions_of_targets():
    assert caption([0, 1, 0, 0], NAMES) == ["U+304B か"]
    assert caption([0.38, 0.62, 0, 0], NAMES) == ["U+304B か 0.62", "U+3042 あ 0.38"]
    assert caption(np.float32([0.1, 0.2, 0.4, 0.3]), NAMES) == [
        "dining table 0.40", "U+D800 0.30", "U+304B か 0.20", "and 1 more"]
    assert caption([1, 0, 1, 0], NAMES) == ["U+3042 あ", "dining table"]
    assert caption([0.0, 0, 0, 0], NAMES) == []


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_denormalise_inverts_the_normalisation(dtype):
    levels = images(2, 9, 9, 3)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    given = ((levels / 255 - mean) / std).astype(dtype)
    shown = denormalise(given, mean, std)
    assert shown.dtype == np.uint8
    assert np.abs(shown.astype(int) - levels).max() <= (dtype == "float16")
    assert (denormalise(np.float32([[[[-3.0], [9.0]]]]), (0.5,), (0.5,)).ravel() == [0, 255]).all()


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no images"):
        draw_grid(tmp_path / "grid.png", images(0, 9, 9, 3), [])
    with pytest.raises(ValueError, match="shorter"):
        draw_grid(tmp_path / "grid.png", images(2, 9, 9, 3), ["one"])
    assert not list(tmp_path.iterdir())
