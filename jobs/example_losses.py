"""The loss of every training record after the epochs of --losses_after_epochs, and what follows from it.

RUN/example_losses/after_epoch_003.csv holds id, label, loss, left_out (0 or 1), repeated (0 or 1), the
highest loss first; of several labels a record also excess, the loss above what its labels lead one to
expect, by which it is then sorted and chosen. A resumed run reads it, as all that is chosen follows from
the losses in it.
"""
import csv

import numpy as np

from inference.accuracy import on_device
from inference.predict import Predictor, classifier
from jobs.run_directory import RunError
from pipeline.example_choice import choose_examples, excess_losses, worst_first
from records.files import replaced
from training.workers import is_chief


class ExampleLosses:
    """An epoch_end hook of training.loop.Training, and the rows that train from a step on.

    drawn: int [m], rows of the store in an epoch, repeated ones repeatedly. steps: of an epoch. The
    loss is the cross-entropy of the record's own label or labels, whatever the run is trained with, of the
    view that validates: no augmentation, mixing, margin or scaled target.
    """

    def __init__(self, session, drawn, steps):
        self.session, self.drawn_at_first, self.steps = session, drawn, steps
        self.records, self.places = np.unique(drawn, return_inverse=True)
        self.labels = session.labels[self.records]
        self.predictor, self.measured = None, {}  # losses float64 [records] by epoch

    def __call__(self, model, epoch, row):
        o = self.session.options
        if epoch not in o.losses_after_epochs:
            return False
        self.measured[epoch] = self._measure(model)
        _, left_out, repeated = self._choice(epoch)
        if is_chief():
            self._write(epoch, left_out, repeated)
            print(f"losses after epoch {epoch}: left out {left_out.sum():,} of {len(self.records):,} "
                  f"records of highest loss, {repeated.sum():,} come twice -> {self._path(epoch)}")
        return bool(o.drop_worst or o.mine_hardest)

    def drawn(self, start):
        """Rows of the store, int [m], of the epochs from step `start` on."""
        o = self.session.options
        past = [epoch for epoch in o.losses_after_epochs if epoch * self.steps <= start]
        if not past or not (o.drop_worst or o.mine_hardest):
            return self.drawn_at_first
        epoch = max(past)
        if epoch not in self.measured:
            self.measured[epoch] = self._read(epoch)
        return self.records[self._choice(epoch)[0]]

    def _choice(self, epoch):
        o = self.session.options
        return choose_examples(self.places, self.labels, self._rated(epoch), o.drop_worst,
                               o.mine_hardest, [o.seed, epoch])

    def _rated(self, epoch):
        """What the records are chosen by, float64 [records]."""
        losses = self.measured[epoch]
        return losses if self.labels.ndim == 1 else excess_losses(losses, self.labels)

    def _measure(self, model):
        session = self.session
        source, position = session.source
        batches = session.evaluation_batches(session.run, source, position[self.records])
        self.predictor = self.predictor or Predictor(
            classifier(model, on_device(self.labels)), session.strategy)
        losses = self.predictor(batches, len(self.records), "losses of the training records")["loss"]
        return np.round(losses.astype(np.float64), 6)  # as the file has them

    @property
    def _ids(self):
        return self.session.store.manifest["id"].to_numpy()[self.records]

    def _path(self, epoch):
        return self.session.run.folder / "example_losses" / f"after_epoch_{epoch:03d}.csv"

    def _write(self, epoch, left_out, repeated):
        path, losses = self._path(epoch), self.measured[epoch]
        path.parent.mkdir(parents=True, exist_ok=True)
        classes = np.array(self.session.class_names)
        names = (classes[self.labels] if self.labels.ndim == 1 else
                 np.array(["|".join(classes[row > 0]) for row in self.labels], object))
        columns = {"id": self._ids, "label": names, "loss": losses, "left_out": left_out.astype(int),
                   "repeated": repeated.astype(int)}
        rated = self._rated(epoch)
        if rated is not losses:
            columns["excess"] = np.round(rated, 6)
        order = worst_first(rated)
        with replaced(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*(column[order].tolist() for column in columns.values())))

    def _read(self, epoch):
        """The losses in the file, float64 [records]."""
        path = self._path(epoch)
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = [(row["id"], float(row["loss"])) for row in csv.DictReader(file)]
            losses = dict(rows)
            if len(rows) != len(self.records):
                raise ValueError(f"{len(rows)} rows for {len(self.records)} records")
            return np.array([losses[record_id] for record_id in self._ids])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path}, from which the run goes on, is missing or damaged ({error}): put it "
                           "back, or train anew with --overwrite") from error
