"""create_tfrecords.py --format=turtle, and shards by fold, on small data in the competition's layout."""
import json
import os
import pathlib

import cv2
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import create_tfrecords
from records.shards import plan_shards
from records.store import open_store
from tests.helpers import make_classes, random_page, write_csv

FAST = ["--workers=1", "--size=16"]


def pack(*arguments):
    create_tfrecords.main([str(a) for a in arguments])


def pack_turtles(folder, out, *arguments):
    pack("--format=turtle", "--data_dir", folder, "--out_dir", out, *FAST, *arguments)
    return open_store(out)


@pytest.fixture
def turtles(tmp_path):
    """(folder, {image_id: turtle}): 2 known with 6 and 7 images, some of b in the extra file; c with 6
    and d with 2 in that alone."""
    folder, random = tmp_path / "turtles", np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    train = [(f"ID_a{i}", ["Left", "Right"][i % 2], "t_id_a") for i in range(6)]
    train += [(f"ID_b{i}", "Top", "t_id_b") for i in range(3)]
    extra = [(f"ID_b{i}", "t_id_b") for i in range(3, 7)] + [(f"ID_c{i}", "t_id_c") for i in range(6)]
    extra += [(f"ID_d{i}", "t_id_d") for i in range(2)]
    test = [(f"ID_x{i}", "Left") for i in range(4)]
    for place, (image_id, *_) in enumerate(train + extra + test):
        path = folder / "images" / (image_id + [".JPG", ".jpg", ".png"][place % 3])
        assert cv2.imwrite(str(path), random_page(random, 30, 40))
    write_csv(folder / "train.csv", ["image_id", "image_location", "turtle_id"], train)
    write_csv(folder / "extra_images.csv", ["image_id", "turtle_id"], extra)
    write_csv(folder / "test.csv", ["image_id", "image_location"], test)
    return folder, {row[0]: row[-1] for row in train + extra}


def read_plainly(paths):
    """{id: (label_id, label)}, with nothing but TensorFlow."""
    features = {"image_id": tf.io.FixedLenFeature([], tf.string), "image": tf.io.FixedLenFeature([], tf.string),
                "label_id": tf.io.FixedLenFeature([], tf.int64), "label": tf.io.FixedLenFeature([], tf.string)}
    found = {}
    for raw in tf.data.TFRecordDataset([str(path) for path in paths]):
        one = tf.io.parse_single_example(raw, features)
        assert tf.io.decode_jpeg(one["image"]).shape == (16, 16, 3)
        found[one["image_id"].numpy().decode()] = int(one["label_id"]), one["label"].numpy().decode()
    return found


def test_both_tables_in_five_folds_each_in_its_own_shards(turtles, tmp_path):
    folder, truth = turtles
    store = pack_turtles(folder, tmp_path / "store")
    names = sorted(p.name for p in (tmp_path / "store").iterdir() if "tfrecord" in p.name)
    assert names == [f"fold.{fold}.tfrecord-00000-of-00001" for fold in range(5)]
    table = store.manifest.set_index("id")
    seen = {}
    for fold, name in enumerate(names):
        here = read_plainly([tmp_path / "store" / name])
        assert {table.fold[i] for i in here} == {fold}
        seen |= here
    assert store.class_names == ["t_id_a", "t_id_b", "t_id_c", "t_id_d"]
    assert seen == {i: (store.class_names.index(t), t) for i, t in truth.items()}
    for turtle, least, most in (("a", 1, 2), ("b", 1, 2), ("c", 1, 2), ("d", 0, 1)):  # stratified
        counts = np.bincount(table.fold[table.label == f"t_id_{turtle}"].astype(int), minlength=5)
        assert least <= counts.min() and counts.max() <= most
    assert table.group["ID_a0"] == "Left" and table.group["ID_b1"] == "Top" and table.group["ID_c0"] == ""
    order = tf.data.TFRecordDataset(store.shard_paths()).map(
        lambda raw: tf.io.parse_single_example(raw, {"image_id": tf.io.FixedLenFeature([], tf.string)}))
    assert [x["image_id"].numpy().decode() for x in order] == store.manifest.id.tolist()


