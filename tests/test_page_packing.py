"""create_tfrecords.py --records=pages, and the pages and detections of a test set."""
import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pandas as pd
import pytest

import create_tfrecords
from records.annotations import AnnotationError, find_image
from records.detections import read_detections, write_detections
from records.images import decode_image
from records.letterbox import Letterbox
from records.places import MOST_CHUNKS, chunk_length
from records.store import StoreError, open_store
from tests.helpers import make_kaggle, random_page, write_csv
from tests.test_packing import bad_row, read_all

PAGES = ["--records=pages", "--workers=1", "--size=48"]


def pack(*arguments):
    create_tfrecords.main([str(a) for a in arguments])


@pytest.fixture
def kaggle(tmp_path):
    return tmp_path / "kaggle", make_kaggle(tmp_path / "kaggle")


def add_page(folder, image_id, labels="", split="train", height=60, width=100, suffix=".jpg"):
    page = random_page(np.random.default_rng(9), height, width)
    cv2.imwrite(str(folder / f"{split}_images" / f"{image_id}{suffix}"), page)
    with open(folder / f"{split}.csv", "a") as file:
        file.write(f"{image_id},{labels}\n")


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_store_holds_every_page_letterboxed_and_its_boxes_beside(kaggle, tmp_path):
    folder, truth = kaggle
    add_page(folder, "b_empty")
    pack("--data_dir", folder, "--out_dir", tmp_path / "store", *PAGES, "--encoding=png",
         "--val_split=b=b")
    store = open_store(tmp_path / "store")
    records, manifest = read_all(store), store.manifest.set_index("id")
    assert sorted(records) == sorted([*truth, "b_empty"]) == sorted(manifest.image_id)
    for page, (data, label_id, label) in records.items():
        row = manifest.loc[page]
        assert (label_id, label) == (-1, "") == (row.label_id, row.label)
        assert row[list("xywh")].isna().all() and row.group == page[0]
        assert row.split_b == ("val" if page[0] == "b" else "train")
        image = decode_image((folder / "train_images" / f"{page}.jpg").read_bytes())
        height, width = image.shape[:2]
        assert (decoded(data) == Letterbox(width, height, 48, 1.5).draw(image)).all()
        stated = store.images().set_index("image_id").loc[page]
        assert (stated.width, stated.height, stated.records) == (width, height, 1)
    boxes = store.boxes()
    assert list(boxes) == ["image_id", "label", "label_id", "x", "y", "w", "h"]
    assert [tuple(row) for row in boxes.drop(columns="label_id").to_numpy()] == [
        (page, *box) for page, of_page in truth.items() for box in of_page]
    assert [store.class_names[i] for i in boxes.label_id] == boxes.label.tolist()
    assert (boxes.dtypes[["label_id", *"xywh"]] == "int64").all()
    info = store.info
    assert (info["records"], info["n_records"], info["n_boxes"]) == ("pages", 5, 24)
    assert info["class_counts"] == boxes.label.value_counts().sort_index().tolist()
    assert info["options"]["aspect"] == 1.5 and info["options"]["margin"] is None


def test_statistics_are_of_the_padded_records(kaggle, tmp_path):
    pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *PAGES, "--encoding=png",
         "--channels=1", "--local_contrast=on")
    store = open_store(tmp_path / "store")
    images = np.stack([decoded(data) for data, _, _ in read_all(store).values()]) / 255
    np.testing.assert_allclose(store.info["mean"], [images.mean()], atol=1e-6)
    np.testing.assert_allclose(store.info["std"], [images.std()], atol=1e-6)


def test_cleaning_is_of_the_whole_page(kaggle, tmp_path):
    from records.cleaning import denoise, local_contrast
    pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *PAGES, "--encoding=png",
         "--local_contrast=on", "--denoise=on", "--aspect=1")
    page = decode_image((kaggle[0] / "train_images" / "a_0.jpg").read_bytes())
    expected = Letterbox(140, 180, 48, 1.0).draw(denoise(local_contrast(page)))
    assert (decoded(read_all(open_store(tmp_path / "store"))["a_0"][0]) == expected).all()


