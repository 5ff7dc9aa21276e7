"""Vectors beside the images: --aux_features, and what run.json says of them under "aux".

They are normalised by mean and standard deviation over the training records of the run; of a number that
is the same in all of them, only by its mean.
"""
import dataclasses

import numpy as np
import tensorflow as tf

from jobs.errors import OptionError
from records.features import read_features

BLOCK = 1 << 16  # vectors that are looked at together


@dataclasses.dataclass
class Vectors:
    """info: the entry of run.json. values: float32 [n, d], normalised. rows: int64 [records], which of
    them belongs to each record of the store."""
    info: dict
    values: tf.Tensor
    rows: np.ndarray

    def beside(self, source, records):
        """The ImageSource with the vector of each image. records: int [m], rows of the manifest that the
        positions in the source stand for."""
        with tf.device("CPU:0"):
            rows = tf.constant(self.rows[records])
        return dataclasses.replace(source, vectors=lambda at: tf.gather(self.values, tf.gather(rows, at)))


def open_vectors(session):
    """The Vectors of the session's store as its run takes them; None for a run without.

    Holds the file twice while it is read, once from then on. Raises OptionError where the options do
    not fit the run, and FeatureError.
    """
    o, begins = session.options, session.begins_run
    info = None if begins else session.run.info.get("aux")
    if not o.aux_features:
        if info:
            raise OptionError(f"{session.run.folder} was trained with a vector of {info['width']} numbers "
                              "beside each image: give those of this store as --aux_features=FILE")
        return None
    if not begins and not info:
        raise OptionError(f"{session.run.folder} was trained without vectors beside the images: leave out "
                          "--aux_features")
    features = read_features(o.aux_features)
    rows, values = features.of(session.store.manifest), features.values
    if begins:
        mean, std = moments(values, np.unique(rows[session.rows[0]]), np.bincount(rows[session.rows[0]]))
        info = {"width": features.width, "sha256": features.sha256, "made_by": features.made_by,
                "mean": mean.tolist(), "std": std.tolist()}
    elif features.width != info["width"]:
        raise OptionError(f"{o.aux_features} has vectors of {features.width} numbers, the run "
                          f"{session.run.folder} takes {info['width']}: make them as those it was trained with")
    values -= np.float32(info["mean"])
    values /= np.float32(info["std"])
    print(f"vectors: {features.width} numbers beside each image, {len(values)} in {o.aux_features}, "
          f"{values.nbytes / 1e9:.2f} GB")
    session.strategy  # devices are settled before TensorFlow first uses one
    with tf.device("CPU:0"):
        return Vectors(info, tf.constant(values), rows)


def without_vectors(session, job):
    """Refuses a run that takes vectors, for a job that has none."""
    if session.run.info.get("aux"):
        raise OptionError(f"--job={job} shows images alone, and {session.run.folder} was trained with a vector "
                          "beside each: pack the images, and use --job=test with --aux_features")


def moments(values, rows, counts):
    """(mean, standard deviation) float64 [d] of the `rows` (int [m]) of float32 [n, d], each as often as
    `counts` (int, by row) has it; a deviation of nothing but rounding is 1. No copy of the whole is made."""
    blocks = [rows[start:start + BLOCK] for start in range(0, len(rows), BLOCK)]
    total = counts[rows].sum()
    mean = sum(counts[block] @ values[block].astype(np.float64) for block in blocks) / total
    square = sum(counts[block] @ (values[block] - mean) ** 2 for block in blocks) / total
    std = np.sqrt(square)
    return mean, np.where(std > 1e-6 * np.abs(mean), std, 1.0)
