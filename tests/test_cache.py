"""Caches and the reading of shards: each gives the stored images, and damage is named."""
import dataclasses
import os
import shutil

import cv2
import numpy as np
import pytest
import tensorflow as tf

import create_tfrecords
from pipeline import shard_reading
from pipeline.cache import choose_cache, free_memory, image_source
from pipeline.decode import MOST_BYTES, MOST_RECORDS, chunk_size, decode_image, per_record
from pipeline.shard_reading import READ_BYTES, reading_plan
from records.store import StoreError, open_store
from tests.helpers import make_classes, smooth_images


def pack(folder):
    """A store of 60 gray PNG records of 24 px in several shards."""
    make_classes(folder / "set", classes=3, per_class=20)
    create_tfrecords.main(["--format=folder", f"--data_dir={folder / 'set'}", "--size=24",
                           f"--out_dir={folder / 'store'}", "--encoding=png", "--workers=1",
                           "--channels=1", "--shard_mb=0.01"])
    return open_store(folder / "store")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("cache"))


def images_of(store, kind, rows):
    source = image_source(store, rows, 1, kind)
    positions = tf.data.Dataset.from_tensor_slices(np.arange(len(rows))).batch(6, drop_remainder=True)
    return np.concatenate(list(source.fetch(positions).as_numpy_iterator())), source


def test_all_caches_give_the_stored_images(store):
    rows = np.arange(len(store.manifest))[::2]
    expected = {}
    for raw in tf.data.TFRecordDataset(store.shard_paths()):
        example = tf.train.Example.FromString(raw.numpy()).features.feature
        name = example["image_id"].bytes_list.value[0].decode()
        expected[name] = tf.io.decode_png(example["image"].bytes_list.value[0], 1).numpy()
    expected = np.stack([expected[name] for name in store.manifest.id[rows]])
    held = {}
    for kind in ("decoded", "file", "encoded", "none"):
        images, source = images_of(store, kind, rows)
        assert (images == expected).all(), kind
        held[kind] = source.held
    assert held == {"decoded": 30 * 24 * 24, "file": 0, "none": 0,
                    "encoded": int(store.manifest.length[rows].sum())}


def test_cache_is_chosen_by_free_memory():
    assert choose_cache("auto", 100, 10, 200)[0] == "decoded"
    assert choose_cache("auto", 100, 10, 199)[0] == "encoded"
    assert choose_cache("auto", 100, 10, 40)[0] == "encoded"  # twice that while it is loaded
    assert choose_cache("auto", 100, 10, 39)[0] == "none"
    assert choose_cache("encoded", 100, 10, 20)[0] == "encoded"
    assert choose_cache("none", 100, 10, 1e9)[0] == "none"
    with pytest.raises(MemoryError, match="--cache=decoded needs"):
        choose_cache("decoded", 100, 10, 99)
    with pytest.raises(MemoryError, match="--cache=encoded needs"):
        choose_cache("encoded", 100, 10, 19)


def test_a_cache_takes_no_more_than_it_is_allowed():
    assert choose_cache("auto", 100, 10, 1000, 100)[0] == "decoded"
    assert choose_cache("auto", 100, 10, 1000, 99)[0] == "encoded"
    assert choose_cache("auto", 100, 10, 1000, 19)[0] == "none"
    assert choose_cache("auto", 100, 10, 99, 1000)[0] == "encoded"  # nor than is free
    gb = 10**9
    assert choose_cache("auto", 9 * gb, gb, 50 * gb, 3 * gb)[1].startswith("2.00 GB of 3.00 GB allowed; decoded would")


