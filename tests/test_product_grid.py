"""Pictures of products in the input: joined, augmented each in its own way, seen in views."""
import numpy as np
import pytest
import tensorflow as tf

from pipeline.augmentation import Augmentation, InputFormat, augment, draw_plan
from pipeline.batches import augment_on_device, evaluation_batches, training_batches
from pipeline.cache import ImageSource
from pipeline.erasing import Erasing
from pipeline.geometry import Geometry
from pipeline.product_grid import join_pictures, product_source
from pipeline.views import show_views, view_maps
from tests.helpers import modes

RANDOM = np.random.default_rng(0)
FORMAT = InputFormat(size=8, channels=1, mean=(0.5,), std=(0.25,), dtype="float32")
CHANGES = Augmentation(geometry=Geometry(rotate=20), erasing=Erasing(p=0.5))


def pictures(n, k=None, side=10, channels=1):
    shape = (n, side, side, channels) if k is None else (n, k, side, side, channels)
    return RANDOM.integers(0, 256, shape).astype(np.uint8)


def source(images):
    held = tf.constant(images)
    return ImageSource("decoded", lambda at: at.map(lambda batch: tf.gather(held, batch)), images.nbytes)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_joined_as_numpy_joins_them(k):
    images = pictures(3, k, channels=3)
    p = [images[:, i] for i in range(k)]
    row = lambda a, b: np.concatenate([a, b], axis=2)
    expected = {1: lambda: p[0], 2: lambda: row(p[0], p[1]),
                3: lambda: np.concatenate([row(p[0], p[1]), row(p[2], p[0])], axis=1),
                4: lambda: np.concatenate([row(p[0], p[1]), row(p[2], p[3])], axis=1)}[k]()
    for result in modes(join_pictures, images):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("k, pooling", [(2, "grid"), (3, "grid"), (3, "features")])
def test_a_source_of_products_fetches_their_pictures(k, pooling):
    images = pictures(5 * k)
    made = product_source(source(images), k, pooling)
    at = np.array([[3, 0], [4, 4], [1, 2]])
    for positions, batch in zip(at, made.fetch(tf.data.Dataset.from_tensor_slices(at))):
        expected = images.reshape(5, k, 10, 10, 1)[positions]
        np.testing.assert_array_equal(batch, expected if pooling == "features" else join_pictures(expected))
    assert made.pictures == (k if pooling == "features" else None)
    spec = made.fetch(tf.data.Dataset.from_tensor_slices(at)).element_spec
    assert None not in spec.shape
    with pytest.raises(ValueError, match="1 to 4 pictures"):
        product_source(source(images), 5, "grid")


def test_each_picture_is_augmented_by_its_own_plan():
    """Of records with several pictures as the same pictures in a batch by themselves."""
    images, targets = pictures(4, 3), np.eye(4, dtype=np.float32)
    plan = draw_plan(tf.constant([1, 2], tf.int64), 12, CHANGES, FORMAT)
    apart = tf.nest.map_structure(lambda x: tf.reshape(x, [4, 3, *x.shape[1:]]), plan)
    expected, _ = augment(tf.constant(images.reshape(12, 10, 10, 1)), None, plan, CHANGES, FORMAT)
    shown, kept = augment(tf.constant(images), tf.constant(targets), apart | {"target_scale": tf.ones(4)}, CHANGES,
                          FORMAT)
    np.testing.assert_array_equal(shown, expected.numpy().reshape(4, 3, 8, 8, 1))
    np.testing.assert_array_equal(kept, targets)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_training_batches_of_several_pictures_are_the_same_on_host_and_device(workers):
    images, labels = pictures(8 * 2), np.arange(8) % 3
    made = product_source(source(images), 2, "features")

    def batches(augment_on, start=0, worker=0):
        return training_batches(made, np.arange(8), labels, 3, CHANGES, FORMAT, batch_size=4, seed=3, n_epochs=2,
                                start_step=start, augment_on=augment_on, replicas=workers, worker=worker,
                                n_workers=workers)
    host = [[tf.nest.map_structure(np.asarray, b) for b in batches("host", worker=w)] for w in range(workers)]
    images_of = [np.concatenate(parts) for parts in zip(*([b[0] for b in own] for own in host))]
    assert images_of[0].shape == (4, 2, 8, 8, 1) and len(images_of) == 4
    finish = augment_on_device(CHANGES, FORMAT, 3)
    for worker in range(workers):
        for (drawn, classes), (expected, targets) in zip(batches("device", worker=worker), host[worker]):
            assert len({x.shape[0] for x in tf.nest.flatten((drawn, classes))}) == 1  # shared out together
            shown, told = finish(drawn, classes)
            np.testing.assert_allclose(shown, expected, atol=1e-5)
            np.testing.assert_array_equal(told, targets)
    later = next(iter(batches("host", start=3)))[0].numpy()  # goes on where it was
    np.testing.assert_array_equal(later, host[0][3][0])
    if workers == 1:  # another batch, other pictures' augmentation
        assert not np.array_equal(images_of[0], images_of[2])


def test_views_of_several_pictures_are_those_of_each():
    images, maps = pictures(3, 2), view_maps("crops5", 8, 10, 0.8)
    shown = show_views(tf.constant(images), maps, 8).numpy()
    expected = show_views(tf.constant(images.reshape(6, 10, 10, 1)), maps, 8).numpy()  # [6, v, 8, 8, 1]
    assert shown.shape == (3, 5, 2, 8, 8, 1)
    np.testing.assert_array_equal(shown, expected.reshape(3, 2, 5, 8, 8, 1).swapaxes(1, 2))


def test_evaluation_of_a_wide_grid_is_a_square():
    images = np.repeat(np.uint8([[0, 255]]), 8, axis=0).reshape(-1)  # a dark and a bright picture, by turns
    images = np.broadcast_to(images[:, None, None, None], (16, 10, 10, 1)).copy()
    made = product_source(source(images), 2, "grid")
    index, batch = next(iter(evaluation_batches(made, np.arange(8), FORMAT, batch_size=8,
                                                views=view_maps("one", 8, 10, 1.0))))
    assert batch.shape == (8, 1, 8, 8, 1)
    np.testing.assert_allclose(batch[:, 0, :, :4, 0], -2, atol=1e-6)
    np.testing.assert_allclose(batch[:, 0, :, 4:, 0], 2, atol=1e-6)
