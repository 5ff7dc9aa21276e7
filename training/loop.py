"""The training loop: steps, epochs, validation, and a place that is never lost.

Everything that decides what comes next (variables, the log, the best figure, counters) is in a
snapshot, and the data are a pure function of the step, so a run that goes on from a snapshot does
bit for bit what it would have done uninterrupted.
"""
import contextlib
import dataclasses
import math
import pathlib
import shutil
import sys
import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from records.files import replaced, write_json
from training.freezing import unfrozen
from training.optimizers import optimizer_variables, read_learning_rate
from training.progress import Progress
from training.run_log import RunLog
from training.signals import Interrupted, noticed_signals
from training.snapshots import Snapshots, named_variables
from training.workers import cluster, distributed, is_chief

REMEDY = ("What was saved before is kept. Try a lower --lr, a longer --warmup_epochs, "
          "--clip_norm=1, or --mixed_precision=None")
LOWER_IS_BETTER = ("loss", "cer")  # figures whose names end so


class TrainingStopped(RuntimeError):
    """Training cannot go on; says at which step and what to try."""


def use_xla(choice, kind, replicas):
    """Whether to compile the step for --xla: auto compiles on a single GPU only.

    XLA on CPU is slower than oneDNN, fails with several mirrored replicas, and a TPU always
    compiles by itself (None).
    """
    if kind == "TPU":
        return None
    return kind == "GPU" and replicas == 1 if choice == "auto" else choice == "on"


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long, how often. monitor: the figure that chooses the best epoch; one that ends in one of
    LOWER_IS_BETTER is better when smaller. checkpoint_every_steps: besides the end of each epoch; None for none."""
    steps_per_epoch: int
    n_epochs: int
    monitor: str
    batch_size: int
    steps_per_execution: int = 1
    validate_every_epochs: int = 1
    checkpoint_every_steps: int | None = None
    keep_checkpoints: int = 2

    @property
    def lower_is_better(self):
        return self.monitor.endswith(LOWER_IS_BETTER)


class Training:
    """A model on its way through a Plan.

    model: training.step.Trained, ready to train. folder: the run's. batches_of: function (start step,
    worker, n_workers) -> Dataset from that step on. validate: function of the model giving a dict of
    figures, or None. plateau, early_stop: training.plateau.Plateau and EarlyStop, or None.
    epoch_end: functions of (model, epoch from 1, row) called after each epoch; one that returns True
    has changed the data from here on, and batches_of is asked again.
    """

    def __init__(self, model, strategy, folder, plan, batches_of, *, validate=None, plateau=None,
                 early_stop=None, epoch_end=(), xla=None):
        self.model, self.strategy, self.plan = model, strategy, plan
        self.batches_of, self.validate, self.epoch_end = batches_of, validate, epoch_end
        self.plateau, self.early_stop = plateau, early_stop
        self.folder = pathlib.Path(folder)
        self.progress, self.log = Progress(), RunLog(self.folder)
        with strategy.scope():
            self.bad_step = tf.Variable(0, trainable=False, dtype=tf.int32, name="bad_step",
                                        synchronization=tf.VariableSynchronization.ON_READ,
                                        aggregation=tf.VariableAggregation.SUM)
        self.snapshots = Snapshots(
            self.folder / "checkpoints", self._variables(), strategy, plan.keep_checkpoints)
        self.execute = execution(model, strategy, plan, self.bad_step, xla)

    def _variables(self):
        model = self.model
        roots = {"model": model, "optimizer": model.optimizer, "bad_step": self.bad_step,
                 "slots": optimizer_variables(model.optimizer),  # legacy ones hide them
                 "metrics": {metric.name: metric for metric in model.metrics}}
        if model.averages:
            roots["averages"] = model.averages.variables
        return named_variables(**roots)

    def restore(self):
        """Goes on from the newest whole snapshot of the folder; whether there was one."""
        state = self.snapshots.restore()
        if state is None:
            return False
        self.progress = Progress(**state)
        for part, kept in ((self.plateau, self.progress.plateau),
                           (self.early_stop, self.progress.early_stop)):
            if part:
                part.restore(kept)
        return True

    def run(self):
        """Trains to the end. Raises TrainingStopped on a loss that is no number; Interrupted after a
        SIGTERM or SIGINT, with the place kept."""
        plan, progress = self.plan, self.progress
        if is_chief():
            self.log.begin(progress.rows)
        with noticed_signals() as signals:
            iterator = None
            while progress.epochs < plan.n_epochs and not progress.stopped:
                if progress.step < (progress.epochs + 1) * plan.steps_per_epoch:  # steps are left
                    iterator = iterator or self._iterator()
                self._epoch(iterator, signals)
                if self._end_epoch():
                    iterator = None
        with self.averaged():
            self._write_weights("last", progress.rows[-1])

    def _iterator(self):
        start = self.progress.step
        return iter(distributed(
            self.strategy, lambda worker, n: self.batches_of(start, worker, n), self.plan.batch_size))

    def _epoch(self, iterator, signals):
        """The steps of an epoch that are still to come."""
        plan, progress = self.plan, self.progress
        first = progress.epochs * plan.steps_per_epoch
        end, shown = first + plan.steps_per_epoch, time.monotonic()
        self.began = shown, progress.step
        with self._bar(progress.step - first) as bar:
            while progress.step < end:
                stops = [end, progress.step + plan.steps_per_execution]
                every = plan.checkpoint_every_steps
                if every:
                    stops.append((progress.step // every + 1) * every)
                steps = min(stops) - progress.step
                self.execute(iterator, steps)
                progress.step += steps
                bar.update(steps)
                if time.monotonic() - shown > 1:
                    shown = time.monotonic()
                    self._check_loss()
                    bar.set_postfix_str(self._figures_so_far())
                if every and progress.step % every == 0 and progress.step < end:
                    self._check_loss()
                    self._save()
                if signals and progress.step < end:
                    self._interrupt(signals[0])
        self._check_loss()
        if signals:  # the epoch's end is one more place to keep
            self._interrupt(signals[0])

    def _bar(self, done):
        plan = self.plan
        return tqdm(total=plan.steps_per_epoch, initial=done, leave=False, unit=" steps",
                    desc=f"epoch {self.progress.epochs + 1}/{plan.n_epochs}",
                    disable=not (is_chief() and sys.stderr.isatty()))

    def _figures_so_far(self):
        """Of this device: no word is exchanged for it."""
        means = {m.name: m for m in self.model.metrics if hasattr(m, "count")}
        totals = {name: [float(getattr(v, "values", [v])[0].numpy()) for v in (m.total, m.count)]
                  for name, m in means.items()}
        return " ".join(f"{name} {total / max(count, 1):.4g}" for name, (total, count) in
                        totals.items())

    def _check_loss(self):
        bad = max(int(part.numpy()) for part in getattr(self.bad_step, "values", [self.bad_step]))
        if bad:
            raise TrainingStopped(f"the loss became nan or infinite at step {bad - 1}, in epoch "
                                  f"{(bad - 1) // self.plan.steps_per_epoch + 1}. {REMEDY}")

    def _save(self):
        progress = self.progress
        for name in ("plateau", "early_stop"):
            if getattr(self, name):
                setattr(progress, name, getattr(self, name).state())
        self.snapshots.save(progress.step, dataclasses.asdict(progress))

    def _interrupt(self, number):
        if cluster()[1] > 1:  # the others do not know of it, and a snapshot is made by all together
            raise Interrupted(f"interrupted at step {self.progress.step}; the same command goes on "
                              "from the last checkpoint", number)
        self._save()
        raise Interrupted(f"interrupted at step {self.progress.step}, which is kept: the same command "
                          "goes on from there", number)

    def _end_epoch(self):
        """Figures, best weights, log, snapshot. Returns whether the data change from here on."""
        model, plan, progress = self.model, self.plan, self.progress
        epoch, (began, at_step) = progress.epochs + 1, self.began
        rate = (progress.step - at_step) * plan.batch_size / (time.monotonic() - began)
        row = {metric.name: float(metric.result()) for metric in model.metrics}
        if self.strategy.num_replicas_in_sync > 1:
            # BatchNorm's statistics are each replica's own; a checkpoint holds their mean, so that
            # is what must be validated, and gone on with.
            model.set_weights(model.get_weights())
        if not all(np.isfinite(weights).all() for weights in model.get_weights()):
            # A ReLU may hide what is no number from the loss, but it stays in the weights.
            raise TrainingStopped(f"weights became nan or infinite in epoch {epoch}, which ends with "
                                  f"step {progress.step - 1}. {REMEDY}")
        row["lr"] = read_learning_rate(model.optimizer)
        validated = self.validate and (epoch % plan.validate_every_epochs == 0
                                       or epoch == plan.n_epochs)
        with self.averaged():
            if validated:
                row |= {name: float(value) for name, value in self.validate(model).items()}
            self._keep_best(epoch, row)
        self._judge(row)
        changed = any([hook(model, epoch, row) for hook in self.epoch_end])
        for metric in model.metrics:
            metric.reset_state()
        progress.rows.append(row)
        self._save()
        if is_chief():
            self.log.add(progress.rows)
            print(f"epoch {epoch}/{plan.n_epochs}: " +
                  ", ".join(f"{name} {value:.4g}" for name, value in row.items()) +
                  f"; {rate:.0f} images/s", flush=True)
        return changed

    def averaged(self):
        """A context in which the model has its averaged weights, where there are any."""
        averages = self.model.averages
        return averages.exchanged() if averages else contextlib.nullcontext()

    def _keep_best(self, epoch, row):
        value, best = row.get(self.plan.monitor), self.progress.best
        sign = -1 if self.plan.lower_is_better else 1
        if value is not None and not math.isnan(value) and (
                best is None or sign * (value - best) > 0):
            self.progress.best, self.progress.best_epoch = value, epoch
            self._write_weights("best", row, epoch)

    def _judge(self, row):
        """The rate's plateau and the early stop look at the monitored figure."""
        value = row.get(self.plan.monitor)
        if value is None:
            return
        if self.plateau and self.plateau.update(value):
            print(f"plateau: the learning rate is multiplied by {self.plateau.factor:g}")
        if self.early_stop and self.early_stop.update(value):
            self.progress.stopped = True
            print(f"stopped early: no better {self.plan.monitor} for {self.early_stop.patience} "
                  f"validations (best {self.progress.best:.4g} in epoch {self.progress.best_epoch})")

    def _write_weights(self, name, row, epoch=None):
        """NAME.h5 and NAME.json, beside and renamed; all workers take part, the chief's stay."""
        folder = self.folder / "checkpoints"
        if not is_chief():
            folder = self.folder / f".worker-{cluster()[0]}"
        folder.mkdir(parents=True, exist_ok=True)
        figures = {"epoch": epoch or self.progress.epochs} | row
        with replaced(folder / f"{name}.h5") as beside, unfrozen(self.model):
            self.model.save_weights(beside, save_format="h5")
        write_json(folder / f"{name}.json", figures)
        if not is_chief():
            shutil.rmtree(folder, ignore_errors=True)


def execution(model, strategy, plan, bad_step, xla):
    """A function (iterator, how many steps) that takes them in one call; compiled once.

    bad_step: variable that gets the number, from 1, of the first step with a loss that is no number.
    """
    part = plan.batch_size // strategy.num_replicas_in_sync

    def step(data):
        # Static shapes are lost where several workers share out data sets of unknown length.
        model.train_step(tf.nest.map_structure(
            lambda x: tf.ensure_shape(x, [part, *x.shape[1:]]), data))
        total = tf.convert_to_tensor(model.measures()["loss"].total)  # of this device
        here = tf.cast(model.optimizer.iterations, tf.int32)
        bad_step.assign(tf.where(tf.math.is_finite(total) | (bad_step != 0), bad_step, here))
    compiled = tf.function(step, jit_compile=True) if xla else step

    @tf.function
    def one(iterator):
        strategy.run(compiled, (next(iterator),))

    @tf.function
    def many(iterator, steps):
        for _ in tf.range(steps):
            strategy.run(compiled, (next(iterator),))
    if plan.steps_per_execution > 1:
        return lambda iterator, steps: many(iterator, tf.constant(steps))
    return lambda iterator, steps: one(iterator)