def test_defaults_of_pages_and_of_boxes():
    base = ["--data_dir=x", "--out_dir=y"]
    of = lambda *names: [getattr(options, name) for name in names]
    options = create_tfrecords.parse([*base, "--records=pages"])
    assert of("size", "aspect", "local_contrast", "denoise", "channels", "encoding", "fit",
              "margin") == [1536, 1.5, False, False, 3, "jpeg", None, None]
    options = create_tfrecords.parse(base)
    assert of("records", "size", "aspect", "local_contrast", "denoise", "encoding", "fit",
              "margin") == ["boxes", 124, None, True, True, "png", "stretch", 0.05]
    options = create_tfrecords.parse([*base, "--format=folder"])
    assert of("records", "csv", "image_dir", "encoding") == ["images", None, None, "jpeg"]


def test_folds_and_splits_are_per_page(tmp_path):
    make_kaggle(tmp_path / "kaggle", books=("a", "b", "c"), pages=4, characters=2)
    pack("--data_dir", tmp_path / "kaggle", "--out_dir", tmp_path / "store", *PAGES, "--n_folds=3")
    manifest = open_store(tmp_path / "store").manifest
    assert np.bincount(manifest.fold.astype(int)).tolist() == [4, 4, 4]
    pack("--data_dir", tmp_path / "kaggle", "--out_dir", tmp_path / "grouped", *PAGES,
         "--n_folds=3", "--folds_by_group=on")
    assert (open_store(tmp_path / "grouped").manifest.groupby("group").fold.nunique() == 1).all()
    with pytest.raises(SystemExit, match="from 2 to the number of records .12."):
        pack("--data_dir", tmp_path / "kaggle", "--out_dir", tmp_path / "x", *PAGES, "--n_folds=13")


BOX_FAULTS = ("box outside", "negative", "zero size")


@pytest.mark.parametrize("which", [*BOX_FAULTS, "odd fields", "bad label", "unknown file",
                                   "double id", "undecodable", "truncated"])
def test_bad_rows_stop_the_packing_or_are_left_out(kaggle, tmp_path, capsys, which):
    folder, _ = kaggle
    says = bad_row(folder, which)
    arguments = ["--data_dir", folder, "--out_dir", tmp_path / "store", *PAGES]
    with pytest.raises(SystemExit) as stop:
        pack(*arguments)
    for text in [*says, "1 bad row:", "--skip_bad"]:
        assert text in str(stop.value)
    assert not (tmp_path / "store").exists()
    pack(*arguments, "--skip_bad")
    store = open_store(tmp_path / "store")
    assert len(store.info["skipped"]) == 1 and "left out 1 bad row" in capsys.readouterr().out
    whole_page = which not in BOX_FAULTS  # otherwise the page stays, without the box
    assert (store.info["n_records"], len(store.boxes())) == ((3, 18) if whole_page else (4, 24))
    assert set(store.boxes().image_id) == set(store.manifest.image_id)
    with pytest.raises(SystemExit, match="packed without 1 bad rows"):
        pack(*arguments)


def test_a_strip_is_no_page(kaggle, tmp_path):
    add_page(kaggle[0], "a_strip", height=8, width=900)
    with pytest.raises(SystemExit, match="row 6: a_strip: 900 x 8 px is no page"):
        pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *PAGES)


def test_pages_of_any_image_format(kaggle, tmp_path):
    folder, _ = kaggle
    add_page(folder, "c 1 (é)", suffix=".png")
    add_page(folder, "c_2", suffix=".TIF")
    pack("--data_dir", folder, "--out_dir", tmp_path / "store", *PAGES)
    assert {"c 1 (é)", "c_2"} <= set(open_store(tmp_path / "store").manifest.id)
    with open(folder / "train.csv", "a") as file:
        file.write(f"{'x' * 300},\n.hidden,\na/b,\n")
    with pytest.raises(SystemExit, match="(?s)3 bad rows.*row 8: no image.*row 9.*row 10.*plain"):
        pack("--data_dir", folder, "--out_dir", tmp_path / "other", *PAGES)


