"""Feature map [n, h, w, c] -> feature vector float32 [n, c]."""
import tensorflow as tf
from tensorflow import keras

from models.registry import Registry

POOLINGS = Registry("pooling")


@keras.utils.register_keras_serializable(package="fude")
class AveragePooling(keras.layers.GlobalAveragePooling2D):
    """Mean over h and w, summed in float32 under every mixed-precision policy."""

    def __init__(self, **options):
        super().__init__(**{**options, "dtype": "float32"})


@keras.utils.register_keras_serializable(package="fude")
class GeMPooling(keras.layers.Layer):
    """Generalised mean, (mean over h, w of max(x, eps)^p)^(1/p), with one trainable p.

    p = 1 is the average, p -> infinity the maximum. Radenovic et al., "Fine-tuning CNN Image
    Retrieval with No Human Annotation", TPAMI 2018, arXiv:1711.02512. Computed in float32.

    p: its initial value, > 0; eps: the floor of the activations, > 0. ValueError otherwise.
    """

    def __init__(self, p=3.0, eps=1e-6, **options):
        super().__init__(**{**options, "dtype": "float32"})
        if not (p > 0 and eps > 0):
            raise ValueError(f"GeM pooling needs p > 0 and eps > 0, got p={p}, eps={eps}")
        self.initial_p, self.eps = p, eps

    def build(self, input_shape):
        self.p = self.add_weight("p", shape=(), initializer=keras.initializers.Constant(self.initial_p))
        super().build(input_shape)

    def call(self, x):
        x = tf.maximum(x, self.eps)  # [n, h, w, c]
        # x^p leaves float32's range soon; the mean of x/peak does not. The result does not depend
        # on the peak, so neither does the gradient.
        peak = tf.stop_gradient(tf.reduce_max(x, axis=[1, 2], keepdims=True))  # [n, 1, 1, c]
        mean = tf.reduce_mean((x / peak) ** self.p, axis=[1, 2])  # [n, c]
        return peak[:, 0, 0] * mean ** (1.0 / self.p)

    def get_config(self):
        return {**super().get_config(), "p": self.initial_p, "eps": self.eps}


@keras.utils.register_keras_serializable(package="fude")
class MeanOfPictures(keras.layers.Layer):
    """[n * pictures, c] -> float32 [n, c], the mean over the pictures of each record, which follow each other.

    pictures: >= 1, ValueError otherwise.
    """

    def __init__(self, pictures, **options):
        super().__init__(**{**options, "dtype": "float32"})
        if pictures < 1:
            raise ValueError(f"the mean of pictures needs one at least, got {pictures}")
        self.pictures = pictures

    def call(self, x):
        return tf.reduce_mean(tf.reshape(x, [-1, self.pictures, x.shape[-1]]), axis=1)

    def get_config(self):
        return {**super().get_config(), "pictures": self.pictures}


POOLINGS.add("average", AveragePooling)
POOLINGS.add("gem", GeMPooling)
