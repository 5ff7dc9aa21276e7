"""The false-positive predictor: is a detected and read box one that the score counts? (system A)

LightGBM boosters, one per fold of pages, whose mean probability is used; fitted on the features of
inference.box_features.
"""
import dataclasses
import pathlib

import lightgbm
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from inference.booster_files import gain_shares, read_boosters, read_record, write_boosters
from inference.box_features import FEATURES
from inference.kuzushiji_score import match_page
from inference.submissions import centre_points
from records.files import write_json

FORMAT_VERSION = 1
RECORD = "rescorer.json"
# What the search tunes; the values are those published for the first models of system A.
PUBLISHED = {"lambda_l1": 1.5465e-6, "lambda_l2": 5.3467e-6, "num_leaves": 140,
             "feature_fraction": 0.8534, "bagging_fraction": 0.9377, "bagging_freq": 1,
             "min_child_samples": 72}


class RescorerError(ValueError):
    """A folder that holds no predictor, a damaged one or one of other features."""


@dataclasses.dataclass
class Rescorer:
    """The boosters, and how they came about.

    folds: {image_id: the number of the booster that never saw that page}. out_of_fold: float64 [n],
    each box's probability by that booster, in the order of what was fitted; None after `load`.
    threshold: the least probability of a box to keep. figures: whatever else is to be kept, for JSON.
    """
    boosters: list
    params: dict
    seed: int
    folds: dict
    out_of_fold: np.ndarray | None = None
    threshold: float = 0.5
    figures: dict = dataclasses.field(default_factory=dict)

    def predict(self, features):
        """Probability that the score counts a box, mean of the boosters: float64 [n]."""
        rows = checked_features(features)
        if not len(rows):
            return np.zeros(0)
        return np.mean([booster.predict(rows) for booster in self.boosters], 0)

    def importances(self):
        """Share of each feature in what a booster's splits gain: see gain_shares."""
        return gain_shares(self.boosters)

    def save(self, folder):
        """Writes fold0.txt, fold1.txt, ... (LightGBM's text) and then rescorer.json, which has their
        checksums: a folder that was written over halfway is refused by `load`."""
        folder = pathlib.Path(folder)
        checksums = write_boosters(folder, self.boosters)
        write_json(folder / RECORD, {
            "format_version": FORMAT_VERSION, "features": list(FEATURES), "params": self.params,
            "seed": self.seed, "threshold": float(self.threshold), "figures": self.figures,
            "boosters": checksums, "folds": self.folds})

    @classmethod
    def load(cls, folder):
        """The predictor of a folder that `save` wrote. Raises RescorerError naming the file."""
        path = pathlib.Path(folder) / RECORD
        record = read_record(path, FORMAT_VERSION, RescorerError)
        if record.get("features") != list(FEATURES):
            raise RescorerError(f"{path} is of other features than the {len(FEATURES)} that are made "
                                "here: fit the predictor again, or use the version that wrote it")
        try:
            boosters = read_boosters(path, record["boosters"], FEATURES, RescorerError)
            loaded = cls(boosters, dict(record["params"]), int(record["seed"]), dict(record["folds"]),
                         None, float(record["threshold"]), dict(record["figures"]))
        except RescorerError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RescorerError(f"{path} is damaged: {error!r}; fit the predictor again") from error
        if not (boosters and 0 <= loaded.threshold <= 1):
            raise RescorerError(f"{path} is damaged: {len(boosters)} boosters, threshold "
                                f"{loaded.threshold}; fit the predictor again")
        return loaded


def matched(readings, truth):
    """Which readings the score's rule counts as right: bool [n].

    readings: DataFrame with image_id, x, y, w, h, label; those of a page come in the order of its
    rows. truth: {image_id: (labels, boxes [k, 4])}, px. Raises ValueError for a page without truth.
    """
    right = np.zeros(len(readings), bool)
    points = centre_points(readings[["x", "y", "w", "h"]].to_numpy(np.float64))
    labels = readings["label"].to_numpy()
    for image_id, rows in readings.groupby("image_id", sort=False).indices.items():
        if image_id not in truth:
            raise ValueError(f"page {image_id!r} has readings but no truth ({len(truth)} pages have): "
                             "leave it out, or give the annotations that have it")
        found = np.array(match_page(*truth[image_id], labels[rows], points[rows]), np.int64)
        right[rows[found[found >= 0]]] = True
    return right