def no_labels_in(folder):
    return all(b"U+30" not in path.read_bytes() for path in folder.iterdir())


def test_test_pages_take_neither_labels_nor_boxes_along(kaggle, tmp_path):
    folder, truth = kaggle
    pack("--data_dir", folder, "--out_dir", tmp_path / "store", *PAGES, "--source=test",
         "--csv", folder / "train.csv", "--image_dir", folder / "train_images")
    store = open_store(tmp_path / "store")
    assert store.class_names == [] and len(store.boxes()) == 0 == store.info["n_boxes"]
    assert (tmp_path / "store" / "boxes.csv").read_text() == "image_id,label,label_id,x,y,w,h\n"
    assert store.images().image_id.tolist() == list(truth) and no_labels_in(tmp_path / "store")
    assert store.boxes().label_id.dtype == "int64"


@pytest.mark.parametrize("csv", [None, ["image_id"], ["image_id", "labels"]])
@pytest.mark.parametrize("subfolder", [True, False])
def test_test_pages_from_a_folder_a_list_or_a_sample_submission(tmp_path, csv, subfolder):
    data = tmp_path / "museum"
    folder = data / "test_images" if subfolder else data
    folder.mkdir(parents=True)
    random, names = np.random.default_rng(0), ["scan 1.png", "scan 2.jpg", "u_3.tif", ".4.png"]
    for name in names:
        cv2.imwrite(str(folder / name), random_page(random, 64, 48))
    (folder / "notes.txt").write_text("x")
    (folder / "deeper").mkdir()
    cv2.imwrite(str(folder / "deeper" / "5.png"), random_page(random, 64, 48))
    if csv:
        write_csv(data / "test.csv", csv, [["scan 2", "U+003F 1 1 U+FF2F 2 2"][:len(csv)],
                                           ["u_3", "U+003F 1 1"][:len(csv)]])
    pack("--data_dir", data, "--out_dir", tmp_path / "store", *PAGES, "--source=test")
    store = open_store(tmp_path / "store")
    assert store.images().image_id.tolist() == (["scan 2", "u_3"] if csv
                                                else ["scan 1", "scan 2", "u_3"])
    assert len(store.boxes()) == 0


def test_odd_folders_of_test_pages(tmp_path):
    arguments = ["--out_dir", tmp_path / "store", *PAGES, "--source=test", "--data_dir"]
    with pytest.raises(SystemExit, match="cannot be listed .No such"):
        pack(*arguments, tmp_path / "none")
    with pytest.raises(SystemExit, match="holds no image"):
        pack(*arguments, tmp_path)
    for suffix in (".jpg", ".png"):
        cv2.imwrite(str(tmp_path / f"p{suffix}"), random_page(np.random.default_rng(0), 64, 48))
    with pytest.raises(SystemExit, match="p.png: page 'p' is there already, as .*p.jpg"):
        pack(*arguments, tmp_path)
    with pytest.raises(SystemExit, match="test.csv cannot be read"):  # a classifier needs boxes
        pack("--data_dir", tmp_path, "--out_dir", tmp_path / "store", "--source=test")


DETECTIONS = [
    ("b_1", 10.4, 20.5, 30.2, 15.1, 0.9, "U+3042", 0.8), ("a_0", -3.2, 5, 10, 8.6, 0.8, "", ""),
    ("b_1", 135.2, 170.9, 30, 30, 0.7, "U+3043", 1e-7), ("b_1", 60.2, 60.2, 0.1, 0, 0.6, "", ""),
    ("b_1", 140, 180, 0, 0, 0.5, "", 0.1)]


def detections(path, rows=DETECTIONS, more=()):
    columns = ["image_id", "x", "y", "w", "h", "score", "label", "label_score"]
    write_csv(path, [*columns, *more], [[*row, *more] for row in rows])
    return path


