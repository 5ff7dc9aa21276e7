"""The start of a fine-tuning: another run's weights, frozen layers."""
import numpy as np

from jobs.errors import OptionError
from jobs.run_directory import open_run
from models.weight_files import read_layers, variables_of
from training.freezing import freeze
from training.layer_rates import layer_rates

HEADS = ("head", "class_head")  # layers as wide as there are classes
LEVELS = "head_levels"  # auxiliary heads: they begin anew where the other run has none, or others


def prepare_weights(session, model):
    """Takes --init_from and --freeze to a new network, before its optimizer is made."""
    o = session.options
    if o.init_from:
        source = open_run(o.init_from, o.task, option="--init_from")
        print(f"weights: {init_from(model, source, session.run)}")
    if o.freeze != "none":
        frozen = freeze(model, o.freeze)
        learning = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        print(f"frozen: {frozen} layers; {learning / 1e6:.2f} M parameters learn")


def init_from(model, source, run):
    """Puts the best weights of the run `source` into the model of `run`; returns what was done, in words.

    Of a head that tells more classes apart those of the run, a head of other classes excepted. A run whose
    vectors (--aux_features) the source has not begins as if they were 0. Raises OptionError where they do
    not fit.
    """
    stored = read_layers(source.weights()).layers
    targets = [layer for layer in model.layers if layer.weights]
    with_vectors = bool(run.info.get("aux") and not source.info.get("aux"))
    if with_vectors:
        targets = [layer for layer in targets if layer.name != "aux_dense"]
    ours, theirs = ({k: v for k, v in r.info["network"].items() if k != "n_classes"}
                    for r in (run, source))
    other_classes = source.class_names != run.class_names
    if other_classes or ours.get("level_sizes") != theirs.get("level_sizes"):
        stored, targets = ([x for x in layers if x.name != LEVELS] for layers in (stored, targets))
    if len(stored) != len(targets):
        raise OptionError(f"--init_from={source.folder} is another network ({theirs}) than {ours}: "
                          "give the options that it was trained with")
    pairs, left_out, cut_out = [], [], ""
    places = {name: k for k, name in enumerate(source.class_names)}
    columns = [places.get(name) for name in run.class_names]
    for layer, tensors in zip(targets, stored):
        shapes = [tuple(v.shape) for v in variables_of(layer)]
        if with_vectors and layer.name == "head":  # its kernel gets rows for them
            more = shapes[0][0] - tensors.arrays[0].shape[0]
            tensors.arrays[0] = np.pad(tensors.arrays[0], [(0, max(more, 0)), (0, 0)])
        own = None if None in columns or not layer.name in HEADS else [
            array[..., columns] for array in tensors.arrays if array.shape[-1] == len(places)]
        if other_classes and own and shapes == [array.shape for array in own]:
            pairs += zip(variables_of(layer), own)
            cut_out = f"; of its {len(places)} classes the {len(columns)} of this run"
        elif layer.name in HEADS and other_classes:
            left_out.append(layer.name)
        elif shapes == [array.shape for array in tensors.arrays]:
            pairs += zip(variables_of(layer), tensors.arrays)
        elif layer.name.startswith("neck_"):
            left_out.append(layer.name)
        else:
            raise OptionError(
                f"--init_from={source.folder}: layer {layer.name} is {shapes} here and "
                f"{[array.shape for array in tensors.arrays]} there ({theirs}, here {ours})")
    for variable, array in pairs:
        variable.assign(array)
    kept = len(targets) - len(left_out)
    return (f"{kept} of {len(targets)} layers from {source.folder}{cut_out}" +
            (f"; left out, as the classes differ: {', '.join(left_out)}" if left_out else "") +
            ("; vectors come in, with weights of 0 in the head" if with_vectors else ""))


def layer_rates_of(o, model):
    """The rates of --first_layer_rate, or None."""
    return None if o.first_layer_rate == 1 else layer_rates(model, o.first_layer_rate)
