"""Batches of lines of text: rectangles through the augmentation of squares, and their texts beside them."""
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from pipeline.augmentation import Augmentation, InputFormat, change_levels, draw_plan
from pipeline.batches import augment_on_device, evaluation_batches, training_batches
from pipeline.cache import ImageSource
from pipeline.colour import Colour
from pipeline.geometry import Geometry, draw_maps, warp
from pipeline.order import training_positions
from tests.helpers import modes, smooth_images

SEED = tf.constant([1, 2], tf.int64)
FORMAT = InputFormat(size=(16, 64), channels=1, mean=(0.5,), std=(0.25,), dtype="float32")
AUGMENT = Augmentation(Geometry(rotate=5, shear=10, scale=0.1, shift=0.02),
                       colour=Colour(brightness=0.2, contrast=0.2))
IMAGES = tf.constant(smooth_images(n=10, h=16, w=64, c=1))
TEXTS = np.where(np.arange(5) < np.arange(10)[:, None] % 5 + 1, np.arange(50).reshape(10, 5), -1).astype(np.int32)


def oracle(image, matrix, height, width):
    v, u = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    at = ((matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]) * image.shape[0] - 0.5,
          (matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]) * image.shape[1] - 0.5)
    return np.stack([scipy.ndimage.map_coordinates(plane.astype(float), at, order=1, mode="nearest")
                     for plane in np.moveaxis(image, -1, 0)], -1)


def test_rectangles_are_warped_as_the_oracle_does():
    images = smooth_images(n=4, h=18, w=50, c=3)
    maps = draw_maps(SEED, 4, AUGMENT.geometry, 50 / 18)
    expected = np.stack([oracle(i, m, 12, 40) for i, m in zip(images, maps.numpy())])
    for result in modes(lambda i, m: warp(i, m, (12, 40)), images, maps):
        assert result.dtype == np.uint8 and np.abs(result - expected).max() <= 0.51


@pytest.mark.parametrize("aspect", [0.5, 4.0])
def test_lines_are_turned_by_angles_of_their_pixels(aspect):
    """In px the matrix of a turn is that of a turn, and of the square images' angle."""
    turn = lambda aspect: draw_maps(SEED, 50, Geometry(rotate=20, scale=0.1), aspect).numpy()[:, :, :2]
    in_pixels = turn(aspect) * np.array([[1, aspect], [1 / aspect, 1]])
    np.testing.assert_allclose(in_pixels, turn(1.0), atol=1e-6)
    slant = draw_maps(SEED, 50, Geometry(shear=20), aspect).numpy()[:, 0, 1] * aspect
    np.testing.assert_allclose(slant, draw_maps(SEED, 50, Geometry(shear=20)).numpy()[:, 0, 1], atol=1e-6)
    middle = draw_maps(SEED, 50, Geometry(rotate=20, shear=20), aspect).numpy() @ [0.5, 0.5, 1]
    np.testing.assert_allclose(middle, 0.5, atol=1e-6)


def batches(augment_on, **more):
    source = ImageSource("decoded", lambda at: at.map(lambda batch: tf.gather(IMAGES, batch)), 0)
    return training_batches(source, np.arange(10), TEXTS, None, AUGMENT, FORMAT, batch_size=4, seed=3, n_epochs=3,
                            augment_on=augment_on, **more)


@pytest.mark.slow
def test_images_and_texts_come_together_on_host_and_device():
    order = [row for batch in training_positions(np.zeros(10, int), None, 3, 4, 3) for row in batch.numpy()]
    device = augment_on_device(AUGMENT, FORMAT, None)
    on_host = list(batches("host"))
    for step, ((images, texts), drawn) in enumerate(zip(on_host, batches("device"))):
        rows = order[4 * step:4 * step + 4]
        assert (texts.numpy() == TEXTS[rows]).all() and texts.shape == (4, 5) and images.shape == (4, 16, 64, 1)
        plan = draw_plan(tf.constant([3, step], tf.int64), 4, AUGMENT, FORMAT)
        levels = change_levels(tf.gather(IMAGES, rows), plan, AUGMENT, FORMAT.size).numpy()
        np.testing.assert_allclose(images, (levels / 255 - 0.5) / 0.25, atol=1e-5)
        again, same = device(*drawn)
        assert (same.numpy() == texts.numpy()).all()
        np.testing.assert_allclose(again, images, atol=1e-5)
    assert step == 5
    late = next(iter(batches("host", start_step=4)))
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(late, on_host[4]))
    parts = [next(iter(batches("host", worker=k, n_workers=2, replicas=2))) for k in (0, 1)]
    for part, expected in zip(zip(*parts), on_host[0]):
        assert (np.concatenate(part) == expected.numpy()).all()


def test_evaluation_pads_the_last_batch():
    source = ImageSource("decoded", lambda at: at.map(lambda batch: tf.gather(IMAGES, batch)), 0)
    found = list(evaluation_batches(source, np.arange(10), FORMAT, batch_size=4))
    assert [index.numpy().tolist() for index, _ in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, -1, -1]]
    np.testing.assert_allclose(found[0][1], (IMAGES[:4].numpy() / 255 - 0.5) / 0.25, atol=1e-5)
