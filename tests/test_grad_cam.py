"""Heat maps of logits against closed forms in NumPy, and where they point; then the job and its pictures."""
import pathlib

import cv2
import numpy as np
import pytest
import scipy.signal
import scipy.special
import tensorflow as tf
from tensorflow import keras

import run
from jobs.errors import OptionError
from jobs.grad_cam import SHEET_SIDE, SIDE, file_names, label_numbers
from jobs.options import parse
from jobs.run_directory import FORMAT_VERSION
from models import kecam_package
from models.classifier import build_classifier
from models.grad_cam import GRAD_CAM, RELEVANCE, NoHeatMap, heat_maps
from models.heads import HEADS, L2SoftmaxHead, SoftmaxHead
from models.kecam_package import TokensToMap
from models.pooling import POOLINGS
from records.files import write_json
from reports.heat_overlay import LINE, MARGIN, draw_heat_maps, overlay
from tests.helpers import make_classes
from tests.small_training import built

RANDOM = np.random.default_rng(0)
LABELS = np.array([[2, 0], [1, 1], [0, 3]])
KERNEL = RANDOM.normal(size=(3, 3, 2, 5)).astype(np.float32)
IMAGES = RANDOM.normal(size=(3, 8, 12, 2)).astype(np.float32)


def small_network(head):
    """conv -> ReLU -> max over 2 x 2 -> mean -> head: images [n, 8, 12, 2] -> 4 logits."""
    images = keras.Input((8, 12, 2))
    x = keras.layers.Conv2D(5, 3, padding="same", activation="relu", use_bias=False)(images)
    x = POOLINGS["average"](name="pooling")(keras.layers.MaxPool2D()(x))
    network = keras.Model(images, head(x))
    network.layers[1].set_weights([KERNEL])
    return network


def maps_of_small_network():
    """Its last feature maps, [n, 4, 6, 5], in float64."""
    maps = np.stack([[sum(scipy.signal.correlate(image[..., i], KERNEL[..., i, o].astype(np.float64), "same")
                          for i in range(2)) for o in range(5)] for image in IMAGES.astype(np.float64)])
    return np.maximum(maps, 0).reshape(3, 5, 4, 2, 6, 2).max((3, 5)).transpose(0, 2, 3, 1)


def finished(coarse, width, height):
    """[n, k, h', w'] -> [n, k, height, width], from 0 to 1."""
    peak = coarse.max((2, 3), keepdims=True)
    coarse = np.divide(coarse, peak, out=np.zeros_like(coarse), where=peak > 0)
    return np.array([[cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in image]
                     for image in coarse])


def test_with_mean_and_a_dense_head_it_is_cam():
    """Zhou et al., 2016: the maps, weighted as the class weighs their means."""
    head = SoftmaxHead(4, name="head")
    method, heat = heat_maps(small_network(head))
    weights = head.get_weights()[0].astype(np.float64)  # [5, 4]
    cam = np.maximum(np.einsum("nhwc,cnk->nkhw", maps_of_small_network(), weights[:, LABELS]), 0)
    found = heat(IMAGES, LABELS)
    assert method == GRAD_CAM and found.dtype == tf.float32
    np.testing.assert_allclose(found, finished(cam, 12, 8), atol=1e-5)


