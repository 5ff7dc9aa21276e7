"""Layer-wise learning rates: which layer gets which share, and that every optimizer honours it."""
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from training.layer_rates import layer_rates
from training.optimizers import (OPTIMIZERS, apply_gradients, build_optimizer, make_optimizer,
                                 read_learning_rate)

layers = keras.layers


def network(dtype=None):
    """A stem, a model within the model, a branch that is made late but comes early, and a head."""
    image = keras.Input([4])
    stem = layers.Dense(3, name="stem", dtype=dtype)(image)
    inner_input = keras.Input([3])
    inner = layers.BatchNormalization(name="norm", dtype=dtype)(inner_input)
    inner = layers.Dense(3, name="inner", dtype=dtype)(layers.ReLU()(inner))
    body = keras.Model(inner_input, inner)(stem)
    head = layers.Dense(2, name="head", dtype=dtype)
    branch = layers.Dense(3, name="branch", dtype=dtype)(image)
    return keras.Model(image, head(layers.Add()([body, branch])))


def by_layer(model, rates):
    """{layer: the rate of its variables}"""
    assert len(rates) == len(model.trainable_variables)
    found = {}
    for variable, rate in zip(model.trainable_variables, rates):
        found.setdefault(variable.name.split("/")[0], set()).add(rate)
    assert all(len(rates) == 1 for rates in found.values())
    return {name: rates.pop() for name, rates in found.items()}


def test_rates_grow_geometrically_along_the_network():
    model = network()
    rates = by_layer(model, layer_rates(model, 0.0016))
    assert sorted(rates, key=rates.get) == ["stem", "norm", "inner", "branch", "head"]
    np.testing.assert_allclose(sorted(rates.values()), [0.0016, 0.008, 0.04, 0.2, 1], rtol=1e-12)


def test_freezing_changes_no_rate():
    model = network()
    whole = by_layer(model, layer_rates(model, 0.1))
    for part in model.submodules:
        if part.name in ("stem", "norm"):
            part.trainable = False
    assert by_layer(model, layer_rates(model, 0.1)) == {
        name: rate for name, rate in whole.items() if name not in ("stem", "norm")}


def test_shared_and_own_variables():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.scale = self.add_weight(name="scale", shape=[], initializer="ones")
            self.body = network()
            self.last = layers.Dense(2, name="last")
            with tf.name_scope("last"):
                self.last.build([None, 2])

    model = Own()
    rates = {v.name.split("/")[0].split(":")[0]: rate
             for v, rate in zip(model.trainable_variables, layer_rates(model, 0.5), strict=True)}
    assert rates["stem"] == 0.5 and rates["last"] == 1 and rates["scale"] == 1

    image = keras.Input([3])
    shared = layers.Dense(3, name="shared")
    twice = keras.Model(image, layers.Dense(1, name="head")(shared(shared(image))))
    assert by_layer(twice, layer_rates(twice, 0.5)) == {"shared": 0.5, "head": 1}
    assert by_layer(twice, layer_rates(twice, 1)) == {"shared": 1, "head": 1}
    alone = keras.Sequential([layers.Dense(1, input_shape=[2])])
    assert layer_rates(alone, 0.5) == [1, 1]


@pytest.mark.parametrize("first", [0, -0.5, 1.5])
def test_refuses_a_share_out_of_range(first):
    with pytest.raises(ValueError, match=f"above 0 and at most 1 .*; got {first}"):
        layer_rates(network(), first)


GRADIENTS = np.random.default_rng(0).normal(size=[5, 2, 3, 2])  # [step, variable, ...]


def stepped(optimizer, places, compiled):
    """The values of the variables `places` after a step with each of GRADIENTS."""
    variables = [tf.Variable(tf.fill([3, 2], 0.5)) for _ in places]
    build_optimizer(optimizer, variables)

    def step(*gradients):
        apply_gradients(optimizer, gradients, variables)
    step = tf.function(step, jit_compile=True) if compiled else step
    for gradients in GRADIENTS:
        step(*[tf.constant(gradients[place], tf.float32) for place in places])
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_variable_steps_as_with_the_scaled_rate(name, compiled):
    def made(rate, rates=None):
        optimizer = make_optimizer(name, rate, weight_decay=0.5, rates=rates)
        optimizer.base_lr = 0.01  # of AdaBound, whose final rate goes down too
        return optimizer

    together = made(0.01, [0.25, 1.0])
    got = stepped(together, [0, 1], compiled)
    assert read_learning_rate(together) == np.float32(0.01)
    for place, rate in enumerate([0.0025, 0.01]):
        alone, = stepped(made(rate), [place], compiled)
        np.testing.assert_allclose(got[place], alone, rtol=1e-6, atol=1e-7)
        assert abs(alone - 0.5).max() > rate  # and has gone somewhere


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(dtype):
    """Gradient signs alone tell Lion how far to go: each layer's step is its rate."""
    model = network(keras.mixed_precision.Policy(dtype))
    optimizer = make_optimizer("lion", 0.125, rates=layer_rates(model, 0.0625))
    if dtype == "mixed_float16":
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    build_optimizer(optimizer, model.trainable_variables)
    before = [v.numpy() for v in model.trainable_variables]
    apply_gradients(optimizer, [tf.ones_like(v) for v in model.trainable_variables],
                    model.trainable_variables)
    for variable, old, rate in zip(model.trainable_variables, before, layer_rates(model, 0.0625)):
        np.testing.assert_allclose(old - variable.numpy(), 0.125 * rate, rtol=1e-4)


def test_rates_of_another_number_of_variables_are_refused():
    optimizer = make_optimizer("adam", 0.1, rates=[0.5, 1])
    with pytest.raises(ValueError, match="2 layer rates for 3 trainable variables"):
        build_optimizer(optimizer, [tf.Variable(1.0) for _ in range(3)])
