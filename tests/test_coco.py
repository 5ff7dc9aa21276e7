"""create_tfrecords.py --format=coco: boxes, ids, names and every fault of a file."""
import json
import math

import cv2
import numpy as np
import pytest

import create_tfrecords
from records.annotations import AnnotationError
from records.boxes import clipped, rounded_onto, rounded_outward, touching
from records.coco import read_coco
from records.store import open_store
from tests.helpers import random_page
from tests.test_packing import read_all

SMALL = ["--format=coco", "--workers=1", "--size=32"]
SIZES = [(100, 60), (64, 80), (50, 50)]


def pack(*arguments):
    create_tfrecords.main([str(a) for a in arguments])


def write(folder, data):
    (folder / "c.json").write_text(json.dumps(data), encoding="utf-8")
    return folder / "c.json"


@pytest.fixture
def coco(tmp_path):
    """(folder, contents of its c.json): three images of SIZES, four boxes on the first two."""
    random = np.random.default_rng(0)
    for name, (width, height) in zip(("a.png", "sub/b_7.png", "c.png"), SIZES):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / name), random_page(random, height, width))
    data = {
        "info": {}, "licenses": [],
        "images": [{"id": 10 + i, "file_name": name, "width": size[0], "height": size[1]}
                   for i, (name, size) in enumerate(zip(("a.png", "sub/b_7.png", "c.png"), SIZES))],
        "categories": [{"id": 7, "name": "dog", "supercategory": "pet"}, {"id": 3, "name": "NA"}],
        "annotations": [
            {"id": 1, "image_id": 11, "category_id": 3, "bbox": [1.25, 2.0, 10.5, 20.0],
             "iscrowd": 0, "area": 1, "segmentation": [[1, 2, 3, 4, 5, 6]]},
            {"id": 2, "image_id": 10, "category_id": 7, "bbox": [-0.4, 10.99, 20.9, 5.02]},
            {"id": 3, "image_id": 10, "category_id": 3, "bbox": [90.5, 50.5, 10.2, 9.8],
             "segmentation": {"size": [1, 2], "counts": [3]}},
            {"id": 4, "image_id": 10, "category_id": 7, "bbox": [0, 0, 5, 5], "iscrowd": 1}]}
    write(tmp_path, data)
    return tmp_path, data


ROUNDED = {"a": [("dog", 0, 10, 21, 7), ("NA", 90, 50, 10, 10)], "b_7": [("NA", 1, 2, 11, 20)],
           "c": []}


def test_pages_with_boxes_rounded_outward(coco, tmp_path, capsys):
    pack(*SMALL, "--json", tmp_path / "c.json", "--image_dir", tmp_path / "images", "--out_dir",
         tmp_path / "store", "--group_regex=([a-z])[^/]*$", "--val_split=b=b")
    assert "1 boxes round crowds (iscrowd) are left out" in capsys.readouterr().out
    store = open_store(tmp_path / "store")
    assert store.class_names == ["NA", "dog"] and store.info["class_counts"] == [2, 1]
    found = {page: [] for page in read_all(store)}
    for row in store.boxes().itertuples():
        found[row.image_id].append((row.label, row.x, row.y, row.w, row.h))
        assert store.class_names[row.label_id] == row.label
    assert found == ROUNDED
    images = store.images().set_index("image_id")
    assert list(zip(images.width, images.height)) == SIZES and images.group.tolist() == list("abc")
    assert store.info["options"]["aspect"] == 1.0 and store.info["records"] == "pages"
    assert store.manifest.set_index("id").split_b["b_7"] == "val"


def test_records_of_boxes_and_of_test_pages(coco, tmp_path):
    where = ["--json", tmp_path / "c.json", "--data_dir", tmp_path / "images", "--out_dir"]
    pack(*SMALL, *where, tmp_path / "boxes", "--records=boxes")
    store = open_store(tmp_path / "boxes")
    rows = store.manifest.set_index("id")
    assert {i: (rows.label[i], *rows.loc[i, list("xywh")]) for i in rows.index} == {
        f"{page}:{n}": box for page, boxes in ROUNDED.items() for n, box in enumerate(boxes)}
    pack(*SMALL, *where, tmp_path / "blind", "--records=boxes", "--source=test")
    blind = open_store(tmp_path / "blind")
    assert blind.class_names == [] and set(blind.manifest.label) == {""}
    assert sorted(blind.manifest.id) == sorted(rows.index)
    write(tmp_path, {"images": coco[1]["images"]})  # as image_info_test2017.json, almost
    pack(*SMALL, *where, tmp_path / "test", "--source=test")
    test = open_store(tmp_path / "test")
    assert sorted(test.manifest.id) == ["a", "b_7", "c"] and len(test.boxes()) == 0
    with pytest.raises(SystemExit, match="has no list 'annotations'"):
        pack(*SMALL, *where, tmp_path / "x", "--records=boxes", "--source=test")


