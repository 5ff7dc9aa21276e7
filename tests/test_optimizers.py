"""Optimizers against NumPy float64 oracles; two replicas against one device."""
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from training.optimizers import make_optimizer, read_learning_rate
from training.schedules import make_schedule

KERNEL = np.random.default_rng(0).normal(size=(4, 3))
BIAS = np.random.default_rng(1).normal(size=3)
GRADIENTS = [(rng.normal(size=(4, 3)), rng.normal(size=3))
             for rng in map(np.random.default_rng, range(10, 15))]
RATES = [0.1, 0.1, 0.1, 0.01, 0.01]  # the rate drops while there is momentum
DROP = dict(steps_per_epoch=1, n_epochs=5, milestones_epochs=[3])


def five_steps(optimizer):
    """[kernel, bias] after the five GRADIENTS, as float64."""
    variables = [tf.Variable(KERNEL, dtype=tf.float32), tf.Variable(BIAS, dtype=tf.float32)]
    for gradients in GRADIENTS:
        optimizer.apply_gradients(
            zip([tf.constant(g, tf.float32) for g in gradients], variables))
    return [variable.numpy().astype(np.float64) for variable in variables]


def torch_sgd(w, gradients, momentum, decay, nesterov):
    """torch.optim.SGD, after its documentation."""
    buffer = np.zeros_like(w)
    for gradient, rate in zip(gradients, RATES):
        g = gradient + decay * w
        buffer = momentum * buffer + g
        w = w - rate * (g + momentum * buffer if nesterov else buffer)
    return w


def adam(w, gradients, decay, coupled, epsilon=1e-7):
    """Adam with L2 in the gradient (coupled) or AdamW; epsilon as Keras applies it."""
    m = v = np.zeros_like(w)
    for t, (gradient, rate) in enumerate(zip(gradients, RATES), start=1):
        if coupled:
            gradient = gradient + decay * w
        else:
            w = w - rate * decay * w
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient ** 2
        w = w - rate * np.sqrt(1 - 0.999 ** t) / (1 - 0.9 ** t) * m / (np.sqrt(v) + epsilon)
    return w


def assert_both(got, oracle, decay_bias, atol=0.0):
    kernel_gradients, bias_gradients = zip(*GRADIENTS)
    np.testing.assert_allclose(got[0], oracle(KERNEL, kernel_gradients, 0.05), rtol=1e-5,
                               atol=atol)
    np.testing.assert_allclose(
        got[1], oracle(BIAS, bias_gradients, 0.05 if decay_bias else 0.0), rtol=1e-5, atol=atol)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay_bias", [False, True])
def test_sgd_is_pytorchs(nesterov, decay_bias):
    optimizer = make_optimizer("sgd", make_schedule("multistep", 0.1, **DROP), weight_decay=0.05,
                               momentum=0.9, nesterov=nesterov, decay_norms_and_biases=decay_bias)
    assert_both(five_steps(optimizer),
                lambda w, g, decay: torch_sgd(w, g, 0.9, decay, nesterov), decay_bias)


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("decay_bias", [False, True])
def test_adam_and_adamw(name, decay_bias):
    optimizer = make_optimizer(name, make_schedule("multistep", 0.1, **DROP), weight_decay=0.05,
                               decay_norms_and_biases=decay_bias)
    assert_both(five_steps(optimizer),
                lambda w, g, decay: adam(w, g, decay, coupled=name == "adam"), decay_bias,
                atol=5e-6)  # Keras takes 1 - 0.999**t in float32; decay is 1e-3 and more


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_sparse_gradients_decay_every_row(name):
    """The gradient of a gather is a tf.IndexedSlices; it must do what the dense one does."""
    def step(sparse):
        optimizer = make_optimizer(name, 0.1, weight_decay=0.05)
        table = tf.Variable(tf.ones([4, 3]))
        for _ in range(2):
            with tf.GradientTape() as tape:
                rows = tf.gather(table, [1, 1]) if sparse else tf.stack([table[1], table[1]])
                loss = tf.reduce_sum(rows ** 2)
            optimizer.apply_gradients([(tape.gradient(loss, table), table)])
        return table.numpy()
    np.testing.assert_allclose(step(sparse=True), step(sparse=False), rtol=1e-6)
    assert (step(sparse=True)[0] < 1).all()


