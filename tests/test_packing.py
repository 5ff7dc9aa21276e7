"""create_tfrecords.py, run in this process, on small data in the real formats."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import cv2
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import create_tfrecords
from records.chunks import CropOptions, cut_records
from records.schema import FEATURES
from records.store import StoreError, open_store
from tests.helpers import make_classes, make_kaggle, random_page, write_csv

FAST = ["--denoise=off", "--workers=1", "--size=16"]


def pack(*arguments):
    create_tfrecords.main([str(a) for a in arguments])


def read_all(store):
    """{id: (image bytes, label_id, label)} straight from the shards."""
    records = {}
    for raw in tf.data.TFRecordDataset(store.shard_paths()):
        example = tf.io.parse_single_example(raw, FEATURES)
        records[example["image_id"].numpy().decode()] = (
            example["image"].numpy(), int(example["label_id"]), example["label"].numpy().decode())
    return records


@pytest.fixture
def kaggle(tmp_path):
    return tmp_path / "kaggle", make_kaggle(tmp_path / "kaggle")


def test_kuzushiji_store_holds_every_box_with_its_crop(kaggle, tmp_path):
    folder, truth = kaggle
    pack("--data_dir", folder, "--out_dir", tmp_path / "store", "--size=16", "--workers=2",
         "--val_split=b=b")
    store = open_store(tmp_path / "store")
    records = read_all(store)
    assert store.class_names == ["U+3042", "U+3043", "U+3044"]
    assert store.info["class_counts"] == [8, 8, 8] and store.info["n_records"] == 24
    manifest = store.manifest.set_index("id")
    options = CropOptions(16, 3, "stretch", 0.05, True, True, "png", 95, 200)
    for page, boxes in truth.items():
        image = cv2.imread(str(folder / "train_images" / f"{page}.jpg"))
        crops = cut_records(image, np.array([b[1:] for b in boxes]), options)
        for number, (box, crop) in enumerate(zip(boxes, crops, strict=True)):
            row = manifest.loc[f"{page}:{number}"]
            data, label_id, label = records[f"{page}:{number}"]
            assert label == row.label == box[0] and store.class_names[label_id] == label
            assert tuple(row[["x", "y", "w", "h"]]) == box[1:]
            assert row.group == page[0] and row.split_b == ("val" if page[0] == "b" else "train")
            assert (cv2.imdecode(np.frombuffer(data, np.uint8), 1) == crop).all()
    assert store.images().image_id.tolist() == list(truth)


def test_channel_statistics_and_offsets(kaggle, tmp_path):
    pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *FAST)
    store = open_store(tmp_path / "store")
    images = np.stack([cv2.imdecode(np.frombuffer(data, np.uint8), 1)[:, :, ::-1] / 255
                       for data, _, _ in read_all(store).values()])
    np.testing.assert_allclose(store.info["mean"], images.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(store.info["std"], images.std((0, 1, 2)), atol=1e-6)
    for row in store.manifest.itertuples():
        with open(f"{store.folder}/{row.shard}", "rb") as file:
            file.seek(row.offset)
            example = tf.train.Example.FromString(file.read(row.length))
        assert example.features.feature["image_id"].bytes_list.value[0].decode() == row.id


def test_same_bytes_for_any_number_of_workers_and_shuffled(kaggle, tmp_path, monkeypatch):
    monkeypatch.setattr("records.places.PAGES_PER_CHUNK", 1)  # else one chunk, of one process
    for workers in (1, 3):
        pack("--data_dir", kaggle[0], "--out_dir", tmp_path / f"s{workers}", *FAST[::2],
             "--shard_mb=0.003", f"--workers={workers}")
    one, three = (open_store(tmp_path / f"s{w}") for w in (1, 3))
    assert len(one.info["shards"]) > 1
    assert [s["sha256"] for s in one.info["shards"]] == [s["sha256"] for s in three.info["shards"]]
    assert one.info["shards"][0]["file"] == f"train-00000-of-{len(one.info['shards']):05d}.tfrecord"
    assert one.manifest.id.tolist() != sorted(one.manifest.id)
    pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "other", *FAST, "--seed=2")
    assert open_store(tmp_path / "other").manifest.id.tolist() != one.manifest.id.tolist()


def test_test_store_has_no_labels(kaggle, tmp_path):
    folder, _ = kaggle
    pack("--data_dir", folder, "--out_dir", tmp_path / "store", *FAST, "--source=test",
         "--csv", folder / "train.csv", "--image_dir", folder / "train_images", "--val_split=b=b")
    store = open_store(tmp_path / "store")
    assert store.class_names == [] and set(store.manifest.label) == {""}
    assert {(i, l) for _, i, l in read_all(store).values()} == {(-1, "")}
    assert b"U+3042" not in b"".join(open(p, "rb").read() for p in store.shard_paths())


@pytest.mark.parametrize("zipped", [False, True])
def test_nested_folders_and_zip(tmp_path, zipped):
    make_classes(tmp_path / "set" / "alphabet")
    make_classes(tmp_path / "set" / "other", classes=1)
    source = tmp_path / "set"
    if zipped:
        source = tmp_path / "set.zip"
        shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path, "set")
    pack("--format=folder", "--data_dir", source, "--out_dir", tmp_path / "store", *FAST,
         "--group_regex", r"_(\d+)\.png$", "--val_split=g=3", "--n_folds=4")
    store = open_store(tmp_path / "store")
    assert store.class_names == ["alphabet/class0", "alphabet/class1", "alphabet/class2",
                                 "other/class0"]
    assert "alphabet/class0/000_0.png" in set(store.manifest.id)
    assert (store.manifest.split_g[store.manifest.group == "3"] == "val").all()
    assert np.bincount(store.manifest.fold.astype(int)).tolist() == [8] * 4


def test_csv_format(tmp_path):
    make_classes(tmp_path / "set", classes=2)
    paths = sorted(p.relative_to(tmp_path / "set").as_posix()
                   for p in (tmp_path / "set").rglob("*.png"))
    write_csv(tmp_path / "labels.csv", ["path", "label", "group", "fold"],
              [(p, "NA" if "class0" in p else "null", "g", i % 2) for i, p in enumerate(paths)])
    pack("--format=csv", "--data_dir", tmp_path / "set", "--csv", tmp_path / "labels.csv",
         "--out_dir", tmp_path / "store", *FAST, "--channels=1", "--encoding=png")
    store = open_store(tmp_path / "store")
    assert store.class_names == ["NA", "null"]  # not taken for missing values
    table = store.manifest.set_index("id")
    assert [table.fold[p] for p in paths] == [i % 2 for i in range(len(paths))]
    assert len(store.info["mean"]) == 1


def bad_row(folder, which):
    """Spoils the data; returns what the report must say."""
    rows = pd.read_csv(folder / "train.csv", keep_default_na=False)
    first = rows.labels[0]
    if which == "box outside":
        rows.loc[0, "labels"] = first + " U+3042 130 5 20 20"
        says = ["train.csv, row 2", "a_0", "not inside the page of 140 x 180 px"]
    elif which == "negative":
        rows.loc[0, "labels"] = first + " U+3042 -1 5 20 20"
        says = ["row 2", "not inside the page"]
    elif which == "zero size":
        rows.loc[1, "labels"] = first + " U+3042 5 5 0 20"
        says = ["row 3", "a_1", "box 6 (U+3042 5 5 0 20) has no size"]
    elif which == "odd fields":
        rows.loc[1, "labels"] = first + " U+3042 5 5"
        says = ["row 3", "33 fields, not a multiple of 5"]
    elif which == "not a number":
        rows.loc[1, "labels"] = first + " U+3042 5 5 1.5 20"
        says = ["row 3", "'1.5' is not a whole number"]
    elif which == "bad label":
        rows.loc[1, "labels"] = first + " xyz 5 5 20 20"
        says = ["row 3", "'xyz' is not of the form U+XXXX"]
    elif which == "unknown file":
        rows.loc[2, "image_id"] = "b_9"
        says = ["row 4", "no image", "b_9.jpg"]
    elif which == "path in id":
        rows.loc[2, "image_id"] = "../train_images/b_0"
        says = ["row 4", "not a plain file name"]
    elif which == "double id":
        rows.loc[3, "image_id"] = "a_0"
        says = ["row 5", "'a_0' stands in row 2 already"]
    elif which == "undecodable":
        (folder / "train_images" / "b_1.jpg").write_bytes(b"no image at all")
        says = ["row 5", "b_1: not a readable image"]
    elif which == "truncated":
        path = folder / "train_images" / "b_1.jpg"
        path.write_bytes(path.read_bytes()[:-400])
        says = ["row 5", "b_1: the image cannot be decoded"]
    rows.to_csv(folder / "train.csv", index=False)
    return says


KINDS = ["box outside", "negative", "zero size", "odd fields", "not a number", "bad label",
         "unknown file", "path in id", "double id", "undecodable", "truncated"]


@pytest.mark.parametrize("which", KINDS)
def test_bad_rows_stop_the_packing_and_are_named(kaggle, tmp_path, which):
    says = bad_row(kaggle[0], which)
    with pytest.raises(SystemExit) as stop:
        pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *FAST)
    for text in [*says, "1 bad row:", "--skip_bad"]:
        assert text in str(stop.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("which", KINDS)
def test_skip_bad_leaves_only_them_out(kaggle, tmp_path, capsys, which):
    bad_row(kaggle[0], which)
    pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *FAST, "--skip_bad")
    store = open_store(tmp_path / "store")
    whole_page = which not in ("box outside", "negative", "zero size")
    assert store.info["n_records"] == (18 if whole_page else 24)
    assert len(store.info["skipped"]) == 1 and "left out 1 bad row" in capsys.readouterr().out


def test_all_bad_rows_are_in_one_report(kaggle, tmp_path):
    for which in ("box outside", "zero size", "unknown file", "undecodable"):
        bad_row(kaggle[0], which)
    with pytest.raises(SystemExit, match="5 bad rows"):
        pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *FAST)


@pytest.mark.parametrize("row, says", [
    (["../outside.png", "x"], "lies outside"), (["gone.png", "x"], "no image"),
    (["class0/000_0.png", ""], "no label"), (["class0/000_0.png", "x"], "already")])
def test_bad_csv_rows(tmp_path, row, says):
    make_classes(tmp_path / "set", classes=1)
    cv2.imwrite(str(tmp_path / "outside.png"), np.zeros((9, 9), np.uint8))
    write_csv(tmp_path / "t.csv", ["path", "label"], [["class0/000_0.png", "a"], row])
    with pytest.raises(SystemExit, match=f"row 3.*{says}"):
        pack("--format=csv", "--data_dir", tmp_path / "set", "--csv", tmp_path / "t.csv",
             "--out_dir", tmp_path / "store", *FAST)


def test_impossible_wishes_end_at_once(kaggle, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="cannot be written.*another --out_dir"):
        pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "file" / "store", *FAST)
    with pytest.raises(SystemExit):
        pack("--format=folder", "--data_dir", kaggle[0], "--out_dir", tmp_path, "--group_regex=(")
    assert "'(' is no regular expression" in capsys.readouterr().err


def test_images_too_large_are_refused_before_decoding(kaggle, tmp_path):
    with pytest.raises(SystemExit, match="more than the 0.02 megapixels"):
        pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *FAST,
             "--max_megapixels=0.02")


def test_zip_members_never_become_paths(tmp_path):
    ok, data = cv2.imencode(".png", random_page(np.random.default_rng(0), 32, 32))
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for name in ("../up/a/1.png", "/abs/b/2.png", "set/c/3.png", "set/d/4.png"):
            archive.writestr(name, data.tobytes())
    arguments = ["--format=folder", "--data_dir", tmp_path / "evil.zip", "--out_dir",
                 tmp_path / "store", *FAST]
    with pytest.raises(SystemExit, match="(?s)2 bad rows.*leads out of the zip"):
        pack(*arguments)
    before = {p for p in tmp_path.parent.rglob("*")}
    pack(*arguments, "--skip_bad")
    new = {p for p in tmp_path.parent.rglob("*")} - before
    assert all(p.is_relative_to(tmp_path / "store") for p in new)
    assert sorted(open_store(tmp_path / "store").manifest.id) == ["c/3.png", "d/4.png"]


def test_finished_store_is_kept_and_another_refused(kaggle, tmp_path, capsys):
    arguments = ["--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *FAST]
    pack(*arguments)
    capsys.readouterr()
    pack(*arguments)
    assert "packed already" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="--overwrite"):
        pack(*arguments, "--size=20")
    capsys.readouterr()
    pack(*arguments, "--size=20", "--overwrite")
    assert open_store(tmp_path / "store").info["image"]["size"] == 20
    pack(*arguments, "--size=20", "--overwrite")  # what is the same is kept even so
    assert "packed already" in capsys.readouterr().out
    capsys.readouterr()
    os.unlink(open_store(tmp_path / "store").shard_paths()[0])  # the remedy that errors name
    pack(*arguments, "--size=20", "--overwrite")
    assert "packing again" in capsys.readouterr().out
    assert len(read_all(open_store(tmp_path / "store"))) == 24
    assert {p.name for p in tmp_path.iterdir()} <= {"kaggle", "store", ".store.lock"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "mine" / "dataset.json").write_text('{"labels": []}')
    with pytest.raises(SystemExit, match="no packed store"):
        pack(*arguments[:3], tmp_path / "mine", *FAST, "--overwrite")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_rows_gone_bad_are_not_hidden_by_a_finished_store(kaggle, tmp_path):
    arguments = ["--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *FAST]
    pack(*arguments)
    bad_row(kaggle[0], "unknown file")
    with pytest.raises(SystemExit, match="--overwrite"):
        pack(*arguments)
    with pytest.raises(SystemExit, match="1 bad row"):
        pack(*arguments, "--overwrite")
    pack(*arguments, "--overwrite", "--skip_bad")
    with pytest.raises(SystemExit, match="packed without 1 bad rows"):
        pack(*arguments)


def test_nothing_sound_is_an_error(tmp_path):
    make_classes(tmp_path / "set", classes=1, per_class=3)
    for path in (tmp_path / "set").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(SystemExit, match="nothing to pack"):
        pack("--format=folder", "--data_dir", tmp_path / "set", "--out_dir", tmp_path / "store",
             *FAST, "--skip_bad")


def test_unlabelled_images_for_a_test_store(tmp_path):
    make_classes(tmp_path / "set", classes=2, per_class=3)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (tmp_path / "set").rglob("*.png"):
        shutil.copy(path, flat)
    (flat / ".hidden.png").write_bytes(b"junk")
    pack("--format=folder", "--source=test", "--data_dir", flat, "--out_dir", tmp_path / "f", *FAST)
    write_csv(tmp_path / "t.csv", ["path"], [[p.name] for p in flat.glob("[0-9]*.png")])
    pack("--format=csv", "--source=test", "--csv", tmp_path / "t.csv", "--data_dir", flat,
         "--out_dir", tmp_path / "c", *FAST)
    for name in "fc":
        store = open_store(tmp_path / name)
        assert len(store.manifest) == 6 and store.class_names == []


def test_images_of_odd_modes(tmp_path):
    from PIL import Image
    from records.images import BadImage, decode_image
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)

    def decoded(image, kind="png"):
        image.save(tmp_path / f"x.{kind}")
        return decode_image((tmp_path / f"x.{kind}").read_bytes())
    gray = np.repeat(ramp[:, :, None], 3, 2)
    assert (decoded(Image.fromarray(ramp)) == gray).all()
    assert (decoded(Image.fromarray(ramp.astype(np.uint16) * 257)) == gray).all()
    glyph = np.zeros((16, 16, 4), np.uint8)
    glyph[4:8, 4:8, 3] = 255  # black on nothing
    assert decoded(Image.fromarray(glyph)).reshape(16, 16, 3)[[0, 5], [0, 5]].tolist() == \
        [[255] * 3, [0] * 3]
    for odd in (ramp.astype(np.int32), ramp.astype(np.float32) / 255):
        with pytest.raises(BadImage, match="32 bits"):
            decoded(Image.fromarray(odd), "tif")
    turned = Image.fromarray(np.repeat(ramp[:4, :, None], 3, 2))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "t.png", exif=exif)
    assert decode_image((tmp_path / "t.png").read_bytes()).shape == (16, 4, 3)


def test_killed_packing_leaves_nothing_finished_and_continues(tmp_path):
    make_kaggle(tmp_path / "kaggle", books=("a", "b", "c"), pages=8, characters=12)
    arguments = ["--data_dir", tmp_path / "kaggle", "--out_dir", tmp_path / "store", "--size=16",
                 "--workers=1"]
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
    with pytest.raises(StoreError, match="no packed store"):
        open_store(tmp_path / "store")
    second = subprocess.run([sys.executable, "create_tfrecords.py", *map(str, arguments)],
                            capture_output=True, text=True)
    assert f"continuing the packing that was interrupted: {done} chunks" in second.stdout
    pack(*arguments[:3], tmp_path / "fresh", *arguments[4:])
    continued, fresh = open_store(tmp_path / "store"), open_store(tmp_path / "fresh")
    assert continued.info["shards"] == fresh.info["shards"]
    assert sorted(os.listdir(continued.folder)) == sorted(os.listdir(fresh.folder))


def test_interrupted_packing_of_other_data_starts_anew(kaggle, tmp_path, capsys):
    arguments = ["--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *FAST]
    (tmp_path / "store.partial" / "chunks").mkdir(parents=True)
    (tmp_path / "store.partial" / "fingerprint").write_text("another")
    (tmp_path / "store.partial" / "chunks" / "000000.json").write_text("{")
    pack(*arguments)
    assert "starting anew" in capsys.readouterr().out
    assert open_store(tmp_path / "store").info["n_records"] == 24


def test_leftovers_of_a_kill_while_a_store_is_replaced(kaggle, tmp_path, capsys):
    arguments = ["--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *FAST]
    pack(*arguments)
    os.rename(tmp_path / "store", tmp_path / "store.partial")  # killed before the last renaming
    (tmp_path / ".store.old").mkdir()
    (tmp_path / ".store.old" / "x").write_text("")
    pack(*arguments)
    pack(*arguments, "--size=20", "--overwrite")
    assert open_store(tmp_path / "store").info["image"]["size"] == 20
    assert {p.name for p in tmp_path.iterdir()} == {"kaggle", "store", ".store.lock"}
    (tmp_path / "other.partial").mkdir()
    (tmp_path / "other.partial" / "mine.txt").write_text("")
    with pytest.raises(SystemExit, match="in the way and not of a packing"):
        pack(*arguments[:3], tmp_path / "other", *FAST)
    assert (tmp_path / "other.partial" / "mine.txt").exists()


@pytest.mark.parametrize("damage, says", [
    ("cut", "was cut or changed"), ("gone", "is missing"), ("manifest", "rows of shard"),
    ("double", "occurs twice"), ("json", "no packed store"), ("half json", "is damaged"), ("edited", "not the one that"),
    ("half manifest", "missing or damaged")])
def test_damaged_stores_are_refused(kaggle, tmp_path, damage, says):
    pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *FAST)
    store = open_store(tmp_path / "store")
    shard = store.shard_paths()[0]
    manifest = tmp_path / "store" / "manifest.csv"
    lines = manifest.read_text().splitlines(keepends=True)
    if damage == "edited":
        manifest.write_text("".join(lines).replace("U+3042", "U+3044"))
    elif damage == "cut":  # at a record boundary, where TensorFlow notices nothing
        last = store.manifest.iloc[-1]
        os.truncate(shard, last.offset - 12)
        assert len(list(tf.data.TFRecordDataset(shard))) == 23
    elif damage == "gone":
        os.unlink(shard)
    elif damage == "manifest":
        manifest.write_text("".join(lines[:-1]))
    elif damage == "double":
        manifest.write_text("".join(lines[:-1] + [lines[1]]))
    elif damage == "half manifest":
        manifest.write_text("".join(lines[:3]) + 'x,"y')
    elif damage == "half json":
        os.truncate(tmp_path / "store" / "dataset.json", 100)
    else:
        (tmp_path / "store" / "dataset.json").unlink()
    with pytest.raises(StoreError, match=says):
        open_store(tmp_path / "store")


def test_dataset_json_tells_how_it_was_packed(kaggle, tmp_path):
    pack("--data_dir", kaggle[0], "--out_dir", tmp_path / "store", *FAST, "--margin=0.1")
    info = json.loads((tmp_path / "store" / "dataset.json").read_text())
    assert info["options"]["margin"] == 0.1 and info["options"]["denoise"] is False
    assert info["options"]["data_dir"] == str(kaggle[0])
