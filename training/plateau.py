"""What waits for a figure to improve: lowering the learning rate, and stopping early.

Plain Python, decisions equal to Keras's ReduceLROnPlateau and EarlyStopping; the state is a dict
for JSON, so that a resumed run decides as the uninterrupted one.
"""
import math


class _Waiting:
    """Counts the updates since the best value.

    patience: updates, 1 or more. min_delta: what counts as better must be so by more than this, in
    the figure's unit. mode: "max" or "min", whichever is better.
    """

    def __init__(self, patience, min_delta, mode):
        if patience < 1 or min_delta < 0 or mode not in ("max", "min"):
            raise ValueError(f"patience ({patience}) must be 1 or more, min_delta ({min_delta}) 0 or "
                             f"more, mode ({mode!r}) 'max' or 'min'.")
        self.patience, self.min_delta = patience, min_delta
        self.sign = 1 if mode == "max" else -1
        self.best, self.wait = None, 0

    def _reference(self):
        return -math.inf if self.best is None else self.sign * self.best

    def state(self):
        """A dict for JSON."""
        return {"best": self.best, "wait": self.wait}

    def restore(self, state):
        """Goes on from what `state()` returned."""
        self.best, self.wait = state["best"], state["wait"]


class Plateau(_Waiting):
    """Lowers the learning rate when a figure no longer improves.

    schedule: a training.schedules.PlateauSchedule, whose multiplier it sets. factor: what the rate
    is multiplied by, 0 < factor < 1, after `patience` updates without improvement, and again after
    as many more. min_lr: the rate never goes below it. `rate`: the rate now, without warm-up.
    """

    def __init__(self, schedule, *, factor, patience, min_delta=1e-4, min_lr=0.0, mode="max"):
        super().__init__(patience, min_delta, mode)
        if not (0 < factor < 1 and 0 <= min_lr <= schedule.base_lr):
            raise ValueError(f"factor ({factor}) must be between 0 and 1, min_lr ({min_lr}) between 0 "
                             f"and base_lr ({schedule.base_lr}).")
        self.schedule, self.factor, self.min_lr = schedule, factor, min_lr
        self.rate = schedule.base_lr

    def _set(self, rate):
        self.rate = rate
        self.schedule.multiplier.assign(rate / self.schedule.base_lr)

    def update(self, value):
        """Takes the figure of one more validation; returns whether the rate was lowered by it."""
        if self.sign * value > self._reference() + self.min_delta:
            self.best, self.wait = float(value), 0
            return False
        self.wait += 1
        if self.wait < self.patience or self.rate <= self.min_lr:
            return False
        self._set(max(self.rate * self.factor, self.min_lr))
        self.wait = 0
        return True

    def state(self):
        return {**super().state(), "rate": self.rate}

    def restore(self, state):
        super().restore(state)
        self._set(state["rate"])


class EarlyStop(_Waiting):
    """Says when a figure has not improved for `patience` validations."""

    def __init__(self, *, patience, min_delta=0.0, mode="max"):
        super().__init__(patience, min_delta, mode)

    def update(self, value):
        """Takes the figure of one more validation; returns whether to stop."""
        first = self.best is None and self.wait == 0
        self.wait += 1
        if self.sign * value - self.min_delta > self._reference():
            self.best, self.wait = float(value), 0
            return False
        return self.wait >= self.patience and not first
