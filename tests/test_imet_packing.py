"""create_tfrecords.py --format=imet and csv with a column labels: stores of several labels an image."""
import re
import warnings

import cv2
import numpy as np
import pytest
import tensorflow as tf

import create_tfrecords
from records.annotations import AnnotationError
from records.image_sets import read_table
from records.images import resize
from records.imet import parse_attribute_ids, read_attributes, read_imet
from records.packing import PackingOptions
from records.pseudo import with_pseudo
from records.schema import LABEL_IDS
from records.splits import assign_multilabel_folds
from records.store import Store, StoreError, open_store
from tests.helpers import make_classes, random_page, write_csv

FAST = ["--workers=1", "--size=16"]
NAMES = {40: "tag::flowers", 3: "culture::french", 12: "tag::birds, two", 7: "culture::dutch", 50: "signed",
         99: "tag::none has it"}
TRUTH = {"a0": [3, 40], "a1": [], "a2": [12, 3, 40], "a3": [50], "a4": [7, 40], "a5": [3], "a6": [40, 12],
         "a7": [7], "a8": [], "a9": [50, 3, 7, 12, 40]}


@pytest.fixture
def artworks(tmp_path):
    """A folder in the competition's layout: TRUTH, and the test images t0 to t2."""
    folder, random = tmp_path / "imet", np.random.default_rng(0)
    for part, ids in (("train", TRUTH), ("test", ("t0", "t1", "t2"))):
        (folder / part).mkdir(parents=True)
        for image_id in ids:
            size = (16, 90) if image_id == "a9" else (30, 24)
            assert cv2.imwrite(str(folder / part / f"{image_id}.png"), random_page(random, *size))
    write_csv(folder / "labels.csv", ["attribute_id", "attribute_name"], NAMES.items())
    write_csv(folder / "train.csv", ["id", "attribute_ids"],
              [(image_id, " ".join(map(str, numbers))) for image_id, numbers in TRUTH.items()])
    write_csv(folder / "sample_submission.csv", ["id", "attribute_ids"], [("t2", "0 1"), ("t0", "")])
    return folder


def pack(out, *arguments):
    create_tfrecords.main([*map(str, arguments), "--out_dir", str(out), *FAST])
    return open_store(out)


def test_the_store_of_the_training_set(artworks, tmp_path):
    store = pack(tmp_path / "store", "--format=imet", "--data_dir", artworks, "--n_folds=2")
    info, table = store.info, store.manifest.set_index("id")
    assert store.multilabel and info["multilabel"] is True and info["attribute_ids"] == sorted(NAMES)
    assert store.class_names == [NAMES[number] for number in sorted(NAMES)]
    assert info["class_counts"] == [sum(n in numbers for numbers in TRUTH.values()) for n in sorted(NAMES)]
    assert store.label_groups == {"culture": [0, 1], "tag": [2, 3, 5], "": [4]}
    assert list(info["label_groups"]) == ["culture", "tag", ""]
    place = {number: i for i, number in enumerate(sorted(NAMES))}
    truth = {image_id: sorted(place[n] for n in numbers) for image_id, numbers in TRUTH.items()}
    assert table.label_ids.to_dict() == {i: " ".join(map(str, ids)) for i, ids in truth.items()}
    assert set(table.label) == {""} and set(table.label_id) == {-1} and set(table.group) == {""}
    indptr, indices = store.label_ids()
    assert indptr.dtype == indices.dtype == np.int64
    assert {i: indices[a:b].tolist() for i, a, b in zip(store.manifest.id, indptr, indptr[1:])} == truth
    assert np.bincount(table.fold.astype(int)).tolist() == [5, 5] and info["options"]["fit"] == "stretch_area"
    images = store.images().set_index("image_id")
    assert (images.width["a9"], images.height["a9"]) == (90, 16) and len(images) == 10
    for raw in tf.data.TFRecordDataset(store.shard_paths()):
        one = tf.io.parse_single_example(raw, LABEL_IDS | {"image_id": tf.io.FixedLenFeature([], tf.string)})
        assert one["label_ids"].numpy().tolist() == truth[one["image_id"].numpy().decode()]
    from pipeline.shard_reading import parse_examples  # which does not ask for them
    assert set(parse_examples([raw])["label_id"].numpy()) == {-1}


