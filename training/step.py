"""One optimizer step of a keras.Model, on every device: accumulation, clipping, averaged weights."""
import contextlib

import tensorflow as tf
from tensorflow import keras

from training.optimizers import apply_gradients, build_optimizer


class Trained:
    """Mixed into a keras.Model that the loop trains (or Keras's own fit).

    The subclass's train_step begins with `prepared`, has `accumulated` call its function of a
    micro-batch, and gives the gradients to `apply`.
    """

    _prepare = None
    accumulate = 1  # micro-batches of a step
    clip_norm = None
    averages = None

    def set_augmentation(self, prepare):
        """prepare: a function of the (inputs, targets) that the input pipeline yields, or of a
        replica's part of them, giving what the model is trained on. Call it before training."""
        self._prepare = prepare

    def prepared(self, data):
        """(images, targets) of a batch."""
        return self._prepare(*data) if self._prepare else data

    def set_step(self, optimizer, accumulate=1, clip_norm=None, ema=None, xla=None):
        """Call it in the strategy's scope, before training.

        accumulate: micro-batches into which each device parts its share of a batch; their gradients
        are summed before the one optimizer step, so that the step is that of the whole batch
        (BatchNorm's statistics aside, which are each micro-batch's own). clip_norm: longest gradient
        (Euclidean norm of all of it, over all devices); None for any. ema: decay per step of the
        averaged weights, 0 < ema < 1; None for none. xla: compile the step.
        """
        self.compile(optimizer=optimizer, jit_compile=xla)  # scales the loss under mixed_float16
        build_optimizer(self.optimizer, self.trainable_variables)
        self.accumulate, self.clip_norm = accumulate, clip_norm
        self.averages = WeightAverages(self, ema) if ema else None

    def accumulated(self, function, batch, sums, vectors=()):
        """Calls function(micro-batch) for each part of the batch, one after the other.

        function: nest of tensors [m, ...] -> (float32 scalar, the loss to take gradients of;
        {name: scalar}, named by `sums`; {name: float32 [m]}, named by `vectors`). Returns (gradients
        of the summed loss, still scaled, for trainable_variables; {name: sum over the parts}; {name:
        [b]}).
        """
        variables = self.trainable_variables

        def part(micro):
            with tf.GradientTape() as tape:
                loss, numbers, values = function(micro)
                loss = self._scaled(loss)
            # Dense ones: embeddings and gathers give gradients by row.
            gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
            return [tf.convert_to_tensor(g) for g in gradients], numbers, values

        n = self.accumulate
        if n == 1:
            return part(batch)
        size = tf.nest.flatten(batch)[0].shape[0] // n  # static
        micros = tf.nest.map_structure(
            lambda x: tf.reshape(x, [n, size, *x.shape[1:]]), batch)

        def body(i, gradients, numbers, values):
            more, new_numbers, new_values = part(tf.nest.map_structure(lambda x: x[i], micros))
            return (i + 1, [a + b for a, b in zip(gradients, more)],
                    {name: numbers[name] + new_numbers[name] for name in sums},
                    {name: values[name].write(i, new_values[name]) for name in vectors})

        _, gradients, numbers, values = tf.while_loop(
            lambda i, *_: i < n, body,
            (0, [tf.zeros(v.shape, v.dtype) for v in variables], {name: 0.0 for name in sums},
             {name: tf.TensorArray(tf.float32, n, element_shape=[size]) for name in vectors}),
            parallel_iterations=1)
        return gradients, numbers, {name: tf.reshape(values[name].stack(), [n * size])
                                    for name in vectors}

    def apply(self, gradients):
        """One step of the optimizer. gradients: this device's share of them, from `accumulated`."""
        optimizer, context = self.optimizer, tf.distribute.get_replica_context()
        if _scales_loss(optimizer):
            gradients = optimizer.get_unscaled_gradients(gradients)
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm)
        apply_gradients(optimizer, gradients, self.trainable_variables)
        if self.averages:
            self.averages.update(optimizer.iterations)

    def _scaled(self, loss):
        return self.optimizer.get_scaled_loss(loss) if _scales_loss(self.optimizer) else loss


def _scales_loss(optimizer):
    return isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)


def held(value):
    """A function that gives `value`: Keras would count the variables of an attribute of a model among
    the model's weights."""
    def get():
        return value
    return get


def replicas():
    """How many devices share a batch; inside a step."""
    return tf.distribute.get_replica_context().num_replicas_in_sync


class WeightAverages:
    """Exponential moving average of a model's weights, BatchNorm's statistics included.

    average = d * average + (1 - d) * weight after every step, with d = min(decay, (1 + step) /
    (10 + step)), as tf.train.ExponentialMovingAverage has it, so that the random start is soon
    forgotten. Each device keeps it for itself: no communication.
    """

    def __init__(self, model, decay):
        if not 0 < decay < 1:
            raise ValueError(f"the decay of averaged weights is between 0 and 1, not {decay}")
        self.model, self.decay = model, decay
        self.variables = [
            tf.Variable(weight, trainable=False, name=f"average_{place}",
                        synchronization=tf.VariableSynchronization.ON_READ,
                        aggregation=_aggregation(weight))
            for place, weight in enumerate(model.weights)]

    def update(self, step):
        """Inside a replica; step: steps taken."""
        step = tf.cast(step, tf.float32)
        rate = 1 - tf.minimum(self.decay, (1 + step) / (10 + step))
        for average, weight in zip(self.variables, self.model.weights):
            average.assign_add(tf.cast(rate, average.dtype) * (weight - average))

    @contextlib.contextmanager
    def exchanged(self):
        """In this context the model has the averages for weights."""
        own = self.model.get_weights()
        self.model.set_weights([average.numpy() for average in self.variables])
        try:
            yield
        finally:
            self.model.set_weights(own)


def _aggregation(weight):
    """Statistics of each device are averaged over them; weights are the same everywhere."""
    own = weight.synchronization == tf.VariableSynchronization.ON_READ
    kinds = tf.VariableAggregation
    return kinds.MEAN if own else kinds.ONLY_FIRST_REPLICA
