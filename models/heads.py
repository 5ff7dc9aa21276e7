"""Feature vector [n, c] -> logits float32 [n, n_classes], under every mixed-precision policy."""
import tensorflow as tf
from tensorflow import keras

from models.registry import Registry

HEADS = Registry("head")


@keras.utils.register_keras_serializable(package="fude")
class L2SoftmaxHead(keras.layers.Layer):
    """L2-constrained softmax: logits are the cosine between feature and class, over a temperature.

    Ranjan et al., "L2-constrained Softmax Loss", 2017, arXiv:1703.09507, with the class weights
    normalised as well (the head of the Kuzushiji Recognition 2019 system). All of it is float32:
    temperature 0.05 multiplies an error of the cosine by 20.

    n_classes: > 0; temperature: > 0, ValueError otherwise. Weights: kernel [c, n_classes],
    Glorot (Xavier) uniform, no bias. Logits lie in -1/temperature..1/temperature.
    """

    # Squared length under which a vector is scaled by a constant instead of by its length, so that
    # a zero vector gives logits of 0, and gradients small enough for float16 layers below.
    MIN_SQUARED_LENGTH = 1e-6

    def __init__(self, n_classes, temperature=0.05, **options):
        super().__init__(**{**options, "dtype": "float32"})
        if n_classes < 1 or not temperature > 0:
            raise ValueError("an L2-softmax head needs n_classes >= 1 and temperature > 0, "
                             f"got {n_classes} and {temperature}")
        self.n_classes, self.temperature = n_classes, temperature

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", shape=(input_shape[-1], self.n_classes),
                                      initializer="glorot_uniform")
        super().build(input_shape)

    def call(self, features):
        features = tf.math.l2_normalize(features, axis=-1, epsilon=self.MIN_SQUARED_LENGTH)  # [n, c]
        classes = tf.math.l2_normalize(self.kernel, axis=0, epsilon=self.MIN_SQUARED_LENGTH)
        return tf.matmul(features, classes) / self.temperature  # [n, n_classes]

    def get_config(self):
        return {**super().get_config(), "n_classes": self.n_classes, "temperature": self.temperature}


@keras.utils.register_keras_serializable(package="fude")
class SoftmaxHead(keras.layers.Dense):
    """A dense layer with bias, in float32: logits [n, units]."""

    def __init__(self, units, **options):
        super().__init__(units, **{**options, "dtype": "float32"})


HEADS.add("l2_softmax", L2SoftmaxHead)
HEADS.add("softmax", SoftmaxHead)
