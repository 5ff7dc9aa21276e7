"""Layer-wise learning rates: the nearer a layer is to the image, the less it learns.

As in the fine-tuning of ULMFiT (Howard and Ruder, https://arxiv.org/abs/1801.06146, section 3.2)
and BEiT (https://arxiv.org/abs/2106.08254).
"""
from tensorflow import keras


def layer_rates(model, first):
    """The share of the learning rate at which each variable of `model` learns.

    first: the share of the first layer, 0 < first <= 1; the last layer learns at the whole rate.
    In between it grows by a constant factor from layer to layer, in the network's topological
    order. Layers without weights do not count; frozen ones do, so that freezing changes no rate. A
    variable that several layers share goes with the first; one that the model holds itself, outside
    any layer, with the last.

    Returns a list of floats, one for each of model.trainable_variables, in that order.
    Raises ValueError for a share out of range.
    """
    if not 0 < first <= 1:
        raise ValueError(f"the first layer's share of the learning rate must be above 0 and at most "
                         f"1 (1: all layers alike); got {first}.")
    layers = [layer for layer in _layers(model) if layer.weights]
    shares = {}
    for position, layer in enumerate(layers):
        to_come = (len(layers) - 1 - position) / max(len(layers) - 1, 1)  # 1 at the first, 0 at the last
        for variable in layer.weights:
            shares.setdefault(id(variable), first ** to_come)
    return [shares.get(id(variable), 1.0) for variable in model.trainable_variables]


def _layers(model):
    """The layers of a model and of the models in it, from the input on."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


class LayerRates:
    """Mixin of a Keras optimizer, the first of its bases: each variable at its share of the rate.

    rates: one share for each variable that the optimizer is built with (see layer_rates), in their
    order; None: the whole rate for all. While a variable is updated, `learning_rate` is its own.
    """

    _share = None

    def __init__(self, *args, rates=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.rates = None if rates is None else tuple(map(float, rates))

    def build(self, var_list):
        if self.rates is not None and not getattr(self, "_built", False) and (
                len(self.rates) != len(var_list)):
            raise ValueError(f"{len(self.rates)} layer rates for {len(var_list)} trainable variables; "
                             "make them after the last change to what is frozen, and build the "
                             "optimizer with model.trainable_variables.")
        super().build(var_list)

    @property
    def learning_rate(self):
        rate = super().learning_rate
        return rate if self._share is None else rate * self._share

    @learning_rate.setter
    def learning_rate(self, rate):
        keras.optimizers.Optimizer.learning_rate.fset(self, rate)

    def update_step(self, gradient, variable):
        if self.rates is not None:
            self._share = self.rates[self._index_dict[self._var_key(variable)]]
        try:
            super().update_step(gradient, variable)
        finally:
            self._share = None

    def get_config(self):
        return {**super().get_config(), "rates": None if self.rates is None else list(self.rates)}