def test_known_classes_and_small_ones_are_told(turtles, tmp_path, capsys):
    store = pack_turtles(turtles[0], tmp_path / "store")
    assert store.known_classes == ["t_id_a", "t_id_b"]
    assert "1 of 4 classes have fewer records than the 5 folds" in capsys.readouterr().out
    assert store.info["classes_below_n_folds"] == 1
    store = pack_turtles(turtles[0], tmp_path / "two", "--n_folds=2", "--shard_by=size")
    assert store.info["classes_below_n_folds"] == 0 and sorted(set(store.manifest.fold)) == [0, 1]
    assert store.shard_paths() == [f"{tmp_path / 'two'}/train-00000-of-00001.tfrecord"]


def test_a_test_store(turtles, tmp_path):
    store = pack_turtles(turtles[0], tmp_path / "store", "--source=test")
    paths = store.shard_paths()
    assert [pathlib.Path(p).name for p in paths] == ["test.tfrecord-00000-of-00001"]
    assert read_plainly(paths) == {f"ID_x{i}": (-1, "") for i in range(4)}
    assert store.known_classes is None and store.class_names == [] and set(store.manifest.group) == {"Left"}


def test_without_the_extra_file_that_is_said(turtles, tmp_path, capsys):
    folder, truth = turtles
    (folder / "extra_images.csv").unlink()
    store = pack_turtles(folder, tmp_path / "store", "--n_folds=3")
    assert "extra_images.csv: the photographs of train.csv alone" in capsys.readouterr().out
    assert len(store.manifest) == 9 and store.class_names == store.known_classes == ["t_id_a", "t_id_b"]


BAD = {  # file, line to append, what the report must say
    "double within": ("train.csv", "ID_a1,Left,t_id_a", ["train.csv, row 11", "train.csv, row 3 already"]),
    "double between": ("extra_images.csv", "ID_a1,t_id_a", ["extra_images.csv, row 14", "train.csv, row 3 already"]),
    "missing image": ("extra_images.csv", "ID_q9,t_id_a", ["extra_images.csv, row 14", "no image", "ID_q9.jpg"]),
    "no turtle": ("train.csv", "ID_x0,Left, ", ["train.csv, row 11", "ID_x0 has no turtle_id"]),
    "short row": ("train.csv", "ID_x0", ["train.csv, row 11", "ID_x0 has no turtle_id"]),
    "a way out": ("train.csv", "../images/ID_x0,Left,t_id_a", ["train.csv, row 11", "not a plain file name"]),
    "no id": ("extra_images.csv", ",t_id_a", ["extra_images.csv, row 14", "not a plain file name"]),
    "new turtle": ("extra_images.csv", "ID_x0,new_turtle", ["row 14", "'new_turtle' is what an unknown"])}


@pytest.mark.parametrize("which", BAD)
def test_bad_rows_stop_the_packing_or_are_left_out(turtles, tmp_path, which):
    folder, truth = turtles
    file, line, says = BAD[which]
    with open(folder / file, "a") as out:
        out.write(line + "\n")
    with pytest.raises(SystemExit) as stop:
        pack_turtles(folder, tmp_path / "store")
    for text in [*says, "1 bad row:", "--skip_bad"]:
        assert text in str(stop.value)
    assert not (tmp_path / "store").exists()
    store = pack_turtles(folder, tmp_path / "store", "--skip_bad")
    assert dict(zip(store.manifest.id, store.manifest.label)) == truth


def test_tables_and_options_that_cannot_be(turtles, tmp_path, capsys):
    folder, _ = turtles
    (folder / "test.csv").unlink()
    with pytest.raises(SystemExit, match="test.csv cannot be read"):
        pack_turtles(folder, tmp_path / "store", "--source=test")
    write_csv(folder / "train.csv", ["image_id", "turtle"], [])
    with pytest.raises(SystemExit, match="it must have image_id, turtle_id"):
        pack_turtles(folder, tmp_path / "store")
    os.rename(folder / "images", folder / "pictures")
    with pytest.raises(SystemExit, match="no folder .*images: --data_dir must hold images/ID.JPG"):
        pack_turtles(folder, tmp_path / "store")
    for arguments, says in ((["--csv=x"], "--csv goes with --format=kuzushiji or csv or text, not with --format=turtle"),
                            (["--name=fold.2"], "that is the name of a fold's shards")):
        with pytest.raises(SystemExit):
            pack_turtles(folder, tmp_path / "store", *arguments)
        assert says in capsys.readouterr().err


