"""Learning rates per step: linear warm-up, then constant, multistep, cosine or linear.

`step` counts optimizer steps from 0, over the whole training. All schedules compute in float32
TensorFlow operations, so they run inside compiled steps, and survive saving and loading.
"""
import difflib
import math

import tensorflow as tf

LearningRateSchedule = tf.keras.optimizers.schedules.LearningRateSchedule
register = tf.keras.utils.register_keras_serializable(package="fude")


class WarmUpSchedule(LearningRateSchedule):
    """Multiplies `after_warmup(step)`, given by the subclass, by min(1, (step + 1) / warmup_steps).

    Where the decay has not begun yet, that is base_lr * (step + 1) / warmup_steps: the first step
    already learns, and step warmup_steps - 1 is the first at the full rate. Warm-up per step as in
    Goyal et al., https://arxiv.org/abs/1706.02677.
    """

    def __init__(self, base_lr, warmup_steps=0):
        self.base_lr = float(base_lr)
        self.warmup_steps = int(warmup_steps)

    def after_warmup(self, step):
        """The learning rate without warm-up. step: int64 scalar. Returns a float32 scalar."""
        raise NotImplementedError

    def __call__(self, step):
        step = tf.cast(step, tf.int64)
        rate = self.after_warmup(step)
        if not self.warmup_steps:
            return rate
        return rate * tf.minimum(1.0, tf.cast(step + 1, tf.float32) / self.warmup_steps)

    def get_config(self):
        return {"base_lr": self.base_lr, "warmup_steps": self.warmup_steps}


@register
class ConstantSchedule(WarmUpSchedule):
    """base_lr throughout."""

    def after_warmup(self, step):
        return tf.constant(self.base_lr, tf.float32)


@register
class MultiStepSchedule(WarmUpSchedule):
    """base_lr, multiplied by factors[i] from step boundaries[i] on.

    boundaries: steps from the start of the training (warm-up included), increasing.
    factors: one per boundary.
    """

    def __init__(self, base_lr, boundaries, factors, warmup_steps=0):
        super().__init__(base_lr, warmup_steps)
        self.boundaries = [int(boundary) for boundary in boundaries]
        self.factors = [float(factor) for factor in factors]
        if len(self.factors) != len(self.boundaries):
            raise ValueError(f"{len(self.factors)} factors for {len(self.boundaries)} boundaries; "
                             "give one factor per boundary.")
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:])):
            raise ValueError(f"boundaries must increase, in steps; got {self.boundaries}.")

    def after_warmup(self, step):
        rates = [self.base_lr * math.prod(self.factors[:passed])
                 for passed in range(len(self.factors) + 1)]
        passed = tf.reduce_sum(tf.cast(step >= tf.constant(self.boundaries, tf.int64), tf.int32))
        return tf.gather(tf.constant(rates, tf.float32), passed)

    def get_config(self):
        return {**super().get_config(), "boundaries": self.boundaries, "factors": self.factors}


class DecaySchedule(WarmUpSchedule):
    """From base_lr at start_step to min_lr at start_step + decay_steps, and min_lr from there on.

    The subclass gives the shape: `share(left)`, 1 at left = 1 and 0 at left = 0. Counted down
    rather than up, because float32 holds small numbers more exactly than those near 1.
    """

    def __init__(self, base_lr, decay_steps, min_lr=0.0, start_step=0, warmup_steps=0):
        super().__init__(base_lr, warmup_steps)
        self.decay_steps = int(decay_steps)
        self.min_lr = float(min_lr)
        self.start_step = int(start_step)
        if self.decay_steps < 1:
            raise ValueError(f"decay_steps must be 1 or more, got {decay_steps}.")

    def share(self, left):
        """The share of base_lr - min_lr. left: the part of decay_steps to come, float32, 1..0."""
        raise NotImplementedError

    def after_warmup(self, step):
        left = tf.cast(self.start_step + self.decay_steps - step, tf.float32) / self.decay_steps
        left = tf.clip_by_value(left, 0.0, 1.0)
        return self.min_lr + (self.base_lr - self.min_lr) * self.share(left)

    def get_config(self):
        return {**super().get_config(), "decay_steps": self.decay_steps, "min_lr": self.min_lr,
                "start_step": self.start_step}