def test_the_test_set(artworks, tmp_path, capsys):
    store = pack(tmp_path / "store", "--format=imet", "--source=test", "--data_dir", artworks)
    assert sorted(store.manifest.id) == ["t0", "t2"] and "2 records without labels" in capsys.readouterr().out
    assert set(store.manifest.label_ids) == {""} and set(store.manifest.fold) == {-1}
    assert store.multilabel and store.info["class_counts"] == [0] * 6
    assert store.info["attribute_ids"] == sorted(NAMES)
    assert store.label_ids()[0].tolist() == [0, 0, 0] and len(store.label_ids()[1]) == 0


def test_without_a_sample_the_test_images_are_all_that_lie_there(artworks):
    (artworks / "sample_submission.csv").unlink()
    images, problems = read_imet(artworks, labelled=False)
    assert [image.image_id for image in images] == ["t0", "t1", "t2"] and not problems
    (artworks / "test" / "t1.jpg").write_bytes((artworks / "test" / "t1.png").read_bytes())
    images, (problem,) = read_imet(artworks, labelled=False)
    assert len(images) == 3 and "id 't1' is there already" in str(problem)


BAD = {  # line to append to train.csv: what is said of it
    "a0,3": "train.csv, row 12: id 'a0' stands in row 2 already",
    "b0,3": "no image .*train/b0.png",
    "../test/t0,3": "row 12: id '../test/t0' is not a plain file name",
    ",3": "row 12: id '' is not a plain file name",
    "b1,3 41": "row 12: b1: attribute 41 is not among the 6 of labels.csv",
    "b1,3 40 3": r"row 12: b1: attribute 3 \(culture::french\) stands there twice",
    "b1,03 3": "attribute 3 .* twice",
    "b1,3 -7": "attribute_ids has '-7'",
    "b1,culture::french": "attribute_ids has 'culture::french'",
    "b1": "must have one field of attribute_ids",
    'b1,3,40': "must have one field of attribute_ids, separated by spaces"}


@pytest.mark.parametrize("line", BAD)
def test_bad_rows_of_the_training_set(artworks, line):
    cv2.imwrite(str(artworks / "train" / "b1.png"), np.zeros((20, 20, 3), np.uint8))
    with open(artworks / "train.csv", "a") as file:
        file.write(line + "\n")
    images, (problem,) = read_imet(artworks)
    assert [image.image_id for image in images] == list(TRUTH)
    assert re.search(BAD[line], str(problem))


def test_bad_rows_stop_the_packing_or_are_left_out(artworks, tmp_path):
    with open(artworks / "train.csv", "a") as file:
        file.write("a0,41\nb0,3\n")
    call = [tmp_path / "store", "--format=imet", "--data_dir", artworks, "--n_folds=0"]
    with pytest.raises(SystemExit, match="2 bad rows:\n.*row 12: id 'a0' stands .*\n.*row 13: no image"):
        pack(*call)
    assert set(pack(*call, "--skip_bad").manifest.id) == set(TRUTH)


@pytest.mark.parametrize("line, says", [
    ("40,tag::x", "row 8: attribute_id 40 stands in row 2 already"), ("040,tag::x", "attribute_id 040 stands in"),
    ("41,tag::flowers", "row 8: attribute_name 'tag::flowers' stands in row 2 already"),
    ("x,tag::x", "attribute_id 'x' is not a whole number"), ("41, ", "attribute_id 41 has no attribute_name")])
def test_what_the_numbers_mean_must_be_certain(artworks, line, says):
    with open(artworks / "labels.csv", "a") as file:
        file.write(line + "\n")
    with pytest.raises(AnnotationError, match=says):
        read_attributes(artworks)