def test_ids_are_stems_only_where_these_are_unique(coco, tmp_path):
    folder, data = coco
    (folder / "images" / "sub" / "a.jpg").write_bytes(b"")
    data["images"].append({"id": 5, "file_name": "sub/a.jpg", "width": 3, "height": 3})
    images, problems = read_coco(write(folder, data), folder / "images")
    assert [i.image_id for i in images] == ["a.png", "sub/b_7.png", "c.png", "sub/a.jpg"]
    assert not problems


def test_ids_may_be_text(coco):
    folder, data = coco
    for entry in data["images"] + data["annotations"] + data["categories"]:
        for key in entry.keys() & {"id", "image_id", "category_id"}:
            entry[key] = f"k{entry[key]}"
    images, problems = read_coco(write(folder, data), folder / "images")
    assert [len(i.boxes) for i in images] == [2, 1, 0] and not problems


def change(part, **values):
    def apply(data):
        data[part][0] |= values
        for key, value in values.items():
            if value is ...:
                del data[part][0][key]
    return apply


def also(part, **values):
    return lambda data: data[part].append(data[part][-1] | values)


NUL, OUTSIDE = "a\0.png", "../outside.png"
FAULTS = {
    "unknown image": (change("annotations", image_id=99), "annotation 1: image_id 99 is none of"),
    "unknown category": (change("annotations", category_id=1), "annotation 1: category_id 1 is n"),
    "no bbox": (change("annotations", bbox=...), "annotation 1: bbox is missing"),
    "no category": (change("annotations", category_id=...), "category_id is missing"),
    "no id": (change("annotations", id=...), "annotation number 0 .*: id is missing"),
    "double id": (also("annotations", id=1), "annotation 1: the id is another annotation's too"),
    "not finite": (change("annotations", bbox=[1, math.nan, 3, 4]), "annotation 1: bbox .1, nan"),
    "infinite": (change("annotations", bbox=[1, 2, math.inf, 4]), "annotation 1: bbox .1, 2, inf"),
    "huge": (change("annotations", bbox=[1, 2, 10**400, 4]), "annotation 1: bbox .1, 2, 1000"),
    "three": (change("annotations", bbox=[1, 2, 3]), "bbox .1, 2, 3. is not of the form"),
    "texts": (change("annotations", bbox=["1", 2, 3, 4]), "bbox .'1', 2, 3, 4. is not of the form"),
    "true": (change("annotations", bbox=[True, 2, 3, 4]), "bbox .True, 2, 3, 4. is not of the"),
    "no list": (change("annotations", bbox="1 2 3 4"), "bbox '1 2 3 4' is not a list"),
    "no size": (change("annotations", bbox=[1, 2, 0, 4]), "bbox .1, 2, 0, 4. has no size"),
    "outside": (change("annotations", bbox=[-1.2, 2, 9, 4]), "is not inside the image of 64 x 80"),
    "beyond": (change("annotations", bbox=[60, 2, 5.1, 4]), "is not inside the image of 64 x 80"),
    "next to it": (change("annotations", bbox=[64, 2, 0.5, 4]), "is not inside the image"),
    "crowd": (change("annotations", iscrowd="no"), "iscrowd 'no' is neither 0 nor 1"),
    "an annotation that is a list": (lambda data: data["annotations"].__setitem__(0, [1]),
                                     r"annotation number 0 .*: \[1\] is not an object"),
    "an id that is a list": (change("annotations", image_id=[11]), "image_id '.11.' is not a n"),
    "image gone": (change("images", file_name="gone.png"), "image 10: no image .*gone.png"),
    "traversal": (change("images", file_name=OUTSIDE), "'../outside.png' lies outside"),
    "absolute": (change("images", file_name="/etc/hostname"), "'/etc/hostname' lies outside"),
    "NUL": (change("images", file_name=NUL), "cannot be a path"),
    "no name": (change("images", file_name=3), "image 10: file_name '3' is not text"),
    "no width": (change("images", width=...), "image 10: width is missing"),
    "half a pixel": (change("images", width=99.5), "width '99.5' is not a whole number"),
    "no image size": (change("images", height=0), "image 10: 100 x 0 px is no size"),
    "vast": (change("images", width=10**30), "x 60 px is no size"),
    "two of an image": (also("images", file_name="a.png"), "image 12: the id is another image's"),
    "two of a file": (also("images", id=44), "image 44: file_name 'c.png' is another image's too"),
    "another size": (change("images", height=61), "a: the image is 100 x 60 px, but its annota"
                                                  "tions are of one of 100 x 61 px")}


