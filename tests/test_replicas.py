"""Replicas, workers and threads: each gets its own part, and together they get the same batches."""
import keras2  # noqa: F401  before TensorFlow, also where this file is run by itself
import functools
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipeline.augmentation import Augmentation, InputFormat
from pipeline.batches import training_batches
from pipeline.cache import image_source
from pipeline.colour import Colour
from pipeline.erasing import Erasing
from pipeline.filters import Filters
from pipeline.geometry import Geometry
from pipeline.mixing import Mixing
from pipeline.order import training_positions
from pipeline.rand_augment import Policy
from records.store import open_store

LABELS = np.array([0] * 50 + [1] * 7 + [2] * 30)
FORMAT = InputFormat(size=16, channels=3, mean=(0.5,), std=(0.25,), dtype="float32")
AUGMENT = Augmentation(Geometry(10, 5, 0.1, 0.1, (0.8, 0.9), (0.8, 1.25), hflip=0.5),
                       colour=Colour(brightness=0.2, contrast=0.2),
                       mixing=Mixing(mixup=0.2, icap=1.0), erasing=Erasing(0.5))
EVERYTHING = Augmentation(  # takes XLA long, so only once in each process
    Geometry(10, 5, 0.1, 0.1, (0.8, 0.9), (0.8, 1.25), affine_p=0.9, hflip=0.5, vflip=0.5,
             quarter_turns=0.3, nine=0.3),
    Policy("randaugment"),
    Filters(blur=1.0, noise=0.05, p=0.8, clahe=0.5),
    Colour(0.8, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1, gray=0.2, pca=0.1,
           rgb_shift=0.1, gamma=0.3),
    Mixing(mixup=0.2, cutmix=1.0, ricap=1.0, icap=1.0),
    Erasing(0.5, holes=1, hole_size=0.2))
RECORDS, BATCH, STEPS = 60, 16, 6  # of two epochs, of 48 records each


def batches(source, augmentation=AUGMENT, **arguments):
    """Training batches of all records; every record is a class of its own, to tell who is where."""
    return training_batches(source, np.arange(RECORDS), np.arange(RECORDS), RECORDS, augmentation,
                            FORMAT, batch_size=BATCH, seed=1, n_epochs=2, **arguments)


def listed(dataset):
    return list(dataset.as_numpy_iterator())


def distributed(source, replicas, by_function, augmentation):
    """[step][replica] -> (images, targets) under MirroredStrategy over logical CPU devices."""
    strategy = tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(replicas)])

    def of_pipeline(context):
        return batches(source, augmentation, replicas=replicas, worker=context.input_pipeline_id,
                       n_workers=context.num_input_pipelines).rebatch(
                           context.get_per_replica_batch_size(BATCH))
    dataset = (strategy.distribute_datasets_from_function(of_pipeline) if by_function else
               strategy.experimental_distribute_dataset(batches(source, augmentation,
                                                                replicas=replicas)))
    parts = [zip(*map(strategy.experimental_local_results, batch)) for batch in dataset]
    return [[(images.numpy(), targets.numpy()) for images, targets in step] for step in parts]


CASES = {"2": (2, False, EVERYTHING), "4": (4, False, AUGMENT), "4 by function": (4, True, AUGMENT),
         "plain": (4, False, Augmentation())}

QUICK = ("4", "4 by function", "plain")


