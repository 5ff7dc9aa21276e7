"""A vector that comes beside the image: its own dense layer, joined to the image's features.

Cdiscount's 1st place fed what a reader of covers saw (not its text) in this way.
"""
from tensorflow import keras

layers = keras.layers


def join_vector(features, vector, width):
    """features [n, c], vector [n, d] -> float32 [n, c + width]; width 0: the vector as it is, [n, c + d].

    width: of a dense layer with ReLU on the vector, "aux_dense"; >= 0, ValueError otherwise.
    """
    if width < 0:
        raise ValueError(f"the width of the layer on the vectors is >= 0 (0: none), got {width}")
    if width:
        vector = layers.Dense(width, activation="relu", kernel_initializer="he_normal",
                              name="aux_dense")(vector)
    return layers.Concatenate(dtype="float32", name="aux_joined")([features, vector])
