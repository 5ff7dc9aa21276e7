import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from models.backbones import build_backbone
from models.centernet import ARCHITECTURES, CenterNet, build_centernet
from models.conv_blocks import conv_norm
from models.hourglass import HOURGLASSES, Hourglass
from models.neighbourhoods import gather_neighbourhoods
from models.pyramid import bottlenecks, build_pyramid_backbone, feature_levels, feature_pyramid
from models.upsampling import upsample_bilinear, upsample_nearest

SMALL = dict(backbone="wide_resnet10_2", stem_stride=2, pyramid_channels=12, head_channels=8,
             class_channels=16)


def small_centernet(channels=1, n_heatmaps=1, n_classes=7, seed=1, **options):
    keras.utils.set_random_seed(seed)
    return build_centernet("pyramid", channels, n_heatmaps, n_classes, **{**SMALL, **options})


@pytest.fixture(scope="module")
def shared():
    """One small network, for the tests that change nothing but the biases of its class branch."""
    return small_centernet()


def normal(*shape):
    """The same numbers for the same shape, whichever tests run."""
    return np.random.default_rng(shape).normal(size=shape).astype("float32")


def run_all_ways(function, *arguments):
    """The results eagerly, in a tf.function, and compiled by XLA."""
    return [way(*map(tf.constant, arguments)) for way in
            (function, tf.function(function), tf.function(function, jit_compile=True))]


@pytest.fixture(params=["mixed_float16", "mixed_bfloat16"])
def mixed_policy(request):
    keras.mixed_precision.set_global_policy(request.param)
    yield request.param[len("mixed_"):]
    keras.mixed_precision.set_global_policy("float32")


# Oracles

