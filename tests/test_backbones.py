import pathlib
import re
import subprocess
import sys

import keras_cv_attention_models
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from models.backbones import build_backbone, list_backbones, register_backbone, resolve_backbone
from models.kecam_package import RELEASES, TokensToMap, model_name
from models.packages import PACKAGES
from models.weight_files import Mismatch, layers_of, load_layers, read_layers

# The smallest network of each package, its input side, and a weight that is published for it.
SMALL = {"kecam": ("kecam:mobilenetv3_family.LCNet050", 32, "imagenet"),
         "efficientnet": ("efficientnet:EfficientNetB0", 32, "noisy-student"),
         "classifiers": ("classifiers:resnet18", 32, "imagenet"),
         "applications": ("applications:MobileNetV2", 32, "imagenet")}
IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype("float32")


def shaken(network, amount=0.05, seed=0):
    """Move every tensor off its initial value, so that no tensor can be left out unseen."""
    random = np.random.default_rng(seed)
    for variable in network.weights:
        if tuple(variable.shape) != (3,):  # statistics of the input: equal over the channels
            variable.assign(variable + tf.constant(amount * random.uniform(size=variable.shape), variable.dtype))
    return network


def output(network, images=IMAGES):
    images = np.repeat(images, network.input_shape[-1], axis=-1)
    return network(images, training=False).numpy()


# Names

def test_importing_the_registry_loads_no_tensorflow():
    code = "import sys, models.backbones as b; b.list_backbones(); assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", list_backbones())
def test_plain_names_resolve(name):
    package, path, _ = resolve_backbone(name)
    assert path in package.names()


@pytest.mark.parametrize("name", ["kecam:efficientnet.EfficientNetV1B4", "kecam:resnet_family.ResNet50D",
                                  "kecam:beit.BeitLargePatch16", "efficientnet:EfficientNetL2",
                                  "classifiers:seresnext101", "applications:ResNet50"])
def test_package_names_resolve_and_are_listed(name):
    assert resolve_backbone(name)[1] == name.split(":")[1]
    assert name in list_backbones(name.split(":")[0])


@pytest.mark.parametrize("name, message", [
    ("resnet512", "no backbone 'resnet512': did you mean resnet152, .*list_backbones\\(\\)"),
    ("EfficientNet_B4x", "did you mean .*efficientnet_b4"),
    ("kecm:beit.BeitLargePatch16", "no package 'kecm': did you mean kecam\\?.*applications"),
    ("kecam:efficientnet.EfficientNetV1B9", "did you mean .*EfficientNetV1B.*list_backbones\\('kecam'\\)"),
    ("kecam:ResNet50D", "did you mean resnet_family.ResNet50D|did you mean .*ResNet50D"),
    ("classifiers:resnet19", "did you mean resnet18"),
    ("", "no backbone ''"),
])
def test_wrong_names_are_answered_with_close_ones(name, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(name, (32, 32, 3))


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="'resnet18' is registered already"):
        register_backbone("resnet18", "classifiers:resnet34")


# Building

@pytest.mark.parametrize("name", ["wide_resnet10_2", *[name for name, *_ in SMALL.values()]])
@pytest.mark.parametrize("channels", [1, 3])
def test_builds_a_feature_map_for_gray_and_colour(name, channels):
    network = build_backbone(name, (32, 32, channels))
    feature_map = network(np.repeat(IMAGES, channels, -1), training=False)
    assert network.input_shape == (None, 32, 32, channels)
    assert feature_map.shape.rank == 4 and feature_map.shape[0] == 2 and np.isfinite(feature_map).all()


def test_tokens_become_a_map_without_the_class_token():
    tokens = np.arange(2 * 7 * 5, dtype="float32").reshape(2, 7, 5)  # a class token, then 2 x 3 patches
    np.testing.assert_array_equal(TokensToMap(1, 2, 3)(tokens), tokens[:, 1:].reshape(2, 2, 3, 5))