@register
class CosineSchedule(DecaySchedule):
    """Half a cosine (Loshchilov and Hutter, https://arxiv.org/abs/1608.03983, without restarts)."""

    def share(self, left):
        return tf.square(tf.sin(left * (math.pi / 2)))  # = (1 + cos(pi * (1 - left))) / 2


@register
class LinearSchedule(DecaySchedule):
    """A straight line."""

    def share(self, left):
        return left


SCHEDULES = ("constant", "cosine", "linear", "multistep")


def make_schedule(name, base_lr, *, steps_per_epoch, n_epochs, warmup_epochs=0,
                  milestones_epochs=(), factor=0.1, min_lr=0.0, decay_epochs=None):
    """The schedule `name` with its durations in epochs (fractions allowed), turned into steps.

    base_lr: the highest rate. warmup_epochs: see WarmUpSchedule.
    multistep only: milestones_epochs, counted from the start of the training; factor: one number
        for all milestones or one for each.
    cosine and linear only: min_lr, the rate at the end; decay_epochs: None = from the end of the
        warm-up to the end of the training. A decay that is given starts with the end of the
        warm-up too, and min_lr holds after it; one that would then outlast the training (system
        A: 5 epochs of warm-up and a cosine over 86, in 90) starts within the warm-up instead, so
        that min_lr is always reached.

    An optimizer with any of these, constant included, refuses a learning rate set from outside:
    to have a callback lower the rate, give the optimizer a plain float.

    Raises ValueError for an unknown name or durations that do not fit together.
    """
    if name not in SCHEDULES:
        close = difflib.get_close_matches(str(name), SCHEDULES, n=1)
        raise ValueError(f"schedule {name!r} is unknown; allowed: {', '.join(SCHEDULES)}."
                         + (f" Did you mean {close[0]!r}?" if close else ""))
    if base_lr <= 0 or steps_per_epoch < 1 or n_epochs <= 0:
        raise ValueError(f"base_lr ({base_lr}), steps_per_epoch ({steps_per_epoch}) and n_epochs "
                         f"({n_epochs}) must be positive.")
    if not 0 <= warmup_epochs <= n_epochs:
        raise ValueError(f"warmup_epochs ({warmup_epochs}) must be between 0 and n_epochs "
                         f"({n_epochs}).")

    def steps(epochs):
        return round(epochs * steps_per_epoch)

    warmup_steps = steps(warmup_epochs)
    if name == "constant":
        return ConstantSchedule(base_lr, warmup_steps)
    if name == "multistep":
        if not milestones_epochs:
            raise ValueError("multistep needs milestones_epochs, such as 20 40 60 70.")
        factors = [factor] * len(milestones_epochs) if isinstance(factor, (int, float)) else factor
        return MultiStepSchedule(base_lr, [steps(epoch) for epoch in milestones_epochs], factors,
                                 warmup_steps)
    if not 0 <= min_lr <= base_lr:
        raise ValueError(f"min_lr ({min_lr}) must be between 0 and base_lr ({base_lr}).")
    if decay_epochs is None:
        decay_epochs = n_epochs - warmup_epochs
    if not 0 < decay_epochs <= n_epochs:
        raise ValueError(f"the decay must last more than 0 and at most n_epochs ({n_epochs}) "
                         f"epochs, not {decay_epochs}.")
    decay = {"cosine": CosineSchedule, "linear": LinearSchedule}[name]
    start_step = min(warmup_steps, steps(n_epochs) - steps(decay_epochs))
    return decay(base_lr, steps(decay_epochs), min_lr, start_step, warmup_steps)
