"""Order, caches and batches: what comes out is what the manifest and the seed say."""
import numpy as np
import pytest
import tensorflow as tf

import create_tfrecords
from pipeline import cache as caches
from pipeline.batches import (Augmentation, InputFormat, evaluation_batches, steps_per_epoch,
                              training_batches)
from pipeline.cache import READ_BYTES, choose_cache, image_source, reading_plan
from pipeline.geometry import Geometry
from pipeline.order import epoch_order, training_positions
from pipeline.pixels import PixelOptions
from records.store import StoreError, open_store
from tests.helpers import make_classes

LABELS = np.array([0] * 50 + [1] * 7 + [2] * 30)
FORMAT = InputFormat(size=20, channels=1, mean=(0.5,), std=(0.25,), dtype="float32")
AUGMENT = Augmentation(Geometry(10, 5, 0.1, 0.1, (0.8, 0.9), (0.8, 1.25)),
                       PixelOptions(0.2, 0.2, 0.5, mixup=0.2))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    make_classes(folder / "set", classes=3, per_class=20)
    create_tfrecords.main(["--format=folder", f"--data_dir={folder / 'set'}", "--size=24",
                           f"--out_dir={folder / 'store'}", "--encoding=png", "--workers=1",
                           "--channels=1", "--shard_mb=0.01"])
    return open_store(folder / "store")


def oracle_order(labels, cap, seed, epoch):
    """The same draw, the slow way."""
    keys = tf.random.stateless_uniform([len(labels)], [seed, epoch], None, None, tf.uint32,
                                       alg="philox").numpy()
    taken, order = {}, []
    for row in np.argsort(keys, kind="stable"):
        taken[labels[row]] = taken.get(labels[row], 0) + 1
        if cap is None or taken[labels[row]] <= cap:
            order.append(row)
    return order


@pytest.mark.parametrize("cap", [None, 1, 10, 1000])
def test_epoch_order_equals_the_slow_way(cap):
    for epoch in range(3):
        order = epoch_order(LABELS, cap, 5, tf.constant(epoch, tf.int64)).numpy()
        assert order.tolist() == oracle_order(LABELS, cap, 5, epoch)


def test_every_epoch_draws_anew_and_caps_every_class():
    first, second = (epoch_order(LABELS, 10, 1, tf.constant(e, tf.int64)).numpy() for e in (0, 1))
    assert np.bincount(LABELS[first]).tolist() == [10, 7, 10]
    assert set(first) != set(second)


def test_an_epoch_has_no_record_twice():
    batches = list(training_positions(LABELS, None, 3, 10, 2).as_numpy_iterator())
    assert len(batches) == 16
    for epoch in (batches[:8], batches[8:]):
        assert len(set(np.concatenate(epoch))) == 80


@pytest.mark.parametrize("start", [1, 7, 8, 13])
def test_starting_at_a_step_goes_on_as_if_never_stopped(start):
    whole = list(training_positions(LABELS, 20, 3, 10, 6).as_numpy_iterator())
    rest = list(training_positions(LABELS, 20, 3, 10, 6, start).as_numpy_iterator())
    assert np.array_equal(whole[start:], rest)


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
    for kind in ("decoded", "encoded", "none"):
        images, source = images_of(store, kind, rows)
        assert (images == expected).all(), kind
        held[kind] = source.held
    assert held == {"decoded": 30 * 24 * 24, "none": 0,
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
    monkeypatch.setattr(caches, "READ_BYTES", 30 * record_bytes)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    read, read_shards = [], caches._read_shards

    def counted(*arguments):
        for places, batch in read_shards(*arguments):
            read.append(len(batch))
            yield places, batch
    monkeypatch.setattr(caches, "_read_shards", counted)
    assert (images_of(store, kind, rows)[0] == expected).all()
    assert sum(read) == len(rows) and max(read) <= 4  # of (2 x 2 + 3) x 4 <= 30


def test_training_batches_are_the_same_for_every_cache_and_resume(store, monkeypatch):
    labels = store.manifest.label_id.to_numpy(int)
    rows = np.arange(len(labels))

    def batches(kind, **arguments):
        source = image_source(store, rows, 1, kind)
        return list(training_batches(
            source, rows, labels, 3, AUGMENT, FORMAT, batch_size=16, n_epochs=2,
            **{"seed": 1} | arguments).as_numpy_iterator())
    whole = batches("decoded")
    assert len(whole) == 6 and whole[0][0].shape == (16, 20, 20, 1)
    for kind in ("encoded", "none"):
        for (x, y), (other_x, other_y) in zip(whole, batches(kind), strict=True):
            assert (x == other_x).all() and (y == other_y).all()
    rest = batches("decoded", start_step=4)
    assert (rest[0][0] == whole[4][0]).all() and (rest[1][1] == whole[5][1]).all()
    assert (batches("decoded", seed=2)[0][0] != whole[0][0]).any()
    for _, targets in whole:
        np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)


