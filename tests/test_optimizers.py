"""Optimizers against NumPy float64 oracles; two replicas against one device."""
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from training.optimizers import (OPTIMIZERS, apply_gradients, build_optimizer, make_optimizer,
                                 optimizer_variables, read_learning_rate)
from training.schedules import make_schedule

STEPS = 20
RANDOM = np.random.default_rng(0)
START = [RANDOM.normal(size=(4, 3)), RANDOM.normal(size=3)]  # kernel, bias
GRADIENTS = [[RANDOM.normal(size=w.shape) * 10 ** RANDOM.uniform(-3, 1, w.shape) for w in START]
             for _ in range(STEPS)]
# The rate rises, and drops while there is momentum.
SCHEDULE = dict(steps_per_epoch=1, n_epochs=STEPS, warmup_epochs=4, milestones_epochs=[12])
RATES = [0.01 * min(1, (step + 1) / 4) * (0.1 if step >= 12 else 1) for step in range(STEPS)]
DECAY = 0.05


def schedule():
    return make_schedule("multistep", 0.01, **SCHEDULE)


def float32(arrays):
    return [tf.constant(array, tf.float32) for array in arrays]


def steps(optimizer, gradients, compiled=False):
    """[kernel, bias] after a step with each of `gradients`, as float64."""
    variables = [tf.Variable(w) for w in float32(START)]
    build_optimizer(optimizer, variables)
    step = tf.function(lambda *g: apply_gradients(optimizer, g, variables), jit_compile=True) if (
        compiled) else lambda *g: apply_gradients(optimizer, g, variables)
    for gradient in gradients:
        step(*float32(gradient))
    return [variable.numpy().astype(np.float64) for variable in variables]


def torch_sgd(w, gradients, decay, momentum=0.9, nesterov=False):
    """torch.optim.SGD, after its documentation."""
    buffer = np.zeros_like(w)
    for gradient, rate in zip(gradients, RATES):
        g = gradient + decay * w
        buffer = momentum * buffer + g
        w = w - rate * (g + momentum * buffer if nesterov else buffer)
    return w


def adam(w, gradients, decay, coupled=True, amsgrad=False, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Adam with L2 in the gradient (coupled) or AdamW; epsilon as Keras applies it."""
    m = v = highest = np.zeros_like(w)
    for t, (g, rate) in enumerate(zip(gradients, RATES), start=1):
        if coupled:
            g = g + decay * w
        else:
            w = w - rate * decay * w
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g ** 2
        highest = np.maximum(highest, v)
        size = rate * np.sqrt(1 - beta_2 ** t) / (1 - beta_1 ** t)
        w = w - size * m / (np.sqrt(highest if amsgrad else v) + epsilon)
    return w


def rmsprop(w, gradients, decay, momentum=0.9, rho=0.9, epsilon=1e-7):
    """As TensorFlow's: https://www.tensorflow.org/api_docs/python/tf/raw_ops/ApplyRMSProp."""
    v = buffer = np.zeros_like(w)
    for gradient, rate in zip(gradients, RATES):
        g = gradient + decay * w
        v = rho * v + (1 - rho) * g ** 2
        buffer = momentum * buffer + rate * g / np.sqrt(v + epsilon)
        w = w - buffer
    return w


def adabound(w, gradients, decay, final_lr=0.1, gamma=1e-3, epsilon=1e-8):
    """After https://github.com/Luolc/AdaBound/blob/master/adabound/adabound.py."""
    m = v = np.zeros_like(w)
    for t, (gradient, rate) in enumerate(zip(gradients, RATES), start=1):
        g = gradient + decay * w
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g ** 2
        size = rate * np.sqrt(1 - 0.999 ** t) / (1 - 0.9 ** t) / (np.sqrt(v) + epsilon)
        final = final_lr * rate / 0.01
        lower, upper = final * (1 - 1 / (gamma * t + 1)), final * (1 + 1 / (gamma * t))
        w = w - np.clip(size, lower, upper) * m
    return w


def lion(w, gradients, decay, beta_1=0.9, beta_2=0.99):
    """Program 1 of the paper."""
    m = np.zeros_like(w)
    for g, rate in zip(gradients, RATES):
        update = np.sign(beta_1 * m + (1 - beta_1) * g)
        w = w - rate * (update + decay * w)
        m = beta_2 * m + (1 - beta_2) * g
    return w


def nesterov(w, gradients, decay):
    return torch_sgd(w, gradients, decay, nesterov=True)


def adamw(w, gradients, decay):
    return adam(w, gradients, decay, coupled=False)


def amsgrad(w, gradients, decay):
    return adam(w, gradients, decay, amsgrad=True)


ORACLES = {"sgd": torch_sgd, "nesterov": nesterov, "adam": adam, "amsgrad": amsgrad, "adamw": adamw,
           "rmsprop": rmsprop, "adabound": adabound, "lion": lion}


def make(name, **arguments):
    """Under a name of ORACLES."""
    if name == "nesterov":
        name, arguments["nesterov"] = "sgd", True
    return make_optimizer(name, arguments.pop("learning_rate", None) or schedule(),
                          **{"weight_decay": DECAY, **arguments})


def assert_follows(oracle, got, gradients, decay_bias=False, **options):
    for w, start, g, decays in zip(got, START, zip(*gradients), (True, decay_bias)):
        # Keras takes Adam's 1 - 0.999**t in float32, exact to 6e-5 of a step.
        np.testing.assert_allclose(w, oracle(start, g, DECAY if decays else 0.0, **options),
                                   rtol=2e-5, atol=5e-6)


def test_every_optimizer_has_an_oracle():
    assert set(OPTIMIZERS) == set(ORACLES) - {"nesterov"}


@pytest.mark.parametrize("compiled, decay_bias", [(False, True), (True, False)])
@pytest.mark.parametrize("name", ORACLES)
def test_twenty_steps(name, compiled, decay_bias):
    got = steps(make(name, decay_norms_and_biases=decay_bias), GRADIENTS, compiled)
    assert_follows(ORACLES[name], got, GRADIENTS, decay_bias)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ORACLES)
