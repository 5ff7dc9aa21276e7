"""Random layers of a backbone (dropout, stochastic depth) whose state survives a resume.

By default Keras keeps the state of Dropout inside TensorFlow's operations, where no checkpoint
reaches it, so that a resumed run draws other numbers. Built here, each random layer owns a
tf.random.Generator, and tf.train.Checkpoint(model=...) saves its state with the model.
"""
import contextlib

from tensorflow import keras


@contextlib.contextmanager
def generators_with_state():
    """Layers built inside draw from a tf.random.Generator of their own."""
    experimental = keras.backend.experimental
    before = experimental.is_tf_random_generator_enabled()
    experimental.enable_tf_random_generator()
    try:
        yield
    finally:
        if not before:
            experimental.disable_tf_random_generator()


def track_generators(network):
    """Make the generators part of the model's checkpoints (not of its weights)."""
    for layer in network.submodules:
        generator = getattr(getattr(layer, "_random_generator", None), "_generator", None)
        if generator is not None:
            layer.random_state = generator
