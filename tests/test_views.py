"""Test-time views against plain NumPy, and their cost."""
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import map_coordinates

from inference.predict import Predictor, classifier
from pipeline.augmentation import InputFormat
from pipeline.batches import evaluation_batches
from pipeline.cache import ImageSource
from pipeline.views import show_own_views, show_views, tile_maps, view_maps

RANDOM = np.random.default_rng(5)
RECORDS = RANDOM.integers(0, 256, [3, 124, 124, 3], np.uint8)


def crop(images, x, y, side):
    return images[:, y:y + side, x:x + side]


def resized(image, x, y, side, size):
    """A square part of an image [h, w, c] at another size, bilinear, the border repeated."""
    at = (np.arange(size) + 0.5) / size * side - 0.5
    rows, columns = np.meshgrid(y + at, x + at, indexing="ij")
    return np.stack([map_coordinates(image[..., c].astype(float), [rows, columns], order=1, mode="nearest")
                     for c in range(image.shape[-1])], axis=-1)


def resize_linear(image, width, height):
    """A whole image [h, w, c] at another size, bilinear."""
    h, w = image.shape[:2]
    rows, columns = np.meshgrid((np.arange(height) + 0.5) / height * h - 0.5, (np.arange(width) + 0.5) / width * w - 0.5,
                                indexing="ij")
    return np.stack([map_coordinates(image[..., c], [rows, columns], order=1, mode="nearest")
                     for c in range(image.shape[-1])], axis=-1)


def views_of(kind, images=RECORDS, size=112, share=0.9032, in_data=False):
    maps = view_maps(kind, size, images.shape[1], share)
    if not in_data:
        return show_views(tf.constant(images), maps, size).numpy()
    data = tf.data.Dataset.from_tensors(tf.constant(images)).map(lambda x: show_views(x, maps, size))
    return next(iter(data)).numpy()


@pytest.mark.parametrize("in_data", [False, True])
def test_system_a_s_seven_crops(in_data):
    views = views_of("crops7", in_data=in_data)
    assert views.shape == (3, 7, 112, 112, 3)
    for place, (x, y) in enumerate([(0, 0), (12, 0), (0, 12), (12, 12), (6, 6)]):
        np.testing.assert_array_equal(views[:, place], crop(RECORDS, x, y, 112))
    for place, (corner, side) in ((5, (3, 118)), (6, (0, 124))):
        expected = np.stack([resized(image, corner, corner, side, 112) for image in RECORDS])
        assert np.abs(views[:, place] - expected).max() <= 0.51


@pytest.mark.parametrize("kind, sides", [
    ("one", [112]), ("crops5", [112] * 5), ("crops6", [112] * 5 + [124]), ("crops10", [112] * 5 + [118] * 5),
    ("crops20", [112] * 5 + [115] * 5 + [118] * 5 + [121] * 5)])
def test_sizes_of_the_crops(kind, sides):
    maps = view_maps(kind, 112, 124, 0.9032)
    np.testing.assert_allclose(maps[:, 0, 0] * 124, sides, rtol=1e-5)
    np.testing.assert_allclose(maps[:, 0, 0], maps[:, 1, 1])


def test_turtle_recalls_nine_after_the_image_itself():
    views = views_of("nine", share=1.0, size=124)
    turned = [RECORDS, RECORDS[:, :, ::-1], RECORDS[:, ::-1],
              *(np.rot90(RECORDS, k, axes=(1, 2)) for k in (1, 2, 3))]
    for place, expected in enumerate(turned):
        np.testing.assert_array_equal(views[:, place], expected, err_msg=str(place))
    # Half quarters: what is a quarter further shows the same, turned.
    for place in (6, 7, 8):
        further = np.rot90(views[:, place].astype(int), 1, axes=(1, 2))
        assert np.abs(views[:, place + 1] - further).max() <= 1
    side = 0.7 * 124
    radius = np.hypot(*np.meshgrid(*[(np.arange(124) + 0.5) / 124 * side - side / 2] * 2))
    expected = resized_turned(RECORDS[0], side)
    assert np.abs(views[0, 6] - expected)[radius < 40].max() <= 0.51