def test_layouts_and_options_that_cannot_be(artworks, tmp_path, capsys):
    assert parse_attribute_ids("  7  3 ", NAMES) == [7, 3]
    with pytest.raises(SystemExit):
        create_tfrecords.parse(["--format=imet", "--data_dir=x", "--out_dir=y", "--csv=z"])
    assert "not with --format=imet" in capsys.readouterr().err
    call = [tmp_path / "store", "--format=imet", "--data_dir", artworks]
    with pytest.raises(SystemExit, match="--folds_by_group goes with one label an image"):
        pack(*call, "--folds_by_group=on")
    with pytest.raises(SystemExit, match=r"--n_folds 11: it must be from 2 to the number of records \(10\)"):
        pack(*call, "--n_folds=11")
    write_csv(artworks / "labels.csv", ["attribute_id", "attribute_name"], [])
    with pytest.raises(AnnotationError, match="has no row"):
        read_attributes(artworks)
    (artworks / "train").rename(artworks / "pictures")
    with pytest.raises(AnnotationError, match="no folder .*train: --data_dir must hold train/ID.png"):
        read_imet(artworks)


def test_any_table_with_a_column_labels(tmp_path):
    make_classes(tmp_path / "set", classes=1, per_class=5)
    paths = sorted(p.relative_to(tmp_path / "set").as_posix() for p in (tmp_path / "set").rglob("*.png"))
    labels = ["shape::round|red", "", "red|shape::a::b", "blue", "shape::round"]
    write_csv(tmp_path / "t.csv", ["path", "labels", "fold"], list(zip(paths, labels, [2, 0, 1, 1, ""])))
    store = pack(tmp_path / "store", "--format=csv", "--data_dir", tmp_path / "set", "--csv", tmp_path / "t.csv")
    assert store.class_names == ["blue", "red", "shape::a::b", "shape::round"]
    assert store.info["class_counts"] == [1, 2, 1, 2] and "attribute_ids" not in store.info
    assert store.label_groups == {"": [0, 1], "shape": [2, 3]}
    table = store.manifest.set_index("id").loc[paths]
    assert table.label_ids.tolist() == ["1 3", "", "1 2", "0", "3"] and table.fold.tolist() == [2, 0, 1, 1, -1]
    with pytest.raises(StoreError, match="several labels an image"):
        with_pseudo(Store("ours", store.info | {"multilabel": False}, store.manifest),
                    Store("theirs", store.info | {"source": "pseudo"}, store.manifest))


def test_one_label_a_record_as_sparse_rows(tmp_path):
    make_classes(tmp_path / "set", classes=2, per_class=2)
    paths = sorted(p.relative_to(tmp_path / "set").as_posix() for p in (tmp_path / "set").rglob("*.png"))
    write_csv(tmp_path / "t.csv", ["path", "label", "labels"], [(p, p[:6], "a|b") for p in paths])
    store = pack(tmp_path / "store", "--format=csv", "--data_dir", tmp_path / "set", "--csv", tmp_path / "t.csv")
    assert "label_ids" not in store.manifest and not {"multilabel", "label_groups"} & set(store.info)
    assert not store.multilabel and store.label_groups == {}
    store.manifest.loc[1, "label_id"] = -1
    indptr, indices = store.label_ids()
    assert indptr.tolist() == [0, 1, 1, 2, 3]
    assert indices.tolist() == store.manifest.label_id[[0, 2, 3]].tolist()


@pytest.mark.parametrize("labels, says", [("a||b", "has an empty name"), ("a|", "has an empty name"),
                                          ("a|b|a", "label 'a' stands there twice"), (None, "has no field of labels")])
def test_bad_labels_of_a_table(tmp_path, labels, says):
    make_classes(tmp_path / "set", classes=1, per_class=1)
    write_csv(tmp_path / "t.csv", ["path", "labels"], [("class0/000_0.png",) if labels is None else
                                                       ("class0/000_0.png", labels)])
    images, (problem,) = read_table(tmp_path / "t.csv", tmp_path / "set")
    assert not images and says in str(problem)


@pytest.mark.parametrize("text, says", [("0 2 1", "'y'"), ("0 0", "'y'"), ("-1", "'y'"), ("3", "below 3"),
                                        ("1 x", "no numbers"), ("9" * 30, "no numbers")])
def test_label_ids_that_are_none_are_refused(text, says):
    import pandas as pd
    manifest = pd.DataFrame({"id": list("wxyz"), "label_ids": ["", "0 1 2", text, "0"]})
    with pytest.raises(StoreError, match=says):
        Store("s", {"multilabel": True, "class_names": list("abc")}, manifest).label_ids()


