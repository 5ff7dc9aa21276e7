"""Weights from a file, or from another network, into a backbone: all of them, or an error.

Read are Keras's formats: `.h5` (saved weights or a whole model; layers have names and an order),
and `.weights.h5` and `.keras` of Keras 2.13 and later (layers are numbered by class).
"""
import dataclasses
import io
import re
import zipfile

import h5py
import numpy as np
import tensorflow as tf
from tensorflow import keras

SUFFIXES = (".h5", ".keras")
# Where names of layers tell nothing, a head can be told from a deeper network only by its size: it
# has at most this many layers.
MAX_HEAD_LAYERS = 6


@dataclasses.dataclass
class LayerTensors:
    """The tensors of one layer, in the order of Keras: the trained ones, then the others."""
    name: str
    arrays: list
    tensor_names: list


@dataclasses.dataclass
class StoredLayers:
    """Layers that have tensors. `by_class`: names are class and number ("conv2d_3"), order unknown."""
    layers: list
    by_class: bool = False


class Mismatch(ValueError):
    """Stored tensors and network do not belong together."""


def variables_of(layer):
    return layer.trainable_weights + layer.non_trainable_weights


def layers_of(network):
    """The StoredLayers of a keras.Model, copied to NumPy."""
    return StoredLayers([LayerTensors(layer.name, [np.array(v) for v in variables_of(layer)],
                                      [v.name for v in variables_of(layer)])
                         for layer in network.layers if layer.weights])


def read_layers(path):
    """Read the StoredLayers of a weight file (local, or of any file system TensorFlow knows).

    Raises FileNotFoundError; ValueError for a file that is none of the formats above.
    """
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(f"no weight file {path}")
    try:
        with tf.io.gfile.GFile(path, "rb") as stream:
            data = io.BytesIO(stream.read())
        if zipfile.is_zipfile(data):  # .keras
            data = io.BytesIO(zipfile.ZipFile(data).read("model.weights.h5"))
        with h5py.File(data, "r") as file:
            if "model_weights" in file or "layer_names" in file.attrs:
                return _read_named(file.get("model_weights", file))
            return _read_numbered(file)
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is not a Keras weight file (.h5, .weights.h5, .keras): {error}") from error


def _read_named(group):
    layers = []
    for name in _texts(group.attrs["layer_names"]):
        tensor_names = _texts(group[name].attrs["weight_names"])
        if tensor_names:
            layers.append(LayerTensors(name, [group[name][tensor][()] for tensor in tensor_names], tensor_names))
    return StoredLayers(layers)


def _read_numbered(file):
    group = file["layers" if "layers" in file else "_layer_checkpoint_dependencies"]
    layers = []
    for name in sorted(group, key=lambda key: [int(part) if part.isdigit() else part
                                               for part in re.split(r"(\d+)", key)]):
        tensors = group[name].get("vars", {})
        nested = []
        group[name].visititems(lambda inner, node: nested.append(inner)
                               if isinstance(node, h5py.Dataset) and not inner.startswith("vars/") else None)
        if nested:
            raise ValueError(f"layer {name} holds other layers ({nested[0]}), which this format does not name; "
                             "save the network with save_weights('NAME.h5') instead")
        if len(tensors):
            layers.append(LayerTensors(name, [tensors[str(i)][()] for i in range(len(tensors))],
                                       [f"{name}/{i}" for i in range(len(tensors))]))
    return StoredLayers(layers, by_class=True)


def _texts(values):
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def load_layers(stored, network):
    """Put stored tensors into every variable of `network`; return what was done, in words.

    A network of one input channel takes the weights of three: the stem's kernel is summed over the
    channels, so that it sees a gray image as the three-channel one sees it three times; statistics
    of the input (a batch normalisation before the stem) are averaged. Positional embeddings of
    another size are resized by their own layer. Layers after the last one of the network, the head,
    are left out. Anything else that does not fit raises Mismatch, which names the first such tensor,
    before the network is changed.
    """
    targets = [layer for layer in network.layers if layer.weights]
    names = _numbered_names(network) if stored.by_class else [layer.name for layer in targets]
    gray = network.input_shape[-1] == 1
    pairs, left_out, notes = _fitting_match(stored, targets, names, gray)

    resized = []
    for layer, source in pairs:
        arrays = _summed(layer, source, gray)
        if _misfit(layer, arrays) is not None:
            layer.load_resized_weights(dict(zip(source.tensor_names, arrays)))
            resized.append(layer.name)
        else:
            keras.backend.batch_set_value(list(zip(variables_of(layer), arrays)))

    n_tensors = sum(len(variables_of(layer)) for layer in targets)
    notes = [f"{n_tensors} of {n_tensors} tensors", *notes]
    if resized:
        notes.append(f"resized: {_some(resized)}")
    if left_out:
        notes.append(f"left out as head: {_some([source.name for source in left_out])}")
    return "; ".join(notes)