def test_the_choice_says_what_is_needed_and_what_is_free():
    gb = 10**9
    assert choose_cache("auto", 2 * gb, gb, 5 * gb)[1] == "2.00 GB of 5.00 GB free"
    assert choose_cache("encoded", 9 * gb, gb, 5 * gb)[1] == "as told; 2.00 GB of 5.00 GB free"
    why = choose_cache("auto", 9 * gb, gb, 5 * gb)[1]
    assert why.startswith("2.00 GB of 5.00 GB free") and "9.00 GB of disk with --cache=file" in why
    why = choose_cache("auto", 9 * gb, 4 * gb, 5 * gb)[1]
    assert why.startswith("encoded would take 8.00 GB") and "with --cache=file" in why
    assert choose_cache("file", 9 * gb, 4 * gb, 1)[0] == "file"


def test_a_container_s_free_memory_counts_what_files_hold_as_free(tmp_path):
    unlimited = free_memory(tmp_path)
    assert unlimited > 3000
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("4000\n")
    (tmp_path / "memory.stat").write_text("anon 1500\ninactive_file 2000\nactive_file 500\n")
    assert free_memory(tmp_path) == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(tmp_path) > 3000


@pytest.mark.parametrize("cores", [1, 2, 16, 240])
def test_what_is_read_at_once_is_bounded(cores):
    for record_bytes in (100, 64 * 64, 124 * 124 * 3, 1536 * 1536 * 3, 1 << 27, 1 << 30):
        batch, parallel = reading_plan(record_bytes, cores)
        assert 1 <= batch <= 512 and 1 <= parallel <= cores
        held = (2 * parallel + 3) * batch * record_bytes
        assert held <= READ_BYTES or (batch, parallel) == (1, 1)
    assert reading_plan(100, cores) == (512, cores)  # small ones are read as fast as may be
    assert reading_plan(1536 * 1536 * 3, 2) == (5, 2)


@pytest.mark.parametrize("kind, record_bytes", [("decoded", 24 * 24), ("encoded", None)])
def test_large_records_are_read_a_few_at_a_time(store, monkeypatch, kind, record_bytes):
    rows = np.arange(len(store.manifest))[::2]
    expected = images_of(store, kind, rows)[0]
    record_bytes = max(record_bytes or 0, int(store.manifest["length"].max()))
    monkeypatch.setattr(shard_reading, "READ_BYTES", 30 * record_bytes)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    read, read_shards = [], shard_reading._read_shards

    def counted(*arguments):
        for places, batch in read_shards(*arguments):
            read.append(len(batch))
            yield places, batch
    monkeypatch.setattr(shard_reading, "_read_shards", counted)
    assert (images_of(store, kind, rows)[0] == expected).all()
    assert sum(read) == len(rows) and max(read) <= 4  # of (2 x 2 + 3) x 4 <= 30


@pytest.mark.parametrize("damage, says", [("flip", "is damaged"), ("swap", "not those that manifest")])
def test_damage_inside_a_shard_is_found(store, tmp_path, damage, says):
    folder = shutil.copytree(store.folder, tmp_path / "copy")
    copy = open_store(folder)
    if damage == "flip":
        with open(copy.shard_paths()[0], "r+b") as file:
            file.seek(int(copy.manifest.offset[0]) + 20)
            file.write(b"\xff\x00\xff")
    else:
        copy.manifest["id"] = copy.manifest["id"].to_numpy()[::-1]
    with pytest.raises(StoreError, match=says):
        image_source(copy, np.arange(len(copy.manifest)), 1, "decoded")


def test_a_shard_that_ends_early_is_found(store, tmp_path, monkeypatch):
    """Cut at a record boundary after it was opened: only the count tells."""
    copy = open_store(shutil.copytree(store.folder, tmp_path / "copy"))
    shard = copy.manifest[copy.manifest.shard == copy.info["shards"][0]["file"]]
    os.truncate(copy.shard_paths()[0], int(shard.offset.iloc[-1]) - 12)
    with pytest.raises(StoreError, match="ends after"):
        image_source(copy, np.arange(len(copy.manifest)), 1, "encoded")


