"""log.csv and tensorboard/ of a run: made from the rows of its epochs, so that a resumed run's are
those of the uninterrupted one."""
import csv
import io
import pathlib
import shutil

import tensorflow as tf

from records.files import write_text


class RunLog:
    def __init__(self, folder):
        self.csv, self.tensorboard = pathlib.Path(folder) / "log.csv", pathlib.Path(folder) / "tensorboard"
        self.writer = None

    def begin(self, rows):
        """Starts anew, with the epochs that are done."""
        shutil.rmtree(self.tensorboard, ignore_errors=True)
        self.writer = tf.summary.create_file_writer(str(self.tensorboard))
        for epoch, row in enumerate(rows):
            self._events(epoch, row)
        self._table(rows)

    def add(self, rows):
        """After an epoch. rows: of all epochs so far."""
        self._events(len(rows) - 1, rows[-1])
        self._table(rows)

    def _events(self, epoch, row):
        with self.writer.as_default(step=epoch):
            for name, value in row.items():
                tf.summary.scalar(f"epoch_{name}", value)
        self.writer.flush()

    def _table(self, rows):
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, ["epoch", *names], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"epoch": epoch, **row} for epoch, row in enumerate(rows))
        write_text(self.csv, text.getvalue())
