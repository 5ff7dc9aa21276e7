"""Demo artworks: the competition's layout, truth and places that hold, pictures that show what they say."""
import collections
import csv
import hashlib
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from records import demo_artworks as demo
from records.demo_folder import MARKER
from records.demo_styles import BORDERS, STYLES, TEXTURES, draw_style
from records.demo_tags import TAGS, Pen
from records.imet import read_attributes, read_imet

SMALL = ["--train_images=30", "--test_images=6", "--size=48", "--seed=5", "--wrong_rate=0.3", "--missing_rate=0.2"]
OPTIONS = demo.parse_options(SMALL)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "imet"
    demo.main([*SMALL, "--out_dir", str(folder), "--workers=1"])
    return folder


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def labels_of(rows):
    return {row["id"]: [int(n) for n in row["attribute_ids"].split()] for row in rows}


def digest(folder, pattern="*"):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob(pattern)) if p.is_file() and p.name != MARKER}


def test_layout_of_the_folder(made):
    names = read_attributes(made)
    assert list(names) == list(range(60)) and list(names.values()) == demo.label_names()
    assert collections.Counter(name.split("::")[0] for name in names.values()) == {"culture": 20, "tag": 40}
    for labelled, table, truth in ((True, "train", "train_truth"), (False, "sample_submission", "test_truth")):
        images, problems = read_imet(made, labelled)  # as it is packed
        assert not problems and [i.image_id for i in images] == [row["id"] for row in read(made / f"{truth}.csv")]
        assert all(re.fullmatch("[0-9a-f]{16}", image.image_id) for image in images)
        assert [row["id"] for row in read(made / f"{table}.csv")] == sorted(image.image_id for image in images)
        folder = "train" if labelled else "test"
        assert {p.stem for p in (made / folder).iterdir()} == {image.image_id for image in images}
    assert len(read(made / "train.csv")) == 30 and len(read(made / "test_truth.csv")) == 6


def test_what_train_csv_lacks_and_what_is_wrong_is_told(made):
    written, rows = labels_of(read(made / "train.csv")), read(made / "train_truth.csv")
    truth, wrong = labels_of(rows), {row["id"] for row in rows if row["is_wrong"] == "1"}
    assert 3 <= len(wrong) <= 16
    for image_id, labels in truth.items():
        assert labels == sorted(set(labels)) and 0 <= len(labels) <= 8
        assert set(written[image_id]) <= set(labels) if image_id not in wrong else set(written[image_id]) - set(labels)
    assert all(any(set(written[i]) <= set(other) for other in truth.values()) for i in wrong)
    right = [i for i in truth if i not in wrong]
    assert sum(len(written[i]) for i in right) < sum(len(truth[i]) for i in right)


def test_as_many_are_missing_and_wrong_as_promised():
    options = demo.parse_options(["--train_images=1000"])
    truth = [demo.attributes(demo.draw_shown(1, n)) for n in range(1000)]
    kept = sum(len(demo.noticed(options, n)) for n in range(1000)) / sum(map(len, truth))
    assert abs(kept - 0.9) < 0.02
    assert 15 <= sum(demo.annotated(options, n)[1] for n in range(1000)) <= 45
    none = demo.parse_options(["--missing_rate=0", "--wrong_rate=0"])
    assert [demo.annotated(none, n) for n in range(50)] == [(labels, False) for labels in truth[:50]]


def test_labels_are_few_and_their_frequencies_uneven():
    shown = [demo.draw_shown(1, n) for n in range(3000)]
    assert {len(s.cultures) for s in shown} == {0, 1, 2} and {len(s.tags) for s in shown} == set(range(7))
    assert abs(np.mean([len(s.cultures) == 1 for s in shown]) - 0.84) < 0.03
    tags = collections.Counter(tag for s in shown for tag in s.tags)
    assert set(tags) == set(range(40)) and tags[0] > 6 * tags[39] > 0


def test_places_are_where_the_things_are(made):
    """In a picture without them everything is the same but there."""
    number, size = next((n, 96) for n in range(99) if len(demo.draw_shown(1, n).tags) == 3)
    picture, shown, places = demo.draw_picture(1, number, size)
    assert [place[0] for place in places] == shown.tags
    drawn = np.zeros(picture.shape[:2], bool)
    for tag in range(3):  # one thing at a time painted over by nothing
        with pytest.MonkeyPatch.context() as patch:
            name = list(TAGS)[shown.tags[tag]]
            patch.setitem(TAGS, name, lambda pen, old=TAGS[name]: old(Pen(
                np.zeros_like(pen.picture), pen.centre, pen.half, 0, pen.colour, pen.other, pen.ink)) or pen._placed(
                    [(0, 0)], 0))
            without = demo.draw_picture(1, number, size)[0]
        changed = np.abs(picture.astype(int) - without).max(2) > 8
        _, x, y, w, h = places[tag]
        assert changed[y:y + h, x:x + w].mean() > 0.15
        drawn |= changed
    inside = np.zeros_like(drawn)
    for _, x, y, w, h in places:
        assert 0 <= x and 0 <= y and x + w <= picture.shape[1] and y + h <= picture.shape[0]
        inside[y:y + h, x:x + w] = True
    assert drawn.any() and not drawn[~inside].any()
    rows, truth = read(made / "places.csv"), labels_of(read(made / "train_truth.csv") + read(made / "test_truth.csv"))
    shown = collections.defaultdict(list)
    for row in rows:
        shown[row["id"]].append(int(row["attribute_id"]))
    assert {i: sorted(numbers) for i, numbers in shown.items()} == {
        i: tags for i, labels in truth.items() if (tags := [n for n in labels if n >= 20])}