@pytest.mark.parametrize("kind", ["decoded", "file", "encoded", "none"])
def test_windows_get_at_the_images_or_at_their_bytes(store, kind):
    rows = np.arange(len(store.manifest))[1::2]
    images, source = images_of(store, kind, rows)
    if kind in ("decoded", "file"):
        assert source.fetch_encoded is None and (source.images.numpy() == images).all()
    else:
        assert source.images is None
        data = list(source.fetch_encoded(tf.data.Dataset.from_tensors([3, 1, 2])).as_numpy_iterator())
        assert [(decode_image(d, (24, 24, 1)) == images[p]).numpy().all()
                for d, p in zip(data[0], [3, 1, 2])] == [True] * 3


def test_cloud_storage_is_read_as_local_files_are(store):
    """file:// goes the way of gs://: TensorFlow's file systems, without Python. The batches are larger
    than the number of readers."""
    remote = dataclasses.replace(store, folder=f"file://{os.path.abspath(store.folder)}")
    rows = np.arange(len(store.manifest))[::3]
    positions = tf.data.Dataset.from_tensor_slices(
        np.random.default_rng(0).permutation(20)).repeat(4).batch(40, drop_remainder=True)
    local, cloud = (list(image_source(s, rows, 1, "none").fetch_encoded(positions)
                         .as_numpy_iterator()) for s in (store, remote))
    assert len(local) == 2 and np.array_equal(local, cloud)


def test_a_record_that_its_shard_no_longer_holds_is_named(store, tmp_path):
    copy = open_store(shutil.copytree(store.folder, tmp_path / "copy"))
    os.truncate(copy.shard_paths()[0], int(copy.manifest.offset[0]) + 9)
    name, path = copy.manifest.id[0], copy.shard_paths()[0]
    rows = np.arange(6)
    with pytest.raises(tf.errors.InvalidArgumentError,
                       match=f"StoreError: {path} ends inside record {name}, at byte [0-9]+: copy it"):
        images_of(copy, "none", rows)
    os.remove(path)
    with pytest.raises(tf.errors.InvalidArgumentError,
                       match=rf"StoreError: {path} cannot be read \(No such file.*, wanted for record "):
        images_of(copy, "none", rows)


@pytest.mark.parametrize("batch, record_bytes, size", [
    (256, 46128, 32), (96, 10, 32), (30, 10, 30), (37, 10, 1), (7, 10, 7), (8, 7e6, 1), (8, 786432, 2),
    (1, 10, 1)])
def test_chunks_divide_the_batch_and_are_bounded(batch, record_bytes, size):
    assert chunk_size(batch, record_bytes) == size
    assert batch % size == 0 and size <= MOST_RECORDS
    assert size == 1 or size * record_bytes <= MOST_BYTES


@pytest.mark.parametrize("encoding", [".jpg", ".png"])
@pytest.mark.parametrize("channels", [1, 3])
def test_records_are_decoded_in_order_whatever_the_chunks(encoding, channels):
    images = smooth_images(n=48, h=17, w=23)
    data = tf.constant([cv2.imencode(encoding, image)[1].tobytes() for image in images])
    decode = lambda record: decode_image(record, (17, 23, channels))
    expected = np.stack([decode(record) for record in data])
    if (encoding, channels) == (".png", 3):
        assert (expected == images[..., ::-1]).all()
    for batch, record_bytes in [(48, 1), (48, 1e6), (16, 5e5), (1, 1), (6, 1)]:
        batches = tf.data.Dataset.from_tensor_slices(data).batch(batch, drop_remainder=True)
        decoded = per_record(batches, decode, record_bytes)
        assert decoded.element_spec.shape == (batch, 17, 23, channels)
        assert (np.concatenate(list(decoded.as_numpy_iterator())) == expected).all()
    pairs = tf.data.Dataset.zip(batches, tf.data.Dataset.range(48).batch(6, drop_remainder=True))
    shifted = per_record(pairs, lambda record, k: decode(record) + tf.cast(k, tf.uint8), 1)
    assert (np.concatenate(list(shifted.as_numpy_iterator())) ==
            expected + np.arange(48, dtype=np.uint8)[:, None, None, None]).all()
