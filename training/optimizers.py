"""Optimizers as the published recipes mean them, with weight decay on the kernels alone.

sgd and adam add weight decay to the gradient, as PyTorch does (L2); Keras's own `weight_decay` of
SGD shrinks the weights beside the momentum instead, which is 1 / (1 - momentum) times weaker.
adamw shrinks them beside the gradient step (Loshchilov and Hutter,
https://arxiv.org/abs/1711.05101).
"""
import difflib

import tensorflow as tf

register = tf.keras.utils.register_keras_serializable(package="fude")


class KernelDecay:
    """Mixin of a Keras optimizer: which variables decay.

    decay_norms_and_biases: False leaves out every variable of rank 0 or 1: biases, scales and
    offsets of normalisation, layer scales. Told by rank, not by name, so that it holds for every
    backbone package, under every strategy and after loading.
    """

    def __init__(self, *args, decay_norms_and_biases=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.decay_norms_and_biases = decay_norms_and_biases

    def _use_weight_decay(self, variable):
        return self.decay_norms_and_biases or len(variable.shape) > 1

    def get_config(self):
        return {**super().get_config(), "decay_norms_and_biases": self.decay_norms_and_biases}


class CoupledDecay(KernelDecay):
    """Mixin of a Keras optimizer: weight decay becomes part of the gradient, before momentum."""

    def _apply_weight_decay(self, variables):
        """Nothing: Keras would shrink the variables here, beside the gradient."""

    def with_decay(self, gradient, variable):
        """gradient + weight_decay * variable, where the variable decays (dense from then on)."""
        if not self.weight_decay or not self._use_weight_decay(variable):
            return gradient
        decay = tf.cast(self.weight_decay, variable.dtype) * variable
        return tf.convert_to_tensor(gradient) + decay


@register
class CoupledSGD(CoupledDecay, tf.keras.optimizers.SGD):
    """torch.optim.SGD (dampening 0), to the letter:

        g = gradient + weight_decay * w
        m = momentum * m + g
        w = w - lr * (g + momentum * m if nesterov else m)

    Keras keeps lr inside m, so that after a drop of the rate its steps stay large for a while.
    """

    def update_step(self, gradient, variable):
        gradient = self.with_decay(gradient, variable)
        if isinstance(gradient, tf.IndexedSlices):  # momentum touches every row anyway
            gradient = tf.convert_to_tensor(gradient)
        rate = tf.cast(self.learning_rate, variable.dtype)
        momentum = tf.cast(self.momentum, variable.dtype)
        m = self.momentums[self._index_dict[self._var_key(variable)]]
        m.assign(momentum * m + gradient)
        variable.assign_sub(rate * (gradient + momentum * m if self.nesterov else m))


@register
class CoupledAdam(CoupledDecay, tf.keras.optimizers.Adam):
    """Adam (https://arxiv.org/abs/1412.6980) with L2 in the gradient, as torch.optim.Adam."""

    def update_step(self, gradient, variable):
        super().update_step(self.with_decay(gradient, variable), variable)


@register
class KernelAdamW(KernelDecay, tf.keras.optimizers.AdamW):
    """Keras's AdamW: w = w - lr * weight_decay * w, then the Adam step."""


OPTIMIZERS = {"adam": CoupledAdam, "adamw": KernelAdamW, "sgd": CoupledSGD}


def make_optimizer(name, learning_rate, *, weight_decay=0.0, momentum=0.9, nesterov=False,
                   epsilon=1e-7, decay_norms_and_biases=False):
    """The optimizer `name`: 'sgd', 'adam' or 'adamw'. Call it within the strategy's scope.

    learning_rate: a float, or a schedule of training.schedules.
    weight_decay: 0 = none. decay_norms_and_biases: see KernelDecay; PyTorch's default is True.
    momentum, nesterov: sgd only. epsilon: adam and adamw only; PyTorch's default is 1e-8.

    Raises ValueError for an unknown name.
    """
    if name not in OPTIMIZERS:
        close = difflib.get_close_matches(str(name), OPTIMIZERS, n=1)
        raise ValueError(f"optimizer {name!r} is unknown; allowed: {', '.join(OPTIMIZERS)}."
                         + (f" Did you mean {close[0]!r}?" if close else ""))
    own = {"momentum": momentum, "nesterov": nesterov} if name == "sgd" else {"epsilon": epsilon}
    # jit_compile here would compile each variable's update on its own; a compiled training step
    # holds them all.
    return OPTIMIZERS[name](learning_rate, weight_decay=weight_decay, jit_compile=False,
                            decay_norms_and_biases=decay_norms_and_biases, **own)


def read_learning_rate(optimizer):
    """The learning rate as a float: the one set, or with a schedule that of the last step taken.

    Works under every strategy and through a LossScaleOptimizer, where float(...) raises.
    """
    return float(tf.convert_to_tensor(optimizer.learning_rate))