def test_extreme_gradients(name, compiled):
    """Nothing but zeros at first, then from what float32 squares to 0 to almost what it cannot square."""
    sizes = [0, 0, 1e-30, 1e-8, 1e8, 1e15, 1, 0]
    gradients = [[np.full(w.shape, size) * np.sign(w) for w in START] for size in sizes]
    got = steps(make(name), gradients, compiled)
    for w, start, g, decay in zip(got, START, zip(*gradients), (DECAY, 0.0)):
        np.testing.assert_allclose(w, ORACLES[name](start, g, decay), rtol=1e-4, atol=5e-6)


@pytest.mark.parametrize("name, ours, theirs", [
    ("sgd", {"momentum": 0.5}, {"momentum": 0.5}), ("rmsprop", {"momentum": 0.0}, {"momentum": 0.0}),
    ("rmsprop", {"beta_2": 0.8, "epsilon": 0.1}, {"rho": 0.8, "epsilon": 0.1}),
    ("adam", {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 0.1}, None),
    ("adabound", {"final_lr": 0.02, "epsilon": 1e-3}, None),
    ("lion", {"beta_1": 0.7, "beta_2": 0.8}, None)])
def test_options_reach_the_optimizer(name, ours, theirs):
    got = steps(make(name, **ours), GRADIENTS)
    assert_follows(ORACLES[name], got, GRADIENTS, **(theirs or ours))


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("name", ORACLES)
def test_sparse_gradients_do_what_dense_ones_do(name, decay):
    """The gradient of a gather is a tf.IndexedSlices, here with a row that comes twice."""
    def step(sparse):
        optimizer = make(name, weight_decay=decay)
        table = tf.Variable(tf.ones([4, 3]))
        for taken in ([1, 1, 2], [2, 0, 0], [1, 2, 2]):
            with tf.GradientTape() as tape:
                rows = tf.gather(table, taken) if sparse else tf.stack([table[k] for k in taken])
                loss = tf.reduce_sum(rows ** 2)
            gradient = tape.gradient(loss, table)
            assert isinstance(gradient, tf.IndexedSlices) == sparse
            apply_gradients(optimizer, [gradient], [table])
        return table.numpy()
    np.testing.assert_allclose(step(sparse=True), step(sparse=False), rtol=1e-6)
    assert (step(sparse=True)[3] < 1).all() == (decay > 0)


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