def drawn_alone(name):
    canvas = np.full((64, 64, 3), 200, np.float32)
    pen = Pen(canvas, (32, 32), 26, 0, (60, 90, 220), (70, 170, 90), (15, 15, 15))
    TAGS[name](pen)
    return canvas, pen.box()


def test_no_two_things_look_alike():
    pictures = {name: drawn_alone(name)[0] for name in TAGS}
    assert len(TAGS) == 40
    for name, one in pictures.items():
        for other_name, other in pictures.items():
            unlike = (np.abs(one - other).max(2) > 60).mean()
            assert name == other_name or unlike > 0.05, (name, other_name)


@pytest.mark.parametrize("name", TAGS)
def test_a_thing_is_all_within_its_box(name):
    canvas, (x0, y0, x1, y1) = drawn_alone(name)
    ys, xs = np.nonzero((canvas != 200).any(2))
    assert abs(xs.min() - x0) <= 4 and abs(xs.max() - x1) <= 4  # px: outlines are rounded
    assert abs(ys.min() - y0) <= 4 and abs(ys.max() - y1) <= 4


def test_no_two_styles_are_alike():
    assert len({style.name for style in STYLES}) == len({style[1:] for style in STYLES}) == 20
    assert len({(style.texture, style.border) for style in STYLES}) == 20
    assert {style.border for style in STYLES} == set(BORDERS) and {s.texture for s in STYLES} == set(TEXTURES)
    small = [cv2.resize(draw_style(np.random.default_rng(1), style, 64, 64), (16, 16), interpolation=cv2.INTER_AREA)
             for style in STYLES]
    assert all(np.abs(a - b).mean() > 8 for i, a in enumerate(small) for b in small[:i])


def test_sizes_vary_and_a_few_are_very_long():
    shapes = []
    for number in range(60):
        picture, _, _ = demo.draw_picture(1, number, 48)
        assert picture.dtype == np.uint8
        shapes.append(picture.shape[:2])
    ratios = np.array([max(s) / min(s) for s in shapes])
    assert 1 <= (ratios > 6).sum() <= 8 and len(set(shapes)) > 40
    assert all(38 <= max(s) <= 53 and min(s) >= 20 for s, ratio in zip(shapes, ratios) if ratio < 3)


def test_same_seed_same_bytes_whatever_the_workers_and_the_rest_of_the_set(made, tmp_path):
    demo.main([*SMALL, "--out_dir", str(tmp_path / "two"), "--workers=2"])
    assert digest(tmp_path / "two") == digest(made)
    demo.main([*SMALL, "--train_images=8", "--test_images=0", "--workers=1", "--out_dir", str(tmp_path / "few")])
    here, there = digest(made, "*.png"), digest(tmp_path / "few", "*.png")
    assert len(there) == 8 and there.items() <= here.items()
    demo.main([*SMALL, "--seed=6", "--train_images=8", "--workers=1", "--out_dir", str(tmp_path / "other")])
    assert not set(digest(tmp_path / "other", "*.png").values()) & set(here.values())


def test_a_finished_folder_is_kept_and_others_refused(made, tmp_path, capsys):
    call = [*SMALL, "--out_dir", str(made)]
    before = digest(made)
    demo.main(call)
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"--missing_rate 0.2 \(asked for: 0.1\).*--overwrite"):
        demo.main([*call, "--missing_rate=0.1"])
    assert digest(made) == before
    tiny = ["--train_images=2", "--test_images=1", "--size=48", "--workers=1", "--out_dir", str(tmp_path / "t")]
    demo.main(tiny)
    next((tmp_path / "t" / "train").iterdir()).unlink()
    with pytest.raises(SystemExit, match="lost some of its files; give --overwrite"):
        demo.main(tiny)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("x")
    with pytest.raises(SystemExit, match="not a set of demo artworks"):
        demo.main([*tiny[:-1], str(tmp_path / "mine"), "--overwrite"])
    assert (tmp_path / "mine" / "precious.txt").exists()


@pytest.mark.parametrize("argument, says", [("--train_images=1", "at least 2"), ("--wrong_rate=1.5", "at most 1"),
                                            ("--size=8", "at least 48"), ("--tags=3", "unknown option --tags")])
def test_impossible_wishes_end_at_once(tmp_path, capsys, argument, says):
    with pytest.raises(SystemExit):
        demo.main([argument, "--out_dir", str(tmp_path / "out")])
    assert says in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_help_needs_no_heavy_module():
    code = "import sys, records.demo_artworks; print({'cv2', 'numpy', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
