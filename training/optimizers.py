"""Optimizers as the published recipes mean them, with weight decay on the kernels alone.

Most add weight decay to the gradient, as PyTorch does (L2); Keras's own `weight_decay` of SGD
shrinks the weights beside the momentum instead, which is 1 / (1 - momentum) times weaker. adamw and
lion shrink them beside the gradient step, as published. Those of tensorflow-addons: training.addons.
"""
import tensorflow as tf

from models.registry import Registry
from training import addons
from training.adabound import AdaBound
from training.layer_rates import LayerRates
from training.weight_decay import CoupledDecay, DecoupledDecay

keras_optimizers = tf.keras.optimizers
register = tf.keras.utils.register_keras_serializable(package="fude")


class TorchSGD(keras_optimizers.SGD):
    """torch.optim.SGD (dampening 0), to the letter:

        m = momentum * m + g
        w = w - lr * (g + momentum * m if nesterov else m)

    Keras keeps lr inside m, so that after a drop of the rate its steps stay large for a while.
    """

    def update_step(self, gradient, variable):
        gradient = tf.convert_to_tensor(gradient)  # momentum touches every row anyway
        rate = tf.cast(self.learning_rate, variable.dtype)
        momentum = tf.cast(self.momentum, variable.dtype)
        m = self.momentums[self._index_dict[self._var_key(variable)]]
        m.assign(momentum * m + gradient)
        variable.assign_sub(rate * (gradient + momentum * m if self.nesterov else m))


@register
class CoupledSGD(LayerRates, CoupledDecay, TorchSGD):
    """torch.optim.SGD, with its weight decay."""


@register
class CoupledAdam(LayerRates, CoupledDecay, keras_optimizers.Adam):
    """Adam (https://arxiv.org/abs/1412.6980), or AMSGrad (Reddi et al.,
    https://arxiv.org/abs/1904.09237), with L2 in the gradient, as torch.optim.Adam."""


@register
class CoupledRMSprop(LayerRates, CoupledDecay, keras_optimizers.RMSprop):
    """RMSprop as TensorFlow has it: epsilon within the root, lr within the momentum."""


@register
class CoupledAdaBound(LayerRates, CoupledDecay, AdaBound):
    """AdaBound, with L2 in the gradient, as its authors' code."""


@register
class KernelAdamW(LayerRates, DecoupledDecay, keras_optimizers.AdamW):
    """AdamW (https://arxiv.org/abs/1711.05101) as Keras and PyTorch have it: decay times lr."""


@register
class KernelLion(LayerRates, DecoupledDecay, keras_optimizers.Lion):
    """Lion (Chen et al. 2023, https://arxiv.org/abs/2302.06675): the sign of an interpolation of
    momentum and gradient; wants a rate 3 to 10 times below Adam's and as many times its decay."""


# name -> (class, what it is given always, {its argument: that of make_optimizer})
OPTIMIZERS = Registry("optimizer")
ADAM = {"beta_1": "beta_1", "beta_2": "beta_2", "epsilon": "epsilon"}
OPTIMIZERS.add("sgd", (CoupledSGD, {}, {"momentum": "momentum", "nesterov": "nesterov"}))
OPTIMIZERS.add("adam", (CoupledAdam, {}, ADAM))
OPTIMIZERS.add("amsgrad", (CoupledAdam, {"amsgrad": True}, ADAM))
OPTIMIZERS.add("adamw", (KernelAdamW, {}, ADAM))
OPTIMIZERS.add("rmsprop", (CoupledRMSprop, {}, {"momentum": "momentum", "rho": "beta_2",
                                                "epsilon": "epsilon"}))
OPTIMIZERS.add("adabound", (CoupledAdaBound, {}, {**ADAM, "final_lr": "final_lr"}))
OPTIMIZERS.add("lion", (KernelLion, {}, {"beta_1": "beta_1", "beta_2": "beta_2"}))