@pytest.mark.parametrize("name", ORACLES)
def test_survives_serialisation(name):
    def made():
        return make(name, decay_norms_and_biases=True, rates=[0.5, 1])
    config = tf.keras.optimizers.serialize(made())
    assert config["registered_name"].startswith("fude>")
    again = tf.keras.optimizers.deserialize(config)
    assert again.get_config() == made().get_config()
    assert again.get_config()["rates"] == [0.5, 1.0]
    for got, want in zip(steps(again, GRADIENTS[:3]), steps(made(), GRADIENTS[:3])):
        np.testing.assert_array_equal(got, want)


def legacy_adam():
    return tf.keras.optimizers.legacy.Adam(schedule())  # stands for tensorflow-addons


def scaled(optimizer):
    return tf.keras.mixed_precision.LossScaleOptimizer(optimizer)


@pytest.mark.parametrize("made", [
    *[lambda name=name: make(name) for name in ORACLES], legacy_adam,
    lambda: scaled(make("adam")), lambda: scaled(legacy_adam())], ids=[
        *ORACLES, "legacy", "adam, loss scale", "legacy, loss scale"])
def test_its_variables_are_all_of_its_state(made):
    """Seven steps equal three, and four of another one that is given the variables first."""
    def go_on(optimizer, variables, gradients):
        for gradient in gradients:
            apply_gradients(optimizer, float32(gradient), variables)

    whole, cut, fresh = made(), made(), made()
    there, here = ([tf.Variable(w) for w in float32(START)] for _ in range(2))
    go_on(whole, there, GRADIENTS[:7])
    go_on(cut, here, GRADIENTS[:3])
    build_optimizer(fresh, here)
    state = optimizer_variables(cut)
    assert len(state) == len(optimizer_variables(fresh))
    for variable, value in zip(optimizer_variables(fresh), state):
        assert variable.shape == value.shape and variable.dtype == value.dtype
        variable.assign(value)
    go_on(fresh, here, GRADIENTS[3:7])
    for got, want in zip([*here, *optimizer_variables(fresh)], [*there, *optimizer_variables(whole)]):
        np.testing.assert_array_equal(got.numpy(), want.numpy())
    assert read_learning_rate(fresh) == pytest.approx(RATES[6], rel=1e-6)


@pytest.mark.parametrize("inner", [lambda: make("adam"), legacy_adam], ids=["ours", "legacy"])
def test_overflow_halves_the_loss_scale_and_skips_the_step(inner):
    optimizer, variable = scaled(inner()), tf.Variable([1.0, 2.0])
    build_optimizer(optimizer, [variable])
    before = optimizer.loss_scale.numpy()
    apply_gradients(optimizer, [tf.constant([np.inf, 1.0])], [variable])
    assert optimizer.loss_scale.numpy() == before / 2 and optimizer.iterations.numpy() == 1
    np.testing.assert_array_equal(variable.numpy(), [1, 2])
    assert any(v.dtype == tf.float32 and v.shape == [] and v.numpy() == before / 2
               for v in optimizer_variables(optimizer))


@pytest.mark.parametrize("arguments, words", [
    ({"name": "sdg"}, "no optimizer 'sdg': did you mean sgd"),
    ({"name": "sgd", "epsilon": 1e-8}, "sgd has no epsilon"),
    ({"name": "rmsprop", "beta_1": 0.9}, "rmsprop has no beta_1"),
    ({"name": "adam", "final_lr": 0.1}, "adam has no final_lr"),
    ({"name": "adabound", "beta_1": 0.0}, "betas must be above 0 and below 1; got beta_1=0.0")])
def test_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        make_optimizer(learning_rate=0.1, **arguments)