def fit(features, target, pages, params=None, *, seed, rounds=200, early_stopping=50, n_folds=5,
        num_threads=0, progress=False):
    """The Rescorer of n_folds boosters, each fitted without the pages of its fold.

    features: DataFrame of FEATURES, [n]; target: bool [n], what `matched` returns; pages: image_id [n].
    params: those of PUBLISHED (which None stands for), all or some. rounds: at most. early_stopping:
    rounds without improvement; 0: none. num_threads: 0 for all cores. Raises ValueError.

    No page has a say in its own out-of-fold probabilities, not even in the number of rounds: that is
    found on the pages of the next fold, by a booster that sees neither of the two folds, and the final
    one is fitted on all folds but its own for as long. (The published code stopped on the very fold.)
    """
    rows, target, pages = checked_features(features), np.asarray(target, bool), np.asarray(pages)
    settings = lightgbm_settings(PUBLISHED if params is None else params, seed, num_threads)
    fold = grouped_folds(target, pages, n_folds, seed)
    out_of_fold, boosters = np.zeros(len(rows)), []
    for k in tqdm(range(n_folds), desc="false positives", unit=" boosters", disable=not progress):
        rest, nxt = fold != k, fold == (k + 1) % n_folds
        needed = _rounds(settings, rows, target, rest & ~nxt, nxt, rounds, early_stopping)
        booster = lightgbm.train(settings, _dataset(rows, target, rest), needed)
        out_of_fold[fold == k] = booster.predict(rows[fold == k])
        boosters.append(booster)
    return Rescorer(boosters, dict(PUBLISHED if params is None else params), seed,
                    dict(zip(pages.tolist(), fold.tolist(), strict=True)), out_of_fold)


def grouped_folds(target, pages, n_folds, seed):
    """Fold of each box, int64 [n]: whole pages, with like shares of wrong boxes. Raises ValueError."""
    n_pages, n_right = len(set(pages.tolist())), int(target.sum())
    if len(target) != len(pages):
        raise ValueError(f"{len(target)} boxes are right or wrong, but {len(pages)} have a page")
    if n_folds < 3:
        raise ValueError(f"n_folds is {n_folds}: at least 3, so that a booster has pages to learn from, "
                         "pages to stop by and pages it never sees")
    if n_pages < n_folds:
        raise ValueError(f"{n_pages} pages with boxes cannot be parted into {n_folds} folds: give more "
                         "pages, or fewer folds")
    if not n_folds <= n_right <= len(target) - n_folds:
        raise ValueError(f"{n_right} of {len(target)} boxes are right: it takes at least {n_folds} "
                         "right and as many wrong ones to tell them apart. Read more pages, or detect "
                         "with a lower threshold; if none is right, see whether the truth is "
                         "that of these pages")
    fold = np.zeros(len(target), np.int64)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for k, (rest, held_out) in enumerate(splitter.split(target, target, pages)):
        fold[held_out] = k
        if not 0 < target[rest].sum() < len(rest):
            kind = "wrong" if target[rest].any() else "right"
            raise ValueError(f"all {kind} boxes are on the pages of one fold, so its booster would know "
                             "none: give more pages")
    return fold


def lightgbm_settings(params, seed, num_threads=0):
    """LightGBM's parameters: `params` (some of PUBLISHED's) and what is never tuned."""
    unknown = [name for name in params if name not in PUBLISHED]
    if unknown:
        raise ValueError(f"{unknown[0]} is not a parameter of the false-positive predictor; they are "
                         f"{', '.join(PUBLISHED)}")
    return {**params, "objective": "binary", "metric": "binary_logloss", "max_depth": 7, "seed": seed,
            "deterministic": True, "force_row_wise": True, "feature_pre_filter": False,
            "num_threads": num_threads, "verbosity": -1}


def _rounds(settings, rows, target, learn, stop, rounds, early_stopping):
    """The number of rounds after which a booster of `learn` is best on `stop` (bool [n] each)."""
    if not early_stopping or target[learn].all() or not target[learn].any():
        return rounds
    booster = lightgbm.train(settings, _dataset(rows, target, learn), rounds,
                             valid_sets=[_dataset(rows, target, stop)],
                             callbacks=[lightgbm.early_stopping(early_stopping, verbose=False)])
    return max(booster.best_iteration, 1)


def _dataset(rows, target, which):
    return lightgbm.Dataset(rows[which], target[which].astype(np.float32), feature_name=list(FEATURES),
                            params={"feature_pre_filter": False})


def checked_features(features):
    """The features as float32 [n, features]. Raises ValueError for others than FEATURES."""
    if list(features.columns) != list(FEATURES):
        raise ValueError(f"expected the {len(FEATURES)} features of inference.box_features, in order; "
                         f"got {len(features.columns)}, the first {list(features.columns[:3])}")
    return features.to_numpy(np.float32)
