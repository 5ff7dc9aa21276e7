"""create_tfrecords.py --format=cdiscount on small files of products, and each of its faults."""
import json
import os

import bson
import cv2
import numpy as np
import pytest
import tensorflow as tf

import create_tfrecords
from records import bson_index, places, write_store
from records.chunks import CropOptions, cut_records
from records.image_columns import ImageColumns
from records.images import decode_image
from records.shards import plan_shards
from records.splits import assign_product_folds
from records.store import open_store
from tests.helpers import random_page, write_csv

CATEGORIES = {1000012345: ("LIVRES", "ROMANS", "ROMAN POLICIER"), 1000000900: ("JEUX", "PUZZLES", "PUZZLE 3D"),
              999: ("LIVRES", "POESIE", "POESIE")}
FAST = ["--workers=1", "--size=24"]


def pack(folder, out, *arguments):
    create_tfrecords.main(["--format=cdiscount", "--data_dir", str(folder), "--out_dir", str(out), *FAST,
                           *map(str, arguments)])
    return open_store(out)


def jpeg(seed, height=24, width=24, suffix=".jpg", flags=()):
    image = random_page(np.random.default_rng(seed), 2 * height, 2 * width)[:height, :width]
    return cv2.imencode(suffix, image, list(flags))[1].tobytes()


def product(number, pictures, category=999):
    return {"_id": number, "category_id": category, "imgs": [{"picture": p} for p in pictures]}