def test_detections_become_records_of_whole_pixels_on_the_page(kaggle, tmp_path):
    folder, _ = kaggle
    path = detections(tmp_path / "d.csv", more=["p_false"])
    pack("--source=test", "--data_dir", folder, "--csv", folder / "train.csv", "--image_dir",
         folder / "train_images", "--detections", path, "--out_dir", tmp_path / "store",
         "--size=16", "--workers=1", "--denoise=off")
    store = open_store(tmp_path / "store")
    manifest = store.manifest.set_index("id")
    assert {i: tuple(manifest.loc[i, list("xywh")]) for i in manifest.index} == {
        "a_0:0": (0, 5, 7, 9), "b_1:0": (10, 21, 31, 15), "b_1:1": (135, 171, 5, 9),
        "b_1:2": (60, 60, 1, 1), "b_1:3": (139, 179, 1, 1)}
    assert store.info["records"] == "boxes" and store.class_names == []
    assert store.images().records.tolist() == [1, 0, 0, 4] and no_labels_in(tmp_path / "store")
    page = decode_image((folder / "train_images" / "b_1.jpg").read_bytes())
    from records.chunks import CropOptions, cut_records
    crop, = cut_records(page, np.array([[10, 21, 31, 15]]),
                        CropOptions(16, 3, "stretch", 0.05, True, False, "png", 95, 200))
    assert (decoded(read_all(store)["b_1:0"][0]) == crop).all()


FAULTS = [(("c_9", 1, 2, 3, 4, 1, "", ""), "image_id 'c_9' is none of the 4 pages"),
          (("a_0", "x", 2, 3, 4, 1, "", ""), "x 'x' is not a number"),
          (("a_0", 1, "nan", 3, 4, 1, "", ""), "y 'nan' must be a finite number"),
          (("a_0", 1, 2, "inf", 4, 1, "", ""), "w 'inf' must be a finite number"),
          (("a_0", 1, 2, 3, "", 1, "", ""), "h '' must be a finite number"),
          (("a_0", 1, 2, 3, -4, 1, "", ""), "h '-4' must not be negative"),
          (("a_0", 1, 2, 3, 4, "", "", ""), "score '' must be a finite number"),
          (("a_0", 1, 2, 3, 4, 1.5, "", ""), "score '1.5' must be from 0 to 1"),
          (("a_0", 1, 2, 3, 4, -0.1, "", ""), "score '-0.1' must be from 0 to 1"),
          (("a_0", 1, 2, 3, 4, 1, "U+3042", 2), "label_score '2' must be from 0 to 1"),
          (("a_0", 1, 2, 3, 4, 1, "", -1), "label_score '-1' must be from 0 to 1"),
          (("a_0", 1, 2, 3, 4, 1, "U+3042", ""), "label_score '' must be a finite number"),
          (("a_0", 1, 2), "x None is not a number|w None is not a number|label None is not text")]


@pytest.mark.parametrize("row, says", FAULTS)
def test_bad_detections_are_named(kaggle, tmp_path, row, says):
    folder, _ = kaggle
    path = detections(tmp_path / "d.csv", [DETECTIONS[1], row, ("a_0", 1, 2, 3, 4, 1, "", "")])
    arguments = packing_of_detections(folder, path, tmp_path / "store")
    with pytest.raises(SystemExit, match=f"(?s)1 bad row:.*d.csv, row 3: ({says})"):
        pack(*arguments)
    pack(*arguments, "--skip_bad")
    ids = sorted(open_store(tmp_path / "store").manifest.id)
    assert ids == (["a_0:0", "a_0:1"] if row[0] == "c_9" else ["a_0:0", "a_0:2"])
    if row[0] != "c_9":  # which pages there are, the file does not know
        with pytest.raises(AnnotationError, match=f"d.csv, row 3: ({says})"):
            read_detections(path)