def test_compiled_model_decays_kernels_alone():
    """Every gradient is zero here, so what changes is decay; through a Keras model and XLA."""
    model = tf.keras.Sequential([tf.keras.layers.Conv2D(2, 3, input_shape=(8, 8, 1)),
                                 tf.keras.layers.BatchNormalization(),
                                 tf.keras.layers.Flatten(), tf.keras.layers.Dense(2)])
    for variable in model.trainable_variables:
        variable.assign(tf.ones_like(variable))
    optimizer = make_optimizer("sgd", 0.1, weight_decay=0.5, momentum=0.0)

    @tf.function(jit_compile=True)
    def step():
        optimizer.apply_gradients([(tf.zeros_like(v), v) for v in model.trainable_variables])
    optimizer.build(model.trainable_variables)
    step()
    for variable in model.trainable_variables:
        kernel = "kernel" in variable.name
        np.testing.assert_allclose(variable.numpy(), 0.95 if kernel else 1.0, rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_survives_serialisation(name):
    def make():
        schedule = make_schedule("cosine", 0.1, steps_per_epoch=2, n_epochs=3, warmup_epochs=1)
        return make_optimizer(name, schedule, weight_decay=0.05, momentum=0.8, nesterov=True,
                              decay_norms_and_biases=True)
    config = tf.keras.optimizers.serialize(make())
    again = tf.keras.optimizers.deserialize(config)
    assert again.get_config() == make().get_config()
    assert again.get_config()["decay_norms_and_biases"] is True
    for got, want in zip(five_steps(again), five_steps(make())):
        np.testing.assert_array_equal(got, want)


def test_unknown_name():
    with pytest.raises(ValueError, match="allowed: adam, adamw, sgd. Did you mean 'sgd'"):
        make_optimizer("sdg", 0.1)


def test_read_learning_rate():
    schedule = make_schedule("constant", 0.4, steps_per_epoch=1, n_epochs=9, warmup_epochs=4)
    optimizer = make_optimizer("sgd", schedule)
    variable = tf.Variable([1.0, 2.0])
    seen = []
    for _ in range(5):
        optimizer.apply_gradients([(tf.zeros([2]), variable)])
        seen.append(read_learning_rate(optimizer))
    np.testing.assert_allclose(seen, [0.1, 0.2, 0.3, 0.4, 0.4], rtol=1e-6)


TWO_REPLICAS = """
    import numpy as np
    from training.devices import choose_strategy, device_kind
    from training.optimizers import make_optimizer, read_learning_rate
    from training.schedules import make_schedule
    import tensorflow as tf

    mirrored = choose_strategy(None, cpu_replicas=2)
    assert mirrored.num_replicas_in_sync == 2 and device_kind(mirrored) == "CPU"
    one = tf.distribute.get_strategy()
    x = tf.constant(np.random.default_rng(0).normal(size=(8, 4)), tf.float32)
    y = tf.constant(np.random.default_rng(1).normal(size=(8, 3)), tf.float32)

    def train(strategy, name, scaled):
        with strategy.scope():
            w, b = tf.Variable(tf.ones([4, 3])), tf.Variable(tf.ones([3]))
            optimizer = make_optimizer(name, make_schedule(
                "multistep", 0.1, steps_per_epoch=1, n_epochs=5, warmup_epochs=2,
                milestones_epochs=[3]), weight_decay=0.05)
            if scaled:
                optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)

        @tf.function
        def step():
            def replica_step():
                replica = tf.distribute.get_replica_context()
                part = 8 // replica.num_replicas_in_sync
                rows = slice(replica.replica_id_in_sync_group * part,
                             (replica.replica_id_in_sync_group + 1) * part)
                with tf.GradientTape() as tape:
                    loss = tf.reduce_sum((x[rows] @ w + b - y[rows]) ** 2) / 8
                    if scaled:
                        loss = optimizer.get_scaled_loss(loss)
                gradients = tape.gradient(loss, [w, b])
                if scaled:
                    gradients = optimizer.get_unscaled_gradients(gradients)
                optimizer.apply_gradients(zip(gradients, [w, b]))
            strategy.run(replica_step)

        rates = []
        for _ in range(5):
            step()
            rates.append(read_learning_rate(optimizer))
        np.testing.assert_allclose(rates, [0.05, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)
        for variable in (w, b):
            copies = [copy.numpy() for copy in strategy.experimental_local_results(variable)]
            assert len(copies) == strategy.num_replicas_in_sync
            for copy in copies:
                np.testing.assert_array_equal(copy, copies[0])
        return np.concatenate([w.numpy().ravel(), b.numpy()])

    for name, scaled in [("sgd", False), ("sgd", True), ("adam", False), ("adamw", False)]:
        np.testing.assert_allclose(train(mirrored, name, scaled), train(one, name, scaled),
                                   rtol=1e-5, err_msg=name)
    with mirrored.scope():
        assert abs(read_learning_rate(make_optimizer("sgd", 0.25)) - 0.25) < 1e-9
    print("all equal")
"""


def test_two_replicas_equal_one_device():
    """In a process of its own: the CPU is split before TensorFlow starts."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(TWO_REPLICAS)], text=True,
                          cwd=pathlib.Path(__file__).parents[1], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "device: CPU as 2 logical devices" in done.stdout and "all equal" in done.stdout
