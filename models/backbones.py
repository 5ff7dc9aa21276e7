"""Backbones by name: build_backbone("resnet152", (112, 112, 1)), and list_backbones().

A name is a published one (models.plain_names, "efficientnet_b4") or "package:path" for everything
that a package has ("kecam:resnet_family.ResNet50D", "efficientnet:EfficientNetB4",
"classifiers:resnet18", "applications:ResNet50").
"""
import numpy as np

from models.plain_names import PLAIN_NAMES
from models.registry import Registry, did_you_mean

BACKBONES = Registry("backbone")


def register_backbone(name, target, **arguments):
    """Register a plain name for `target` ("package:path") built with `arguments`.

    Raises ValueError where the name is taken.
    """
    BACKBONES.add(name, (target, arguments))


for _name, (_target, _arguments) in PLAIN_NAMES.items():
    register_backbone(_name, _target, **_arguments)


def list_backbones(package=None):
    """The plain names, or with a package (kecam, efficientnet, ...) all its names "package:path"."""
    if package is None:
        return list(BACKBONES)
    return [f"{package}:{path}" for path in _package(package).names()]


def resolve_backbone(name):
    """Return (package, path, arguments) of a name; ValueError with the closest names if there is none."""
    target, arguments = BACKBONES[name] if name in BACKBONES else (name, {})
    prefix, colon, path = target.partition(":")
    if not colon:
        raise ValueError(f"no backbone {name!r}{did_you_mean(name, BACKBONES)} list_backbones() gives the plain "
                         "names, list_backbones('kecam') those of a package")
    package = _package(prefix)
    paths = package.names()
    if path not in paths:
        raise ValueError(f"package {prefix!r} has no backbone {path!r}{did_you_mean(path, paths)} "
                         f"list_backbones({prefix!r}) gives its names")
    return package, path, arguments


def _package(prefix):
    from models.packages import PACKAGES  # loads TensorFlow
    if prefix not in PACKAGES:
        raise ValueError(f"no package {prefix!r}{did_you_mean(prefix, PACKAGES)} "
                         f"Packages are: {', '.join(PACKAGES)}")
    return PACKAGES[prefix]


def build_backbone(name, input_shape, weights=None, **arguments):
    """Build a backbone without its top.

    name: see the head of this file; input_shape: (h, w, c), c = 1 or 3; arguments: handed to the
    package's builder (drop_connect_rate, stem_stride, ...), over those of the name.
    weights: None for random ones, which are a pure function of the seed given to
    keras.utils.set_random_seed just before; the name of published ones (imagenet, noisy-student,
    imagenet21k, ...; "-" and "_" are the same); or a file (.h5, .weights.h5, .keras). They are read or
    fetched before the network is built. Weights of 3 channels serve 1 channel (models.weight_files).
    What was loaded is printed in one line.

    Returns a keras.Model: images, float [n, h, w, c], normalised -> the last feature map
    [n, h', w', c'], in the compute dtype. BEiT and the other ViTs give the map of their patch
    tokens, without class token; transformers without a grid give [n, 1, tokens, c'].

    Raises ValueError for an unknown name or weights, weights that do not fit, an input that is too
    small, or arguments the builder refuses; OSError for weights that cannot be fetched.
    """
    from models.random_layers import generators_with_state, track_generators  # loads TensorFlow
    if len(input_shape) != 3 or input_shape[-1] not in (1, 3):
        raise ValueError(f"a backbone takes (h, w, 1) or (h, w, 3), not {tuple(input_shape)}")
    package, path, defaults = resolve_backbone(name)
    arguments = {**defaults, **arguments}
    input_shape = tuple(input_shape)
    with generators_with_state():
        if weights is not None:  # before the network, which takes long
            stored = _stored_layers(name, package, path, input_shape, str(weights), arguments)
        network = _build_checked(name, package, path, input_shape, arguments)
    if weights is not None:
        print(f"{name}, weights {weights}: {_load(stored, network, name, str(weights))}")
    track_generators(network)
    return network


def _build_checked(name, package, path, input_shape, arguments):
    """Build with random weights; ValueError where that fails or the output is no feature map."""
    network, reason, cause = None, None, None
    try:
        network = package.build(path, input_shape, **arguments)
        reason = _fault(network, input_shape)
    except (ValueError, TypeError) as error:
        reason, cause = str(error).splitlines()[0], error
    if reason is None:
        return network
    smallest = None
    if not isinstance(cause, TypeError):  # a wrong argument is wrong at every size
        smallest = _smallest_side(package, path, input_shape, arguments)
    remedy = f"; it works at {smallest}x{smallest} px" if smallest else ""
    raise ValueError(f"backbone {name!r} cannot be built for input {input_shape} with {arguments}: "
                     f"{reason}{remedy}") from cause


def _fault(network, input_shape):
    """Why the network's output is no feature map, or None."""
    shape = network.output_shape
    if len(shape) != 4:
        return f"its output {shape} is not a feature map [n, h, w, c]"
    if None in shape[1:3]:
        return None
    if min(shape[1:3]) < 1:
        return f"its feature map is {shape[1]}x{shape[2]}"
    # Windowed transformers give NaN where their last stage is one cell.
    if shape[1:3] == (1, 1):
        image = np.linspace(-1, 1, int(np.prod(input_shape)), dtype="float32").reshape(1, *input_shape)
        if not np.isfinite(np.asarray(network(image, training=False), "float32")).all():
            return "its feature map is not finite, as its last stage is one cell"
    return None


def _smallest_side(package, path, input_shape, arguments):
    """The first of the usual sizes above input_shape that works, or None: then size is not the fault."""
    height, width, channels = input_shape
    for side in (16, 32, 64, 96, 128, 224):
        if side > min(height or side, width or side):
            shape = (side, side, channels)
            try:
                if _fault(package.build(path, shape, **arguments), shape) is None:
                    return side
            except (ValueError, TypeError):
                pass
    return None


def _stored_layers(name, package, path, input_shape, weights, arguments):
    """The tensors of a file, or the published ones, which are fetched if need be."""
    from models.weight_files import SUFFIXES, read_layers
    if weights.endswith(SUFFIXES):
        return read_layers(weights)
    known = package.weight_names(path)
    matching = [known_name for known_name in known if _spelling(known_name) == _spelling(weights)]
    if not matching:
        raise ValueError(f"backbone {name!r} has no published weights {weights!r}; it has: "
                         f"{', '.join(known) or 'none'}. Or give a file that ends in .h5 or .keras")
    try:
        return package.published(path, (*input_shape[:2], 3), matching[0], **arguments)
    except OSError as error:
        raise OSError(f"weights {weights!r} of backbone {name!r} could not be fetched: {error}. Check the "
                      "network, or fetch the file elsewhere and give its path as weights") from error
    except (ValueError, TypeError):
        _build_checked(name, package, path, input_shape, arguments)  # raises if it is not the weights
        raise


def _load(stored, network, name, weights):
    from models.weight_files import Mismatch, load_layers
    try:
        return load_layers(stored, network)
    except Mismatch as error:
        raise Mismatch(f"weights {weights!r} do not fit backbone {name!r}: {error}") from error


def _spelling(weights):
    return weights.lower().replace("_", "-")
