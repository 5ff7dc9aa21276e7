"""The second level of a multi-label ensemble: LightGBM on a row per image and label (system C, 1st place).

What the first level's models say of an image and a label, together with what is told of the image and of
the label, becomes one probability: the columns are those of inference.second_level_features, the
same for training and for use. The first level's probabilities of training images must be out of fold
themselves, else the booster learns to believe them more than they deserve.
"""
import dataclasses
import pathlib

import lightgbm
import numpy as np
from tqdm import tqdm

from inference.booster_files import gain_shares, read_boosters, read_record, write_boosters
from inference.second_level_features import mean_over_models
from inference.second_level_rows import Draw, FirstLevel, count_rows, sparse_truth, training_sample
from records.files import write_json

FORMAT_VERSION = 1
RECORD = "second_level.json"
CHUNK_BYTES = 1 << 26  # of features: some 50 images at 1,103 labels and 8 models
# Ours: those of the 1st place are not published.
DEFAULTS = {"learning_rate": 0.05, "num_leaves": 31, "max_depth": -1, "min_child_samples": 100,
            "feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l1": 0.0,
            "lambda_l2": 1.0, "max_bin": 255}


class SecondLevelError(ValueError):
    """A folder that holds no second level, a damaged one or one of other models or labels."""


@dataclasses.dataclass
class SecondLevel:
    """A booster per fold of images, and what its columns are made with.

    models, image_columns, labels: names, in the order of the arrays. label_groups: int [K].
    frequencies: float32 [boosters, K], the share of a booster's training images that have each label.
    floor: rows that all models rate below it take the mean of the models as their probability.
    features: names of the columns.
    """
    boosters: list
    models: list
    image_columns: list
    labels: list
    label_groups: np.ndarray
    frequencies: np.ndarray
    parameters: dict
    seed: int
    floor: float
    features: list

    def predict(self, probabilities, image_values, out=None, *, chunk_bytes=CHUNK_BYTES, num_threads=0,
                progress=False):
        """Probabilities of images that no booster was trained on, mean of the boosters: [n, K].

        probabilities: [M, n, K] or a list of M [n, K], 0..1; image_values: [n, f]. out: a floating
        [n, K] to write to, e.g. a memory-mapped float16; None: float32. Raises ValueError.

        Holds besides them the features of a chunk, chunk_bytes (or 4 * features * K, those of an image,
        if that is more), and some 6 M + f + 20 values of 4 bytes for each of its rows, which number
        chunk_bytes / (4 * features): 85 MB in all at 8 models. The same comes out for every chunk_bytes.
        """
        first = FirstLevel(probabilities, self.models, image_values, self.image_columns,
                           self.label_groups)
        out = _checked_out(out, first)
        with tqdm(total=first.n_images, desc="second level", unit=" images", disable=not progress) as bar:
            rate(first, np.arange(first.n_images), self.boosters, self.frequencies, out, self.floor,
                 chunk_bytes, num_threads, bar)
        return out

    def importances(self):
        """Share of each feature in what a booster's splits gain: see gain_shares."""
        return gain_shares(self.boosters)

    def save(self, folder):
        """Writes fold0.txt, fold1.txt, ... (LightGBM's text) and then second_level.json, which has their
        checksums: a folder that was written over halfway is refused by `load`."""
        checksums = write_boosters(folder, self.boosters)
        write_json(pathlib.Path(folder) / RECORD, {
            "format_version": FORMAT_VERSION, "n_models": len(self.models), "n_labels": len(self.labels),
            "models": self.models, "image_columns": self.image_columns, "features": self.features,
            "parameters": self.parameters, "seed": self.seed, "floor": self.floor, "boosters": checksums,
            "labels": self.labels, "label_groups": np.asarray(self.label_groups).tolist(),
            "frequencies": np.asarray(self.frequencies, np.float64).tolist()})

    @classmethod
    def load(cls, folder, *, models, image_columns, labels):
        """The second level of a folder that `save` wrote.

        models, image_columns, labels: names of what it is to be used on, in order. Raises
        SecondLevelError naming the file, or the first name that differs.
        """
        path = pathlib.Path(folder) / RECORD
        record = read_record(path, FORMAT_VERSION, SecondLevelError)
        try:
            for what, names in (("models", models), ("image_columns", image_columns), ("labels", labels)):
                _same_names(path, what, record[what], list(names))
            loaded = cls([], record["models"], record["image_columns"], record["labels"],
                         np.array(record["label_groups"], np.int64),
                         np.array(record["frequencies"], np.float32), dict(record["parameters"]),
                         int(record["seed"]), float(record["floor"]), record["features"])
            empty = np.zeros((len(loaded.models), 1, record["n_labels"]), np.float16)
            made = FirstLevel(empty, loaded.models, np.zeros((1, len(loaded.image_columns))),
                              loaded.image_columns, loaded.label_groups).features
            n_boosters = len(record["boosters"])
            if not (made == loaded.features and len(loaded.models) == record["n_models"]
                    and n_boosters and loaded.frequencies.shape == (n_boosters, len(loaded.labels))
                    and len(loaded.labels) == record["n_labels"] and 0 <= loaded.floor <= 1):
                raise SecondLevelError(f"{path} is damaged, or of other features than are made here: "
                                       "fit the second level again, or use the version that wrote it")
            loaded.boosters = read_boosters(path, record["boosters"], made, SecondLevelError)
        except SecondLevelError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SecondLevelError(f"{path} is damaged: {error!r}; fit the second level again") from error
        return loaded


