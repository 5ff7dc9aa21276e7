"""Feature vector [n, c] -> logits float32 [n, n_classes], under every mixed-precision policy.

The heads of margin losses are cosine heads: the margin itself (models.margins) is applied in the
loss. Every cosine head has a `scale`, logits / scale = cosines.
"""
import functools

import tensorflow as tf
from tensorflow import keras

from models.margins import adacos_start
from models.registry import Registry

HEADS = Registry("head")
DEFAULT_TEMPERATURE = {"l2_softmax": 0.05, "arcface": 1 / 30, "cosface": 1 / 30, "sphereface": 1 / 30}


class CosineHead(keras.layers.Layer):
    """The cosine between feature and class, times a scale that the subclass gives; all in float32.

    n_classes: >= 1, ValueError otherwise. Weights: kernel [c, n_classes], Glorot (Xavier) uniform,
    no bias.
    """

    # Squared length under which a vector is scaled by a constant instead of by its length, so that
    # a zero vector gives logits of 0, and gradients small enough for float16 layers below.
    MIN_SQUARED_LENGTH = 1e-6

    def __init__(self, n_classes, **options):
        super().__init__(**{**options, "dtype": "float32"})
        if n_classes < 1:
            raise ValueError(f"a head needs n_classes >= 1, got {n_classes}")
        self.n_classes = n_classes

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", shape=(input_shape[-1], self.n_classes),
                                      initializer="glorot_uniform")
        super().build(input_shape)

    def cosines(self, features):
        features = tf.math.l2_normalize(features, axis=-1, epsilon=self.MIN_SQUARED_LENGTH)  # [n, c]
        classes = tf.math.l2_normalize(self.kernel, axis=0, epsilon=self.MIN_SQUARED_LENGTH)
        return tf.matmul(features, classes)  # [n, n_classes]

    def get_config(self):
        return {**super().get_config(), "n_classes": self.n_classes}


@keras.utils.register_keras_serializable(package="fude")
class L2SoftmaxHead(CosineHead):
    """L2-constrained softmax: logits are the cosine between feature and class, over a temperature.

    Ranjan et al., "L2-constrained Softmax Loss", 2017, arXiv:1703.09507, with the class weights
    normalised as well (the head of the Kuzushiji Recognition 2019 system). All of it is float32:
    temperature 0.05 multiplies an error of the cosine by 20.

    n_classes: > 0; temperature: > 0, ValueError otherwise. Logits lie in
    -1/temperature..1/temperature.
    """

    def __init__(self, n_classes, temperature=DEFAULT_TEMPERATURE["l2_softmax"], **options):
        super().__init__(n_classes, **options)
        if not temperature > 0:
            raise ValueError(f"an L2-softmax head needs temperature > 0, got {temperature}")
        self.temperature = temperature

    @property
    def scale(self):
        return 1 / self.temperature

    def call(self, features):
        return self.cosines(features) / self.temperature

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@keras.utils.register_keras_serializable(package="fude")
class AdaCosHead(CosineHead):
    """Cosines times a scale that the training step sets from each batch (models.margins).

    Zhang et al., "AdaCos", 2019, arXiv:1905.00292. Weights: also scale, a float32 scalar that no
    optimizer trains, at first sqrt(2) log(n_classes - 1). Every replica assigns it the same value.
    """

    def build(self, input_shape):
        super().build(input_shape)
        self.scale = self.add_weight(
            "scale", shape=(), trainable=False,
            initializer=keras.initializers.Constant(adacos_start(self.n_classes)),
            # Lets replicas assign it inside strategy.run.
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    def call(self, features):
        return self.cosines(features) * self.scale


@keras.utils.register_keras_serializable(package="fude")
class SoftmaxHead(keras.layers.Dense):
    """A dense layer with bias, in float32: logits [n, units]."""

    def __init__(self, units, **options):
        super().__init__(units, **{**options, "dtype": "float32"})


for _name, _temperature in DEFAULT_TEMPERATURE.items():
    HEADS.add(_name, functools.partial(L2SoftmaxHead, temperature=_temperature))
HEADS.add("adacos", AdaCosHead)
HEADS.add("softmax", SoftmaxHead)
