"""tfa: optimizers: names anywhere; their steps where tensorflow-addons is installed."""
import importlib.util
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from training import addons
from training.optimizers import (apply_gradients, build_optimizer, is_legacy, make_optimizer,
                                 optimizer_variables, read_learning_rate)
from training.schedules import make_schedule

installed = pytest.mark.skipif(importlib.util.find_spec("tensorflow_addons") is None,
                               reason="needs tensorflow-addons (requirements-addons.txt)")
RANDOM = np.random.default_rng(0)
START = [RANDOM.normal(size=(4, 3)), RANDOM.normal(size=3)]  # kernel, bias
GRADIENTS = [[RANDOM.normal(size=w.shape) * 10 ** RANDOM.uniform(-3, 1, w.shape) for w in START]
             for _ in range(20)]
RATES = [0.01 * min(1, (step + 1) / 4) * (0.1 if step >= 12 else 1) for step in range(20)]
DECAY = 0.05


def schedule():
    return make_schedule("multistep", 0.01, steps_per_epoch=1, n_epochs=20, warmup_epochs=4,
                         milestones_epochs=[12])


@pytest.mark.parametrize("name, words", [
    ("tfa:LAMBDA", "no optimizer 'tfa:LAMBDA': did you mean LAMB"), ("tfa:", "Known: tfa:AdaBelief"),
    ("tfa:lamb", "did you mean LAMB"), ("tfa:Lookahed:LAMB", "no optimizer 'tfa:Lookahed:LAMB'"),
    ("tfa:Lookahead", "give tfa:Lookahead:NAME"), ("tfa:COCOB", "has no learning rate"),
    ("tfa:ConditionalGradient", "takes no schedule"),
    ("tfa:SWA", "averages weights"), ("tfa:Lookahead:MovingAverage", "averages weights")])
def test_unknown_names(name, words):
    for refuse in (addons.check, lambda name: make_optimizer(name, 0.1)):
        with pytest.raises(ValueError, match=words):
            refuse(name)


