"""Which layers stay as they are while the others learn."""
import contextlib

from tensorflow import keras

FREEZES = ("none", "norms", "backbone")
ABOVE_BACKBONE = ("neck_", "pooling", "aux", "dropout", "head")  # begin the names of a classifier's own layers


def freeze(model, what):
    """Freezes "norms" (every normalisation: statistics, scales and offsets), "backbone" (all of it,
    its normalisation too) or "none". Call it before the optimizer is built; returns the number of
    frozen layers that have weights."""
    if what not in FREEZES:
        raise ValueError(f"what is frozen is one of {', '.join(FREEZES)}, not {what!r}")
    layers = {"none": lambda model: [], "norms": _norms, "backbone": _backbone}[what](model)
    for layer in layers:
        layer.trainable = False
    return sum(bool(layer.weights) for layer in layers)


@contextlib.contextmanager
def unfrozen(model):
    """Weights are saved and loaded in here: Keras orders a model's by whether they are trainable."""
    frozen = [layer for layer in _all_layers(model) if not layer.trainable]
    try:
        for layer in frozen:
            layer.trainable = True
        yield
    finally:
        for layer in frozen:
            layer.trainable = False


def _all_layers(model):
    """Layers in any depth, models (whose `trainable` reaches into all they hold) left out."""
    return [layer for layer in model.submodules
            if isinstance(layer, keras.layers.Layer) and not isinstance(layer, keras.Model)]


def _norms(model):
    kinds = (keras.layers.BatchNormalization, keras.layers.LayerNormalization,
             keras.layers.GroupNormalization)
    return [layer for layer in _all_layers(model) if isinstance(layer, kinds)]


def _backbone(model):
    inside = [part for part in model.submodules
              if isinstance(part, keras.Model) and part.name == "backbone"]  # of a feature pyramid
    if inside:
        return _all_layers(inside[0])
    if not any(layer.name == "pooling" for layer in model.layers):
        raise ValueError(f"{model.name} has no backbone to freeze; choose norms or none")
    return [layer for layer in model.layers if not layer.name.startswith(ABOVE_BACKBONE)]
