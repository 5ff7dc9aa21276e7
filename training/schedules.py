"""Learning rates per step: linear warm-up, then one of SCHEDULES.

`step` counts optimizer steps from 0, over the whole training. All schedules compute in float32
TensorFlow operations, so they run inside compiled steps, and survive saving and loading.
"""
import math

import tensorflow as tf

from models.registry import did_you_mean

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
class StepsSchedule(WarmUpSchedule):
    """base_lr, then lrs[i] from step boundaries[i] on.

    boundaries: steps from the start of the training (warm-up included), increasing.
    lrs: one per boundary.
    """

    def __init__(self, base_lr, boundaries, lrs, warmup_steps=0):
        super().__init__(base_lr, warmup_steps)
        self.boundaries = [int(boundary) for boundary in boundaries]
        self.lrs = [float(lr) for lr in lrs]
        if len(self.lrs) != len(self.boundaries):
            raise ValueError(f"{len(self.lrs)} rates or factors for {len(self.boundaries)} boundaries; "
                             "give one for each.")
        _check_increasing(self.boundaries)

    def after_warmup(self, step):
        passed = _count_passed(step, self.boundaries)
        return tf.gather(tf.constant([self.base_lr, *self.lrs], tf.float32), passed)

    def get_config(self):
        return {**super().get_config(), "boundaries": self.boundaries, "lrs": self.lrs}


def _check_increasing(boundaries):
    if any(b <= a for a, b in zip(boundaries, boundaries[1:])):
        raise ValueError(f"boundaries must increase, in steps; got {boundaries}.")


def _count_passed(step, boundaries):
    """How many boundaries are at `step` or before: int32 scalar, exact however far out."""
    return tf.reduce_sum(tf.cast(step >= tf.constant(boundaries, tf.int64), tf.int32))


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


def _half_cosine(left):
    return tf.square(tf.sin(left * (math.pi / 2)))  # = (1 + cos(pi * (1 - left))) / 2


@register
class CosineSchedule(DecaySchedule):
    """Half a cosine (Loshchilov and Hutter, https://arxiv.org/abs/1608.03983, without restarts)."""

    def share(self, left):
        return _half_cosine(left)


@register
class CosineRestartsSchedule(WarmUpSchedule):
    """Half a cosine in each period, then back up (SGDR, https://arxiv.org/abs/1608.03983).

    boundaries: the steps at which periods begin, and that at which the last ends, increasing.
    min_lr: what each period falls towards; holds after the last. peak: each period begins at so
    many times the height above min_lr of the one before, 0 < peak <= 1.
    """

    def __init__(self, base_lr, boundaries, min_lr=0.0, peak=1.0, warmup_steps=0):
        super().__init__(base_lr, warmup_steps)
        self.boundaries = [int(boundary) for boundary in boundaries]
        self.min_lr, self.peak = float(min_lr), float(peak)
        _check_increasing(self.boundaries)
        if not 0 < self.peak <= 1:
            raise ValueError(f"the factor of the peaks must be above 0 and at most 1, not {peak}.")

    def after_warmup(self, step):
        *starts, _ = self.boundaries
        period = tf.maximum(_count_passed(step, starts) - 1, 0)
        end = tf.gather(tf.constant(self.boundaries[1:], tf.int64), period)
        lengths = [end - start for start, end in zip(starts, self.boundaries[1:])]
        left = tf.cast(end - step, tf.float32) / tf.gather(tf.constant(lengths, tf.float32), period)
        heights = [(self.base_lr - self.min_lr) * self.peak ** i for i in range(len(starts))]
        height = tf.gather(tf.constant(heights, tf.float32), period)
        return self.min_lr + height * _half_cosine(tf.clip_by_value(left, 0.0, 1.0))

    def get_config(self):
        return {**super().get_config(), "boundaries": self.boundaries, "min_lr": self.min_lr,
                "peak": self.peak}


@register
class LinearSchedule(DecaySchedule):
    """A straight line."""

    def share(self, left):
        return left


