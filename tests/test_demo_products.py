"""Demo products and covers: the layouts, what depends on what, and that they pack."""
import csv
import hashlib
import json
import subprocess
import sys

import bson
import cv2
import numpy as np
import pytest

import create_tfrecords
from records import demo_covers, demo_products
from records.demo_catalogue import COVERS, FILLERS, catalogue, genres, invented
from records.demo_cover import draw_cover, look_of, seen
from records.demo_folder import MARKER
from records.store import open_store
from tests.helpers import needs_opencv_5

pytestmark = needs_opencv_5
SMALL = ["--level1=3", "--level2=2", "--level3=2", "--products=4", "--test_products=2", "--size=48", "--seed=5",
         "--wrong_rate=0", "--junk_rate=0"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "products"
    demo_products.main([*SMALL, "--out_dir", str(folder), "--workers=2"])
    return folder


@pytest.fixture(scope="module")
def covers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "covers"
    demo_covers.main(["--covers=12", "--things=3", "--words=30", "--seed=5", "--out_dir", str(folder), "--workers=2"])
    return folder


def documents(path):
    with open(path, "rb") as file:
        return list(bson.decode_file_iter(file))


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digest(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file() and p.name != MARKER}


def test_layout_of_the_folder(made):
    train, test = documents(made / "train.bson"), documents(made / "test.bson")
    names, truth, sample = (read(made / f"{name}.csv") for name in (
        "category_names", "test_truth", "sample_submission"))
    assert list(names[0]) == ["category_id", "category_level1", "category_level2", "category_level3"]
    assert [len({row[f"category_level{k}"] for row in names}) for k in (1, 2, 3)] == [3, 6, 12]
    assert [d["_id"] for d in train] == list(range(1, 49)) and [d["_id"] for d in test] == list(range(49, 73))
    ids = [int(row["category_id"]) for row in names]
    assert sorted(d["category_id"] for d in train) == sorted(ids * 4) and ids == sorted(ids)
    assert all(list(d) == ["_id", "imgs"] for d in test)
    assert [int(row["_id"]) for row in truth] == [int(row["_id"]) for row in sample] == [d["_id"] for d in test]
    assert sorted(int(row["category_id"]) for row in truth) == sorted(ids * 2)
    covers = {row["category_id"] for row in names if row["category_level1"] in COVERS}
    assert len(covers) == 4 and all((row["part"] == "words") == (row["category_id"] in covers) for row in truth)
    assert {len(d["imgs"]) for d in train + test} == {1, 2, 3, 4}
    assert all(cv2.imdecode(np.frombuffer(i["picture"], np.uint8), 1).shape == (48, 48, 3)
               for d in train + test for i in d["imgs"])


def test_same_seed_same_bytes_whatever_the_workers(made, tmp_path):
    demo_products.main([*SMALL, "--out_dir", str(tmp_path / "one"), "--workers=1"])
    assert digest(tmp_path / "one") == digest(made)
    demo_products.main([*SMALL, "--seed=6", "--out_dir", str(tmp_path / "x"), "--workers=1"])
    pictures = lambda folder: {i["picture"] for d in documents(folder / "train.bson") for i in d["imgs"]}
    assert not pictures(made) & pictures(tmp_path / "x")


def test_a_product_does_not_depend_on_how_many_there_are(made, tmp_path):
    fewer = ["--products=1", "--test_products=0", "--workers=1"]
    demo_products.main([*SMALL, *fewer, "--out_dir", str(tmp_path / "few")])
    few = {d["imgs"][0]["picture"]: d["category_id"] for d in documents(tmp_path / "few" / "train.bson")}
    many = {d["imgs"][0]["picture"]: d["category_id"] for d in documents(made / "train.bson")}
    assert len(few) == 12 and few.items() <= many.items()


def test_noise_is_as_much_as_asked_for(made, tmp_path):
    rates = ["--wrong_rate=0.5", "--junk_rate=0.5", "--workers=1"]
    demo_products.main([*SMALL, *rates, "--out_dir", str(tmp_path / "x")])
    noisy, clean = documents(tmp_path / "x" / "train.bson"), documents(made / "train.bson")
    wrong = sum(a["category_id"] != b["category_id"] for a, b in zip(noisy, clean))
    junk = [sum(p != q for p, q in zip(a["imgs"], b["imgs"], strict=True)) for a, b in zip(noisy, clean)]
    assert 12 < wrong < 36 and 12 < sum(junk) < 36 and max(junk) == 1
    assert digest(tmp_path / "x")["test.bson"] == digest(made)["test.bson"]


def test_words_alone_tell_covers_of_one_level_apart():
    """The same random numbers, another category of level 3: what differs is where words are, or were."""
    categories = catalogue(12, 5, 5, 1)
    assert len(categories) == 300 and len({c.category_id for c in categories}) == 300
    covers = [c for c in categories if c.words]
    assert len(covers) == 100 and len({w for c in covers for w in c.words}) == 300
    assert not {w for c in covers for w in c.words} & set(FILLERS)
    for one, other in zip(covers[::5], covers[1::5]):
        assert one.names[:2] == other.names[:2] and one.names[2] != other.names[2] and one.kind == other.kind
    one, other = (draw_cover(look_of(3), [word], [], np.random.default_rng(4)) for word in ("ROMAN", "POESI"))
    difference = np.abs(one[0].astype(int) - other[0]).max(2) > 8
    (x0, y0), (x1, y1) = (f(np.concatenate([w.corners for _, words in (one, other) for w in words]), 0).astype(int)
                          for f in (np.min, np.max))
    assert difference[y0:y1, x0:x1].mean() > 0.1
    difference[max(0, y0 - 30):y1 + 30, max(0, x0 - 30):x1 + 30] = False
    assert not difference.any()


def test_things_differ_by_shape_and_texture_and_look_alike_in_views():
    category = {c.names[2]: c for c in catalogue(12, 5, 5, 1)}
    shown = lambda name, index: demo_products.draw_product(category[name], 0, index, 1, 64)
    many = next(views for views in (shown("STAR UNI", index) for index in range(50)) if len(views) == 4)
    colour = [np.median(view[26:38, 26:38].reshape(-1, 3), 0) for view in many]
    assert np.std(colour, axis=0).max() < 40
    assert np.abs(shown("STAR UNI", 0)[0].astype(int) - shown("STAR RAYE", 0)[0]).mean() > 2


def test_boxes_are_where_the_words_are():
    found = 0
    for number in range(6):
        rng = np.random.default_rng(number)
        cover, words = draw_cover(look_of(number), ["JAZZ"], ["Tome"], rng)
        flat = np.full_like(cover, 127)
        for word in words:
            (x0, y0), (x1, y1) = word.corners.min(0).astype(int), word.corners.max(0).astype(int)
            flat[y0:y1, x0:x1] = 255
        picture, boxes = seen(flat, words, rng, 180, plain=False)
        bright = picture.mean(2) > 180
        for _, x, y, w, h in boxes:
            assert 0 <= x < x + w <= 180 and 0 <= y < y + h <= 180
            assert bright[y:y + h, x:x + w].mean() > 0.5 and bright[y + h // 2, x + w // 2]
            for axis, side in ((0, w), (1, h)):  # tight but for the turned corners
                lit = np.flatnonzero(bright[y:y + h, x:x + w].any(axis))
                assert lit[0] <= 2 and lit[-1] >= side - 3
        found += len(boxes)
    assert found >= 9


def test_a_detection_set_and_words_with_their_text(covers, tmp_path):
    told, rows = json.loads((covers / "annotations.json").read_text()), read(covers / "words.csv")
    assert len(told["images"]) == 15 and told["categories"] == [{"id": 1, "name": "text"}]
    assert len(told["annotations"]) > 20 and {box["image_id"] for box in told["annotations"]} == set(range(12))
    for box in told["annotations"]:
        x, y, w, h = box["bbox"]
        assert 0 <= x < x + w <= 180 and 0 <= y < y + h <= 180 and w >= 5 and h >= 5 and box["category_id"] == 1
    assert len(rows) == 30 and not {row["text"].upper() for row in rows} & {*genres(), *FILLERS}
    shapes = [cv2.imread(str(covers / row["path"])).shape for row in rows]
    assert np.corrcoef([len(row["text"]) for row in rows], [s[1] / s[0] for s in shapes])[0, 1] > 0.6
    demo_covers.main(["--covers=12", "--things=3", "--words=30", "--seed=5", "--out_dir", str(tmp_path / "one"), "--workers=1"])
    assert digest(tmp_path / "one") == digest(covers)
    create_tfrecords.main(["--format=coco", f"--json={covers}/annotations.json", f"--image_dir={covers}/images",
                           "--size=64", f"--out_dir={tmp_path}/store", "--workers=1"])
    store = open_store(tmp_path / "store")
    assert store.class_names == ["text"] and store.info["n_boxes"] == len(told["annotations"])


def test_invented_words():
    words = invented(np.random.default_rng(1), 300, {"BABA"})
    assert len(set(words)) == 300 and all(3 <= len(word) <= 9 and word.isupper() for word in words)
    assert words == invented(np.random.default_rng(1), 300, {"BABA"})


def test_a_finished_folder_is_kept_and_others_refused(made, covers, capsys):
    before = digest(made)
    demo_products.main([*SMALL, "--out_dir", str(made)])
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"--seed 5 \(asked for: 9\).*--overwrite"):
        demo_products.main([*SMALL, "--seed=9", "--out_dir", str(made)])
    with pytest.raises(SystemExit, match="not a set of demo covers"):
        demo_covers.main(["--out_dir", str(made), "--overwrite"])
    assert digest(made) == before


def test_it_packs_as_the_competition_does(made, tmp_path):
    for source in ("train", "test"):
        create_tfrecords.main(["--format=cdiscount", "--data_dir", str(made), "--out_dir", str(tmp_path / source),
                               f"--source={source}", "--n_folds=2", "--size=48", "--workers=1"])
    store = open_store(tmp_path / "train")
    assert len(store.class_names) == 12 and [len(level["names"]) for level in store.class_levels] == [3, 6, 12]
    assert len(store.manifest) == sum(len(d["imgs"]) for d in documents(made / "train.bson"))
    test = open_store(tmp_path / "test")
    assert set(test.manifest.group) == {row["_id"] for row in read(made / "test_truth.csv")}


@pytest.mark.parametrize("module", [demo_products, demo_covers])
def test_without_a_typeface_that_is_said(module, tmp_path, monkeypatch):
    monkeypatch.delattr(cv2, "FontFace")
    with pytest.raises(SystemExit, match="rendering words needs OpenCV 5"):
        module.main([f"--out_dir={tmp_path / 'x'}"])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("module", ["demo_products", "demo_covers"])
def test_help_needs_no_heavy_module(module):
    code = f"import sys, records.{module}; print({{'cv2', 'numpy', 'tensorflow'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
