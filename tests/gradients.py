"""Values and gradients of a function, by TensorFlow and by central differences in float64."""
import numpy as np
import tensorflow as tf


def value_and_gradient(function, x, compiled):
    """(function(x), the gradient of its sum), x any float tensor; compiled: with XLA."""
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        return value, tape.gradient(value, x)
    value, gradient = (tf.function(run, jit_compile=True) if compiled else run)(tf.constant(x))
    return value.numpy(), tf.cast(gradient, tf.float32).numpy()


def finite_differences(function, x, step):
    """The gradient of the sum of function(x) at x [n, k]; function: float64, row by row."""
    x = np.float64(x)
    gradient = np.zeros(x.shape)
    for k, unit in enumerate(np.eye(x.shape[1])):
        change = function(x + step * unit) - function(x - step * unit)  # [n] or [n, ...]
        gradient[:, k] = change.reshape(len(x), -1).sum(1) / (2 * step)
    return gradient
