"""The stacking network: the predictions of several models for one image -> its logits, label by label.

Stage 2 of the 7th place of iMet Collection 2019: a convolution of kernel (models, 1) = (3, 1) over the
picture [models, labels] learns between models and is the same for every label; dense layers over what
it leaves learn between labels. Unlike there the dense part tells only what is added to the mean logit
of the models, and starts at 0: an untrained network is the mean of its models.
"""
import numpy as np
import tensorflow as tf
from tensorflow import keras

from models.random_layers import generators_with_state, track_generators

INPUTS = ("logits", "probabilities")
LEAST = 1e-6  # probabilities nearer to 0 or 1 count as that near


@keras.utils.register_keras_serializable(package="fude")
class MeanLogit(keras.layers.Layer):
    """The mean logit of the models: float32 [n, models, labels, 1] -> float32 [n, labels].

    inputs: "logits", or "probabilities" 0..1 of the sigmoid, held in LEAST..1-LEAST.
    """

    def __init__(self, inputs="logits", **options):
        super().__init__(**{**options, "dtype": "float32"})
        self.inputs = inputs

    def call(self, predictions):
        if self.inputs == "probabilities":
            predictions = tf.clip_by_value(predictions, LEAST, 1 - LEAST)
            predictions = tf.math.log(predictions) - tf.math.log1p(-predictions)
        return tf.reduce_mean(predictions[..., 0], axis=1)

    def get_config(self):
        return {**super().get_config(), "inputs": self.inputs}


def build_stacking_cnn(n_models, n_labels, *, inputs="logits", n_filters=8, kernel=3, widths=(256,),
                       dropout=0.5, seed=None):
    """Build the network: float32 [n, n_models, n_labels, 1] -> logits float32 [n, n_labels].

    n_models, n_labels: >= 1. inputs: of INPUTS, what the network is given. n_filters: of the
    convolution. kernel: models that it sees at once; None, or more than there are: all of them.
    widths: of the dense layers between labels, one at least. dropout: before each of the dense layers,
    the last one too, but not before the convolution; 0 <= dropout < 1. seed: int; the start weights
    and what is dropped are a pure function of it. None: of keras.utils.set_random_seed just before.
    All of it is float32 whatever the mixed-precision policy. Raises ValueError.
    """
    if inputs not in INPUTS:
        raise ValueError(f"a stacking network is given {' or '.join(INPUTS)}, not {inputs!r}")
    sizes = [n_models, n_labels, n_filters, n_models if kernel is None else kernel, *widths]
    if min(sizes) < 1 or not widths or not 0 <= dropout < 1:
        raise ValueError("a stacking network has models, labels, filters, kernel and one width at least, "
                         f"each >= 1, and 0 <= dropout < 1; got {n_models} models, {n_labels} labels, "
                         f"n_filters {n_filters}, kernel {kernel}, widths {widths}, dropout {dropout}")
    kernel = min(kernel or n_models, n_models)
    seeds = None if seed is None else iter(np.random.SeedSequence(seed).generate_state(2 * len(widths) + 2)
                                           // 2)  # int32 is what the initialisers take
    own = {"dtype": "float32"}

    def draw():
        return None if seeds is None else int(next(seeds))

    def relu(layer, *arguments, **options):
        return layer(*arguments, activation="relu", kernel_initializer=keras.initializers.HeUniform(draw()),
                     **options, **own)

    def dropped(x):
        if not dropout:
            return x
        with generators_with_state():
            return keras.layers.Dropout(dropout, seed=draw(), **own)(x)

    predictions = keras.Input((n_models, n_labels, 1), dtype="float32")
    x = relu(keras.layers.Conv2D, n_filters, (kernel, 1), name="between_models")(predictions)
    x = keras.layers.Flatten(**own)(x)  # [n, models - kernel + 1, labels, filters] -> [n, all]
    for number, width in enumerate(widths):
        x = relu(keras.layers.Dense, width, name=f"between_labels_{number}")(dropped(x))
    change = keras.layers.Dense(n_labels, kernel_initializer="zeros", name="change", **own)(dropped(x))
    mean = MeanLogit(inputs, name="mean")(predictions)
    model = keras.Model(predictions, keras.layers.Add(name="logits", **own)([mean, change]),
                        name="stacking_cnn")
    track_generators(model)
    return model


def network_inputs(predictions, rows, columns=None):
    """What the network is given of some images: float32 [b, models, labels, 1].

    predictions: float [models, n, labels]. rows: int [b] or a slice; columns: int [k], the labels of
    the network; None: all.
    """
    chosen = predictions[:, rows]  # [models, b, labels]
    if columns is not None:
        chosen = chosen[..., columns]
    return np.moveaxis(np.asarray(chosen, np.float32), 0, 1)[..., None]