def fit_second_level(probabilities, truth, folds, image_values, label_groups, *, models, image_columns,
                     labels, seed, parameters=None, draw=Draw(), rounds=500, early_stopping=50, out=None,
                     chunk_bytes=CHUNK_BYTES, num_threads=0, progress=False):
    """(SecondLevel, out-of-fold probabilities [n, K]): a booster per fold, trained without its images.

    probabilities: floating [M, n, K], 0..1, or a list of M arrays [n, K], all of them out of fold.
    truth: bool [n, K], or (indptr, indices) of the labels of each image. folds: int [n], 0 to the
    number of folds - 1, of which there are 3 at least. image_values: [n, f], NaN where unknown.
    label_groups: int [K]. models, image_columns, labels: M, f and K names. parameters: of DEFAULTS,
    all or some. draw: which rows are trained on. rounds: at most. early_stopping: rounds without
    improvement; 0: none. out: a floating [n, K] to write to; None: float32. num_threads: 0 for all
    cores.

    No image has a say in its own out-of-fold probabilities: not by its labels, not by the frequencies
    of labels, which are those of the booster's training images, and not in the number of rounds. That
    is found on the images of the next fold, by a booster that sees neither of the two folds, and the
    final one is fitted on all folds but its own for as long.

    Holds the rows of one booster, max_rows * features * 4 bytes, and up to three copies of them in
    LightGBM's bins of a byte; then a chunk as SecondLevel.predict. Reads the probabilities once and
    then once per fold. The same numbers come out for every chunk_bytes. Raises ValueError.
    """
    first = FirstLevel(probabilities, models, image_values, image_columns, label_groups)
    labels, folds = list(labels), np.asarray(folds)
    if len(labels) != first.n_labels:
        raise ValueError(f"{len(labels)} names of labels for {first.n_labels} labels")
    n_folds = _checked_folds(folds, first.n_images)
    parameters = {**DEFAULTS, **({} if parameters is None else parameters)}
    settings = lightgbm_settings(parameters, seed, num_threads)
    truth, out = sparse_truth(truth, first.n_images, first.n_labels), _checked_out(out, first)
    counts = count_rows(first, truth, draw, chunk_bytes)
    boosters, frequencies = [], np.zeros((n_folds, first.n_labels), np.float32)
    with tqdm(total=first.n_images, desc="second level", unit=" images", disable=not progress) as bar:
        for k in range(n_folds):
            frequencies[k] = label_frequency(truth, folds != k)
            booster = fit_fold(first, truth, counts, folds, k, frequencies[k], draw, settings,
                               np.random.default_rng([seed, k]), rounds, early_stopping, chunk_bytes)
            rate(first, np.flatnonzero(folds == k), [booster], frequencies[k:k + 1], out, draw.floor,
                 chunk_bytes, num_threads, bar)
            boosters.append(booster)
    return SecondLevel(boosters, first.models, first.image_columns, labels, first.label_groups,
                       frequencies, parameters, seed, float(draw.floor), first.features), out


