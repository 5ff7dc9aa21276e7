"""Test-time views against plain NumPy, and their cost."""
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import map_coordinates

from inference.predict import Predictor, classifier
from pipeline.views import show_views, view_maps

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