def test_a_known_turtle_whose_images_are_all_bad_is_no_known_class(turtles, tmp_path):
    folder, _ = turtles
    with open(folder / "train.csv", "a") as out:
        out.write("ID_gone,Left,t_id_gone\n")
    assert pack_turtles(folder, tmp_path / "store", "--skip_bad").known_classes == ["t_id_a", "t_id_b"]


def test_folds_in_order_of_their_numbers_and_the_foldless_ahead(tmp_path):
    """Of any format; fold 10 must not come between 1 and 2, as it would by name."""
    make_classes(tmp_path / "set", classes=1, per_class=26)
    paths = sorted(p.relative_to(tmp_path / "set").as_posix() for p in (tmp_path / "set").rglob("*.png"))
    write_csv(tmp_path / "t.csv", ["path", "label", "fold"],
              [(path, "x", place % 13 if place % 13 < 12 else "") for place, path in enumerate(paths)])
    pack("--format=csv", "--data_dir", tmp_path / "set", "--csv", tmp_path / "t.csv", "--out_dir",
         tmp_path / "store", *FAST, "--shard_by=fold")
    store = open_store(tmp_path / "store")
    names = [shard["file"] for shard in store.info["shards"]]
    assert names == ["train.tfrecord-00000-of-00001",
                     *(f"fold.{fold}.tfrecord-00000-of-00001" for fold in range(12))]
    assert store.manifest["shard"].unique().tolist() == names
    assert store.manifest.fold.tolist() == sorted([*range(-1, 12)] * 2)
    assert store.known_classes is None and "classes_below_n_folds" not in store.info


def test_large_folds_take_several_shards():
    folds = np.array([0] * 30 + [1] * 10)
    plan = plan_shards("train", folds, np.full(40, 1000), 10_000, seed=1, shard_by="fold")
    assert [name for name, _ in plan] == [f"fold.0.tfrecord-{n:05d}-of-00003" for n in range(3)] + [
        "fold.1.tfrecord-00000-of-00001"]
    assert sorted(np.concatenate([rows for _, rows in plan])) == list(range(40))
    assert np.concatenate([rows for _, rows in plan[:3]]).tolist() != list(range(30))  # shuffled
    assert [name for name, rows in plan_shards("test", [], [], 10, 1, "fold")] == ["test.tfrecord-00000-of-00001"]


def test_an_option_that_came_later_leaves_older_stores_what_they_are(turtles, tmp_path, capsys):
    """Their fingerprint, of the options before --shard_by, is still that of the same call."""
    from records import packing
    make_classes(tmp_path / "set")
    call = ["--format=folder", "--data_dir", tmp_path / "set", "--out_dir", tmp_path / "store", *FAST]
    pack(*call)
    capsys.readouterr()
    later = {"shard_by", "known_classes", "multilabel", "class_list", "attribute_ids", "class_levels", "text"}
    assert later == {f.name for f in packing.dataclasses.fields(packing.PackingOptions)
                     if f.default is not packing.dataclasses.MISSING}
    pack(*call, "--shard_by=size")
    assert "packed already" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="--overwrite"):
        pack(*call, "--shard_by=fold")
    folder, _ = turtles
    pack_turtles(folder, tmp_path / "turtle_store")
    rows = pd.read_csv(folder / "extra_images.csv")
    rows[rows.turtle_id == "t_id_c"].assign(image_location="Top").to_csv(folder / "more.csv", index=False)
    train = pd.concat([pd.read_csv(folder / "train.csv"), pd.read_csv(folder / "more.csv")])
    train.to_csv(folder / "train.csv", index=False)
    rows[rows.turtle_id != "t_id_c"].to_csv(folder / "extra_images.csv", index=False)
    with pytest.raises(SystemExit, match="--overwrite"):  # another is known now
        pack_turtles(folder, tmp_path / "turtle_store")


def test_pseudo_labels_of_the_test_set(turtles, tmp_path):
    folder, _ = turtles
    write_csv(tmp_path / "p.csv", ["id", "label", "probability"], [["ID_x1", "t_id_a", 0.9]])
    (tmp_path / "p.json").write_text(json.dumps({"run": "r"}))
    store = pack_turtles(folder, tmp_path / "store", "--pseudo", tmp_path / "p.csv")
    assert store.manifest.id.tolist() == ["ID_x1"] and store.class_names == ["t_id_a"]
    assert store.info["shards"][0]["file"] == "pseudo.tfrecord-00000-of-00001"