def _fitting_match(stored, targets, names, gray):
    """Match by name, and where Keras made up the names, by order; the first way that fits, or its Mismatch."""
    by_name = {source.name: source for source in stored.layers}
    ways = []
    if set(names) <= set(by_name):
        ways.append([by_name[name] for name in names])
    if not stored.by_class and any(_has_made_up_name(layer) for layer in targets):
        ways.append(stored.layers[:len(targets)])
    if not ways:
        missing = next(name for name in names if name not in by_name)
        raise Mismatch(f"the network's layer {missing} is not in the file")
    failures = []
    for sources in ways:
        try:
            return _checked(stored, targets, sources, gray)
        except Mismatch as failure:
            failures.append(failure)
    raise failures[0]


def _checked(stored, targets, sources, gray):
    notes = []
    for layer, source in zip(targets, sources):
        arrays = _summed(layer, source, gray)
        for before, after in zip(source.arrays, arrays):
            if np.ndim(before) > 1 and before.shape != after.shape:
                notes.append("stem summed over 3 channels")
            elif before.shape != after.shape and "input statistics averaged over 3 channels" not in notes:
                notes.append("input statistics averaged over 3 channels")
        misfit = _misfit(layer, arrays)
        if misfit is not None and not hasattr(layer, "load_resized_weights"):
            raise Mismatch(f"layer {layer.name}: {misfit} (layer {source.name} of the weights)")
    if len(sources) < len(targets):
        raise Mismatch(f"the network has {len(targets)} layers with weights, the file {len(sources)}; "
                       f"the first without a counterpart is {targets[len(sources)].name}")
    used = {id(source) for source in sources}
    left_out = [source for source in stored.layers if id(source) not in used]
    last = max(i for i, source in enumerate(stored.layers) if id(source) in used)
    amid = [source for source in stored.layers[:last] if id(source) not in used]
    if amid and not stored.by_class:
        raise Mismatch(f"the file has layer {amid[0].name}, and the network has not")
    if len(left_out) > MAX_HEAD_LAYERS:
        raise Mismatch(f"the file has layer {left_out[0].name}, and the network has not, "
                       f"nor {len(left_out) - 1} more")
    return list(zip(targets, sources)), left_out, notes


def _summed(layer, source, gray):
    """The arrays of `source`, those over 3 input channels summed (kernels) or averaged (statistics)."""
    if not gray:
        return source.arrays
    arrays = []
    for array, variable in zip(source.arrays, variables_of(layer)):
        shape = tuple(variable.shape)
        if len(shape) == 4 and array.shape[-2:] == (3, shape[-1]) and shape[-2] == 1:
            array = array.sum(axis=-2, keepdims=True)
        elif shape == (1,) and array.shape == (3,):
            array = array.mean(keepdims=True)
        arrays.append(array)
    return arrays + source.arrays[len(arrays):]


def _misfit(layer, arrays):
    """What does not fit, in words, or None."""
    variables = variables_of(layer)
    if len(variables) != len(arrays):
        return f"the network has {len(variables)} tensors, the weights {len(arrays)}"
    for variable, array in zip(variables, arrays):
        if tuple(variable.shape) != array.shape:
            return (f"tensor {variable.name} is {tuple(variable.shape)} in the network, "
                    f"{array.shape} in the weights")
    return None


def _numbered_names(network):
    """The names that Keras's newer formats give to the layers with weights: class and number."""
    names, counts = [], {}
    for layer in network.layers:
        name = _snake_case(layer)
        number = counts[name] = counts.get(name, -1) + 1
        if layer.weights:
            names.append(f"{name}_{number}" if number else name)
    return names


def _has_made_up_name(layer):
    """Keras names a layer after its class, with a number that runs through the process."""
    return re.fullmatch(_snake_case(layer) + r"(_\d+)?", layer.name) is not None


def _snake_case(layer):
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
    name = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
    return "private" + name if name.startswith("_") else name


def _some(names, n=3):
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")