def packing_of_detections(folder, path, out_dir):
    return ["--source=test", "--data_dir", folder, "--csv", folder / "train.csv", "--image_dir",
            folder / "train_images", "--detections", path, "--out_dir", out_dir, "--size=16",
            "--workers=1", "--denoise=off"]


@pytest.mark.parametrize("box, denoise", [
    ((5000, 5000, 20, 20), "off"), ((-30, 5, 30, 9), "off"), ((5, 180, 9, 9), "off"),
    ((140, 5, 9, 0), "off"), ((5000, 5000, 20, 20), "on")])  # on: looked at twice
def test_a_detection_off_its_page_is_named(kaggle, tmp_path, box, denoise):
    path = detections(tmp_path / "d.csv", [
        DETECTIONS[1], *(("b_1", *b, 1, "", "") for b in ((1, 2, 3, 4), box, (5, 6, 7, 8)))])
    arguments = packing_of_detections(kaggle[0], path, tmp_path / "store")[:-1]
    arguments.append(f"--denoise={denoise}")
    with pytest.raises(SystemExit, match="(?s)1 bad row:.*d.csv, row 4: page b_1: box 1 .* has no "
                                         "part on the page of 140 x 180 px"):
        pack(*arguments)
    pack(*arguments, "--skip_bad")
    manifest = open_store(tmp_path / "store").manifest.set_index("id")
    assert sorted(manifest.index) == ["a_0:0", "b_1:0", "b_1:2"]
    assert tuple(manifest.loc["b_1:2", list("xywh")]) == (5, 6, 7, 8)


def test_pages_on_which_nothing_was_found_make_an_empty_store(kaggle, tmp_path, capsys):
    folder, truth = kaggle
    nothing = detections(tmp_path / "d.csv", [])
    arguments = packing_of_detections(folder, nothing, tmp_path / "store")
    pack(*arguments)
    assert "no boxes on any of 4 pages" in (said := capsys.readouterr().out)
    assert "packed: 0 records without labels" in said
    store = open_store(tmp_path / "store")
    images = store.images()
    assert images.image_id.tolist() == list(truth) and images.records.tolist() == [0] * 4
    assert (images.width == 140).all() and (images.height == 180).all()
    pack(*packing_of_detections(folder, detections(tmp_path / "d1.csv", DETECTIONS),
                                tmp_path / "full"))
    full = open_store(tmp_path / "full")
    assert len(store.manifest) == 0 and store.info["n_records"] == 0
    assert store.manifest.dtypes.to_dict() == full.manifest.dtypes.to_dict()
    assert set(store.info) == set(full.info)
    assert store.info["mean"] == store.info["std"] == [0, 0, 0]
    assert "NaN" not in (tmp_path / "store" / "dataset.json").read_text()
    assert read_all(store) == {} and [s["records"] for s in store.info["shards"]] == [0]
    pack(*arguments)  # it is finished, though empty
    assert "packed already: 0 records" in capsys.readouterr().out


def test_nothing_to_train_on_is_an_error_still(kaggle, tmp_path):
    write_csv(kaggle[0] / "train.csv", ["image_id", "labels"], [["a_0", ""]])
    with pytest.raises(SystemExit, match="nothing to pack: no sound record"):
        pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "store", "--workers=1")
    for page in (kaggle[0] / "train_images").iterdir():
        page.write_bytes(b"no image")
    with pytest.raises(SystemExit, match="nothing to pack: no sound record"):  # nor even a page
        pack(*packing_of_detections(kaggle[0], detections(tmp_path / "d.csv", []),
                                    tmp_path / "store"), "--skip_bad")