def resized_turned(image, side):
    """The middle of the image turned counter-clockwise by 45 degrees."""
    at = (np.arange(124) + 0.5) / 124 * side - side / 2
    down, across = np.meshgrid(at, at, indexing="ij")
    half = np.sqrt(0.5)
    # Turned counter-clockwise, the output's right shows what was to the lower right.
    x, y = half * (across - down), half * (across + down)
    return np.stack([map_coordinates(image[..., c].astype(float), [y + 61.5, x + 61.5], order=1,
                                     mode="nearest") for c in range(3)], axis=-1)


def test_crops_of_a_record_that_is_shown_whole_are_refused():
    with pytest.raises(ValueError, match="--views=crops7: the crop of this run is the whole record"):
        view_maps("crops7", 124, 124, 1.0)


@pytest.mark.parametrize("width, height", [(90, 30), (30, 60), (50, 50), (31, 30)])
def test_tiles_are_squares_of_the_image_before_it_was_stretched(width, height):
    """A smooth picture, stretched to a square: its tiles are those of the picture, resized."""
    y, x = np.mgrid[:height, :width]
    picture = (127 + 100 * np.sin(x / 9) * np.cos(y / 11)).astype(np.float32)[..., None]
    record = resize_linear(picture, 120, 120)
    shown = show_own_views(tf.constant(record.round()[None].astype(np.uint8)),
                           tf.constant(tile_maps([width / height], 1)), 40).numpy()[0]
    side = min(width, height)
    for place, tile in zip((0, 0.5, 1), shown):
        x0, y0 = place * (width - side), place * (height - side)
        expected = resized(picture, x0, y0, side, 40)
        assert np.abs(tile - expected)[3:-3, 3:-3].max() < 4


def test_tiles_of_each_record_by_its_own_shape():
    source = ImageSource("decoded", lambda at: at.map(lambda batch: tf.gather(RECORDS, batch)), 0)
    maps = tile_maps([2.0, 1.0, 0.5], 0.8)
    given = InputFormat(size=16, channels=3, mean=[0.0], std=[1.0], dtype="float32")
    batches = evaluation_batches(source, [2, 0, 1], given, batch_size=2, views=maps[[2, 0, 1]])
    (index, images), (rest, last) = batches.as_numpy_iterator()
    assert index.tolist() == [0, 1] and rest.tolist() == [2, -1] and images.shape == (2, 3, 16, 16, 3)
    for got, record in ((images[0], 2), (images[1], 0), (last[0], 1)):
        own = show_own_views(RECORDS[record:record + 1], tf.constant(maps[record:record + 1]), 16)[0].numpy()
        np.testing.assert_array_equal(np.round(got * 255), own)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_mean_over_the_views(average):
    dense = tf.keras.Sequential([tf.keras.layers.Input([4, 4, 1]), tf.keras.layers.Flatten(),
                                 tf.keras.layers.Dense(5)])
    images = RANDOM.normal(size=[6, 7, 4, 4, 1]).astype(np.float32)
    logits = dense(images.reshape(42, 4, 4, 1)).numpy().reshape(6, 7, 5).astype(np.float64)
    if average == "logits":
        expected = logits.mean(1)
    else:
        probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        expected = np.log(probability.mean(1))
    apply = classifier(dense, lambda logits, index: {"logits": logits}, average)
    for function in (apply, tf.function(apply), tf.function(apply, jit_compile=True)):
        np.testing.assert_allclose(function(tf.range(6), images)["logits"], expected, rtol=1e-4, atol=1e-5)
    batches = tf.data.Dataset.from_tensors((np.arange(6, dtype=np.int64), images))
    predicted = Predictor(apply, tf.distribute.get_strategy())(batches, 6)
    np.testing.assert_allclose(predicted["logits"], expected, rtol=1e-4, atol=1e-5)
