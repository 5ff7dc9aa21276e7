"""Learning from another network: both losses against NumPy, the step, and run.py --teacher."""
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import create_tfrecords
import run
from models.heads import HEADS
from models.losses import make_loss
from models.random_layers import generators_with_state, track_generators
from tests.gradients import value_and_gradient
from tests.helpers import make_classes, run_module
from training.classifier_step import TrainedClassifier
from training.distillation import (MIN_SQUARED_LENGTH, Distillation, attention_loss, levels,
                                   soft_target_loss)
from training.optimizers import make_optimizer
from training.snapshots import named_variables

RANDOM = np.random.default_rng(0)
INPUT = {"size": 16, "channels": 1, "mean": [0.5], "std": [0.25]}
IMAGES = RANDOM.normal(size=(16, 16, 16, 1)).astype(np.float32)
OPTIONS = dict(weight=1.0, temperature=2.0, attention_weight=1000.0, student_input=INPUT,
               teacher_input=INPUT)


def log_softmax(x):
    x = np.float64(x) - np.max(x, axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_targets_equal_numpy(temperature, compiled):
    scales = np.array([1, 1, 20, 1e4, 0, 1e6, 1])[:, None]
    logits, teacher = (np.float32(RANDOM.normal(size=(7, 5)) * scales) for _ in range(2))
    teacher[1] = logits[1]
    teacher[6] = 0
    value, gradient = value_and_gradient(lambda x: soft_target_loss(x, teacher, temperature), logits,
                                         compiled)
    log_q, log_p = log_softmax(logits / temperature), log_softmax(teacher / temperature)
    np.testing.assert_allclose(value, (np.exp(log_p) * (log_p - log_q)).sum(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, (np.exp(log_q) - np.exp(log_p)) / temperature, atol=1e-6)


def attention_oracle(x, y):
    """(loss [m], its gradient to x)"""
    def attention(features):
        energy = (np.float64(features) ** 2).mean(-1).reshape(len(features), -1)
        length = np.linalg.norm(energy, axis=1, keepdims=True)
        return energy / np.maximum(length, MIN_SQUARED_LENGTH ** 0.5), length
    (a, length), (b, _) = attention(x), attention(y)
    slope = 2 * (a - b) / a.shape[1]
    along = np.where(length ** 2 > MIN_SQUARED_LENGTH, (a * slope).sum(1, keepdims=True), 0)
    slope = (slope - a * along) / np.maximum(length, MIN_SQUARED_LENGTH ** 0.5)
    gradient = slope.reshape(*x.shape[:3], 1) * 2 * np.float64(x) / x.shape[3]
    return ((a - b) ** 2).mean(1), gradient


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_attention_transfer_equals_numpy(dtype, compiled):
    scales = np.array([1, 0.01, 1e-4, 0, 300, 1])[:, None, None, None]  # 300 squared is no float16
    features = (RANDOM.normal(size=(6, 3, 4, 5)) * scales).astype(dtype)
    teacher = RANDOM.normal(size=(6, 3, 4, 7)).astype(dtype)
    teacher[0] = 0
    features[5, 1:] = 0
    value, gradient = value_and_gradient(lambda x: attention_loss(x, teacher), features, compiled)
    expected, slope = attention_oracle(features, teacher)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-3 if dtype == "float16" else 1e-4, atol=1e-6)


def network(width=8, size=16, classes=5, dropout=0.0, seed=1, stages=2, head="softmax"):
    """Stages of half the size each, under a global pooling."""
    keras.utils.set_random_seed(seed)
    x = images = keras.Input((size, size, 1))
    for _ in range(stages):
        x = keras.layers.Conv2D(width, 3, 2, "same", activation="relu",
                                kernel_regularizer=keras.regularizers.L2(1e-3))(x)
    with generators_with_state():
        x = keras.layers.Dropout(dropout)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = TrainedClassifier(images, HEADS[head](classes, name="head")(x))
    track_generators(model)
    return model


def test_levels_are_the_ends_of_stages():
    assert list(levels(network(stages=4))) == [(8, 8), (4, 4), (2, 2)]  # 1x1 says nothing
    images = keras.Input((16, 16, 1))
    x = stage = keras.layers.Conv2D(4, 3, 2, "same")(images)
    inside = keras.layers.Conv2D(4, 1)(x)  # of the next stage's block, at the size of this one
    x = keras.layers.Add()([keras.layers.Conv2D(4, 3, 2, "same")(inside),
                            keras.layers.Conv2D(4, 1, 2)(stage)])
    found = levels(keras.Model(images, x))
    assert found[8, 8] is stage and found[4, 4] is x


def test_logits_and_losses_are_those_of_the_two_networks():
    student, teacher = network(dropout=0.0), network(width=6, stages=3, seed=2)
    other = INPUT | {"mean": [0.3], "std": [0.5]}
    distillation = Distillation(student, teacher, **OPTIONS | {"teacher_input": other})
    assert distillation.sizes == [(8, 8), (4, 4)]
    logits, losses = distillation(tf.constant(IMAGES))
    as_teacher = ((IMAGES * 0.25 + 0.5) - 0.3) / 0.5
    own, its = student(IMAGES), teacher(as_teacher)
    expected = 2.0 ** 2 * soft_target_loss(own, its, 2.0).numpy()
    for size in ((8, 8), (4, 4)):
        maps = [keras.Model(model.input, levels(model)[size])(x).numpy()
                for model, x in ((student, IMAGES), (teacher, as_teacher))]
        expected = expected + 1000 * attention_oracle(*maps)[0]
    np.testing.assert_array_equal(logits, own)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_the_student_stays_itself():
    """Its weights, what a snapshot holds, its random layers and its regularisers."""
    student, alone, teacher = network(dropout=0.5), network(dropout=0.5), network(seed=2)
    before = list(named_variables(model=student))
    distillation = Distillation(student, teacher, **OPTIONS)
    student.set_objective(make_loss("cross_entropy"), distillation=distillation)
    for _ in range(2):  # of the random state of one call follows that of the next
        np.testing.assert_array_equal(distillation(tf.constant(IMAGES))[0], alone(IMAGES, training=True))
    assert list(named_variables(model=student)) == before
    assert len(student.weights) == len(alone.weights)
    np.testing.assert_array_equal(student.losses, alone.losses)
    assert len(student.losses) == 2


def trained(steps, policy="float32", xla=False, targets=None, **options):
    """Losses of the steps of a student, on the same images."""
    keras.mixed_precision.set_global_policy(policy)
    try:
        student, teacher = network(stages=1), network(stages=1, seed=2)
        student.set_objective(make_loss("cross_entropy"), distillation=Distillation(
            student, teacher, **OPTIONS | options))
        student.set_step(make_optimizer("adam", 0.01), xla=xla)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    step = tf.function(student.train_step, jit_compile=xla)
    dtype = {"float32": "float32"}.get(policy, policy[6:])
    batch = tf.cast(IMAGES, dtype), tf.one_hot(np.arange(16) % 5, 5) if targets is None else targets
    weights = teacher.get_weights()
    losses = []
    for _ in range(steps):
        losses.append(float(step(batch)["loss"]))
        for metric in student.metrics:
            metric.reset_state()
    assert all((a == b).all() for a, b in zip(weights, teacher.get_weights()))
    return losses


def test_a_student_learns_the_teachers_function():
    """From the teacher alone: targets of 0 teach nothing."""
    losses = trained(50, targets=np.zeros((16, 5), np.float32))
    assert losses[-1] < 0.1 * losses[0]


def test_mixed_precision_compiles_and_learns_alike():
    # With 1000 for the attention, the loss scale of float16 first has to come down a few times.
    expected = trained(3, attention_weight=10.0)
    for policy in ("mixed_float16", "mixed_bfloat16"):
        np.testing.assert_allclose(trained(3, policy, xla=True, attention_weight=10.0), expected, rtol=0.02)


TWO_DEVICES = """
import keras2
import numpy as np, tensorflow as tf
from tests.test_distillation import IMAGES, OPTIONS, network
from models.losses import make_loss
from training.devices import choose_strategy
from training.distillation import Distillation
from training.optimizers import make_optimizer
weights = []
for strategy, accumulate in ((choose_strategy(None, cpu_replicas=2), 2),
                             (tf.distribute.OneDeviceStrategy("CPU:0"), 1)):
    with strategy.scope():
        student, teacher = network(stages=1), network(stages=1, seed=2)
        student.set_objective(make_loss("cross_entropy"),
                              distillation=Distillation(student, teacher, **OPTIONS))
        student.set_step(make_optimizer("sgd", 0.05), accumulate)
    data = tf.data.Dataset.from_tensor_slices((IMAGES, np.eye(5, dtype="float32")[np.arange(16) % 5]))
    batches = strategy.experimental_distribute_dataset(data.batch(16, True).repeat(3))
    step = tf.function(lambda batch: strategy.run(student.train_step, (batch,)))
    for batch in batches:
        step(batch)
    weights.append(student.get_weights())
    print(strategy.num_replicas_in_sync, "devices")
for two, one in zip(*weights):
    np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)
print("EQUAL")
"""


@pytest.mark.slow
def test_two_devices_and_micro_batches_give_the_weights_of_one():
    done = run_module("-c", TWO_DEVICES)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "2 devices" in done.stdout and "EQUAL" in done.stdout


@pytest.mark.parametrize("other, options, says", [
    (dict(classes=4), {}, "the teacher tells 4 classes apart, the student 5"),
    ({}, {"student_input": INPUT | {"size": 20}}, "images of 16 px in 1 channels, the student 20"),
    (dict(size=14), {}, r"none: the student has 8x8, 4x4, the teacher 7x7"),
    ({}, {"temperature": 0}, "temperature above 0, got 1.0, 1000.0 and 0")])
def test_what_does_not_fit_is_refused(other, options, says):
    with pytest.raises(ValueError, match=says):
        Distillation(network(), network(**{"stages": 1} | other), **OPTIONS | options)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distillation")
    for name, classes in (("store", 3), ("other", 2)):
        make_classes(folder / f"{name}_set", classes)
        create_tfrecords.main(["--format=folder", f"--data_dir={folder / f'{name}_set'}", "--size=16",
                               f"--out_dir={folder / name}", "--channels=1", "--workers=1"])
    return folder


SMALL = ["--backbone=wide_resnet10_2", "--n_epochs=1", "--batch_size=12", "--job=train"]


def test_a_run_teaches_another(store, tmp_path, capsys):
    teacher = tmp_path / "teacher"
    learn = [*SMALL, f"--data_tfrec_dir={store / 'store'}", f"--teacher={teacher}"]

    def refused(*arguments):
        with pytest.raises(SystemExit) as stop:
            run.main([*learn, f"--run_dir={tmp_path / 'refused'}", *arguments])
        assert not (tmp_path / "refused").exists()
        return str(stop.value)
    assert f"--teacher={teacher}: no run at" in refused()
    run.main([*SMALL, f"--data_tfrec_dir={store / 'store'}", f"--run_dir={teacher}", "--mean=0.1"])
    run.main([*learn, f"--run_dir={tmp_path / 'student'}", "--attention_weight=1000"])
    assert f"teacher: {teacher}, wide_resnet10_2; attention at 8x8, 4x4" in capsys.readouterr().out
    assert json.loads((tmp_path / "student" / "run.json").read_text())["finished"]
    assert "takes images of 16 px in 1 channels, this run 20 px" in refused("--dim=20")
    assert "has other classes than" in refused(f"--data_tfrec_dir={store / 'other'}")
    info = json.loads((teacher / "run.json").read_text())
    (teacher / "run.json").write_text(json.dumps(info | {"finished": False}))
    assert "is not trained to its end" in refused()
    shutil.rmtree(teacher / "checkpoints")
    assert "has no checkpoint" in refused()