def test_names_are_checked_without_tensorflow():
    code = ("import sys; from training import addons; assert addons.parse('tfa:LAMB') == ('LAMB', False);"
            "assert addons.parse('tfa:Lookahead:Yogi') == ('Yogi', True);"
            "assert 'tensorflow' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


REMEDY = ("--optimizer=tfa:LAMB needs tensorflow-addons, which works with TensorFlow 2.15 only: "
          "REQUIREMENTS=requirements-addons.txt bash run_training.sh sets up such an environment")


def test_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for refuse in (addons.check, lambda name: make_optimizer(name, 0.1)):
        with pytest.raises(ValueError) as error:
            refuse("tfa:LAMB")
        assert str(error.value) == REMEDY


def test_says_so_too_where_it_is_installed_beside_another_tensorflow(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "tensorflow_addons", None)  # importing it raises ImportError
    with pytest.raises(ValueError) as error:
        make_optimizer("tfa:LAMB", 0.1)
    assert str(error.value) == REMEDY


@pytest.mark.parametrize("arguments, words", [
    ({"name": "tfa:LAMB", "rates": [1, 1]}, "one rate in all layers"),
    ({"name": "tfa:NovoGrad", "weight_decay": 0.1}, "decays biases and norms too"),
    ({"name": "tfa:ProximalAdagrad", "weight_decay": 0.1}, "has no weight decay; set weight_decay to 0"),
    pytest.param({"name": "tfa:SGDW", "epsilon": 0.1}, "tfa:SGDW has no epsilon", marks=installed)])
def test_refuses_what_it_cannot_do(monkeypatch, arguments, words):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(ValueError, match=words):
        make_optimizer(learning_rate=0.1, **arguments)


def steps(optimizer, compiled=False, before=lambda variables, rate: None):
    """[kernel, bias] after a step with each of GRADIENTS, as float64."""
    variables = [tf.Variable(tf.constant(w, tf.float32)) for w in START]
    build_optimizer(optimizer, variables)
    step = tf.function(lambda *g: apply_gradients(optimizer, g, variables), jit_compile=True) if (
        compiled) else lambda *g: apply_gradients(optimizer, g, variables)
    for gradients, rate in zip(GRADIENTS, RATES):
        before(variables, rate)
        step(*[tf.constant(g, tf.float32) for g in gradients])
        assert read_learning_rate(optimizer) == pytest.approx(rate, rel=1e-6)
    return [variable.numpy().astype(np.float64) for variable in variables]


def adam(w, gradients, decays, lamb, trusted, epsilon=1e-6):
    """LAMB (algorithm 2 of arXiv:1904.00962, v in the denominator corrected) or AdamW."""
    m = v = np.zeros_like(w)
    for t, (g, rate) in enumerate(zip(gradients, RATES), start=1):
        decay = DECAY * decays
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g ** 2
        update = (m / (1 - 0.9 ** t)) / (np.sqrt(v / (1 - 0.999 ** t)) + epsilon) + decay * w
        trust = np.linalg.norm(w) / np.linalg.norm(update) if lamb and trusted else 1
        w = w - rate * trust * update
    return w


@installed
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("decay_bias", [False, True])
@pytest.mark.parametrize("name", ["tfa:LAMB", "tfa:AdamW"])
def test_lamb_and_adamw(name, decay_bias, compiled):
    got = steps(make_optimizer(name, schedule(), weight_decay=DECAY,
                               decay_norms_and_biases=decay_bias), compiled)
    for w, start, gradients, decays in zip(got, START, zip(*GRADIENTS), (True, decay_bias)):
        want = adam(start, gradients, decays, name == "tfa:LAMB", trusted=decays)
        np.testing.assert_allclose(w, want, rtol=1e-4, atol=5e-6)


@installed
@pytest.mark.parametrize("name", sorted(set(addons.ADDONS) - {"LAMB", "NovoGrad", "ProximalAdagrad"}))
def test_decay_is_beside_the_step_and_of_kernels(name):
    """As its own optimizer without decay, on kernels that are shrunk by hand before each step."""
    import tensorflow_addons as tfa
    takes = addons.ADDONS[name][1]
    momentum = {"momentum": 0.9} if name == "SGDW" else {}
    plain = {"weight_decay": 0.0} if name in ("AdamW", "SGDW") else {}

    def shrink(variables, rate):
        variables[0].assign(variables[0] * (1 - rate * DECAY))
    want = steps(getattr(tfa.optimizers, name)(learning_rate=schedule(), **momentum, **plain),
                 before=shrink)
    got = steps(make_optimizer("tfa:" + name, schedule(), weight_decay=DECAY))
    for w, expected, start in zip(got, want, START):
        np.testing.assert_allclose(w, expected, rtol=1e-5, atol=1e-6)
        assert abs(w - start).max() > 0.01
    if "epsilon" in takes:  # and options reach it
        other = steps(make_optimizer("tfa:" + name, schedule(), weight_decay=DECAY, epsilon=0.5,
                                     beta_1=0.5, beta_2=0.5))
        assert abs(other[0] - got[0]).max() > 1e-3


@installed
def test_sparse_gradients_leave_no_row_undecayed():
    optimizer = make_optimizer("tfa:SGDW", 0.5, weight_decay=0.25, momentum=0.0)
    table = tf.Variable(tf.ones([3, 2]))
    apply_gradients(optimizer, [tf.IndexedSlices(tf.ones([2, 2]), [1, 1], [3, 2])], [table])
    np.testing.assert_allclose(table.numpy()[:, 0], [0.875, -0.125, 0.875], rtol=1e-6)


@installed
@pytest.mark.parametrize("name", ["NovoGrad", "ProximalAdagrad"])
def test_others_are_their_own(name):
    import tensorflow_addons as tfa
    options = {"weight_decay": DECAY, "decay_norms_and_biases": True} if name == "NovoGrad" else {}
    want = steps(getattr(tfa.optimizers, name)(
        learning_rate=schedule(), **({"weight_decay": DECAY} if options else {})))
    for got, expected in zip(steps(make_optimizer("tfa:" + name, schedule(), **options)), want):
        np.testing.assert_array_equal(got, expected)


@installed
def test_lookahead_goes_half_way_back_every_six_steps():
    got = steps(make_optimizer("tfa:Lookahead:SGDW", schedule(), momentum=0.0))
    for w, start, gradients in zip(got, START, zip(*GRADIENTS)):
        fast = slow = start
        for t, (g, rate) in enumerate(zip(gradients, RATES), start=1):
            fast = fast - rate * g
            if t % 6 == 0:
                fast = slow = slow + 0.5 * (fast - slow)
        np.testing.assert_allclose(w, fast, rtol=1e-5, atol=1e-6)


@installed
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", [*addons.ADDONS, "Lookahead:LAMB"])
def test_its_variables_are_all_of_its_state(name, scaled):
    """Seven steps equal three, and four of another one that is given the variables first."""
    def made():
        optimizer = make_optimizer("tfa:" + name, schedule())
        assert is_legacy(optimizer)
        return tf.keras.mixed_precision.LossScaleOptimizer(optimizer) if scaled else optimizer

    def go_on(optimizer, variables, gradients):
        for gradient in gradients:
            apply_gradients(optimizer, [tf.constant(g, tf.float32) for g in gradient], variables)

    whole, cut, fresh = made(), made(), made()
    there, here = ([tf.Variable(tf.constant(w, tf.float32)) for w in START] for _ in range(2))
    go_on(whole, there, GRADIENTS[:7])
    go_on(cut, here, GRADIENTS[:3])
    build_optimizer(fresh, here)
    state = optimizer_variables(cut)
    assert len(state) == len(optimizer_variables(fresh))
    for variable, value in zip(optimizer_variables(fresh), state):
        assert variable.shape == value.shape
        variable.assign(value)
    go_on(fresh, here, GRADIENTS[3:7])
    for got, want in zip([*here, *optimizer_variables(fresh)], [*there, *optimizer_variables(whole)]):
        np.testing.assert_array_equal(got.numpy(), want.numpy())


TWO_REPLICAS = """
    import numpy as np
    from training.devices import choose_strategy
    from training.optimizers import apply_gradients, build_optimizer, make_optimizer
    import tensorflow as tf

    mirrored = choose_strategy(None, cpu_replicas=2)
    gradient = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 3)), tf.float32)

    def train(strategy, name):
        with strategy.scope():
            w = tf.Variable(tf.ones([4, 3]))
            optimizer = make_optimizer(name, 0.1, weight_decay=0.05)
            build_optimizer(optimizer, [w])

        @tf.function
        def step():
            def replica_step():
                replica = tf.distribute.get_replica_context()
                mine = (tf.reduce_sum(gradient, 0) if replica.num_replicas_in_sync == 1 else
                        gradient[replica.replica_id_in_sync_group])
                summed = replica.all_reduce(tf.distribute.ReduceOp.SUM, [mine])
                apply_gradients(optimizer, summed, [w])
            strategy.run(replica_step)
        for _ in range(7):
            step()
        return [copy.numpy() for copy in strategy.experimental_local_results(w)]

    for name in ["tfa:LAMB", "tfa:Lookahead:SGDW"]:
        want, = train(tf.distribute.get_strategy(), name)
        got = train(mirrored, name)
        np.testing.assert_array_equal(got[0], got[1])
        np.testing.assert_allclose(got[0], want, rtol=1e-6)
    print("all equal")
"""


@installed
def test_two_replicas_equal_one_device():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(TWO_REPLICAS)], text=True,
                          capture_output=True, timeout=180)
    assert done.returncode == 0 and "all equal" in done.stdout, done.stderr