def test_images_and_labels_belong_together(store):
    """The bright rows of make_classes tell the class."""
    labels = store.manifest.label_id.to_numpy(int)
    rows = np.flatnonzero(labels != 1)
    source = image_source(store, rows, 1, "decoded")
    plain = InputFormat(24, 1, (0.0,), (1.0,), "float32")
    positions = np.repeat(np.arange(len(rows)), 2)  # as oversampling lists them
    for images, targets in training_batches(source, positions, labels[rows][positions], 3,
                                            Augmentation(), plain, batch_size=20, seed=1,
                                            n_epochs=2).as_numpy_iterator():
        bright = images[..., 0].mean(2).argmax(1)  # row
        assert ((bright < 8) == (targets.argmax(1) == 0)).all()


def test_too_large_a_batch_is_refused():
    with pytest.raises(ValueError, match="--batch_size=88, but an epoch has only 87 records"):
        steps_per_epoch(LABELS, None, 88)
    assert steps_per_epoch(LABELS, 10, 9) == 3


@pytest.mark.parametrize("batch_size", [7, 30, 64])
def test_evaluation_shows_every_record_once_in_order(store, batch_size):
    rows = np.arange(30)
    source = image_source(store, rows, 1, "decoded")
    plain = InputFormat(24, 1, (0.0,), (1.0,), "float32")
    index, images = zip(*evaluation_batches(source, rows, plain,
                                            batch_size=batch_size).as_numpy_iterator())
    assert {i.shape for i in index} == {(batch_size,)}
    index, images = np.concatenate(index), np.concatenate(images)
    assert index[:30].tolist() == list(range(30)) and (index[30:] == -1).all()
    expected = images_of(store, "decoded", rows)[0]
    np.testing.assert_allclose(images[:30] * 255, expected, atol=1e-4)


def test_evaluation_crop_is_the_middle(store):
    rows = np.arange(6)
    source = image_source(store, rows, 1, "decoded")
    cropped = InputFormat(12, 1, (0.0,), (1.0,), "float32")
    _, images = next(iter(evaluation_batches(source, rows, cropped, batch_size=6, crop=0.5)))
    expected = images_of(store, "decoded", rows)[0][:, 6:18, 6:18]
    np.testing.assert_allclose(images * 255, expected, atol=1)


@pytest.mark.parametrize("damage, says", [("flip", "is damaged"), ("swap", "not those that manifest")])
def test_damage_inside_a_shard_is_found(store, tmp_path, damage, says):
    import shutil
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
    import os
    import shutil
    copy = open_store(shutil.copytree(store.folder, tmp_path / "copy"))
    shard = copy.manifest[copy.manifest.shard == copy.info["shards"][0]["file"]]
    os.truncate(copy.shard_paths()[0], int(shard.offset.iloc[-1]) - 12)
    with pytest.raises(StoreError, match="ends after"):
        image_source(copy, np.arange(len(copy.manifest)), 1, "encoded")
    assert caches.free_memory() > 0
