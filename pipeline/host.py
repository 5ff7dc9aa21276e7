"""The input pipeline's constants stay on the host: a GPU's memory is for the network."""
import functools

import tensorflow as tf


def on_host(function):
    """Runs `function` with the CPU as the device of all that it makes."""
    @functools.wraps(function)
    def wrapped(*positional, **arguments):
        with tf.device("CPU:0"):
            return function(*positional, **arguments)
    return wrapped