def test_an_image_is_found_by_name_with_and_without_suffix(tmp_path):
    folder = tmp_path / "images"
    (folder / "a").mkdir(parents=True)
    for name in ("a/1.png", "2.PNG", "2.jpg", "3.jpg.png", "3.jpg", "../outside.png"):
        (folder / name).touch()
    outside = str(tmp_path / "outside")
    for image_id, name in (("a/1.png", "a/1.png"), ("a/1", "a/1.png"), ("2", "2.jpg"),
                           ("2.PNG", "2.PNG"), ("3.jpg", "3.jpg.png"), ("a/../2", None),
                           ("a/../2.PNG", "2.PNG"), ("a", None), ("x", None), ("", None),
                           ("../outside", None), ("../outside.png", None), ("x" * 300, None),
                           (outside, None), (f"{outside}.png", None)):
        assert find_image(folder, image_id) == (name and folder.resolve() / name), image_id


def test_detections_written_are_read_back(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"image_id": ["page, 1", "é"] * 20, "label": ["NA", ""] * 20,
                          **{name: random.normal(300, 90, 40) for name in "xywhs"}})
    frame = frame.rename(columns={"s": "score"}).assign(label_score=[0.5, np.nan] * 20, more=1)
    frame["score"] = random.random(40, np.float32)
    write_detections(tmp_path / "d.csv", frame)
    read = read_detections(tmp_path / "d.csv")
    assert list(read) == ["image_id", "x", "y", "w", "h", "score", "label", "label_score"]
    for name in read:
        if name == "score":
            assert (read[name].astype(np.float32).to_numpy() == frame[name].to_numpy()).all()
        else:
            assert read[name].tolist()[:1] == frame[name].tolist()[:1] and np.array_equal(
                read[name].dropna(), frame[name].dropna())
    write_detections(tmp_path / "empty.csv", frame.iloc[:0])
    empty = read_detections(tmp_path / "empty.csv")
    assert len(empty) == 0 and empty["x"].dtype == np.float64
    for bad, says in ((frame.drop(columns="w"), "w missing"),
                      (frame.assign(x=np.inf), "detection 0 .*x inf must be a finite"),
                      (frame.assign(score=1.01), "detection 0 .*score 1.01 must be from 0 to 1"),
                      (frame.assign(label=3), "label 3 is not text")):
        with pytest.raises(ValueError, match=says):
            write_detections(tmp_path / "d.csv", bad)
    assert len(read_detections(tmp_path / "d.csv")) == 40  # the old file is whole still
    with pytest.raises(AnnotationError, match="d2.csv has the columns image_id; it must have"):
        (tmp_path / "d2.csv").write_text("image_id\nx\n")
        read_detections(tmp_path / "d2.csv")


@pytest.mark.parametrize("arguments, says", [
    (["--records=pages", "--fit=pad"], "--fit does not go with pages"),
    (["--records=pages", "--margin=0"], "--margin does not go with pages"),
    (["--records=pages", "--share_rare=on"], "--share_rare does not go with pages"),
    (["--records=pages", "--source=test", "--detections=d"], "give --records=boxes"),
    (["--detections=d"], "--detections goes with --source=test"), (["--aspect=1"], "--aspect goes"),
    (["--format=folder", "--records=pages"], "--records goes with --format=kuzushiji or coco, not"),
    (["--format=folder", "--csv=x"], "--csv goes with --format=kuzushiji or csv"),
    (["--json=x"], "--json goes with --format=coco"), (["--format=coco"], "--json is needed"),
    (["--group_regex=x"], "--group_regex goes with --format=folder or coco"),
    (["--records=page"], "did you mean pages?")])
def test_impossible_combinations_are_refused(capsys, arguments, says):
    with pytest.raises(SystemExit) as stop:
        create_tfrecords.parse(["--data_dir=x", "--out_dir=y", *arguments])
    assert stop.value.code == 2 and says in capsys.readouterr().err