@pytest.mark.parametrize("name, shape, message", [
    ("convnext_tiny", (8, 8, 1), "'convnext_tiny'.*works at 32x32 px"),
    ("applications:MobileNetV2", (16, 16, 3), "at least 32x32.*works at 32x32 px"),
    pytest.param("kecam:swin_transformer_v2.SwinTransformerV2Tiny_window8", (32, 32, 3),
                 "not finite.*works at 64x64 px", marks=pytest.mark.slow),
    ("applications:EfficientNetB0", (32, 32, 3), "normalises 0..255 images itself.*efficientnet_b0"),
    ("wide_resnet10_2", (32, 32, 2), "\\(h, w, 1\\) or \\(h, w, 3\\), not \\(32, 32, 2\\)"),
])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_inputs_that_do_not_work_are_refused(name, shape, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(name, shape)


@pytest.mark.parametrize("name", ["wide_resnet10_2", "resnet18", "efficientnet:EfficientNetB0", "vgg16",
                                  "efficientnet_b0"])
def test_unknown_arguments_are_refused(name):
    with pytest.raises(ValueError, match="cannot be built.*no_such"):
        build_backbone(name, (32, 32, 3), no_such=1)


# Weights: one channel from three

@pytest.mark.parametrize("name", ["wide_resnet10_2", SMALL["classifiers"][0]])
def test_summed_stem_sees_gray_as_the_colour_network_does(name, tmp_path, capsys):
    colour = shaken(build_backbone(name, (32, 32, 3)))
    colour.save_weights(tmp_path / "colour.h5")
    gray = build_backbone(name, (32, 32, 1), weights=tmp_path / "colour.h5")
    printed = capsys.readouterr().out
    n = len(gray.weights)
    assert f"{n} of {n} tensors; " in printed and "stem summed over 3 channels" in printed
    expected = output(colour)
    np.testing.assert_allclose(output(gray), expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())
    assert np.abs(expected).max() > 1e-3  # the comparison means something


def test_input_statistics_are_averaged(tmp_path, capsys):
    colour = build_backbone("resnet18", (32, 32, 3))
    colour.get_layer("bn_data").moving_mean.assign([1.0, 2.0, 6.0])
    colour.save_weights(tmp_path / "colour.h5")
    gray = build_backbone("resnet18", (32, 32, 1), weights=tmp_path / "colour.h5")
    assert gray.get_layer("bn_data").moving_mean.numpy() == 3
    assert "input statistics averaged over 3 channels" in capsys.readouterr().out


# Weights: files

@pytest.mark.parametrize("name, suffix", [("wide_resnet10_2", ".h5"), ("wide_resnet10_2", ".weights.h5"),
                                          ("wide_resnet10_2", ".keras"), ("seresnet18", ".h5")])
def test_files_of_each_format_load_and_leave_the_head_out(name, suffix, tmp_path, capsys):
    network = shaken(build_backbone(name, (32, 32, 3)))
    features = keras.layers.GlobalAveragePooling2D()(network.output)
    classifier = keras.Model(network.input, keras.layers.Dense(3, name="head")(features))
    path = tmp_path / f"x{suffix}"
    (classifier.save if suffix == ".keras" else classifier.save_weights)(path)
    loaded = build_backbone(name, (32, 32, 3), weights=path)
    np.testing.assert_array_equal(output(loaded), output(network))
    assert "left out as head: " + ("head" if suffix == ".h5" else "dense") in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
@pytest.mark.parametrize("stored, wanted", [("wide_resnet16_2", "wide_resnet10_2"),
                                            ("wide_resnet10_2", "wide_resnet16_2"),
                                            ("wide_resnet16_2", "wide_resnet16_4")])
def test_files_of_other_networks_are_refused(stored, wanted, suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    build_backbone(stored, (32, 32, 3)).save_weights(path)
    with pytest.raises(ValueError, match=f"do not fit backbone '{wanted}': .*(layer|tensor) "):
        build_backbone(wanted, (32, 32, 3), weights=path)


def chain(*names):
    x = inputs = keras.Input((4,))
    for name in names:
        x = keras.layers.Dense(4, name=name)(x)
    return keras.Model(inputs, x)


def test_mismatches_are_named_and_change_nothing():
    network = chain("a", "b", "d")
    before = network.get_weights()
    with pytest.raises(Mismatch, match="the file has layer c"):
        load_layers(layers_of(chain("a", "b", "c", "d")), network)
    with pytest.raises(Mismatch, match="the network's layer d is not in the file"):
        load_layers(layers_of(chain("a", "b")), network)
    stored = layers_of(chain("a", "b", "d"))
    stored.layers[1].arrays[0] = np.zeros((5, 4))
    with pytest.raises(Mismatch, match=r"layer b: tensor .*\(4, 4\) in the network, \(5, 4\) in the weights"):
        load_layers(stored, network)
    for a, b in zip(before, network.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert load_layers(layers_of(chain("a", "b", "d", "head")), network).endswith("left out as head: head")


def test_vision_transformers_give_the_grid_of_their_patches_at_every_size(tmp_path, capsys):
    build_backbone("kecam:flexivit.FlexiViTSmall", (32, 32, 3)).save_weights(tmp_path / "x.h5")
    network = build_backbone("kecam:flexivit.FlexiViTSmall", (32, 48, 1), weights=tmp_path / "x.h5")
    assert network.output_shape == (None, 2, 3, 384)
    assert "stem summed over 3 channels; resized: positional_embedding" in capsys.readouterr().out


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.h5"):
        build_backbone("wide_resnet10_2", (32, 32, 3), weights=tmp_path / "missing.h5")
    (tmp_path / "text.h5").write_text("version https://git-lfs")
    with pytest.raises(ValueError, match="text.h5 is not a Keras weight file"):
        read_layers(str(tmp_path / "text.h5"))


# Weights: published

@pytest.fixture
def get_file(monkeypatch):
    """Replaces the downloads of every package: returns the file put into `.path`, or fails."""
    def download(*positional, **named):
        download.calls += 1
        if download.path is None:
            raise Exception("URL fetch failure on https://example.org/weights")  # as Keras does
        return str(download.path)
    download.path, download.calls = None, 0

    from classification_models.tfkeras import tfkeras  # not always the module object that keras.utils is
    home = sys.modules[keras.utils.get_file.__module__]
    for module in (keras_cv_attention_models.backend, keras.utils, tfkeras.utils, home):
        monkeypatch.setattr(module, "get_file", download)
    return download


@pytest.mark.parametrize("package, channels", [("kecam", 1), ("kecam", 3), ("efficientnet", 1),
                                               ("classifiers", 1), ("applications", 1)])
def test_a_failed_download_is_an_error(package, channels, get_file):
    name, side, weights = SMALL[package]
    with pytest.raises(OSError, match=f"'{weights}' of backbone '{name}' could not be fetched: URL fetch failure"):
        build_backbone(name, (side, side, channels), weights=weights)
    assert get_file.calls == 1


@pytest.mark.parametrize("name, known", [("wide_resnet10_2", "none"), ("resnet18", "imagenet"),
                                         ("efficientnet_b0", "noisy_student, imagenet"),
                                         ("efficientnet:EfficientNetB0", "imagenet, noisy-student"),
                                         ("applications:MobileNetV2", "imagenet"),
                                         ("kecam:mobilenetv3_family.LCNet050", "imagenet")])
def test_unknown_weights_are_refused_and_the_known_listed(name, known, get_file):
    with pytest.raises(ValueError, match=f"no published weights 'imagenet22k'; it has: {known}"):
        build_backbone(name, (32, 32, 3), weights="imagenet22k")
    assert get_file.calls == 0


@pytest.fixture
def building_fails(monkeypatch):
    def fail(*positional, **named):
        raise AssertionError("a network was built before its weights were known")
    for package in PACKAGES.values():
        monkeypatch.setattr(type(package), "build", fail)


@pytest.mark.parametrize("name, weights, error", [
    *((name, "no_such", ValueError) for name in ("resnet152", "senet154", "efficientnet_l2", "beit_l",
                                                 "dpn92", "efficientnet:EfficientNetB7")),
    ("senet154", "missing.h5", FileNotFoundError), ("wide_resnet10_2", "missing.keras", FileNotFoundError),
    ("senet154", "imagenet", OSError), ("efficientnet_l2", "noisy-student", OSError),
    ("beit_l", "imagenet21k-ft1k", OSError), ("resnet101d", "imagenet", OSError)])
def test_weights_are_refused_before_anything_is_built(name, weights, error, building_fails, get_file):
    with pytest.raises(error, match=weights):
        build_backbone(name, (224, 224, 1), weights=weights)


def test_the_input_is_refused_though_weights_are_asked_for(get_file):
    with pytest.raises(ValueError, match="cannot be built for input .16, 16, 1.*works at 32x32 px"):
        build_backbone("applications:MobileNetV2", (16, 16, 1), weights="imagenet")
    assert get_file.calls == 0


def test_kecam_tells_the_name_of_every_network_without_building_it():
    names = {path: model_name(path) for path in PACKAGES["kecam"].names()}
    assert len(names) > 400 and names["efficientnet.EfficientNetV1L2"] == "efficientnet_v1-l2"
    built = build_backbone(SMALL["kecam"][0], (32, 32, 3))
    assert built.name == names["mobilenetv3_family.LCNet050"]


def test_kecam_releases_are_called_as_in_its_sources():
    found = {}
    call = r'reload_model_weights\(\w+, (?:pretrained_dict=)?\w+, (?:sub_release=)?"(\w+)"'
    for path in pathlib.Path(keras_cv_attention_models.__file__).parent.rglob("*.py"):
        for release in re.findall(call, path.read_text(encoding="utf-8")):
            found[path.parent.name] = release
    assert len(found) > 30
    assert {folder: release for folder, release in found.items() if folder != release} == RELEASES


@pytest.mark.parametrize("package, channels", [("kecam", 1), ("kecam", 3), ("efficientnet", 1),
                                               ("classifiers", 1), ("applications", 1)])
def test_published_weights_load_entirely(package, channels, get_file, tmp_path, capsys):
    name, side, weights = SMALL[package]
    published = shaken(build_backbone(name, (side, side, 3)))
    get_file.path = tmp_path / "published.h5"
    published.save_weights(get_file.path)
    network = build_backbone(name, (side, side, channels), weights=weights.replace("-", "_"))
    expected = output(published)
    np.testing.assert_allclose(output(network), expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())
    printed = capsys.readouterr().out
    assert f"{len(network.weights)} of {len(network.weights)} tensors" in printed
    assert ("stem summed over 3 channels" in printed) == (channels == 1)


def test_what_kecam_would_leave_out_in_silence_is_an_error(get_file, tmp_path):
    get_file.path = tmp_path / "other.h5"
    build_backbone("kecam:mobilenetv3_family.LCNet075", (32, 32, 3)).save_weights(get_file.path)
    with pytest.raises(Mismatch, match="do not fit backbone .*LCNet050.*in the weights"):
        build_backbone("kecam:mobilenetv3_family.LCNet050", (32, 32, 3), weights="imagenet")


@pytest.mark.slow
@pytest.mark.parametrize("name, millions", [
    ("efficientnet_b4", 17.67), ("efficientnet_b7", 64.10), ("efficientnet_l2", 475.90),
    ("efficientnet:EfficientNetL2", 475.89), ("efficientnetv2_l", 117.75), ("efficientnetv2_xl", 207.62),
    ("beit_l", 303.41), ("resnet152", 58.37), ("seresnext101", 47.04), ("senet154", 113.29),
    ("inception_resnet_v2", 54.34), ("nasnet_large", 84.92), ("densenet121", 7.04), ("vgg16", 14.71)])
def test_big_networks_have_the_published_size(name, millions):
    network = build_backbone(name, (224, 224, 3))
    assert len(network.output_shape) == 4
    assert network.count_params() / 1e6 == pytest.approx(millions, abs=0.01)
    keras.backend.clear_session()