def fit_fold(first, truth, counts, folds, k, frequency, draw, settings, random, rounds, early_stopping,
             chunk_bytes):
    """The booster of all folds but k; the number of its rounds is found on the fold after k."""
    sample = training_sample(first, truth, counts, np.flatnonzero(folds != k), frequency, draw, random,
                             chunk_bytes)
    stop = folds[sample.images] == (k + 1) % (folds.max() + 1)
    kinds = [len(np.unique(sample.target[part])) for part in (stop, ~stop)]
    data = lightgbm.Dataset(sample.features.T, sample.target, weight=sample.weights,
                            feature_name=first.features, params=settings, free_raw_data=True).construct()
    del sample  # LightGBM has its bins
    if early_stopping and min(kinds) == 2:
        course = lightgbm.cv(settings, data, rounds, folds=[(np.flatnonzero(~stop), np.flatnonzero(stop))],
                             callbacks=[lightgbm.early_stopping(early_stopping, verbose=False)])
        rounds = max(len(course["valid binary_logloss-mean"]), 1)  # up to the best
    return lightgbm.train(settings, data, rounds)


def rate(first, images, boosters, frequencies, out, floor, chunk_bytes, num_threads=0, bar=None):
    """Writes the mean of the boosters' probabilities of `images` (int [i]) to their rows of out [n, K].

    frequencies: float32 [boosters, K]. bar: a tqdm, counting images.
    """
    chunks = first.chunks(images, chunk_bytes)
    n_labels, n_features = first.n_labels, len(first.features)
    buffer = np.empty(len(chunks[0]) * n_labels * n_features if chunks else 0, np.float32)
    for part in chunks:
        probabilities = first.read(part)
        rows = np.flatnonzero(probabilities.max(0) >= np.float32(floor))
        result = mean_over_models(probabilities)
        if len(rows):
            features = first.make(probabilities, part, rows, frequencies[0],
                                  buffer[:n_features * len(rows)].reshape(n_features, -1))
            total = np.zeros(len(rows))
            for booster, frequency in zip(boosters, frequencies, strict=True):
                features[-1] = frequency[rows % n_labels]  # alone differs between boosters
                total += booster.predict(features.T, num_threads=num_threads)
            result[rows] = total / len(boosters)
        out[part] = result.reshape(len(part), n_labels)
        if bar is not None:
            bar.update(len(part))


def label_frequency(truth, which):
    """Share of the images `which` (bool [n]) that have each label: float32 [K]. truth: csr bool [n, K]."""
    found = np.bincount(truth[np.flatnonzero(which)].indices, minlength=truth.shape[1])
    return (found / which.sum()).astype(np.float32)


def lightgbm_settings(parameters, seed, num_threads=0):
    """LightGBM's parameters: `parameters` (names of DEFAULTS) and what is never tuned."""
    unknown = [name for name in parameters if name not in DEFAULTS]
    if unknown:
        raise ValueError(f"{unknown[0]} is not a parameter of the second level; they are "
                         f"{', '.join(DEFAULTS)}")
    return {**parameters, "objective": "binary", "metric": "binary_logloss", "seed": seed,
            "deterministic": True, "force_row_wise": True, "feature_pre_filter": False,
            "num_threads": num_threads, "verbosity": -1}


def _checked_folds(folds, n_images):
    """The number of folds."""
    if folds.shape != (n_images,) or not np.issubdtype(folds.dtype, np.integer):
        raise ValueError(f"folds must be whole numbers [{n_images}], one for each image; got "
                         f"{folds.dtype} {list(folds.shape)}")
    found = np.unique(folds)
    if len(found) < 3 or found.tolist() != list(range(len(found))):
        raise ValueError(f"folds must be 0, 1, 2, ..., at least three, so that a booster has images to "
                         f"learn from, images to stop by and images it never sees; got "
                         f"{', '.join(map(str, found[:10]))}")
    return len(found)


def _checked_out(out, first):
    shape = (first.n_images, first.n_labels)
    if out is None:
        return np.empty(shape, np.float32)
    if out.shape != shape or not np.issubdtype(out.dtype, np.floating):
        raise ValueError(f"out must be floating {list(shape)}, got {out.dtype} {list(out.shape)}")
    return out


def _same_names(path, what, saved, given):
    if saved != given:
        at = next((k for k, (a, b) in enumerate(zip(saved, given)) if a != b), min(len(saved), len(given)))
        raise SecondLevelError(f"{path} was fitted with {len(saved)} {what}, got {len(given)}; number {at} "
                               f"is {saved[at:at + 1]} there and {given[at:at + 1]} here: give the same, in "
                               "the same order, or fit the second level again")