def test_finished_store_is_kept_and_another_refused(kaggle, tmp_path, capsys):
    arguments = ["--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *PAGES]
    pack(*arguments)
    assert "packed: 4 pages with 24 boxes of 3 classes, 48 px jpeg" in capsys.readouterr().out
    pack(*arguments)
    assert "packed already: 4 pages" in capsys.readouterr().out
    for other in (["--aspect=1.4"], ["--source=test", "--csv", kaggle[0] / "train.csv"]):
        with pytest.raises(SystemExit, match="--overwrite"):
            pack(*arguments, "--image_dir", kaggle[0] / "train_images", *other)
    (tmp_path / "store" / "boxes.csv").unlink()
    pack(*arguments)
    assert "packing again" in capsys.readouterr().out
    assert len(open_store(tmp_path / "store").boxes()) == 24


def test_changed_boxes_alone_are_other_data(kaggle, tmp_path):
    arguments = ["--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *PAGES]
    pack(*arguments)
    text = (kaggle[0] / "train.csv").read_text()
    (kaggle[0] / "train.csv").write_text(text.replace("U+3042", "U+3050", 1))
    with pytest.raises(SystemExit, match="other data"):
        pack(*arguments)


def test_killed_packing_of_pages_continues(tmp_path, capsys):
    make_kaggle(tmp_path / "kaggle", books=("a", "b", "c"), pages=8, characters=3)
    arguments = ["--data_dir", tmp_path / "kaggle", "--out_dir", tmp_path / "store",
                 "--records=pages", "--size=1024", "--workers=1"]
    process = subprocess.Popen([sys.executable, "create_tfrecords.py", *map(str, arguments)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)
    chunks = tmp_path / "store.partial" / "chunks"
    deadline = time.monotonic() + 60
    while len(list(chunks.glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = len(list(chunks.glob("*.json")))
    assert 2 <= done < 6 and not (tmp_path / "store").exists()
    pack(*arguments)
    assert f"that was interrupted: {done} chunks are done" in capsys.readouterr().out
    pack(*arguments[:3], tmp_path / "fresh", *arguments[4:])
    continued, fresh = open_store(tmp_path / "store"), open_store(tmp_path / "fresh")
    for key in ("shards", "boxes_sha256", "manifest_sha256", "fingerprint"):
        assert continued.info[key] == fresh.info[key]
    assert sorted(os.listdir(continued.folder)) == sorted(os.listdir(fresh.folder))


def test_damaged_boxes_are_refused(kaggle, tmp_path):
    pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *PAGES)
    store, path = open_store(tmp_path / "store"), tmp_path / "store" / "boxes.csv"
    text = path.read_text()
    path.write_text(text.replace("U+3042", "U+3043", 1))
    with pytest.raises(StoreError, match="boxes.csv is not the one that was packed.*--overwrite"):
        store.boxes()
    path.unlink()
    with pytest.raises(StoreError, match="boxes.csv is missing"):
        store.boxes()
    with pytest.raises(StoreError, match="boxes.csv is missing"):
        open_store(tmp_path / "store")
    path.write_text(text)
    info = json.loads((tmp_path / "store" / "dataset.json").read_text())
    for key, value, says in (("format_version", 1, "is of format 1, this program reads 2: repack"),
                             ("boxes_sha256", None, "is damaged"), ("records", None, "is damaged")):
        spoilt = info | {key: value}
        if value is None:
            del spoilt[key]
        (tmp_path / "store" / "dataset.json").write_text(json.dumps(spoilt))
        with pytest.raises(StoreError, match=says):
            open_store(tmp_path / "store")


def test_a_store_of_boxes_has_no_boxes_beside(kaggle, tmp_path):
    pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "store", "--denoise=off", "--workers=1",
         "--size=16")
    store = open_store(tmp_path / "store")
    assert store.info["records"] == "boxes" and not (tmp_path / "store" / "boxes.csv").exists()
    with pytest.raises(StoreError, match="holds boxes and so no boxes.csv"):
        store.boxes()


def test_chunks_are_never_too_many_to_be_open_at_once():
    assert [chunk_length(n, kind) for n, kind in (
        (1, "pages"), (2000, "boxes"), (1000, "images"))] == [4, 4, 256]
    for n in (118_287, 12_000_000):
        assert n / chunk_length(n, "images") <= MOST_CHUNKS >= n / chunk_length(n, "pages")
