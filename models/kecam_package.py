"""keras-cv-attention-models ("kecam") behind the interface of models.packages.

kecam prints a line and returns a random network where a download fails or the weights are unknown,
and leaves out every tensor whose shape does not fit. So its loader is used only to find the file, for
which it needs no network, and the file is loaded by models.weight_files, which leaves out nothing in
silence.
"""
import contextlib
import functools
import inspect
import io
import sys
import traceback
import types

import tensorflow as tf
from tensorflow import keras

from models.weight_files import StoredLayers, read_layers

NOT_BACKBONES = {"clip", "coco", "efficientdet", "gpt2", "llama2", "models", "segment_anything",
                 "stable_diffusion", "yolo_nas", "yolor", "yolov7", "yolov8", "yolox"}
# EfficientNets are published under shorter names than those that are asked for.
EFFICIENTNET_WEIGHTS = {"21k": "imagenet21k", "21k-ft1k": "imagenet21k-ft1k"}
# Where a release is not called as its folder in the package is.
RELEASES = {"ghostnet": "ghostnetv2"}


class Kecam:

    def names(self):
        kecam = _import_kecam()
        return sorted(f"{module_name}.{name}"
                      for module_name, module in vars(kecam).items()
                      if inspect.ismodule(module) and module_name not in NOT_BACKBONES
                      for name, builder in vars(module).items()
                      if name[0].isupper() and hasattr(kecam.models, name) and inspect.isfunction(builder)
                      and {"input_shape", "pretrained"} <= set(inspect.signature(builder).parameters))

    def build(self, path, input_shape, **arguments):
        builder = _builder(path)
        if builder.__module__.startswith(_import_kecam().beit.__name__ + "."):  # num_classes=0 would still pool
            arguments = {"include_top": False, **arguments}
        with contextlib.redirect_stdout(io.StringIO()):  # the caller says what was loaded
            network = builder(input_shape=input_shape, num_classes=0, pretrained=None, **arguments)
        return tokens_to_map(network)

    def weight_names(self, path):
        return list(_loaders(model_name(path)))

    def published(self, path, input_shape, weights, **arguments):
        name = model_name(path)
        stand_in = types.SimpleNamespace(name=name, input_shape=(None, *input_shape), layers=[],
                                         load_weights=lambda *positional, **named: None)
        with recorded_files(_import_kecam().backend) as files, contextlib.redirect_stdout(io.StringIO()):
            _loaders(name)[weights](stand_in, pretrained=weights)
        if not files:
            raise OSError("kecam looked for no file")
        return StoredLayers([layer for file in files for layer in read_layers(file).layers])


def _builder(path):
    module, name = path.split(".")
    return getattr(getattr(_import_kecam(), module), name)


class _Begun(Exception):
    """A builder has come to its first layer."""


def model_name(path):
    """The name that a network is published by, without building it.

    Builders hand it on as `model_name` before they make their first layer; there they are stopped.
    """
    def stop(*positional, **named):
        raise _Begun
    layers = _import_kecam().backend.layers
    first_layer, layers.Input = layers.Input, stop
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            _builder(path)(pretrained=None)
    except _Begun as begun:
        for frame, _ in traceback.walk_tb(begun.__traceback__):
            if "model_name" in frame.f_locals:
                return frame.f_locals["model_name"]
    finally:
        layers.Input = first_layer
    raise RuntimeError(f"the builder of kecam:{path} tells no model_name before its first layer: install the "
                       "version of keras-cv-attention-models that requirements.txt names")


def _loaders(name):
    """{published weights of the network `name`: function(network, pretrained) that fetches and loads them}"""
    kecam = _import_kecam()
    efficientnets = kecam.efficientnet.efficientnet_v2
    loaders = {EFFICIENTNET_WEIGHTS.get(weights, weights): efficientnets.reload_model_weights
               for weights in efficientnets.FILE_HASH_DICT.get(name.split("_")[-1], {})}
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(kecam.__name__ + "."):
            folder = module_name.split(".")[1]
            table = getattr(module, "PRETRAINED_DICT", {})
            for weights in table.get(name, {}):
                loaders.setdefault(weights, functools.partial(
                    kecam.download_and_load.reload_model_weights, pretrained_dict=table,
                    sub_release=RELEASES.get(folder, folder)))
    return loaders


@contextlib.contextmanager
def recorded_files(backend):
    """Yield a list that fills with the files that kecam fetches; a failed fetch raises OSError at the end."""
    files, failures, get_file = [], [], backend.get_file

    def recording_get_file(*positional, **named):
        try:
            files.append(get_file(*positional, **named))
        except Exception as error:
            failures.append(error)
            raise
        return files[-1]

    backend.get_file = recording_get_file
    try:
        yield files
    finally:
        backend.get_file = get_file
    if failures:
        raise OSError(str(failures[0])) from failures[0]


def tokens_to_map(network):
    """Turn the tokens of a transformer, [n, tokens, c], into a feature map; leave a map as it is.

    The BEiT family (BEiT, ViT, EVA, DINOv2, FlexiViT) gives [n, h', w', c]: its class and register
    tokens are dropped. Others give [n, 1, tokens, c].
    """
    if len(network.output_shape) != 3:
        return network
    _, n_tokens, _ = network.output_shape
    layers = {layer.name: layer for layer in network.layers}
    if "cls_token" in layers or "reg_token" in layers:
        first = 1 if "cls_token" in layers else 0
        height, width = layers["stem_conv"].output_shape[1:3]
    else:
        first, height, width = 0, 1, n_tokens
    feature_map = TokensToMap(first, height, width, name="tokens_to_map")(network.output)
    return keras.Model(network.input, feature_map, name=network.name)


@keras.utils.register_keras_serializable(package="fude")
class TokensToMap(keras.layers.Layer):
    """[n, tokens, c] -> [n, height, width, c]: the height * width tokens that begin at `first`."""

    def __init__(self, first, height, width, **options):
        super().__init__(**options)
        self.first, self.height, self.width = first, height, width

    def call(self, tokens):
        patches = tokens[:, self.first:self.first + self.height * self.width]  # [n, h*w, c]
        return tf.reshape(patches, [-1, self.height, self.width, tokens.shape[-1]])

    def get_config(self):
        return {**super().get_config(), "first": self.first, "height": self.height, "width": self.width}


def _import_kecam():
    with contextlib.redirect_stdout(io.StringIO()):
        import keras_cv_attention_models
    return keras_cv_attention_models
