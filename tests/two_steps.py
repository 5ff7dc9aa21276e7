"""Builds the network of a recipe, trains two steps, saves, loads, and predicts the same.

  python -m tests.two_steps RECIPE

At the recipe's input size, from random weights: published ones are downloaded, and the steps are the
same. Prints its peak memory, GB. A process of its own, so that its memory returns.
"""
import keras2  # noqa: F401  before anything imports TensorFlow
import pathlib
import re
import sys
import tempfile

import numpy as np
import tensorflow as tf
from tensorflow import keras

from jobs.options import parse
from models.classifier import build_classifier

N_CLASSES = {"kuzushiji": 4212, "turtle": 2265, "imet": 1103, "cdiscount": 5270}


def network(options, n_classes):
    keras.utils.set_random_seed(1)
    return build_classifier(options.backbone, (options.dim, options.dim, options.n_channels or 3), n_classes,
                            options.head, options.pooling, options.temperature, neck=options.neck,
                            neck_width=options.neck_width)


def peak_gigabytes():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2 ** 20


def main(recipe):
    options = parse([f"@{recipe}", "--data_tfrec_dir=x"])
    n_classes = N_CLASSES[pathlib.Path(recipe).parent.name]
    model = network(options, n_classes)
    images = tf.constant(np.random.default_rng(0).normal(size=model.input_shape[1:])[None], tf.float32)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = keras.losses.sparse_categorical_crossentropy([3], logits, from_logits=True)
        gradients = tape.gradient(loss, model.trainable_variables)
        for variable, gradient in zip(model.trainable_variables, gradients):
            variable.assign_sub(1e-3 * tf.clip_by_norm(tf.cast(gradient, variable.dtype), 1))
        return loss[0]

    predict = tf.function(lambda network: network(images, training=False), reduce_retracing=True)
    untrained = predict(model).numpy()
    losses = [step().numpy(), step().numpy()]
    trained = predict(model).numpy()
    assert np.isfinite(losses).all() and np.isfinite(trained).all(), (losses, trained)
    assert np.abs(trained - untrained).max() > 0, "two steps changed nothing"
    with tempfile.TemporaryDirectory() as folder:
        model.save_weights(f"{folder}/weights.h5", save_format="h5")
        del model, step
        keras.backend.clear_session()
        model = network(options, n_classes)
        model.load_weights(f"{folder}/weights.h5")
    np.testing.assert_array_equal(predict(model).numpy(), trained)
    print(f"{peak_gigabytes():.1f}")


if __name__ == "__main__":
    main(sys.argv[1])