def write_set(folder, documents, name="train.bson"):
    """documents: dicts, or bytes as they are to stand in the file. Returns the byte each begins at."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "category_names.csv", ["category_id", "category_level1", "category_level2",
                                              "category_level3"], [(k, *v) for k, v in CATEGORIES.items()])
    raw = [d if isinstance(d, bytes) else bson.encode(d) for d in documents]
    (folder / name).write_bytes(b"".join(raw))
    return np.cumsum([0, *map(len, raw)])[:-1].tolist()


@pytest.fixture
def shop(tmp_path):
    """(folder, documents): 40 products of 1 to 4 pictures of 24 px, in three categories."""
    documents = [product(7000 - 3 * i, [jpeg(10 * i + k) for k in range(1 + i % 4)], list(CATEGORIES)[i % 3])
                 for i in range(40)]
    write_set(tmp_path / "shop", documents)
    return tmp_path / "shop", documents


def stored(store):
    """{id: (bytes, label_id, label)} and the ids in their order, with nothing but TensorFlow."""
    features = {"image_id": tf.io.FixedLenFeature([], tf.string), "image": tf.io.FixedLenFeature([], tf.string),
                "label_id": tf.io.FixedLenFeature([], tf.int64), "label": tf.io.FixedLenFeature([], tf.string)}
    found = {}
    for raw in tf.data.TFRecordDataset(store.shard_paths()):
        one = tf.io.parse_single_example(raw, features)
        found[one["image_id"].numpy().decode()] = (one["image"].numpy(), int(one["label_id"]),
                                                   one["label"].numpy().decode())
    return found


def test_every_picture_is_stored_with_its_own_bytes(shop, tmp_path):
    folder, documents = shop
    store = pack(folder, tmp_path / "store", "--shard_mb=0.01", "--n_folds=4")
    names = ["1000000900", "1000012345", "999"]
    truth = {f"{d['_id']}_{k}": (image["picture"], names.index(str(d["category_id"])), str(d["category_id"]))
             for d in documents for k, image in enumerate(d["imgs"])}
    assert store.class_names == names and stored(store) == truth
    assert list(stored(store)) == store.manifest.id.tolist() != list(truth)
    table = store.manifest
    assert (table.id == table.image_id).all() and (table.source == "train").all() and table.x.isna().all()
    assert table.label.tolist() == [truth[i][2] for i in table.id]
    for _, rows in table.groupby("group"):  # a product: side by side, in order, in one shard and fold
        assert np.diff(rows.index).tolist() == [1] * (len(rows) - 1)
        assert rows.id.tolist() == [f"{rows.group.iloc[0]}_{k}" for k in range(len(rows))]
        assert rows["shard"].nunique() == rows.fold.nunique() == 1
    assert len(store.info["shards"]) > 3 and {d["_id"] for d in documents} == set(map(int, table.group))
    for row in table.iloc[::7].itertuples():
        with open(f"{store.folder}/{row.shard}", "rb") as file:
            file.seek(row.offset)
            example = tf.train.Example.FromString(file.read(row.length))
        assert example.features.feature["image_id"].bytes_list.value[0].decode() == row.id
    images = store.images()
    assert images.image_id.tolist() == list(truth) and set(images.width) == {24} and set(images.records) == {1}
    assert images.group.tolist() == [i.split("_")[0] for i in truth]
    assert store.info["class_counts"] == [sum(t[1] == c for t in truth.values()) for c in range(3)]
    pixels = np.stack([decode_image(t[0])[..., ::-1] for t in truth.values()]) / 255
    np.testing.assert_allclose(store.info["mean"], pixels.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(store.info["std"], pixels.std((0, 1, 2)), atol=1e-6)
    assert store.info["mean_std_sampled_of"] == len(truth) and store.info["skipped"] == []


def test_levels_of_the_classes(shop, tmp_path):
    folder, documents = shop
    levels = pack(folder, tmp_path / "store").class_levels
    assert [level["name"] for level in levels] == ["category_level1", "category_level2", "category_level3"]
    for place, level in enumerate(levels):
        assert level["names"] == sorted({names[place] for names in CATEGORIES.values()})
        assert [level["names"][i] for i in level["of_class"]] == [
            CATEGORIES[c][place] for c in (1000000900, 1000012345, 999)]
    write_csv(tmp_path / "t.csv", ["path", "label"], [("x.png", "a")])
    (tmp_path / "x.png").write_bytes(jpeg(0, suffix=".png"))
    create_tfrecords.main(["--format=csv", f"--csv={tmp_path}/t.csv", f"--data_dir={tmp_path}",
                           f"--out_dir={tmp_path}/other", *FAST])
    assert open_store(tmp_path / "other").class_levels == []


def test_other_sizes_and_kinds_are_fitted(tmp_path):
    pictures = [jpeg(1), jpeg(2, 30, 20), jpeg(3, suffix=".png"), jpeg(4, flags=[cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
                cv2.imencode(".jpg", random_page(np.random.default_rng(5), 24, 24)[:, :, 0])[1].tobytes()]
    write_set(tmp_path / "shop", [product(5, pictures), product(6, pictures[1:2])])
    store = pack(tmp_path / "shop", tmp_path / "store", "--encoding=jpeg", "--jpeg_quality=90")
    found = stored(store)
    options = CropOptions(24, 3, "stretch", 0, False, False, "jpeg", 90, 200, "images")
    for k, picture in enumerate(pictures):
        if k in (0, 3, 4):
            assert found[f"5_{k}"][0] == picture
        else:
            expected, = cut_records(decode_image(picture), None, options)
            encoded = cv2.imencode(".jpg", expected, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            assert found[f"5_{k}"][0] == encoded.tobytes()
    assert found["6_0"] == found["5_1"] and store.info["mean_std_sampled_of"] == 3
    assert store.manifest.id.tolist() in ([*(f"5_{k}" for k in range(5)), "6_0"],
                                          ["6_0", *(f"5_{k}" for k in range(5))])
    shown = np.stack([cv2.imdecode(np.frombuffer(found[i][0], np.uint8), 1)[..., ::-1] for i in found]) / 255
    np.testing.assert_allclose(store.info["mean"], shown.mean((0, 1, 2)), atol=0.01)  # JPEG once more
    gray = stored(pack(tmp_path / "shop", tmp_path / "gray", "--channels=1"))
    assert cv2.imdecode(np.frombuffer(gray["5_0"][0], np.uint8), cv2.IMREAD_UNCHANGED).ndim == 2


def test_a_sample_stands_for_all_and_workers_change_nothing(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "SAMPLE", 30)
    monkeypatch.setattr(places, "IMAGES_PER_CHUNK", 8)
    one, two = (pack(shop[0], tmp_path / f"s{n}", f"--workers={n}", "--shard_mb=0.02") for n in (1, 2))
    assert one.info["mean_std_sampled_of"] == 30
    for key in ("shards", "manifest_sha256", "mean", "std"):
        assert one.info[key] == two.info[key]
    everything = pack(shop[0], tmp_path / "s1", "--workers=1", "--shard_mb=0.02")  # kept
    assert everything.info["created"] == one.info["created"]
    monkeypatch.setattr(places, "SAMPLE", 4096)
    full = pack(shop[0], tmp_path / "full")
    assert one.info["mean"] != full.info["mean"]
    np.testing.assert_allclose(one.info["mean"], full.info["mean"], atol=0.05)


EMPTY = {"_id": 5, "category_id": 999, "imgs": []}
FAULTS = {  # a document, or its bytes; what is said of it
    "no picture": (EMPTY, ["_id 5 at byte", "no picture"]),
    "no imgs": ({"_id": 5, "category_id": 999}, ["_id 5 at byte", "no picture"]),
    "imgs is no list": ({"_id": 5, "category_id": 999, "imgs": 3}, ["_id 5 at byte", "no picture"]),
    "picture is text": (product(5, [jpeg(1), "x"]), ["_id 5 at byte", "picture 1: no bytes"]),
    "empty picture": (product(5, [b""]), ["_id 5 at byte", "picture 0: no bytes"]),
    "no image": (product(5, [jpeg(1), b"GIF89a?"]), ["_id 5 at byte", "picture 1: not a readable image"]),
    "cut JPEG": (product(5, [jpeg(1)[:-200]]), ["_id 5 at byte", "picture 0: the image cannot be decoded"]),
    "unknown category": (product(5, [jpeg(1)], 31), ["_id 5 at byte", "category_id 31 is not among the 3"]),
    "no category": ({"_id": 5, "imgs": [{"picture": jpeg(1)}]}, ["_id 5 at byte", "has no category_id"]),
    "category is text": (product(5, [jpeg(1)], "999"), ["_id 5 at byte", "has no category_id"]),
    "double": (product(7000, [jpeg(1)]), ["_id 7000 at byte", "stands there already"]),
    "no id": ({"category_id": 999, "imgs": [{"picture": jpeg(1)}]}, ["at byte", "its _id is no whole number"]),
    "no BSON": (b"\x0c\x00\x00\x00\x7fabcdefg", ["at byte", "not a BSON document"])}


@pytest.mark.parametrize("which", FAULTS)
def test_a_bad_document_stops_the_packing_or_is_left_out(shop, tmp_path, which):
    folder, documents = shop
    bad, says = FAULTS[which]
    begins = write_set(folder, [*documents[:4], bad, *documents[4:]])
    with pytest.raises(SystemExit) as stop:
        pack(folder, tmp_path / "store")
    for text in [*says, f"at byte {begins[4]}", "train.bson", "1 bad row:", "--skip_bad"]:
        assert text in str(stop.value)
    assert not (tmp_path / "store").exists()
    store = pack(folder, tmp_path / "store", "--skip_bad")
    assert set(store.manifest.id) == {f"{d['_id']}_{k}" for d in documents for k in range(len(d["imgs"]))}
    assert len(store.info["skipped"]) == 1


def test_all_bad_documents_are_in_one_report_and_a_cut_file_ends_it(shop, tmp_path):
    folder, documents = shop
    begins = write_set(folder, [EMPTY, *documents, product(7000, [jpeg(1)]), product(8, [jpeg(1)], 31),
                                product(9, [jpeg(2)])])
    size = os.path.getsize(folder / "train.bson")
    os.truncate(folder / "train.bson", size - 10)
    with pytest.raises(SystemExit) as stop:
        pack(folder, tmp_path / "store")
    for text in ("4 bad rows:", "_id 5 at byte 0", f"_id 7000 at byte {begins[-3]}", f"_id 8 at byte {begins[-2]}",
                 f"at byte {begins[-1]}: the document says it has {size - begins[-1]} bytes, and "
                 f"{size - begins[-1] - 10} are left"):
        assert text in str(stop.value)
    assert len(pack(folder, tmp_path / "store", "--skip_bad").manifest) == 100


@pytest.mark.parametrize("claim, says", [(0, "has 0 bytes; a document has 5 to"), (-5, "has -5 bytes"),
                                         (1 << 30, "are left"), (4, "has 4 bytes")])
def test_a_claimed_size_is_checked_before_it_is_trusted(shop, tmp_path, claim, says):
    folder, documents = shop
    write_set(folder, [documents[0], claim.to_bytes(4, "little", signed=True) + b"x" * 40])
    with pytest.raises(SystemExit, match=says):
        pack(folder, tmp_path / "store")


def test_a_document_above_the_limit(shop, tmp_path):
    folder, _ = shop
    with open(folder / "train.bson", "wb") as file:
        file.write((bson_index.LARGEST + 1).to_bytes(4, "little"))
        file.truncate(bson_index.LARGEST + 9)
    with pytest.raises(SystemExit, match=f"a document has 5 to {bson_index.LARGEST}"):
        pack(folder, tmp_path / "store")


def test_pictures_that_turn_out_bad_later_take_their_product_along(tmp_path):
    large = jpeg(3, 60, 60)
    write_set(tmp_path / "shop", [product(1, [jpeg(1), large]), product(2, [jpeg(2)])])
    with pytest.raises(SystemExit, match=r"_id 1 at byte 0: picture 1: 60 x 60 pixels, more than the 0.002"):
        pack(tmp_path / "shop", tmp_path / "store", "--max_megapixels=0.002")
    store = pack(tmp_path / "shop", tmp_path / "store", "--max_megapixels=0.002", "--skip_bad")
    assert store.manifest.id.tolist() == ["2_0"]
    sized = jpeg(4)[:jpeg(4).index(b"\xff\xda")] + b"\xff\xd9"  # only decoding shows that nothing is in it
    write_set(tmp_path / "shop2", [product(1, [jpeg(1), sized]), product(2, [jpeg(2)])])
    with pytest.raises(SystemExit, match=r"_id 1 at byte 0: 1_1: not a readable image"):
        pack(tmp_path / "shop2", tmp_path / "store2")
    assert pack(tmp_path / "shop2", tmp_path / "store2", "--skip_bad").manifest.id.tolist() == ["2_0"]


def test_the_file_is_read_once(shop, tmp_path, monkeypatch):
    folder, documents = shop
    pack(folder, tmp_path / "out" / "a")
    scan = bson_index._scan

    def never(*_):
        raise AssertionError("read again")
    monkeypatch.setattr(bson_index, "_scan", never)
    pack(folder, tmp_path / "out" / "b", "--n_folds=2", "--seed=3")
    kept, = (tmp_path / "out").glob(".train.bson.*.index.npz")
    stat = os.stat(folder / "train.bson")
    os.utime(folder / "train.bson", ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    with pytest.raises(AssertionError, match="read again"):
        pack(folder, tmp_path / "out" / "c")
    monkeypatch.setattr(bson_index, "_scan", scan)
    with pytest.raises(SystemExit, match="--overwrite"):  # another file, for all that is known
        pack(folder, tmp_path / "out" / "a")
    whole = kept.read_bytes()
    for damage in (whole[:100], whole[:-200], b"", b"x" * 50):
        kept.write_bytes(damage)
        assert len(pack(folder, tmp_path / "out" / "c").manifest) == 100
        assert kept.stat().st_size > 1000


def test_a_packing_that_was_cut_off_goes_on(shop, tmp_path, monkeypatch, capsys):
    def killed(*_):
        raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(write_store, "write_shards", killed)
        with pytest.raises(SystemExit, match="interrupted"):
            pack(shop[0], tmp_path / "store")
    store = pack(shop[0], tmp_path / "store")
    assert "continuing the packing that was interrupted: 1 chunks are done" in capsys.readouterr().out
    fresh = pack(shop[0], tmp_path / "fresh")
    assert store.info["shards"] == fresh.info["shards"] and store.info["mean"] == fresh.info["mean"]


def test_a_test_store_tells_no_category(shop, tmp_path):
    folder, documents = shop
    for document in documents[::2]:
        del document["category_id"]
    write_set(folder, documents, "test.bson")
    store = pack(folder, tmp_path / "store", "--source=test", "--n_folds=3")
    assert {value[1:] for value in stored(store).values()} == {(-1, "")} and set(store.manifest.fold) == {-1}
    assert len(store.manifest) == 100 and len(store.class_levels) == 3 and store.info["class_counts"] == [0, 0, 0]
    other = pack(folder, tmp_path / "other", "--source=test", f"--bson={folder / 'train.bson'}")
    assert set(other.manifest.label) == {""}


def test_pages_for_a_detector_and_the_boxes_it_found(shop, tmp_path):
    folder, documents = shop
    write_set(folder, documents[:4], "test.bson")
    pages = pack(folder, tmp_path / "pages", "--source=test", "--records=pages")
    ids = [f"{d['_id']}_{k}" for d in documents[:4] for k in range(len(d["imgs"]))]
    assert sorted(pages.manifest.id) == sorted(ids) and pages.info["n_boxes"] == 0
    options = CropOptions(24, 3, None, None, False, False, "jpeg", 95, 200, "pages", 1.0)
    record, = cut_records(decode_image(documents[0]["imgs"][0]["picture"]), None, options)
    assert stored(pages)[ids[0]][0] == cv2.imencode(".jpg", record, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    write_csv(tmp_path / "found.csv", ["image_id", *"xywh", "score", "label", "label_score"],
              [(ids[2], 2, 3, 10, 8, 0.9, "", ""), (ids[2], 12.2, 3, 10, 8, 0.8, "", ""),
               (ids[0], 0, 0, 24, 24, 0.7, "", "")])
    boxes = pack(folder, tmp_path / "boxes", "--source=test", "--records=boxes",
                 "--detections", tmp_path / "found.csv", "--margin=0", "--encoding=png")
    assert sorted(boxes.manifest.id) == sorted([f"{ids[2]}:0", f"{ids[2]}:1", f"{ids[0]}:0"])
    assert boxes.images().image_id.tolist() == ids
    whole = cv2.imdecode(np.frombuffer(stored(boxes)[f"{ids[0]}:0"][0], np.uint8), 1)
    assert (whole == decode_image(documents[0]["imgs"][0]["picture"])).all()


@pytest.mark.parametrize("row, says", [
    ("x,A,B,C", "category_id 'x' is not a whole number"), ("999,A,B,C", "category_id 999 stands in row 4 already"),
    ("5,A,,C", "category 5 has no category_level2")])
def test_category_names_must_be_sound(shop, tmp_path, row, says):
    with open(shop[0] / "category_names.csv", "a") as file:
        file.write(row + "\n")
    with pytest.raises(SystemExit, match=f"category_names.csv, row 5: {says}"):
        pack(shop[0], tmp_path / "store", "--skip_bad")


@pytest.mark.parametrize("arguments, says", [
    (["--records=boxes"], "has boxes only by"), (["--records=pages"], "goes with --source=test"),
    (["--val_split=a=1"], "--val_split does not go with --format=cdiscount"),
    (["--folds_by_group=on"], "--folds_by_group does not go"), (["--csv=x"], "--csv goes with"),
    (["--records=titles"], "--records=titles goes with --format=kuzushiji"),
    (["--format=folder", "--bson=x"], "--bson goes with --format=cdiscount")])
def test_impossible_wishes_end_at_once(shop, tmp_path, capsys, arguments, says):
    with pytest.raises(SystemExit):
        pack(shop[0], tmp_path / "store", *arguments)
    assert says in capsys.readouterr().err


def test_files_that_are_not_there(shop, tmp_path):
    with pytest.raises(SystemExit, match="test.bson cannot be read"):
        pack(shop[0], tmp_path / "store", "--source=test")
    (shop[0] / "train.bson").write_bytes(b"")
    with pytest.raises(SystemExit, match="nothing to pack: no sound product"):
        pack(shop[0], tmp_path / "store")


def test_folds_of_products():
    random = np.random.default_rng(0)
    sizes = random.integers(1, 5, 4000)
    first = np.cumsum(sizes) - sizes
    label = random.integers(0, 40, 4000)
    folds = assign_product_folds(first, sizes.sum(), np.repeat(label, sizes), 5, seed=1)
    assert len(folds) == sizes.sum() and (folds == np.repeat(folds[first], sizes)).all()
    for which in [label == c for c in range(40)] + [(label == c) & (sizes == k) for c in (3, 9) for k in (1, 4)]:
        count = np.bincount(folds[first][which], minlength=5)
        assert count.max() - count.min() <= 1
    again, other = (assign_product_folds(first, sizes.sum(), np.repeat(label, sizes), 5, seed) for seed in (1, 2))
    assert (folds == again).all() and 0.7 < (folds != other).mean() < 0.9
    with pytest.raises(ValueError, match=r"from 2 to the number of products \(2\)"):
        assign_product_folds(np.array([0, 3]), 5, np.zeros(5), 3, 1)


def test_shards_keep_what_belongs_together():
    random = np.random.default_rng(1)
    sizes = random.integers(1, 5, 300)
    first, product_of = np.cumsum(sizes) - sizes, np.repeat(np.arange(300), sizes)
    lengths, folds = random.integers(50, 150, sizes.sum()), np.repeat(np.arange(300) % 3, sizes)
    for shard_by in ("size", "fold"):
        plan = plan_shards("x", folds, lengths, 5000, 7, shard_by, first)
        order = np.concatenate([rows for _, rows in plan])
        assert sorted(order) == list(range(sizes.sum())) and len(plan) > 10
        shown = product_of[order]
        assert np.count_nonzero(np.diff(shown)) == 299 and (np.diff(order)[np.diff(shown) == 0] == 1).all()
        assert all(product_of[a[1][-1]] != product_of[b[1][0]] for a, b in zip(plan, plan[1:]))
        assert all(2500 < lengths[rows].sum() < 10000 for _, rows in plan)
        assert np.corrcoef(shown, np.arange(len(shown)))[0, 1] < 0.5 and (shown[:30] != np.sort(shown[:30])).any()
    alone = plan_shards("x", folds, lengths, 5000, 7)
    expected = np.array_split(np.random.default_rng([7, 0]).permutation(len(lengths)), len(alone))
    assert all((rows == part).all() for (_, rows), part in zip(alone, expected, strict=True))


def test_columns_are_the_images_that_they_stand_for(shop):
    from records.cdiscount import read_cdiscount
    images, problems = read_cdiscount(shop[0] / "train.bson", shop[0], shop[0])
    assert isinstance(images, ImageColumns) and len(images) == 100 and not problems
    listed = list(images)
    assert [one.image_id for one in images[10:20]] == [one.image_id for one in listed[10:20]]
    assert images[3].read() == listed[3].read() == shop[1][2]["imgs"][0]["picture"]
    assert images[np.arange(100) % 2 == 1][0] == listed[1] and images.digest() != images[:50].digest()
    assert json.dumps([one.labels for one in listed]) == json.dumps(
        [[str(d["category_id"])] for d in shop[1] for _ in d["imgs"]])


@pytest.mark.slow
def test_memory_of_a_million_products(capsys):
    """All processes together, whatever the machine has."""
    from benchmarks import bson_packing
    assert bson_packing.main(["--documents=1000000", "--side=32", "--repeats=1"]) < 2e9
    assert "peak memory of all processes" in capsys.readouterr().out
