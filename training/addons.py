"""Optimizers of tensorflow-addons 0.23, by the names 'tfa:NAME' and 'tfa:Lookahead:NAME'.

tensorflow-addons ended with TensorFlow 2.15. Its optimizers are of Keras's older kind
(tf.keras.optimizers.legacy): training.optimizers has functions that treat both kinds alike. What is
asked of them is done or refused:

learning rate: a float or a schedule. Layer rates: none.
weight decay: as adamw of training.optimizers, lr * weight_decay * w beside the step, so that a
    schedule lowers both (AdamW and SGDW of tensorflow-addons leave lr out), on kernels alone unless
    asked otherwise. LAMB has it within its trust ratio; biases and norms that do not decay are then
    left out of the trust ratio too, as with its own exclude_from_weight_decay. NovoGrad has it in
    its normalised gradient, for all variables or none. ProximalAdagrad has none.
momentum, nesterov: SGDW only. beta_1, beta_2, epsilon: those in ADDONS; None = their own defaults.

TensorFlow is imported once an optimizer is made, so that names can be checked long before.
"""
import importlib.util

from models.registry import did_you_mean

PREFIX = "tfa:"
BETAS = {"beta_1": "beta_1", "beta_2": "beta_2"}
ADAM = {**BETAS, "epsilon": "epsilon"}
# name -> (its weight decay, {its argument: that of training.optimizers.make_optimizer})
ADDONS = {
    "AdaBelief": ("beside", ADAM), "AdamW": ("beside", ADAM), "LAMB": ("own", ADAM),
    "LazyAdam": ("beside", ADAM), "NovoGrad": ("of all", ADAM), "ProximalAdagrad": ("none", {}),
    "RectifiedAdam": ("beside", ADAM),
    "SGDW": ("beside", {"momentum": "momentum", "nesterov": "nesterov"}),
    "Yogi": ("beside", {"beta1": "beta_1", "beta2": "beta_2", "epsilon": "epsilon"})}
REFUSED = {
    "COCOB": "has no learning rate, which every schedule here sets",
    "ConditionalGradient": "takes no schedule of the learning rate",
    "Lookahead": "goes around another optimizer: give tfa:Lookahead:NAME",
    "MovingAverage": "averages weights, which training does by itself around any optimizer",
    "MultiOptimizer": "gives layers rates of their own, which all but the tfa: optimizers can",
    "SWA": "averages weights, which training does by itself around any optimizer"}


def is_addon(name):
    """Whether `name` is meant for this file."""
    return name.startswith(PREFIX)


def parse(name):
    """('tfa:LAMB') -> ('LAMB', False); ('tfa:Lookahead:LAMB') -> ('LAMB', True): within a Lookahead.

    Raises ValueError for a name that is not among ADDONS.
    """
    *around, inner = name[len(PREFIX):].split(":")
    if around in ([], ["Lookahead"]) and inner in ADDONS:
        return inner, bool(around)
    known = f"Known: {', '.join(PREFIX + addon for addon in ADDONS)}."
    if around in ([], ["Lookahead"]) and inner in REFUSED:
        raise ValueError(f"{name}: {inner} {REFUSED[inner]}. {known}")
    raise ValueError(f"no optimizer {name!r}{did_you_mean(inner, ADDONS)} {known}")


def check(name):
    """Raises ValueError where 'tfa:...' is unknown or tensorflow-addons is not installed."""
    parse(name)
    if importlib.util.find_spec("tensorflow_addons") is None:
        raise ValueError(_remedy(name))


def _remedy(name):
    return (f"--optimizer={name} needs tensorflow-addons, which works with TensorFlow 2.15 only: "
            "REQUIREMENTS=requirements-addons.txt bash run_training.sh sets up such an environment")


def prepare(name, weight_decay, decay_norms_and_biases, rates):
    """(class, its arguments, {more arguments: those of make_optimizer}) of 'tfa:...'.

    Arguments as those of make_optimizer. Raises ValueError for what cannot be done as asked.
    """
    check(name)
    addon, ahead = parse(name)
    decay, takes = ADDONS[addon]
    if rates is not None:
        raise ValueError(f"{name} learns at one rate in all layers; leave layer rates out, or choose "
                         "an optimizer other than tfa:.")
    if weight_decay and decay == "none":
        raise ValueError(f"{name} has no weight decay; set weight_decay to 0, not {weight_decay}.")
    if weight_decay and decay == "of all" and not decay_norms_and_biases:
        raise ValueError(f"{name} decays biases and norms too; turn decay_norms_and_biases on, or set "
                         f"weight_decay to 0, not {weight_decay}.")
    try:
        from tensorflow_addons import optimizers
    except ImportError as error:  # installed beside another TensorFlow
        raise ValueError(_remedy(name)) from error
    cls = getattr(optimizers, addon)
    if decay in ("beside", "own"):
        cls = _with_decay(cls, weight_decay if decay == "beside" else 0, decay_norms_and_biases)
    # AdamW and SGDW want to be told that they have none of their own.
    arguments = {"weight_decay": 0.0} if addon in ("AdamW", "SGDW") else (
        {"weight_decay": weight_decay} if decay in ("own", "of all") else {})
    return (lambda **more: optimizers.Lookahead(cls(**more))) if ahead else cls, arguments, takes


def _with_decay(cls, weight_decay, decay_norms_and_biases):
    """A kind of `cls` that decays the variables that training.weight_decay names; LAMB's own decay
    and trust ratio are for those too. weight_decay: beside the step."""
    from training.weight_decay import decays

    class Decaying(cls):
        def _do_use_weight_decay(self, variable):
            return decays(variable, decay_norms_and_biases)

        _do_layer_adaptation = _do_use_weight_decay

        def _shrink(self, variable):
            if weight_decay and decays(variable, decay_norms_and_biases):
                variable.assign_sub(self._decayed_lr(variable.dtype) * weight_decay * variable)

        def _resource_apply_dense(self, grad, var, **state):
            self._shrink(var)
            return super()._resource_apply_dense(grad, var, **state)

        def _resource_apply_sparse_duplicate_indices(self, grad, handle, indices, **state):
            self._shrink(handle)
            return super()._resource_apply_sparse_duplicate_indices(grad, handle, indices, **state)

    Decaying.__name__ = cls.__name__
    return Decaying