def make_optimizer(name, learning_rate, *, weight_decay=0.0, momentum=0.9, nesterov=False,
                   epsilon=None, beta_1=None, beta_2=None, final_lr=None,
                   decay_norms_and_biases=False, rates=None):
    """The optimizer `name`, of OPTIMIZERS or 'tfa:NAME'. Call it within the strategy's scope.

    learning_rate: a float, or a schedule of training.schedules.
    weight_decay: 0 = none; in the gradient, or beside it (adamw, lion). decay_norms_and_biases: see
        training.weight_decay; PyTorch's default is True.
    momentum: sgd and rmsprop only. nesterov: sgd only.
    epsilon: all but sgd and lion; None = 1e-7 (adabound 1e-8); PyTorch's default is 1e-8.
    beta_1, beta_2: decay of the mean gradient and of its mean square, 0..1; None = 0.9 and 0.999
        (lion 0.9 and 0.99; rmsprop has beta_2 alone, 0.9; sgd has neither).
    final_lr: adabound only, the rate of SGD that it ends with, at the highest learning_rate; None =
        0.1.
    rates: of training.layer_rates; None = every variable learns at learning_rate.
    'tfa:NAME': training.addons says what applies.

    Raises ValueError for an unknown name, and for an epsilon, beta or final_lr that it does not have.
    """
    options = {"momentum": momentum, "nesterov": nesterov, "epsilon": epsilon, "beta_1": beta_1,
               "beta_2": beta_2, "final_lr": final_lr}
    if addons.is_addon(name):
        cls, arguments, takes = addons.prepare(name, weight_decay, decay_norms_and_biases, rates)
    else:
        cls, fixed, takes = OPTIMIZERS[name]
        # jit_compile here would compile each variable's update on its own; a compiled training step
        # holds them all.
        arguments = {**fixed, "jit_compile": False, "weight_decay": weight_decay, "rates": rates,
                     "decay_norms_and_biases": decay_norms_and_biases}
    for option in ("epsilon", "beta_1", "beta_2", "final_lr"):
        if options[option] is not None and option not in takes.values():
            raise ValueError(f"{name} has no {option}; leave it out (got {options[option]}).")
    return cls(learning_rate=learning_rate, **arguments,
               **{own: options[option] for own, option in takes.items()
                  if options[option] is not None})


def apply_gradients(optimizer, gradients, variables):
    """One step with gradients that are summed over all replicas already. Call it in each replica.

    optimizer: one of make_optimizer's, or a LossScaleOptimizer of one, with unscaled gradients.
    """
    summed = ({"experimental_aggregate_gradients": False} if is_legacy(optimizer) else
              {"skip_gradients_aggregation": True})
    optimizer.apply_gradients(zip(gradients, variables), **summed)


def build_optimizer(optimizer, variables):
    """Makes all of an optimizer's variables before its first step, so that they can be restored.

    variables: those that it will update, in a fixed order. Call it in the strategy's scope.
    """
    if is_legacy(optimizer):
        optimizer._create_all_weights(variables)
    else:
        optimizer.build(variables)


def optimizer_variables(optimizer):
    """Everything that a step changes in a built optimizer, as a list of variables: the count of
    steps, moments, and the loss scale with its counter."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    variables = list(inner.weights if is_legacy(inner) else inner.variables)
    if inner is not optimizer and optimizer.dynamic:
        variables += [optimizer._loss_scale.current_loss_scale, optimizer.dynamic_counter]
    return variables


def is_legacy(optimizer):
    """Whether it is of Keras's older kind, as those of tensorflow-addons are, wrapped or not."""
    return isinstance(optimizer, keras_optimizers.legacy.Optimizer)


def read_learning_rate(optimizer):
    """The learning rate as a float: the one set, or with a schedule that of the last step taken.

    Works under every strategy and through a LossScaleOptimizer, where float(...) raises.
    """
    rate = optimizer.learning_rate
    if isinstance(rate, keras_optimizers.schedules.LearningRateSchedule):  # legacy ones
        rate = rate(tf.maximum(tf.convert_to_tensor(optimizer.iterations) - 1, 0))
    return float(tf.convert_to_tensor(rate))