@pytest.mark.parametrize("legacy", [False, True])
def test_read_learning_rate(legacy):
    rising = make_schedule("constant", 0.4, steps_per_epoch=1, n_epochs=9, warmup_epochs=4)
    optimizer = tf.keras.optimizers.legacy.SGD(rising) if legacy else make_optimizer("sgd", rising)
    variable = tf.Variable([1.0, 2.0])
    seen = []
    for _ in range(5):
        apply_gradients(optimizer, [tf.zeros([2])], [variable])
        seen.append(read_learning_rate(optimizer))
    np.testing.assert_allclose(seen, [0.1, 0.2, 0.3, 0.4, 0.4], rtol=1e-6)
    assert read_learning_rate(tf.keras.optimizers.legacy.SGD(0.25) if legacy else
                              make_optimizer("sgd", 0.25)) == 0.25


def test_a_float_rate_can_be_set():
    optimizer = make_optimizer("sgd", 0.5)
    optimizer.learning_rate = 0.25
    assert read_learning_rate(optimizer) == read_learning_rate(scaled(optimizer)) == 0.25


TWO_REPLICAS = """
    import numpy as np
    from training.devices import choose_strategy
    from training.optimizers import (OPTIMIZERS, apply_gradients, build_optimizer, make_optimizer,
                                     read_learning_rate)
    from training.plateau import Plateau
    from training.schedules import make_schedule
    import tensorflow as tf

    mirrored = choose_strategy(None, cpu_replicas=2)
    assert mirrored.num_replicas_in_sync == 2
    one = tf.distribute.get_strategy()
    x = tf.constant(np.random.default_rng(0).normal(size=(8, 4)), tf.float32)
    y = tf.constant(np.random.default_rng(1).normal(size=(8, 3)), tf.float32)

    cases = [(name, False, [0.25, 1]) for name in OPTIMIZERS] + [
        ("sgd", True, None), ("legacy", True, None)]

    def make(name, scaled, rates, schedule):
        optimizer = (tf.keras.optimizers.legacy.SGD(schedule) if name == "legacy" else
                     make_optimizer(name, schedule, weight_decay=0.05, rates=rates))
        return tf.keras.mixed_precision.LossScaleOptimizer(optimizer) if scaled else optimizer

    def replica_step(optimizer, w, b, scaled):
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
        gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        apply_gradients(optimizer, gradients, [w, b])

    def train(strategy):
        with strategy.scope():
            schedule = make_schedule("plateau", 0.1, steps_per_epoch=1, n_epochs=5, warmup_epochs=2)
            parts = [(make(*case, schedule), tf.Variable(tf.ones([4, 3])), tf.Variable(tf.ones([3])),
                      case[1]) for case in cases]
            for optimizer, w, b, _ in parts:
                build_optimizer(optimizer, [w, b])
        plateau = Plateau(schedule, factor=0.1, patience=1)
        plateau.update(0.5)

        def step():
            for part in parts:
                strategy.run(replica_step, part)
        step = tf.function(step) if strategy is mirrored else step

        rates = []
        for number in range(5):
            if number == 3:
                assert plateau.update(0.5)
            step()
            rates.append([read_learning_rate(optimizer) for optimizer, *_ in parts])
        rates = np.transpose(rates)  # [case, step]
        np.testing.assert_allclose(rates, [[0.05, 0.1, 0.1, 0.01, 0.01]] * len(cases), rtol=1e-6)
        for variable in [schedule.multiplier, *[v for part in parts for v in part[1:3]]]:
            copies = [copy.numpy() for copy in strategy.experimental_local_results(variable)]
            assert len(copies) == strategy.num_replicas_in_sync
            for copy in copies:
                np.testing.assert_array_equal(copy, copies[0])
        return [np.concatenate([w.numpy().ravel(), b.numpy()]) for _, w, b, _ in parts]

    for case, got, want in zip(cases, train(mirrored), train(one)):
        np.testing.assert_allclose(got, want, rtol=1e-5, err_msg=str(case))
    with mirrored.scope():
        assert abs(read_learning_rate(make_optimizer("sgd", 0.25)) - 0.25) < 1e-9
    print("all equal")
"""


def test_two_replicas_equal_one_device():
    """In a process of its own: the CPU is split before TensorFlow starts."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(TWO_REPLICAS)], text=True,
                          cwd=pathlib.Path(__file__).parents[1], capture_output=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "device: CPU as 2 logical devices" in done.stdout and "all equal" in done.stdout