def test_the_gradient_passes_the_l2_constrained_head():
    """Of a cosine by its feature: (class - cosine * feature) / length, both of length 1."""
    head = L2SoftmaxHead(4, name="head")
    _, heat = heat_maps(small_network(head))
    maps = maps_of_small_network()
    features, classes = maps.mean((1, 2)), head.get_weights()[0].astype(np.float64)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    features, classes = features / length, classes / np.linalg.norm(classes, axis=0)
    cosines = features @ classes
    gradient = np.stack([(classes[:, LABELS[i]] - cosines[i, LABELS[i]] * features[i][:, None]).T / length[i]
                         for i in range(3)])  # [n, k, 5]
    signed = np.einsum("nhwc,nkc->nkhw", maps, gradient)
    np.testing.assert_allclose(signed.mean((2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(heat(IMAGES, LABELS), finished(np.maximum(signed, 0), 12, 8), atol=1e-4)


def test_where_nothing_speaks_for_a_class_the_map_is_empty():
    head = SoftmaxHead(2, name="head")
    _, heat = heat_maps(small_network(head))
    head.set_weights([np.array([[1.0, -1.0]] * 5), np.zeros(2)])
    found = heat(IMAGES, np.array([[0, 1]] * 3)).numpy()
    assert found[:, 0].max() > 0.8 and (found[:, 1] == 0).all() and found.min() == 0 and found.max() <= 1


@pytest.mark.parametrize("policy, pooling, neck", [
    ("float32", "gem", "bottleneck"), ("mixed_bfloat16", "average", "none"),
    ("mixed_float16", "average", "two_fc")])
def test_necks_poolings_and_policies(policy, pooling, neck):
    """Against the gradient that Keras's own model of two outputs has, in float32."""
    def build():
        return build_classifier("wide_resnet10_2", (16, 16, 1), 4, pooling=pooling, neck=neck, dropout=0.5,
                                neck_width=None if neck == "none" else 8)
    network, full = built(policy, build), built("float32", build)
    full.set_weights(network.get_weights())
    images = RANDOM.normal(size=(3, 16, 16, 1)).astype(np.float32)
    whole = keras.Model(full.input, [full.get_layer("pooling").input, full.output])
    expected = np.zeros((3, 2, 4, 4))
    for i, own in enumerate(LABELS):
        for j, label in enumerate(own):
            with tf.GradientTape() as tape:
                maps, logits = whole(images[i:i + 1], training=False)
                chosen = logits[0, label]
            weights = tape.gradient(chosen, maps).numpy().mean((0, 1, 2))
            expected[i, j] = np.maximum(maps.numpy()[0] @ weights, 0)
    found = heat_maps(network)[1](images, LABELS)
    assert found.dtype == tf.float32
    tolerance = {"float32": 1e-4, "mixed_bfloat16": 0.1, "mixed_float16": 0.02}[policy]
    np.testing.assert_allclose(found, finished(expected, 16, 16), atol=tolerance)


@pytest.mark.parametrize("head", ["softmax", "l2_softmax"])
def test_the_maximum_lies_where_the_bright_square_is(head):
    """The class's weights: what the square changes in the features of a network that is not trained."""
    network = built("float32", lambda: build_classifier("wide_resnet10_2", (32, 32, 1), 2, head))
    squares = np.zeros((4, 32, 32, 1), np.float32)
    for k in range(4):
        squares[k, k // 2 * 16 + 5:, k % 2 * 16 + 5:][:6, :6] = 3
    features = keras.Model(network.input, network.get_layer("pooling").output)
    change = (features(squares) - features(np.zeros_like(squares))).numpy().mean(0)
    own = network.get_layer("head")
    own.set_weights([np.stack([change, -change], 1), *own.get_weights()[1:]])
    heat = heat_maps(network)[1](squares, np.zeros((4, 1), int)).numpy()[:, 0]
    for k in range(4):
        y, x = np.unravel_index(heat[k].argmax(), (32, 32))
        assert (y // 16, x // 16) == (k // 2, k % 2)


# Transformers

T, D, HEADS_OF, FIRST = 5, 3, 2, 1  # tokens: one of the class, and 2 x 2 patches
WITH, VALUE = RANDOM.normal(size=(2, 2, HEADS_OF, D, D))
CLASS_TOKEN = RANDOM.normal(size=(1, D))
DENSE = RANDOM.normal(size=(D, 4))


def transformer():
    """Two blocks of attention with constants for weights: images [n, 2, 2, D] -> 4 logits."""
    images = keras.Input((2, 2, D))
    x = keras.layers.Lambda(lambda x: tf.concat([
        tf.tile(tf.constant(CLASS_TOKEN[None], tf.float32), [tf.shape(x)[0], 1, 1]),
        tf.reshape(x, [-1, 4, D])], 1))(images)
    for block in range(2):
        scores = keras.layers.Lambda(lambda x, w=WITH[block]: tf.einsum(
            "nid,hde,nje->nhij", x, tf.constant(w, tf.float32), x))(x)
        attention = keras.layers.Softmax(name=f"block{block}_attn_attention_scores")(scores)
        x = keras.layers.Lambda(lambda given, v=VALUE[block]: given[0] + tf.einsum(
            "nhij,njd,hde->nie", given[1], given[0], tf.constant(v, tf.float32)))([x, attention])
    x = POOLINGS["average"](name="pooling")(TokensToMap(FIRST, 2, 2)(x))
    network = keras.Model(images, SoftmaxHead(4, name="head")(x))
    network.get_layer("head").set_weights([DENSE, np.zeros(4)])
    return network


def attention_of(image, change=0):
    """(logits, attention [blocks, heads, t, t]); change: added to the attention, of that shape."""
    x, maps = np.concatenate([CLASS_TOKEN, image.reshape(4, D)]), []
    change = np.broadcast_to(change, (2, HEADS_OF, T, T))
    for block in range(2):
        maps.append(scipy.special.softmax(np.einsum("id,hde,je->hij", x, WITH[block], x), -1))
        x = x + np.einsum("hij,jd,hde->ie", maps[-1] + change[block], x, VALUE[block])
    return x[FIRST:].mean(0) @ DENSE, np.array(maps)


def test_attention_relevance_is_that_of_the_paper():
    """Gradients by finite differences, in NumPy."""
    images = RANDOM.normal(size=(2, 2, 2, D)) * 0.5
    labels, step = np.array([[0, 3], [1, 2]]), 1e-5
    method, heat = heat_maps(transformer())
    expected = np.zeros((2, 2, 2, 2))
    for i, image in enumerate(images):
        _, attention = attention_of(image)
        gradient = np.zeros((4, *attention.shape))
        for place in np.ndindex(attention.shape):
            change = np.zeros(attention.shape)
            change[place] = step
            gradient[(slice(None), *place)] = (attention_of(image, change)[0] -
                                               attention_of(image, -change)[0]) / (2 * step)
        for j, label in enumerate(labels[i]):
            r = np.eye(T)
            for own, by in zip(attention, gradient[label]):
                r = r + np.maximum(own * by, 0).mean(0) @ r
            patches = (r - np.eye(T))[FIRST:, FIRST:].mean(0)
            expected[i, j] = (patches - patches.min()).reshape(2, 2)
    assert method == RELEVANCE
    np.testing.assert_allclose(heat(images.astype(np.float32), labels), finished(expected, 2, 2), atol=1e-3)


def test_kecams_beit_has_heat_maps():
    kecam = kecam_package._import_kecam()
    keras.utils.set_random_seed(0)
    network = kecam_package.tokens_to_map(kecam.beit.Beit(
        depth=2, num_heads=2, embed_dim=16, patch_size=8, input_shape=(32, 24, 3), num_classes=0,
        include_top=False, pretrained=None))
    x = POOLINGS["average"](name="pooling")(network.output)
    method, heat = heat_maps(keras.Model(network.input, HEADS["l2_softmax"](5, name="head")(x)))
    images = RANDOM.normal(size=(2, 32, 24, 3)).astype(np.float32)
    found = heat(images, np.array([[0, 4], [2, 2]])).numpy()
    assert method == RELEVANCE and found.shape == (2, 2, 32, 24)
    assert (found.min((2, 3)) < 0.2).all() and (found.max((2, 3)) > 0.9).all()
    np.testing.assert_array_equal(found[1, 0], found[1, 1])
    assert np.abs(found[0, 0] - found[0, 1]).max() > 0.01


def tokens_without_attention(height, width):
    images = keras.Input((8, 8, 3))
    x = TokensToMap(0, height, width)(keras.layers.Reshape((64, 3))(images))
    return keras.Model(images, SoftmaxHead(2, name="head")(POOLINGS["average"](name="pooling")(x)))


@pytest.mark.parametrize("network, says", [
    (lambda: tokens_without_attention(8, 8), "levit is a transformer whose attention.*convolutional.*BEiT"),
    (lambda: tokens_without_attention(1, 64), "levit is a transformer"),
    (lambda: build_classifier("wide_resnet10_2", (4, 4, 1), 2), "of levit is one cell at its input of 4 px"),
    (lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), "levit has no layer \"pooling\"")])
def test_networks_without_heat_maps_are_refused(network, says):
    with pytest.raises(NoHeatMap, match=says):
        heat_maps(network(), "levit")


# Pictures

def image_and_heat(h, w, c, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (h, w, c)).astype(np.uint8), random.random((h, w)).astype(np.float32)


@pytest.mark.parametrize("c", [1, 3])
def test_an_overlay_is_the_mean_of_image_and_colours(c):
    image, heat = image_and_heat(9, 7, c)
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_INFERNO)[0]
    colours = table[np.rint(heat * np.float32(255)).astype(int)]
    found = overlay(image, heat, 0.25)
    np.testing.assert_allclose(found, 0.25 * colours + 0.75 * image[..., ::-1], atol=0.51)
    assert (overlay(image, heat, 0) == image[..., ::-1]).all() and (overlay(image, heat, 1) == colours).all()


def test_a_sheet_has_a_row_for_each_image_and_a_place_for_each_label(tmp_path):
    pairs = [image_and_heat(48, 48, 3, seed) for seed in range(2)]
    cold = np.zeros((48, 48), np.float32)
    draw_heat_maps(tmp_path / "x.png", [image for image, _ in pairs], [[heat, cold] for _, heat in pairs],
                   [["a", "b"]] * 2, [[.5, .25]] * 2, ["one", "two"], "Grad-CAM", side=96)
    drawn = cv2.imread(str(tmp_path / "x.png"))
    down = 96 + LINE + MARGIN
    assert drawn.shape == (MARGIN + 2 * down + LINE + MARGIN, MARGIN + 3 * (96 + MARGIN), 3)
    for k, (image, _) in enumerate(pairs):
        row = drawn[MARGIN + k * down:][:96]
        plain = image[..., ::-1].repeat(2, 0).repeat(2, 1)
        assert (row[:, MARGIN:][:, :96] == plain).all()
        dark = cv2.applyColorMap(np.zeros((1, 1), np.uint8), cv2.COLORMAP_INFERNO)[0, 0]
        np.testing.assert_allclose(row[:, MARGIN + 2 * (96 + MARGIN):][:, :96],
                                   (plain + dark.astype(float)) / 2, atol=0.51)


@pytest.mark.parametrize("change, says", [
    ({"images": []}, "one image at least"), ({"side": 50}, "in 50 px"), ({"titles": []}, "got 1, 1, 1, 1, 0"),
    ({"shares": [[1.5]]}, "from 0 to 1"), ({"names": [["a", "b"]]}, "got 2 names"),
    ({"heats": [np.ones((1, 4, 5))]}, "of that shape"), ({"heats": [np.full((1, 4, 4), 2.)]}, "from 2 to 2"),
    ({"heats": [np.full((1, 4, 4), np.nan)]}, "from nan"), ({"images": [np.zeros((4, 4, 3))]}, "got float64")])
def test_what_cannot_be_drawn_is_refused(tmp_path, change, says):
    given = {"images": [np.zeros((4, 4, 3), np.uint8)], "heats": [np.ones((1, 4, 4))], "names": [["a"]],
             "shares": [[1.0]], "titles": ["x"], "method": "Grad-CAM"} | change
    with pytest.raises(ValueError, match=says):
        draw_heat_maps(tmp_path / "x.png", **given)
    assert not list(tmp_path.iterdir())


# The job

def test_pictures_have_names_of_their_own():
    paths = [pathlib.Path(p) for p in ("a/1.png", "b/1.jpg", "1-2.png", "sheet.png", "c/1.png")]
    assert file_names(paths) == ["1", "1-2", "1-2-2", "sheet-2", "1-3"]


def test_labels_are_classes_of_the_run():
    assert label_numbers(["b", "a", "b"], ["a", "b", "c"]) == [1, 0]
    with pytest.raises(OptionError, match="no class 'tag::car' among its 2 \\(did you mean tag::cat"):
        label_numbers(["tag::car"], ["tag::cat", "culture::x"])


@pytest.mark.parametrize("arguments, says", [
    (["--job=grad_cam"], "--images is for"),
    (["--job=predict", "--images", "x", "--labels=a"], "--labels is for"),
    (["--job=grad_cam,test", "--data_tfrec_dir=x", "--images", "x"], "goes alone"),
    (["--task=detect", "--data_tfrec_dir=x", "--job=grad_cam", "--images", "x"], "does not go with")])
def test_impossible_calls_are_refused(arguments, says, capsys):
    with pytest.raises(SystemExit):
        parse(arguments)
    assert says in capsys.readouterr().err


def test_the_job_draws_from_a_run_directory(tmp_path, capsys):
    """A run as --job=train leaves one, with weights that are not trained."""
    make_classes(tmp_path / "set", classes=4, per_class=1)
    options = {"backbone": "wide_resnet10_2", "head": "l2_softmax"}
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    built("float32", lambda: build_classifier(input_shape=(16, 16, 1), n_classes=4, **options)).save_weights(
        tmp_path / "run/checkpoints/best.h5")
    packing = {"size": 18, "channels": 1, "fit": "stretch", "margin": None, "local_contrast": False,
               "denoise": False}
    write_json(tmp_path / "run/run.json", {
        "format_version": FORMAT_VERSION, "task": "classify", "finished": True, "created": "", "options": {},
        "class_names": [f"class{k}" for k in range(4)], "network": options, "eval_crop": 1.0,
        "input": {"size": 16, "channels": 1, "mean": [0.2], "std": [0.3]}, "dataset": {"packing": packing}})
    common = [f"--run_dir={tmp_path / 'run'}", "--job=grad_cam", "--batch_size=4", "--images",
              str(tmp_path / "set")]
    run.main(common)
    folder = tmp_path / "run/grad_cam"
    assert sorted(p.name for p in folder.iterdir()) == [*(f"{k}00_0.png" for k in range(4)), "sheet.png"]
    size = lambda name: cv2.imread(str(folder / name)).shape[:2]
    assert size("000_0.png") == (MARGIN + SIDE + LINE + MARGIN + LINE + MARGIN, MARGIN + 4 * (SIDE + MARGIN))
    assert size("sheet.png") == (MARGIN + 4 * (SHEET_SIDE + LINE + MARGIN) + LINE + MARGIN,
                                 MARGIN + 4 * (SHEET_SIDE + MARGIN))
    assert "Grad-CAM: 4 images" in capsys.readouterr().out
    run.main([*common, "--labels=class2,class0", "--mixed_precision=mixed_bfloat16"])
    keras.mixed_precision.set_global_policy("float32")
    assert size("sheet.png")[1] == MARGIN + 3 * (SHEET_SIDE + MARGIN)