def shares(labels, folds, n_folds):
    """float [n_folds, labels]: each fold's share of each label."""
    names = sorted({name for names in labels for name in names})
    counts = np.array([[sum(name in names for names, f in zip(labels, folds) if f == fold) for name in names]
                       for fold in range(n_folds)])
    return counts / counts.sum(0)


@pytest.mark.parametrize("seed, package", [(0, 0.02286), (1, 0.02242), (2, 0.02348), (3, 0.01514)])
def test_folds_share_out_every_label(seed, package):
    """package: the spread by MultilabelStratifiedKFold of iterative-stratification 0.1.9 on the same
    labels, the mean of its seeds 0 to 3. It cannot be installed beside these: it brings a package `tests`."""
    random = np.random.default_rng(seed)
    probability = 0.4 / np.arange(1, 13)
    labels = [[f"l{i}" for i in np.flatnonzero(random.random(12) < probability)] for _ in range(300)]
    assert any(not names for names in labels)
    spread = lambda folds: np.abs(shares(labels, folds, 5) - 0.2).mean()
    ours = [assign_multilabel_folds(labels, 5, other) for other in range(4)]
    assert all(np.bincount(folds).tolist() == [60] * 5 for folds in ours)
    assert np.mean([spread(folds) for folds in ours]) < 1.02 * package
    folds = random.permutation(ours[0])
    assert spread(folds) > 2 * package
    folds = assign_multilabel_folds(labels, 5, seed)
    assert (folds == assign_multilabel_folds(labels, 5, seed)).all()
    assert (folds != assign_multilabel_folds(labels, 5, seed + 10)).any()


def test_folds_of_few_labels():
    """One label, none at all, and one that a single image has."""
    for labels in ([["a"]] * 6 + [[]] * 6, [[]] * 12, [["a", "b"]] + [["a"]] * 11):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            folds = assign_multilabel_folds(labels, 3, 1)
        assert np.bincount(folds).tolist() == [4, 4, 4]
    assert np.bincount(assign_multilabel_folds([["a"]] * 6 + [[]] * 6, 3, 1)[:6]).tolist() == [2, 2, 2]


@pytest.mark.parametrize("turned", [False, True])
def test_a_side_that_shrinks_is_averaged_while_the_other_grows(turned):
    """Oracle: means of 25 px. Stripes of 2 px must become gray, which by `stretch` they do not."""
    image = np.zeros((10, 400, 3), np.uint8)
    image[:, ::2] = 200
    image[:, 200:] += 50
    turn = (lambda x: x.swapaxes(0, 1)) if turned else lambda x: x
    resized = turn(resize(np.ascontiguousarray(turn(image)), 16, "stretch_area")).astype(float)
    expected = image.reshape(10, 16, 25, 3).mean((0, 2))
    assert resized.shape == (16, 16, 3) and np.abs(resized - expected[None]).max() <= 1
    assert np.abs(turn(resize(np.ascontiguousarray(turn(image)), 16)).astype(float) - expected[None]).max() > 20


def test_where_both_sides_shrink_or_grow_it_is_stretch():
    for size in (8, 40):
        image = random_page(np.random.default_rng(1), 32, 24)
        assert (resize(image, size, "stretch_area") == resize(image, size)).all()


def test_the_options_of_a_store_of_several_labels_came_later():
    """At their defaults they are not in the fingerprint, so that stores of one label keep theirs."""
    fields = PackingOptions.__dataclass_fields__
    assert [fields[name].default for name in ("multilabel", "class_list", "attribute_ids")] == [False, None, None]


def test_recipes_pack_what_they_say():
    options = create_tfrecords.parse(["@recipes/imet/pack416.args", "--data_dir=x", "--out_dir=y"])
    assert (options.format, options.size, options.n_folds, options.encoding, options.fit) == (
        "imet", 416, 5, "jpeg", "stretch_area")
    demo = create_tfrecords.parse(["@recipes/demo/pack_artworks.args", "--data_dir=x", "--out_dir=y"])
    assert (demo.format, demo.size, demo.n_folds, demo.fit) == ("imet", 64, 2, "stretch_area")