def conv_oracle(x, kernel, bias=0.0, stride=1):
    """Zero-padded by half the kernel on every side, in float64."""
    n, h, w, _ = x.shape
    reach = kernel.shape[0] // 2
    padded = np.pad(x.astype("float64"), ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    out = np.zeros((n, h // stride, w // stride, kernel.shape[-1]))
    for row in range(h // stride):
        for column in range(w // stride):
            patch = padded[:, stride * row:stride * row + kernel.shape[0],
                           stride * column:stride * column + kernel.shape[1]]
            out[:, row, column] = np.tensordot(patch, kernel.astype("float64"), 3)
    return out + bias


def nearest_oracle(x, factor):
    return np.kron(x, np.ones((1, factor, factor, 1)))


def bilinear_oracle(x, factor):
    """Values at cell centres, interpolated in between, continued beyond the outermost centres."""
    x = x.astype("float64")
    for axis in (1, 2):
        n = x.shape[axis]
        slices = []
        for i in range(n * factor):
            at = min(max((i + 0.5) / factor - 0.5, 0), n - 1)
            low = int(at)
            high = min(low + 1, n - 1)
            slices.append(x.take(low, axis) * (1 - at + low) + x.take(high, axis) * (at - low))
        x = np.stack(slices, axis)
    return x


# Upsampling, convolution, gathering

@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("upsample, oracle", [(upsample_nearest, nearest_oracle),
                                              (upsample_bilinear, bilinear_oracle)])
def test_upsampling_is_that_of_the_oracle(upsample, oracle, factor):
    x = normal(2, 3, 5, 4)
    for result in run_all_ways(lambda x: upsample(x, factor), x):
        np.testing.assert_allclose(result, oracle(x, factor), atol=1e-5)
    assert upsample(tf.cast(x, "bfloat16"), factor).dtype == tf.bfloat16


@pytest.mark.parametrize("kernel, stride", [(3, 1), (3, 2), (7, 2), (1, 2)])
def test_convolutions_with_a_stride_stay_centred(kernel, stride):
    image = keras.Input((8, 6, 2))
    network = keras.Model(image, conv_norm(image, 3, kernel, stride))
    x, weights = normal(2, 8, 6, 2), network.get_weights()[0]
    expected = conv_oracle(x, weights, stride=stride) / np.sqrt(1 + 1e-5)  # fresh normalisation
    np.testing.assert_allclose(network(x), expected, atol=1e-5)


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_neighbourhoods_and_their_gradient(radius):
    features, side = normal(2, 5, 4, 3), 2 * radius + 1
    cells = np.array([[[0, 0], [4, 3], [2, 1], [2, 1]], [[0, 3], [4, 0], [1, 2], [-1, 4]]], "int32")
    upstream = normal(2, 4, side, side, 3)
    expected, expected_gradient = np.zeros(upstream.shape), np.zeros(features.shape)
    for b, p, y, x in np.ndindex(2, 4, side, side):
        row, column = cells[b, p] + (y - radius, x - radius)
        if 0 <= row < 5 and 0 <= column < 4:
            expected[b, p, y, x] = features[b, row, column]
            expected_gradient[b, row, column] += upstream[b, p, y, x]

    def gather(features, cells, upstream):
        with tf.GradientTape() as tape:
            tape.watch(features)
            gathered = gather_neighbourhoods(features, cells, radius)
        return gathered, tape.gradient(gathered, features, upstream)

    for gathered, gradient in run_all_ways(gather, features, cells, upstream):
        np.testing.assert_array_equal(gathered, expected.astype("float32"))
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), expected_gradient, atol=1e-6)


def test_neighbourhoods_do_not_spread_nan_beyond_the_border():
    features = np.full((1, 3, 3, 1), np.nan, "float32")
    around = gather_neighbourhoods(features, tf.constant([[[0, 0]]]), 1).numpy()[0, 0, ..., 0]
    assert (around[0] == 0).all() and (around[:, 0] == 0).all() and np.isnan(around[1:, 1:]).all()


# Backbones

# Channels of the stages' ends, after the papers; for EfficientNet and ResNet18 (of pre-activation
# type) of what follows them and still has their size.
LEVELS = [("resnet18", {}, {4: 64, 8: 128, 16: 256, 32: 512}),
          ("resnet50", {}, {4: 256, 8: 512, 16: 1024, 32: 2048}),
          ("kecam:resnet_family.ResNet50D", {}, {4: 256, 8: 512, 16: 1024, 32: 2048}),
          ("resnet101d", {}, {4: 256, 8: 512, 16: 1024, 32: 2048}),
          ("efficientnet_b0", {}, {4: 144, 8: 240, 16: 672, 32: 1280}),
          ("kecam:convnext.ConvNeXtTiny", {}, {4: 96, 8: 192, 16: 384, 32: 768}),
          ("densenet121", {}, {4: 128, 8: 256, 16: 512, 32: 1024}),
          ("seresnext50", {}, {4: 256, 8: 512, 16: 1024, 32: 2048}),
          ("wide_resnet16_2", {"stem_stride": 2}, {4: 64, 8: 128})]
QUICK = {"resnet18", "kecam:resnet_family.ResNet50D", "wide_resnet16_2"}


@pytest.mark.parametrize("name, arguments, expected",
                         [pytest.param(*level, marks=[] if level[0] in QUICK else pytest.mark.slow)
                          for level in LEVELS])
def test_levels_of_a_backbone(name, arguments, expected):
    backbone = build_pyramid_backbone(name, 1, **arguments)
    levels = backbone(np.zeros((1, 96, 64, 1), "float32"), training=False)
    assert {stride: tuple(level.shape) for stride, level in levels.items()} == {
        stride: (1, 96 // stride, 64 // stride, c) for stride, c in expected.items()}


def test_bottlenecks_are_the_tensors_without_which_nothing_passes():
    network = build_backbone("resnet18", (None, None, 1))
    children = {}
    for layer in network.get_config()["layers"]:
        for node in layer["inbound_nodes"]:
            for parent in node:
                children.setdefault(parent[0], []).append(layer["name"])

    def passes_without(removed):
        seen, queue = set(), [network.layers[0].name]
        while queue:
            name = queue.pop()
            if name not in seen and name != removed:
                seen.add(name)
                queue += children.get(name, [])
        return network.layers[-1].name in seen

    expected = {layer.name for layer in network.layers if not passes_without(layer.name)}
    assert {tensor.node.layer.name for tensor in bottlenecks(network)} == expected
    assert 3 < len(expected) < len(network.layers) - 3


@pytest.mark.parametrize("name, arguments, message", [
    ("wide_resnet16_2", {}, "stride 4 .* 'wide_resnet16_2' with {} has 4. Choose"),
    ("wide_resnet16_2", {"stem_stride": 8}, "has 8, 16, 32. Choose"),
    ("kecam:beit.ViTTinyPatch16", {}, "'kecam:beit.ViTTinyPatch16' is built for one image size"),
    ("resnet512", {}, "no backbone 'resnet512'"),
    ("wide_resnet16_2", {"stem_strides": 2}, "stem_strides"),
    ("wide_resnet16_2", {"weights": "imagenet"}, "no published weights")])
def test_backbones_that_do_not_serve_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        build_centernet("pyramid", 3, backbone=name, **arguments)


def test_backbone_weights_come_from_a_file(tmp_path):
    backbone = build_backbone("wide_resnet10_2", (32, 32, 1), stem_stride=2)
    backbone.save_weights(tmp_path / "x.h5")
    model = small_centernet(weights=str(tmp_path / "x.h5"))
    inner = next(layer for layer in model.network.layers if layer.name == "backbone")
    for stored, loaded in zip(backbone.get_weights(), inner.get_weights(), strict=True):
        np.testing.assert_array_equal(stored, loaded)


def test_feature_pyramid_is_that_of_the_paper():
    shapes = {4: (8, 16, 3), 16: (2, 4, 5), 32: (1, 2, 4)}  # stride 8 left out
    inputs = {stride: keras.Input(shape) for stride, shape in shapes.items()}
    network = keras.Model(inputs, feature_pyramid(inputs, 6))
    for variable in network.weights:
        variable.assign(normal(*variable.shape))
    levels = {stride: normal(2, *shape) for stride, shape in shapes.items()}
    weights = {f"{kind}{stride}": network.get_layer(f"{kind}{stride}").get_weights()
               for kind in ("lateral", "smooth") for stride in shapes}
    sums = {32: conv_oracle(levels[32], *weights["lateral32"])}
    sums[16] = conv_oracle(levels[16], *weights["lateral16"]) + nearest_oracle(sums[32], 2)
    sums[4] = conv_oracle(levels[4], *weights["lateral4"]) + nearest_oracle(sums[16], 4)
    for stride, result in network(levels).items():
        expected = conv_oracle(sums[stride], *weights[f"smooth{stride}"])
        np.testing.assert_allclose(result, expected, atol=1e-3)


# The network

@pytest.fixture
def two_stacks(monkeypatch):
    """A tiny network with the parts of Hourglass-104."""
    monkeypatch.setitem(HOURGLASSES, "hourglass104", Hourglass(2, 4, (8, 8, 12), (1, 1, 1)))


@pytest.mark.parametrize("architecture, channels, n_heatmaps, stacks, options", [
    ("pyramid", 1, 1, 1, SMALL), ("pyramid", 3, 4, 1, SMALL), ("hourglass_small", 1, 3, 1, {}),
    ("hourglass104", 3, 2, 2, {})])
def test_shapes_at_two_image_sizes(architecture, channels, n_heatmaps, stacks, options, two_stacks):
    model = build_centernet(architecture, channels, n_heatmaps, 0, **options)
    for height, width in ((64, 96), (32, 32)):
        outputs = model(normal(2, height, width, channels))
        assert len(outputs) == stacks
        for maps in outputs:
            assert list(maps) == ["features", "heatmap", "size", "offset"]
            for name in maps:
                assert maps[name].shape[:3] == (2, height // 4, width // 4), name
                assert maps[name].dtype == tf.float32 and np.isfinite(maps[name]).all()
            assert [maps[name].shape[3] for name in ("heatmap", "size", "offset")] == [n_heatmaps, 2, 2]


def test_the_pyramid_joins_its_levels(shared):
    assert shared.multiple == 8 and shared.stride == 4
    assert shared(normal(1, 16, 24, 1))[-1]["features"].shape == (1, 4, 6, 2 * 8)


def test_heatmap_starts_near_the_published_tenth(shared):
    heatmap = tf.sigmoid(shared(np.zeros((1, 32, 32, 1), "float32"))[-1]["heatmap"])
    np.testing.assert_allclose(heatmap, 1 / (1 + np.exp(2.19)), atol=1e-4)


def test_mixed_precision_gives_float32_maps(mixed_policy):
    model = small_centernet(n_classes=5)
    maps = model(normal(1, 32, 32, 1))[-1]
    assert maps["features"].dtype == mixed_policy
    assert {maps[name].dtype for name in ("heatmap", "size", "offset")} == {tf.float32}
    embedding = model.class_embedding(maps["features"], tf.constant([[[0, 0], [7, 7]]]), reach=1)
    assert embedding.dtype == mixed_policy
    assert model.class_logits(embedding).dtype == tf.float32
    assert all(variable.dtype == tf.float32 for variable in model.trainable_variables)


# The class branch

CELLS = np.array([[[0, 0], [0, 5], [3, 2], [7, 5]], [[7, 0], [4, 4], [4, 4], [1, 5]]], "int32")


def dense_embedding(model, features):
    """The class convolution everywhere, ReLU'd, as a map [b, h, w, class_channels]."""
    return np.maximum(conv_oracle(features, *model.class_conv.get_weights()), 0)


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_class_branch_equals_the_dense_convolution(reach, shared):
    shared.class_conv.bias.assign(normal(16))
    features = normal(2, 8, 6, 16)
    dense = dense_embedding(shared, features)
    for embedding in run_all_ways(lambda f, c: shared.class_embedding(f, c, reach), features, CELLS):
        assert embedding.shape == (2, 4, (1 + 2 * reach) ** 2, 16)
        n_checked = 0
        for b, p in np.ndindex(2, 4):
            for k, step in enumerate(np.ndindex(1 + 2 * reach, 1 + 2 * reach)):
                row, column = CELLS[b, p] + np.array(step) - reach
                if 0 <= row < 8 and 0 <= column < 6:
                    np.testing.assert_allclose(embedding[b, p, k], dense[b, row, column], atol=1e-5)
                    n_checked += 1
        assert n_checked >= 8


def test_class_logits_are_a_dense_layer_with_these_variables(shared):
    shared.class_bias.assign(normal(7))
    assert shared.class_kernel.shape == (16, 7)
    embedding = normal(2, 4, 9, 16)
    expected = embedding.astype("float64") @ shared.class_kernel.numpy() + shared.class_bias.numpy()
    np.testing.assert_allclose(shared.class_logits(embedding), expected, atol=1e-5)


def test_dropout_of_the_classes_applies_in_training_only():
    model = small_centernet(class_dropout=0.25)
    features, cells = np.ones((1, 40, 40, 16), "float32"), np.full((1, 500, 2), 9, "int32")
    plain = model.class_embedding(features, cells).numpy()
    dropped = model.class_embedding(features, cells, training=True).numpy()
    alive = plain > 0
    assert alive.any()
    kept = dropped[alive] > 0
    assert abs(kept.mean() - 0.75) < 0.05
    np.testing.assert_allclose(dropped[alive][kept], plain[alive][kept] / 0.75, rtol=1e-5)
    np.testing.assert_array_equal(plain, model.class_embedding(features, cells).numpy())


def test_many_points_and_classes_make_no_dense_class_map():
    """No operation of the class branch holds h*w*classes, or h*w*class_channels, values."""
    model = small_centernet(n_classes=4212)
    branch = tf.function(lambda f, c: model.class_logits(model.class_embedding(f, c)))
    graph = branch.get_concrete_function(tf.TensorSpec((1, 128, 128, 16)),
                                         tf.TensorSpec((1, 20, 2), tf.int32)).graph
    sizes = [tensor.shape.num_elements() or 0 for operation in graph.get_operations()
             for tensor in operation.outputs if tensor.shape.rank is not None]
    assert max(sizes) == max(128 * 128 * 16, 20 * 4212)


def test_a_network_without_classes_says_so():
    model = small_centernet(n_classes=0)
    for use in (lambda: model.class_embedding(normal(1, 4, 4, 16), CELLS[:1]),
                lambda: model.class_logits(normal(1, 1, 1, 16)),
                lambda: model.class_kernel, lambda: model.class_bias):
        with pytest.raises(ValueError, match="no class branch"):
            use()


# Training, saving

def loss_of(model, images, cells):
    maps = model(images, training=True)
    embedding = model.class_embedding(maps[-1]["features"], cells, reach=1, training=False)
    logits = model.class_logits(embedding)
    return (tf.reduce_mean(tf.square(logits)) + tf.reduce_mean(tf.square(logits[..., 0] - 1.0))
            + tf.add_n([tf.reduce_mean(tf.square(output[name] - 1.0)) for output in maps
                        for name in ("heatmap", "size", "offset")]))


def loss_and_gradients(model):
    def function(images, cells):
        with tf.GradientTape() as tape:
            loss = loss_of(model, images, cells)
        gradients = tape.gradient(loss, model.trainable_variables)
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]
    return function


@pytest.mark.parametrize("architecture", [
    "pyramid", pytest.param("hourglass104", marks=pytest.mark.slow)])
def test_compiled_step_gives_every_weight_its_gradient(architecture, two_stacks):
    keras.utils.set_random_seed(2)
    options = SMALL if architecture == "pyramid" else {"class_channels": 16}
    model = build_centernet(architecture, 1, 2, 5, **options)
    images, cells = normal(2, 64, 64, 1), CELLS
    plain, compiled = (tf.function(loss_and_gradients(model), jit_compile=jit)(images, cells)
                       for jit in (False, True))
    np.testing.assert_allclose(compiled[0], plain[0], rtol=1e-4)
    agree = []
    for variable, a, b in zip(model.trainable_variables, plain[1], compiled[1], strict=True):
        scale = np.abs(a).max()
        assert scale > 0, variable.name
        agree.append(np.abs(a - b).max() < 1e-3 * scale)
    # Not all: a value within rounding of a ReLU's kink may fall on either side of it, and moves the
    # gradient of the few weights below.
    assert np.mean(agree) > 0.9


def test_gradients_in_mixed_precision_are_finite(mixed_policy):
    model = small_centernet()
    loss, gradients = tf.function(loss_and_gradients(model))(normal(2, 32, 32, 1), CELLS)
    assert np.isfinite(loss)
    assert all(np.isfinite(g).all() and g.dtype == tf.float32 for g in gradients)


@pytest.mark.parametrize("architecture", ["pyramid", "hourglass_small"])
def test_saved_and_loaded_it_is_the_same_bit_for_bit(architecture, tmp_path):
    class Trained(CenterNet):
        pass

    def build(seed, cls):
        keras.utils.set_random_seed(seed)
        options = SMALL if architecture == "pyramid" else {}
        return build_centernet(architecture, 1, 1, 6, cls=cls, **options)

    def outputs(model):
        maps = model(images, training=False)[-1]
        return [*maps.values(), model.class_logits(model.class_embedding(maps["features"], CELLS))]

    images, model = normal(2, 64, 64, 1), build(1, Trained)
    assert isinstance(model, Trained)
    model(images, training=True)  # moves the statistics of the normalisation
    model.save_weights(tmp_path / "x.h5")
    loaded = build(2, CenterNet)
    assert any((a != b).any() for a, b in zip(model.get_weights(), loaded.get_weights()))
    loaded.load_weights(tmp_path / "x.h5")
    for a, b in zip(outputs(model), outputs(loaded), strict=True):
        np.testing.assert_array_equal(a, b)


def test_initial_weights_are_a_function_of_the_seed():
    first, second, other = (small_centernet(seed=seed).get_weights() for seed in (1, 1, 2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(first, other))


def test_dropout_goes_on_exactly_from_a_checkpoint(tmp_path):
    features, cells = np.ones((1, 8, 6, 16), "float32"), CELLS[:1]

    def draws(model, n):
        return [model.class_embedding(features, cells, training=True).numpy() for _ in range(n)]

    model = small_centernet()
    draws(model, 1)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    expected = draws(model, 2)
    resumed = small_centernet(seed=2)
    tf.train.Checkpoint(model=resumed).restore(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(draws(resumed, 2), expected)
    assert (expected[0] != expected[1]).any()


@pytest.mark.parametrize("arguments, message", [
    (("pyramids",), "no architecture 'pyramids': did you mean pyramid\\?.*hourglass104"),
    (("pyramid", 2), "channels 1 or 3"), (("pyramid", 3, 0), "n_heatmaps >= 1"),
    (("pyramid", 3, 1, -1), "n_classes >= 0")])
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_centernet(*arguments)


@pytest.mark.parametrize("options", [{"weights": "imagenet"}, {"stem_stride": 2}])
def test_an_hourglass_takes_no_backbone_options(options):
    with pytest.raises(ValueError, match="has no backbone"):
        build_centernet("hourglass_small", **options)


@pytest.mark.parametrize("shape", [(1, 60, 64, 1), (1, 64, 36, 1)])
def test_images_of_other_sizes_are_refused(shape, shared):
    with pytest.raises(ValueError, match=f"multiples of 8 px, not {shape[1]}x{shape[2]} px; pad"):
        shared(np.zeros(shape, "float32"))


# Hourglass-104

def hourglass104_parameters(n_heatmaps):
    """Trained parameters, from the definition: one line per module, in their published order."""
    def conv(kernel, c_in, c_out):
        return kernel * kernel * c_in * c_out + 2 * c_out  # no bias; the normalisation has two

    def residual(c_in, c_out, strided=False):
        shortcut = conv(1, c_in, c_out) if strided or c_in != c_out else 0
        return conv(3, c_in, c_out) + conv(3, c_out, c_out) + shortcut

    stack = 4 * residual(512, 512)  # the innermost
    for outer, inner in ((256, 256), (256, 384), (384, 384), (384, 384), (384, 512)):
        stack += 2 * residual(outer, outer)  # beside
        stack += residual(outer, inner, strided=True) + residual(inner, inner)  # down
        stack += residual(inner, inner) + residual(inner, outer)  # up
    stem = conv(7, 3, 128) + residual(128, 256, strided=True)
    merge = 2 * conv(1, 256, 256) + residual(256, 256)
    heads = sum(3 * 3 * 256 * 256 + 256 + 256 * n + n for n in (n_heatmaps, 2, 2))
    return stem + 2 * (stack + conv(3, 256, 256) + heads) + merge


def test_hourglass104_has_the_published_size(monkeypatch):
    zeros = keras.initializers.Zeros()  # no time is spent on drawing 191 million numbers
    monkeypatch.setattr(keras.initializers.HeNormal, "__call__",
                        lambda self, shape, dtype=None, **options: zeros(shape, dtype))
    model = build_centernet("hourglass104", 3, 80)
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert trained == hourglass104_parameters(80) == 191_284_008
    assert model.multiple == 128
    assert [maps["heatmap"].shape[-1] for maps in model.network.output] == [80, 80]  # per stack


def test_architectures_are_the_pyramid_and_the_hourglasses():
    assert ARCHITECTURES == ("pyramid", "hourglass104", "hourglass_small")
    assert HOURGLASSES["hourglass_small"].multiple == 32


@pytest.mark.slow
def test_hourglass104_at_512():
    model = build_centernet("hourglass104", 3, 80)
    outputs = model(normal(1, 512, 512, 3), training=False)
    assert len(outputs) == 2
    for maps in outputs:
        assert maps["heatmap"].shape == (1, 128, 128, 80) and np.isfinite(maps["heatmap"]).all()


@pytest.mark.slow
def test_published_kuzushiji_network_is_saved_and_loaded(tmp_path):
    model, images = build_centernet(n_classes=4212), normal(1, 512, 512, 3)
    assert model.multiple == 32
    maps = model(images, training=False)[-1]
    assert maps["features"].shape == (1, 128, 128, 512) and np.isfinite(maps["heatmap"]).all()
    model.save_weights(tmp_path / "x.h5")
    loaded = build_centernet(n_classes=4212)
    loaded.load_weights(tmp_path / "x.h5")
    np.testing.assert_array_equal(loaded(images, training=False)[-1]["heatmap"], maps["heatmap"])
