"""Auxiliary heads: what wider levels of category a record belongs to, told from the same features."""
import tensorflow as tf
from tensorflow import keras


@keras.utils.register_keras_serializable(package="fude")
class LevelHeads(keras.layers.Layer):
    """Gives the features [n, c] on as they are, to the head of the classes; a training step asks `logits` of it
    besides. So the network predicts, saves and loads as one without it.

    sizes: categories of each level, each >= 1, one level at least; ValueError otherwise. Weights: of each level
    kernel [c, size], Glorot uniform, and bias [size], float32.
    """

    def __init__(self, sizes, **options):
        super().__init__(**{**options, "dtype": "float32"})
        if not sizes or min(sizes) < 1:
            raise ValueError(f"level heads need one level at least, each of one category or more, got {sizes}")
        self.sizes = list(sizes)

    def build(self, input_shape):
        self.level_weights = [
            (self.add_weight(f"kernel_{k}", shape=(input_shape[-1], size), initializer="glorot_uniform"),
             self.add_weight(f"bias_{k}", shape=(size,), initializer="zeros"))
            for k, size in enumerate(self.sizes)]
        super().build(input_shape)

    def call(self, features):
        return tf.identity(features)

    def logits(self, features):
        """[float32 [n, size] of each level]. features: float [n, c], what the layer gives."""
        features = tf.cast(features, tf.float32)
        return [tf.matmul(features, kernel) + bias for kernel, bias in self.level_weights]

    def get_config(self):
        return {**super().get_config(), "sizes": self.sizes}