@register
class PlateauSchedule(WarmUpSchedule, tf.Module):
    """base_lr * multiplier, a variable that training.plateau.Plateau lowers between steps.

    It is float32 and in the checkpoint of an optimizer that has this schedule. Make it in the
    strategy's scope.
    """

    def __init__(self, base_lr, multiplier=1.0, warmup_steps=0):
        tf.Module.__init__(self)
        super().__init__(base_lr, warmup_steps)
        self.multiplier = tf.Variable(multiplier, dtype=tf.float32, trainable=False,
                                      name="plateau_multiplier",
                                      aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    def after_warmup(self, step):
        return self.base_lr * self.multiplier

    def get_config(self):
        return {**super().get_config(), "multiplier": float(tf.convert_to_tensor(self.multiplier))}


SCHEDULES = ("constant", "cosine", "linear", "multistep", "plateau", "steps")


def make_schedule(name, base_lr, *, steps_per_epoch, n_epochs, warmup_epochs=0,
                  milestones_epochs=(), factor=0.1, lrs=(), min_lr=0.0, decay_epochs=None,
                  restart_epochs=None, restart_mult=1.0, restart_peak=1.0):
    """The schedule `name` with its durations in epochs (fractions allowed), turned into steps.

    base_lr: the highest rate. warmup_epochs: see WarmUpSchedule.
    multistep and steps only: milestones_epochs, counted from the start of the training.
    multistep only: factor, for all milestones, or a list of one for all or one for each.
    steps only: lrs, the rate from each milestone on.
    cosine and linear only: min_lr, the rate at the end; decay_epochs: None = from the end of the
        warm-up to the end of the training. A decay that is given starts with the end of the
        warm-up too, and min_lr holds after it; one that would then outlast the training (system
        A: 5 epochs of warm-up and a cosine over 86, in 90) starts within the warm-up instead, so
        that min_lr is always reached.
    cosine only, instead of decay_epochs: restart_epochs, the length of the first period, which
        starts with the end of the warm-up. Each period is restart_mult times as long as the one
        before, and begins at restart_peak times its height above min_lr. The end of the training may
        cut the last one short.
    plateau: base_lr until training.plateau.Plateau lowers it. Call this in the strategy's scope.

    An optimizer with any of these, constant included, refuses a learning rate set from outside: give
    it a plain float for that.

    Raises ValueError for an unknown name or durations that do not fit together.
    """
    if name not in SCHEDULES:
        raise ValueError(f"no schedule {name!r}{did_you_mean(str(name), SCHEDULES)} "
                         f"Known: {', '.join(SCHEDULES)}.")
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
    if name == "plateau":
        return PlateauSchedule(base_lr, warmup_steps=warmup_steps)
    if name in ("multistep", "steps"):
        if not milestones_epochs:
            raise ValueError(f"{name} needs milestones_epochs, such as 20 40 60 70.")
        if name == "multistep":
            factors = [factor] if isinstance(factor, (int, float)) else list(factor)
            factors *= len(milestones_epochs) if len(factors) == 1 else 1
            lrs = [base_lr * math.prod(factors[:i + 1]) for i in range(len(factors))]
        return StepsSchedule(base_lr, [steps(epoch) for epoch in milestones_epochs], lrs,
                             warmup_steps)
    if not 0 <= min_lr <= base_lr:
        raise ValueError(f"min_lr ({min_lr}) must be between 0 and base_lr ({base_lr}).")
    if name == "cosine" and restart_epochs is not None:
        if steps(restart_epochs) < 1 or restart_mult < 1 or decay_epochs is not None:
            raise ValueError(f"restarts need restart_epochs of a step or more (got {restart_epochs}), "
                             f"restart_mult of 1 or more (got {restart_mult}) and no decay_epochs "
                             f"(got {decay_epochs}).")
        boundaries = [warmup_epochs, warmup_epochs + restart_epochs]
        while boundaries[-1] < n_epochs:
            boundaries.append(boundaries[-1] + restart_mult * (boundaries[-1] - boundaries[-2]))
        return CosineRestartsSchedule(base_lr, [steps(epoch) for epoch in boundaries], min_lr,
                                      restart_peak, warmup_steps)
    if decay_epochs is None:
        decay_epochs = n_epochs - warmup_epochs
    if not 0 < decay_epochs <= n_epochs:
        raise ValueError(f"the decay must last more than 0 and at most n_epochs ({n_epochs}) "
                         f"epochs, not {decay_epochs}.")
    decay = {"cosine": CosineSchedule, "linear": LinearSchedule}[name]
    start_step = min(warmup_steps, steps(n_epochs) - steps(decay_epochs))
    return decay(base_lr, steps(decay_epochs), min_lr, start_step, warmup_steps)

