"""Running a network over batches, on all devices, and keeping what it says by id."""
import pathlib
import zipfile

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from records.files import replaced


class PredictionError(ValueError):
    """Predictions that are missing, damaged, or of other records than asked for."""


class Predictor:
    """Applies `outputs(logits, index)` to batches on all devices; compiled once, used often.

    outputs: gives a dict of tensors [b, ...] from logits float32 [b, classes] and index int64 [b].
    """

    def __init__(self, model, strategy, outputs):
        self.model, self.strategy = model, strategy

        def replica(index, images):
            return index, outputs(tf.cast(model(images, training=False), tf.float32), index)
        self.step = tf.function(lambda index, images: strategy.run(replica, (index, images)))

    def _parts(self, value):
        parts = self.strategy.experimental_local_results(value)
        return np.concatenate([part.numpy() for part in parts])

    def __call__(self, batches, n_records, description=None):
        """Dict of NumPy arrays [n_records, ...], by record.

        batches: Dataset of (index int64 [b], images), index -1 for padding. Every record must come
        exactly once, else PredictionError. description: of the progress bar; None for none.
        """
        results, seen = None, np.zeros(n_records, np.int64)
        with tqdm(total=n_records, desc=description, unit=" records", disable=not description,
                  delay=2, leave=False) as progress:
            for index, images in self.strategy.experimental_distribute_dataset(batches):
                index, values = self.step(index, images)
                index = self._parts(index)
                real = index >= 0
                values = {name: self._parts(value)[real] for name, value in values.items()}
                if results is None:
                    results = {name: np.zeros((n_records, *value.shape[1:]), value.dtype)
                               for name, value in values.items()}
                for name, value in values.items():
                    results[name][index[real]] = value
                np.add.at(seen, index[real], 1)
                progress.update(int(real.sum()))
        if (seen != 1).any():
            raise PredictionError(f"record {np.flatnonzero(seen != 1)[0]} came "
                                  f"{seen[seen != 1][0]} times instead of once")
        return results


def save_predictions(path, ids, class_names, logits):
    """Writes the .npz: ids str [n], class_names str [classes], logits float16 [n, classes].

    The index of the file is by id; nothing in it is pickled.
    """
    with replaced(path) as beside, open(beside, "wb") as file:
        np.savez(file, ids=np.array(ids, str), class_names=np.array(class_names, str),
                 logits=np.asarray(logits, np.float16))


def load_predictions(path, ids):
    """(class_names list, logits float32 [n, classes]) of the records `ids`, in this order.

    Raises PredictionError when the file is not whole or an id is missing or double.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise PredictionError(f"no predictions at {path}: make them with --job=test")
    try:
        with np.load(path, allow_pickle=False) as file:
            names, classes, logits = file["ids"], file["class_names"], file["logits"]
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise PredictionError(f"{path} cannot be read ({error}): make it again with --job=test"
                              ) from error
    place = {name: i for i, name in enumerate(names.tolist())}
    if len(place) != len(names):
        raise PredictionError(f"{path}: an id occurs twice")
    missing = [name for name in ids if name not in place]
    if missing:
        raise PredictionError(f"{path} has no prediction for {len(missing)} of {len(ids)} records "
                              f"(the first: {missing[0]!r}): make it again with --job=test")
    return classes.tolist(), logits[[place[name] for name in ids]].astype(np.float32)