@pytest.mark.parametrize("which", FAULTS)
def test_every_fault_is_one_problem_and_can_be_left_out(coco, tmp_path, which):
    folder, data = coco
    cv2.imwrite(str(folder / "outside.png"), random_page(np.random.default_rng(1), 60, 100))
    spoil, says = FAULTS[which]
    spoil(data)
    write(folder, data)
    arguments = [*SMALL, "--json", folder / "c.json", "--image_dir", folder / "images", "--out_dir",
                 tmp_path / "store"]
    with pytest.raises(SystemExit, match=f"(?s)1 bad row:.*c.json: .*{says}"):
        pack(*arguments)
    if which in ("beyond", "unknown image", "image gone", "another size"):
        pack(*arguments, "--skip_bad")
        store = open_store(tmp_path / "store")
        whole = which in ("image gone", "another size")
        assert (store.info["n_records"], store.info["n_boxes"]) == ((2, 1) if whole else (3, 2))


@pytest.mark.parametrize("spoil, says", [
    (change("categories", name="NA"), "category 3: the name 'NA' is another category's too"),
    (also("categories", name="x"), "category 3: the id is another category's too"),
    (change("categories", name=...), "category 7: name is missing"),
    (change("categories", name="a\nb"), "must be text on one line"),
    (lambda data: data.pop("images"), "has no list 'images'"),
    (lambda data: data.update(categories={}), "has no list 'categories'")])
def test_a_file_that_is_wrong_as_a_whole(coco, spoil, says):
    folder, data = coco
    spoil(data)
    with pytest.raises(AnnotationError, match=says):
        read_coco(write(folder, data), folder / "images")


@pytest.mark.parametrize("text, says", [
    ("{", "cannot be read as JSON"), ("[1]", "has no list 'images'"),
    ("", "cannot be read as JSON"), ("[" * 100_000, "cannot be read as JSON"),
    ("\xff", "cannot be read as JSON")])
def test_what_is_no_coco_file(tmp_path, text, says):
    (tmp_path / "c.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(AnnotationError, match=says):
        read_coco(tmp_path / "c.json", tmp_path)
    with pytest.raises(AnnotationError, match="No such file"):
        read_coco(tmp_path / "none.json", tmp_path)


def test_group_regex_that_finds_nothing(coco):
    folder, _ = coco
    images, problems = read_coco(folder / "c.json", folder / "images", r"_(\d)")
    assert [i.group for i in images] == ["7"] and len(problems) == 2
    assert "finds no group in 'a.png'" in str(problems[0])


def test_rounding_of_boxes():
    random, limits = np.random.default_rng(0), np.array([40, 30])
    boxes = np.concatenate([random.uniform(-15, 45, (300, 2)), random.uniform(0, 30, (300, 2))], 1)
    boxes[::3] = boxes[::3].round(1)
    outward, onto = rounded_outward(boxes), rounded_onto(boxes, 40, 30)
    for (x, y, w, h), out, on, cut in zip(boxes, outward, onto, clipped(outward, limits)):
        for at, length, o, l in ((x, w, out[0], out[2]), (y, h, out[1], out[3])):
            assert o == math.floor(at + 1e-3)
            assert o + l == max(math.ceil(at + length - 1e-3), o + 1)
        for at, length, limit, o, l in ((x, w, 40, on[0], on[2]), (y, h, 30, on[1], on[3])):
            first, last = (math.floor(min(max(v, 0), limit) + 0.5) for v in (at, at + length))
            assert o == min(first, limit - 1) and l == max(last - o, 1)
            assert 0 <= o and o + l <= limit
        mask = np.zeros((30, 40), bool)
        mask[max(out[1], 0):max(out[1] + out[3], 0), max(out[0], 0):max(out[0] + out[2], 0)] = True
        drawn = np.zeros((30, 40), bool)
        drawn[cut[1]:cut[1] + cut[3], cut[0]:cut[0] + cut[2]] = True
        assert (mask == drawn).all() and (cut[2:] >= 0).all()


def test_which_boxes_touch_the_page():
    random = np.random.default_rng(1)  # whole px, so that many end at its edge
    boxes = np.concatenate([random.integers(-9, 16, (500, 2)), random.integers(0, 9, (500, 2))], 1)
    for (x, y, w, h), on_page in zip(boxes, touching(boxes.astype(float), 8, 6), strict=True):
        across, down = (any(0 <= pixel < limit for pixel in range(at, at + length)) if length
                        else 0 <= at <= limit for at, length, limit in ((x, w, 8), (y, h, 6)))
        assert on_page == (across and down)
