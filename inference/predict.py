"""Running a network over batches, on all devices, and keeping what it says by id."""
import pathlib
import zipfile

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from inference.prediction_blocks import PredictionError, check_room, check_store, in_half, write_npz
from records.files import replaced


def classifier(model, outputs, average="logits"):
    """The function of a Predictor that applies `outputs(logits, index)` to a classifier's logits,
    the mean over each record's views.

    It takes images [b, views, h, w, c], alone or as {"image": images, "aux": vectors [b, d]}, each vector
    beside all views of its image. outputs: gives a dict of tensors [b, ...] from logits float32
    [b, classes] and index int64 [b]. average: logits; or probabilities, whose mean's logarithm then
    takes the place of the logits; or sigmoids, whose mean's logit does.
    """
    def apply(index, images):
        vectors = None
        if isinstance(images, dict):
            images, vectors = images["image"], images["aux"]
        views = tf.shape(images)[1]
        inputs = tf.reshape(images, [-1, *images.shape[-3:]])
        if vectors is not None:
            inputs = {"image": inputs, "aux": tf.repeat(vectors, views, axis=0)}
        logits = model(inputs, training=False)
        logits = tf.reshape(tf.cast(logits, tf.float32), [-1, views, logits.shape[-1]])
        if average == "logits":
            return outputs(tf.reduce_mean(logits, axis=1), index)
        if average == "sigmoids":
            yes, no = (tf.reduce_logsumexp(tf.math.log_sigmoid(x), axis=1) for x in (logits, -logits))
            return outputs(yes - no, index)
        summed = tf.reduce_logsumexp(tf.nn.log_softmax(logits), axis=1)
        return outputs(summed - tf.math.log(tf.cast(views, tf.float32)), index)
    return apply


class Predictor:
    """Applies `function(index, images)` to batches on all devices; compiled once, used often.

    function: gives a dict of tensors [b, ...]. Under MultiWorkerMirroredStrategy each worker predicts
    its part of every batch and gets the results of all.
    """

    def __init__(self, function, strategy):
        self.strategy = strategy
        self.workers = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self.step = tf.function(lambda index, images: strategy.run(
            lambda index, images: (index, function(index, images)), (index, images)))

    def _parts(self, value):
        if self.workers:
            return self.strategy.gather(value, axis=0).numpy()
        parts = self.strategy.experimental_local_results(value)
        return np.concatenate([part.numpy() for part in parts])

    def _distributed(self, batches):
        if not self.workers:
            return self.strategy.experimental_distribute_dataset(batches)
        replicas = self.strategy.num_replicas_in_sync
        size = tf.nest.flatten(batches.element_spec)[0].shape[0] // replicas

        def own_part(context):
            here = replicas // context.num_input_pipelines
            numbered = batches.rebatch(size, drop_remainder=True).enumerate()
            return numbered.filter(lambda i, _: i % replicas // here == context.input_pipeline_id
                                   ).map(lambda _, batch: batch)
        return self.strategy.distribute_datasets_from_function(own_part)

    def results(self, batches, n_records, description=None):
        """Yields (index int64 [r], dict of NumPy arrays [r, ...]) of the real records of each batch.

        batches: Dataset of (index int64 [b], images), index -1 for padding. Every record must come
        exactly once, else PredictionError at the end. description: of the progress bar; None for
        none.
        """
        seen = np.zeros(n_records, np.int64)
        with tqdm(total=n_records, desc=description, unit=" records", disable=not description,
                  delay=2, leave=False) as progress:
            for index, images in self._distributed(batches):
                index, values = self.step(index, images)
                index = self._parts(index)
                real = index >= 0
                yield index[real], {name: self._parts(value)[real]
                                    for name, value in values.items()}
                np.add.at(seen, index[real], 1)
                progress.update(int(real.sum()))
        if (seen != 1).any():
            raise PredictionError(f"record {np.flatnonzero(seen != 1)[0]} came "
                                  f"{seen[seen != 1][0]} times instead of once")

    def __call__(self, batches, n_records, description=None):
        """Dict of NumPy arrays [n_records, ...], by record. See `results`."""
        collected = None
        for index, values in self.results(batches, n_records, description):
            if collected is None:
                collected = {name: np.zeros((n_records, *value.shape[1:]), value.dtype)
                             for name, value in values.items()}
            for name, value in values.items():
                collected[name][index] = value
        return collected


def save_predictions(path, ids, class_names, logits, store, records="", labels=None):
    """Writes the .npz: ids str [n], class_names str [classes], logits float16 [n, classes], and
    labels of the records if they are known, int [n] or, of several labels, uint8 [n, classes].

    logits: an array, or an iterator of blocks [r, classes] of it, in order, of which one at a time is held.

    The index of the file is by id; nothing in it is pickled. store, records: checksums of the store's
    manifest and of its records whatever their pixels (Store.own_sha256, Store.records_sha256), as the
    same ids may stand for other boxes in another store.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {} if labels is None else {"labels": np.asarray(labels, np.int64 if np.ndim(labels) == 1 else np.uint8)}
    shape = len(ids), len(class_names)
    check_room(path.parent, 2 * shape[0] * shape[1])
    blocks = [logits] if hasattr(logits, "shape") else logits
    with replaced(path) as beside:
        write_npz(beside, {"logits": (np.float16, shape, map(in_half, blocks))}, ids=np.array(ids, str),
                  class_names=np.array(class_names, str), store=np.array(store, str),
                  records=np.array(records, str), **known)


def read_predictions(path, ids=None, store=None, records=None, job="test"):
    """(ids list, class_names list, logits float32 [n, classes], labels as they were saved or None).

    ids: the records wanted, in this order; None: those of the file. store, records: the checksums it
    must have, None for any. job: what makes the file. Raises PredictionError when it is not whole or of another store, or an id
    is missing or double.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise PredictionError(f"no predictions at {path}: make them with --job={job}")
    try:
        with np.load(path, allow_pickle=False) as file:
            names, classes, logits = file["ids"].tolist(), file["class_names"].tolist(), file["logits"]
            labels = file["labels"] if "labels" in file else None
            theirs = str(file["store"]), str(file["records"])
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise PredictionError(f"{path} cannot be read ({error}): make it again with --job={job}"
                              ) from error
    check_store(path, theirs, store, records, job)
    place = {name: i for i, name in enumerate(names)}
    if len(place) != len(names):
        raise PredictionError(f"{path}: an id occurs twice")
    ids = names if ids is None else ids
    missing = [name for name in ids if name not in place]
    if missing:
        raise PredictionError(f"{path} has no prediction for {len(missing)} of {len(ids)} records "
                              f"(the first: {missing[0]!r}): make it again with --job={job}")
    order = [place[name] for name in ids]
    return ids, classes, logits[order].astype(np.float32), None if labels is None else labels[order]


def load_predictions(path, ids, store):
    """(class_names list, logits float32 [n, classes]), as read_predictions has them."""
    return read_predictions(path, ids, store)[1:3]
