"""Compiling and fitting: Keras's fit with our validation, checkpoints and stop on NaN."""
import json
import math
import os
import pathlib
import sys

import numpy as np
from tensorflow import keras

from training.optimizers import read_learning_rate


REMEDY = ("The checkpoints of the epochs before are kept. Try a lower --lr, a longer "
          "--warmup_epochs, or --mixed_precision=None")


class TrainingStopped(RuntimeError):
    """Training cannot go on; says at which step and what to try."""


def use_xla(choice, kind, replicas):
    """Keras's jit_compile for --xla: auto compiles on a single GPU only.

    XLA on CPU is slower than oneDNN, fails with several mirrored replicas, and a TPU always
    compiles by itself (None).
    """
    if kind == "TPU":
        return None
    return kind == "GPU" and replicas == 1 if choice == "auto" else choice == "on"


def compile_model(model, optimizer, *, label_smoothing=0.0, steps_per_execution=1, xla=None):
    """Softmax cross-entropy on logits and soft targets. Call in the strategy's scope."""
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True,
                                                  label_smoothing=label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        steps_per_execution=steps_per_execution, jit_compile=xla)


class Validation(keras.callbacks.Callback):
    """Adds the figures of `validate(model)` to the epoch's, before the other callbacks see them."""

    def __init__(self, validate, every, n_epochs):
        super().__init__()
        self.validate, self.every, self.n_epochs = validate, every, n_epochs

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0 or epoch + 1 == self.n_epochs:
            if self.model.distribute_strategy.num_replicas_in_sync > 1:
                # BatchNorm's statistics are each replica's own; a checkpoint holds their mean, so
                # that is what must be validated.
                self.model.set_weights(self.model.get_weights())
            logs.update(self.validate(self.model))


class LearningRateLog(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["lr"] = read_learning_rate(self.model.optimizer)


class StopOnNaN(keras.callbacks.Callback):
    """Ends the training at the step whose loss is no longer a number."""

    def __init__(self, steps_per_epoch, steps_per_execution):
        super().__init__()
        self.steps_per_epoch, self.steps_per_execution = steps_per_epoch, steps_per_execution
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if math.isfinite(logs["loss"]):
            return
        step = self.epoch * self.steps_per_epoch + batch
        within = (f" (or up to {self.steps_per_execution - 1} before)"
                  if self.steps_per_execution > 1 else "")
        raise TrainingStopped(
            f"the loss became {logs['loss']} at step {step}{within}, in epoch {self.epoch + 1}. "
            f"{REMEDY}")

    def on_epoch_end(self, epoch, logs=None):
        # A ReLU may hide what is no number from the loss, but it stays in the weights.
        if not all(np.isfinite(weights).all() for weights in self.model.get_weights()):
            raise TrainingStopped(f"weights became nan or infinite in epoch {epoch + 1}, which "
                                  f"ends with step {(epoch + 1) * self.steps_per_epoch - 1}. "
                                  f"{REMEDY}")


class Checkpoints(keras.callbacks.Callback):
    """last.h5 after every epoch; best.h5 when the monitored figure improves.

    Each is written beside and renamed. best.json and last.json tell epoch and figures.
    """

    def __init__(self, folder, monitor):
        super().__init__()
        self.folder, self.monitor = pathlib.Path(folder), monitor
        self.sign = -1 if monitor.endswith("loss") else 1
        self.best = None

    def on_epoch_end(self, epoch, logs=None):
        self._save("last", epoch, logs)
        value = logs.get(self.monitor)  # absent when this epoch was not validated
        if value is not None and (self.best is None or self.sign * (value - self.best) > 0):
            self.best = value
            self._save("best", epoch, logs)

    def _save(self, name, epoch, logs):
        path, beside = (self.folder / f"{name}.h5", self.folder / ".new.h5")
        self.model.save_weights(beside)
        os.replace(beside, path)
        figures = {"epoch": epoch + 1} | {k: float(v) for k, v in logs.items()}
        beside.write_text(json.dumps(figures, indent=1))
        os.replace(beside, self.folder / f"{name}.json")


def fit(model, batches, folder, *, steps_per_epoch, n_epochs, steps_per_execution, monitor,
        validate=None, validate_every=1, callbacks=()):
    """Trains `model` on `batches` (an endless or long enough Dataset of images and targets).

    folder: the run's; gets checkpoints/, log.csv and tensorboard/. validate: a function of the
    model giving a dict of figures. callbacks: more of them, called first. Raises TrainingStopped on a loss that is no number.
    """
    folder = pathlib.Path(folder)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    callbacks = [*callbacks, LearningRateLog(), StopOnNaN(steps_per_epoch, steps_per_execution)]
    if validate:
        callbacks.append(Validation(validate, validate_every, n_epochs))
    callbacks += [Checkpoints(folder / "checkpoints", monitor),
                  keras.callbacks.CSVLogger(str(folder / "log.csv")),
                  keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False)]
    return model.fit(batches, epochs=n_epochs, steps_per_epoch=steps_per_epoch,
                     callbacks=callbacks, verbose=1 if sys.stdout.isatty() else 2)
