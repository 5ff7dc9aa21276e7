"""Weight decay as mixins of Keras optimizers: part of the gradient or beside it, on kernels alone.

Keras's own decays all variables together, before it updates the first; here each variable decays
within its own update, where its own learning rate applies (training.layer_rates).
"""
import tensorflow as tf


def decays(variable, decay_norms_and_biases):
    """Whether weight decay is for `variable`.

    decay_norms_and_biases: False leaves out every variable of rank 0 or 1: biases, scales and
    offsets of normalisation, layer scales. Told by rank, not by name, so that it holds for every
    backbone package, under every strategy and after loading.
    """
    return decay_norms_and_biases or len(variable.shape) > 1


class KernelDecay:
    """What both kinds of decay share: which variables, and that Keras leaves them alone."""

    def __init__(self, *args, decay_norms_and_biases=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.decay_norms_and_biases = decay_norms_and_biases

    def _use_weight_decay(self, variable):
        return bool(self.weight_decay) and decays(variable, self.decay_norms_and_biases)

    def _apply_weight_decay(self, variables):
        """Nothing: see the top of this file."""

    def get_config(self):
        return {**super().get_config(), "decay_norms_and_biases": self.decay_norms_and_biases}


class CoupledDecay(KernelDecay):
    """gradient + weight_decay * w takes the gradient's place, before momentum: L2, as PyTorch."""

    def update_step(self, gradient, variable):
        if self._use_weight_decay(variable):  # every row decays: dense from here on
            decay = tf.cast(self.weight_decay, variable.dtype) * variable
            gradient = tf.convert_to_tensor(gradient) + decay
        super().update_step(gradient, variable)


class DecoupledDecay(KernelDecay):
    """w = w - lr * weight_decay * w, then the step of the gradient (Loshchilov and Hutter,
    https://arxiv.org/abs/1711.05101)."""

    def update_step(self, gradient, variable):
        if self._use_weight_decay(variable):
            rate = tf.cast(self.learning_rate * self.weight_decay, variable.dtype)
            variable.assign_sub(rate * variable)
        super().update_step(gradient, variable)
