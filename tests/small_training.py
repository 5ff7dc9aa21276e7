"""Small models ready to train, and a training of them, for the tests of training/."""
import numpy as np
import tensorflow as tf
from tensorflow import keras

from models.classifier import build_classifier
from models.heads import HEADS, L2SoftmaxHead
from models.losses import make_loss
from models.random_layers import generators_with_state, track_generators
from training.classifier_step import TrainedClassifier
from training.loop import Plan, Training
from training.optimizers import make_optimizer

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(16, 16, 16, 1)).astype(np.float32)
TARGETS = np.eye(5, dtype=np.float32)[RANDOM.integers(0, 5, 16)]


def batches_of(start, worker=0, n_workers=1):
    """Endless batches of 8, the same two in turn."""
    data = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(8, drop_remainder=True)
    return data.repeat().skip(start)


def built(policy, build):
    """build() under a mixed-precision policy, from the same seed each time."""
    keras.mixed_precision.set_global_policy(policy)
    try:
        keras.utils.set_random_seed(1)
        return build()
    finally:
        keras.mixed_precision.set_global_policy("float32")


def ready(model, optimizer=None, **step):
    """The model with an objective and a step. step: options of Trained.set_step."""
    model.set_objective(make_loss("cross_entropy"))
    model.set_step(optimizer or make_optimizer("sgd", 0.1, weight_decay=1e-3), **step)
    return model


def small_classifier(policy="float32", lr=0.05, backbone="wide_resnet10_2", head="l2_softmax", **step):
    """A classifier of 16 px gray images into 5 classes, ready to train."""
    def build():
        model = build_classifier(backbone, (16, 16, 1), 5, head, cls=TrainedClassifier)
        return ready(model, make_optimizer("sgd", lr, momentum=0.9), **step)
    return built(policy, build)


def dense_classifier(policy="float32"):
    """A classifier of 8 px images without BatchNorm."""
    def build():
        images = keras.Input((8, 8, 1))
        x = keras.layers.Conv2D(8, 3, activation="relu")(images)
        x = keras.layers.GlobalAveragePooling2D()(x)
        return TrainedClassifier(images, L2SoftmaxHead(5, name="head")(x))
    return built(policy, build)


def random_classifier(policy="float32", lr=0.05, head="adacos", **step):
    """A classifier of 16 px images with BatchNorm, stochastic depth and dropout, ready to train."""
    def build():
        images = keras.Input((16, 16, 1))
        with generators_with_state():
            x = keras.layers.Conv2D(8, 3, 2, use_bias=False)(images)
            x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
            branch = keras.layers.Conv2D(8, 3, padding="same")(x)
            branch = keras.layers.Dropout(0.3, noise_shape=(None, 1, 1, 1))(branch)
            x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([x, branch]))
            x = keras.layers.Dropout(0.3)(x)
        model = TrainedClassifier(images, HEADS[head](5, name="head")(x))
        track_generators(model)
        return ready(model, make_optimizer("adam", lr), **step)
    return built(policy, build)


def trained(model, folder, *, steps_per_epoch=2, n_epochs=1, monitor="loss", data=None, xla=None,
            batches=batches_of, **options):
    """The Training of a model ready to train, after its run. data: a Dataset instead of batches."""
    plan = {"batch_size": 8} | {name: options.pop(name) for name in list(options)
                                if name in Plan.__dataclass_fields__}
    training = Training(
        model, tf.distribute.get_strategy(), folder,
        Plan(steps_per_epoch, n_epochs, monitor, **plan),
        batches if data is None else lambda start, worker, n: data.skip(start), xla=xla, **options)
    training.run()
    return training
