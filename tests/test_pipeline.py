"""Order and batches: what comes out is what the manifest and the seed say."""
import numpy as np
import pytest
import tensorflow as tf

from pipeline.augmentation import Augmentation, InputFormat
from pipeline.batches import evaluation_batches, steps_per_epoch, training_batches
from pipeline.cache import image_source
from pipeline.colour import Colour
from pipeline.geometry import Geometry
from pipeline.mixing import Mixing
from pipeline.order import BLOCK, epoch_order, shuffle_blocks, training_positions
from pipeline.views import view_maps
from tests.test_cache import images_of, pack

LABELS = np.array([0] * 50 + [1] * 7 + [2] * 30)
FORMAT = InputFormat(size=20, channels=1, mean=(0.5,), std=(0.25,), dtype="float32")
AUGMENT = Augmentation(Geometry(10, 5, 0.1, 0.1, (0.8, 0.9), (0.8, 1.25)),
                       colour=Colour(brightness=0.2, contrast=0.2), mixing=Mixing(mixup=0.2))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("pipeline"))


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


@pytest.mark.parametrize("batch_size, buffer_size", [(10, 160), (7, 100), (16, 700), (64, 5)])
def test_records_are_shuffled_with_those_of_some_blocks(batch_size, buffer_size):
    """Each part of the order is made of blocks of neighbours, mixed; no two epochs part them alike."""
    n, starts = 1001, set()
    size, together = shuffle_blocks(buffer_size, batch_size)
    part = size * together
    assert part % batch_size == 0 and part <= max(buffer_size, batch_size) and size <= BLOCK
    for epoch in range(4):
        order = epoch_order(np.zeros(n, int), None, 5, tf.constant(epoch, tf.int64), (size, together)).numpy()
        assert sorted(order) == list(range(n))
        parts = np.split(order, range(part, n, part))
        # Parted as the ring of records is from one of its places, every part has whole blocks of it.
        shifts = [s for s in range(n) if all((np.bincount((p + s) % n // size) % size == 0).all() for p in parts[:-1])]
        assert shifts or size == 1
        starts.update(shifts)
        blocks = (parts[0] + (shifts or [0])[0]) % n // size
        assert len(set(blocks)) == together and (np.diff(parts[0]) != 1).mean() > 0.9
        assert blocks.min() < n // size / 2 < blocks.max() or together < 3
    assert len(starts) > 1 or size == 1


def test_parts_with_undersampled_classes_keep_their_order():
    blocks, epoch = shuffle_blocks(60, 10), tf.constant(2, tf.int64)
    whole = epoch_order(LABELS, None, 5, epoch, blocks).numpy()
    taken, kept = {}, []
    for row in whole:
        taken[LABELS[row]] = taken.get(LABELS[row], 0) + 1
        kept += [row] if taken[LABELS[row]] <= 10 else []
    assert epoch_order(LABELS, 10, 5, epoch, blocks).numpy().tolist() == kept
    everything = epoch_order(LABELS, None, 5, epoch, shuffle_blocks(100, 10)).numpy()
    assert everything.tolist() == oracle_order(LABELS, None, 5, 2)  # all of them at a time


@pytest.mark.parametrize("start", [0, 1, 5, 8, 11])
def test_windows_are_what_is_shuffled_together(start):
    """As batches they are the order; each ends where a part of the order does, wherever one starts."""
    arguments = (LABELS, None, 3, 10, 3, start)  # 8 steps an epoch
    windows = list(training_positions(*arguments, buffer_size=35, windows=True).as_numpy_iterator())
    batches = list(training_positions(*arguments, buffer_size=35).as_numpy_iterator())
    assert np.array_equal(np.concatenate(windows), batches) and len(batches) == 24 - start
    ends = start + np.cumsum([len(window) for window in windows])
    assert ends.tolist() == [end for end in (3, 6, 8, 11, 14, 16, 19, 22, 24) if end > start]
    workers = [np.concatenate(list(training_positions(
        *arguments, worker, 2, buffer_size=35, windows=True).as_numpy_iterator())) for worker in (0, 1)]
    assert np.array_equal(np.concatenate(workers, axis=1), batches)


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
    _, images = next(iter(evaluation_batches(source, rows, cropped, batch_size=6,
                                             views=view_maps("one", 12, 24, 0.5))))
    expected = images_of(store, "decoded", rows)[0][:, 6:18, 6:18]
    np.testing.assert_allclose(images[:, 0] * 255, expected, atol=1)