def run_alone(folder, out, threads, names):
    """In a process of its own: devices and threads are set before TensorFlow begins."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4)
    source = image_source(open_store(folder), np.arange(RECORDS), 3, "encoded")
    results = {}
    for name in names:
        steps = distributed(source, *CASES[name])
        results[f"{name}: images"] = [[images for images, _ in step] for step in steps]
        results[f"{name}: targets"] = [[targets for _, targets in step] for step in steps]
    np.savez(out, **results)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    import create_tfrecords  # not in the processes of their own
    from tests.helpers import make_classes
    folder = tmp_path_factory.mktemp("replicas")
    make_classes(folder / "set", per_class=20)
    create_tfrecords.main(["--format=folder", f"--data_dir={folder / 'set'}", "--size=24",
                           f"--out_dir={folder / 'store'}", "--encoding=png", "--workers=1",
                           "--shard_mb=0.02"])
    return open_store(folder / "store")


@pytest.fixture(scope="module")
def alone(store, tmp_path_factory):
    """A function of (threads, *names): what a process with so many threads and four devices got."""
    @functools.lru_cache(maxsize=None)
    def results(threads, *names):
        out = tmp_path_factory.mktemp("alone") / "results.npz"
        done = subprocess.run([sys.executable, "-m", "tests.test_replicas", store.folder, str(out),
                               str(threads), *names], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return np.load(out)
    return results


@pytest.fixture(scope="module")
def source(store):
    return image_source(store, np.arange(RECORDS), 3, "decoded")


@pytest.fixture(scope="module")
def whole(source):
    """A function of the number of replicas: the batches of one input pipeline on one device, mixed for so
    many; made with the default number of threads."""
    return functools.lru_cache(maxsize=None)(
        lambda replicas: listed(batches(source, {2: EVERYTHING, 4: AUGMENT}[replicas], replicas=replicas)))


@pytest.mark.parametrize("n_workers", [1, 2, 4])
@pytest.mark.parametrize("start_step, cap", [(0, None), (0, 20), (5, 20)])
def test_workers_part_the_positions_of_every_batch(n_workers, start_step, cap):
    whole = listed(training_positions(LABELS, cap, 3, 12, 2, start_step))
    parts = [listed(training_positions(LABELS, cap, 3, 12, 2, start_step, worker, n_workers))
             for worker in range(n_workers)]
    assert all(part[0].shape == (12 // n_workers,) for part in parts)
    assert np.array_equal([np.concatenate(step) for step in zip(*parts, strict=True)], whole)


@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_over_an_epoch_no_record_comes_twice_and_none_is_lost(n_workers):
    for labels in (LABELS[:84], LABELS):  # 7 batches of 12; and 3 records more
        seen = np.concatenate([listed(training_positions(labels, None, 3, 12, 1, 0, w, n_workers))
                               for w in range(n_workers)], axis=None)
        assert len(seen) == len(set(seen)) == 84 and set(seen) <= set(range(len(labels)))


@pytest.mark.parametrize("worker, n_workers", [(2, 2), (-1, 2), (0, 5)])
def test_a_worker_that_cannot_be_is_refused(worker, n_workers):
    with pytest.raises(ValueError, match=f"a batch of 12 for worker {worker} of {n_workers}"):
        training_positions(LABELS, None, 3, 12, 1, 0, worker, n_workers)


def test_workers_images_and_plans_are_parts_of_the_batch(source):
    whole = listed(batches(source, augment_on="device", replicas=2))
    parts = [listed(batches(source, augment_on="device", replicas=2, worker=worker, n_workers=2))
             for worker in range(2)]
    assert len(whole) == STEPS
    for batch, *of_workers in zip(whole, *parts, strict=True):
        together = tf.nest.map_structure(lambda *values: np.concatenate(values), *of_workers)
        tf.nest.map_structure(np.testing.assert_array_equal, together, batch)


def test_workers_augmented_batches_are_parts_of_the_batch(source, whole):
    parts = [listed(batches(source, replicas=4, worker=worker, n_workers=2)) for worker in range(2)]
    for (images, targets), *of_workers in zip(whole(4), *parts, strict=True):
        assert images.shape == (BATCH, 16, 16, 3)
        assert (np.concatenate([images for images, _ in of_workers]) == images).all()
        assert (np.concatenate([targets for _, targets in of_workers]) == targets).all()


@pytest.mark.slow
@pytest.mark.parametrize("threads, name", [(1, "4"), (1, "4 by function"), (1, "2"), (4, "2")])
def test_replicas_get_the_parts_of_the_batch_with_any_number_of_threads(alone, whole, threads, name):
    replicas = CASES[name][0]
    got = alone(threads, *(("2",) if name == "2" else QUICK))
    images, targets = got[f"{name}: images"], got[f"{name}: targets"]
    assert images.shape[:3] == (STEPS, replicas, BATCH // replicas)
    expected_images, expected_targets = zip(*whole(replicas))
    assert (images.reshape(STEPS, BATCH, 16, 16, 3) == expected_images).all()
    assert (targets.reshape(STEPS, BATCH, RECORDS) == expected_targets).all()


@pytest.mark.slow
def test_replicas_see_no_record_twice_in_an_epoch_and_lose_none(alone, source):
    targets = alone(1, *QUICK)["plain: targets"]  # [step, replica, image, record]
    seen = targets.argmax(-1)
    assert seen.shape == (STEPS, 4, 4) and (targets.sum(-1) == 1).all()
    for epoch in (seen[:3], seen[3:]):
        assert len(set(epoch.ravel())) == 48
    whole = [targets.argmax(-1) for _, targets in listed(batches(source, Augmentation()))]
    assert (seen.reshape(STEPS, BATCH) == whole).all()


def test_the_pools_of_tf_data_do_not_change_the_batches(store):
    source = image_source(store, np.arange(RECORDS), 3, "none")
    results = []
    for threads in (1, 4):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        options.threading.max_intra_op_parallelism = threads
        results.append(listed(batches(source, augment_on="device").with_options(options)))
    tf.nest.map_structure(np.testing.assert_array_equal, *results)


if __name__ == "__main__":
    run_alone(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
