"""The packages that backbones come from, behind one interface, each imported only when asked for.

A package has
    names() -> list of paths;
    build(path, input_shape, **arguments) -> keras.Model without top and with random weights; raises
        TypeError for arguments or paths that are wrong at every size, ValueError for other reasons;
    weight_names(path) -> list of published weights; builds nothing;
    published(path, input_shape, weights, **arguments) -> weight_files.StoredLayers, as
        published for 3 channels. Raises OSError where a download fails. kecam and classifiers build
        nothing for it; the others name the file only at the end of building the network.
"""
import importlib
import inspect

from models import kecam_package
from models.weight_files import layers_of, read_layers


class Applications:
    """keras.applications. Networks get normalised images; their own normalisation is left out."""

    # These take their published weights at one size only, though weights do not depend on it.
    PUBLISHED_SIZE = {"NASNetLarge": 331, "NASNetMobile": 224}

    def names(self):
        from tensorflow.keras import applications
        return [name for name in dir(applications) if name[0].isupper()]

    def build(self, path, input_shape, weights=None, **arguments):
        from tensorflow.keras import applications, layers
        builder = getattr(applications, path)
        if "include_preprocessing" in inspect.signature(builder).parameters:
            arguments = {"include_preprocessing": False, **arguments}
        network = builder(include_top=False, weights=weights, input_shape=input_shape, **arguments)
        if any(isinstance(layer, (layers.Rescaling, layers.Normalization)) for layer in network.layers):
            raise TypeError(f"applications:{path} normalises 0..255 images itself, and would do so on top "
                            "of the normalisation of the input pipeline; take its kecam counterpart, "
                            "for instance efficientnet_b0")
        return network

    def weight_names(self, path):
        return ["imagenet"]

    def published(self, path, input_shape, weights, **arguments):
        size = self.PUBLISHED_SIZE.get(path)
        shape = (size, size, 3) if size else input_shape
        return layers_of(_downloading(self.build, path, shape, weights=weights, **arguments))


class EfficientNet:
    """The package `efficientnet`: B0-B7 and L2, with ImageNet and noisy-student weights."""

    # The package divides the rate by B0's 16 blocks, so that L2's 88 would end at a rate above 1.
    DEFAULTS = {"EfficientNetL2": {"drop_connect_rate": 0.2 * 16 / 88}}

    def names(self):
        from efficientnet import tfkeras
        return [name for name in dir(tfkeras) if name.startswith("EfficientNet")]

    def build(self, path, input_shape, weights=None, **arguments):
        from efficientnet import tfkeras
        _only(arguments, ("drop_connect_rate",), f"efficientnet:{path}")
        arguments = {**self.DEFAULTS.get(path, {}), **arguments}
        return getattr(tfkeras, path)(include_top=False, weights=weights, input_shape=input_shape, **arguments)

    def weight_names(self, path):
        from efficientnet import weights
        tables = {"imagenet": weights.IMAGENET_WEIGHTS_HASHES, "noisy-student": weights.NS_WEIGHTS_HASHES}
        network = f"efficientnet-{path.removeprefix('EfficientNet').lower()}"
        return [name for name, table in tables.items() if network in table]

    def published(self, path, input_shape, weights, **arguments):
        return layers_of(_downloading(self.build, path, input_shape, weights=weights, **arguments))


class ImageClassifiers:
    """The package image-classifiers, for the networks that are its own (ResNet, ResNeXt, SENet)."""

    def names(self):
        from classification_models.tfkeras import Classifiers
        return [name for name, (builder, _) in Classifiers.models.items()
                if builder.__module__.startswith("classification_models.")]

    def build(self, path, input_shape, **arguments):
        from classification_models.tfkeras import Classifiers
        _only(arguments, (), f"classifiers:{path}")
        builder, _ = Classifiers.get(path)
        return builder(include_top=False, weights=None, input_shape=input_shape)

    def weight_names(self, path):
        return list(self._published_files(path))

    def published(self, path, input_shape, weights, **arguments):
        from tensorflow.keras import utils
        file = self._published_files(path)[weights]
        return read_layers(_downloading(utils.get_file, file["name"], file["url"], cache_subdir="models",
                                        md5_hash=file["md5"]))

    def _published_files(self, path):
        from classification_models.weights import WEIGHTS_COLLECTION
        return {file["dataset"]: file for file in WEIGHTS_COLLECTION
                if file["model"] == path and not file["include_top"]}


class Own:
    """Networks of this project, each in the file of its name; they have no published weights."""

    def names(self):
        return ["densenet", "dpn", "inception_v4", "pnasnet", "wide_resnet"]

    def build(self, path, input_shape, **arguments):
        builder = getattr(importlib.import_module(f"models.{path}"), path)
        return builder(input_shape=input_shape, **arguments)

    def weight_names(self, path):
        return []


def _only(arguments, allowed, name):
    """Refuse what a package would swallow without a word."""
    unknown = sorted(set(arguments) - set(allowed))
    if unknown:
        raise TypeError(f"{name} takes no argument {', '.join(unknown)} "
                        f"(it takes: {', '.join(allowed) or 'none'})")


def _downloading(function, *positional, **arguments):
    """Call it; keras reports a failed download as a bare Exception, which becomes OSError."""
    try:
        return function(*positional, **arguments)
    except Exception as error:
        if type(error) is Exception:
            raise OSError(str(error)) from error
        raise


PACKAGES = {"kecam": kecam_package.Kecam(), "efficientnet": EfficientNet(),
            "classifiers": ImageClassifiers(), "applications": Applications(), "own": Own()}
