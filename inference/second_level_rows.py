"""What the second level is fitted to and used on: first-level probabilities, read by chunks of images,
and the rows (an image and a label each) that are drawn of them for training.
"""
import dataclasses

import numpy as np
import scipy.sparse

from inference.second_level_features import feature_names, second_level_features


class FirstLevel:
    """The probabilities of M models for n images and K labels, and what is told of the images.

    probabilities: floating [M, n, K], 0..1, or a list of M arrays [n, K], e.g. memory-mapped ones; they
    are read by chunks, each checked. models: M names. image_values: [n, f], NaN where unknown;
    image_columns: f names. label_groups: int [K], the number of each label's group (a number like any
    other to the booster: with more than two groups, let neighbours be alike). Raises ValueError.
    """

    def __init__(self, probabilities, models, image_values, image_columns, label_groups):
        self.probabilities, self.models = list(probabilities), list(models)
        self.image_columns = list(image_columns)
        self.features = feature_names(self.models, self.image_columns)
        self.label_groups = np.asarray(label_groups)
        self.n_labels = len(self.label_groups)
        shapes = {np.shape(values) for values in self.probabilities}
        if len(self.probabilities) != len(self.models) or len(shapes) != 1:
            raise ValueError(f"{len(self.probabilities)} arrays of probabilities, of the shapes "
                             f"{sorted(shapes)}, for the models {', '.join(self.models)}: give one "
                             "[images, labels] for each, all alike")
        shape = shapes.pop()
        if len(shape) != 2 or 0 in shape or self.label_groups.shape != shape[1:]:
            raise ValueError(f"probabilities of the shape {list(shape)} with groups of "
                             f"{list(self.label_groups.shape)} labels: expected [images, labels], an image "
                             "and a label at least, and a group for each label")
        if not np.issubdtype(self.label_groups.dtype, np.integer):
            raise ValueError(f"groups of labels must be whole numbers, got {self.label_groups.dtype}")
        self.n_images = shape[0]
        self.image_values = np.asarray(image_values, np.float32)
        if self.image_values.shape != (self.n_images, len(self.image_columns)):
            raise ValueError(f"image_values must be [images, columns] = "
                             f"{[self.n_images, len(self.image_columns)]}, got "
                             f"{list(self.image_values.shape)}")
        if np.isinf(self.image_values).any():
            raise ValueError("image_values must be finite, or NaN where unknown; got infinity for image "
                             f"{int(np.isinf(self.image_values).any(1).argmax())}")

    def read(self, images):
        """Probabilities of some images: float32 [M, images * K], image by image. images: int [i]."""
        read = np.empty((len(self.models), len(images), self.n_labels), np.float32)
        for values, into, name in zip(self.probabilities, read, self.models):
            into[:] = values[images]
            if not (into.min() >= 0 and into.max() <= 1):  # NaN is neither
                bad = int(images[~((into >= 0) & (into <= 1)).all(1)][0])
                raise ValueError(f"probabilities must lie in 0..1; those of model {name!r} for image {bad} "
                                 "do not: give probabilities, not logits")
        return read.reshape(len(self.models), -1)

    def make(self, probabilities, images, rows, frequency, out=None):
        """Features of rows of what `read(images)` gave: float32 [features, R]. rows: int [R], ascending;
        frequency: float32 [K]."""
        if len(rows) < probabilities.shape[1]:
            probabilities = probabilities[:, rows]
        image, label = np.divmod(rows, self.n_labels)
        return second_level_features(probabilities, self.image_values[images[image]].T,
                                     self.label_groups[label], frequency[label], out)

    def chunks(self, images, chunk_bytes):
        """`images` in parts so that the features of one take chunk_bytes at most: of
        max(1, chunk_bytes // (4 * features * K)) images."""
        step = max(1, int(chunk_bytes) // (4 * len(self.features) * self.n_labels))
        return [images[at:at + step] for at in range(0, len(images), step)]


def sparse_truth(truth, n_images, n_labels):
    """scipy.sparse.csr_array, bool [n, K]. truth: bool [n, K], or (indptr [n + 1], indices), the labels
    of image i being indices[indptr[i]:indptr[i + 1]]. Raises ValueError."""
    if isinstance(truth, tuple):
        indptr, indices = (np.asarray(part) for part in truth)
        try:
            rows = scipy.sparse.csr_array((np.ones(len(indices), bool), indices, indptr),
                                          shape=(n_images, n_labels))
            rows.check_format()
        except (ValueError, TypeError) as error:
            raise ValueError(f"truth (indptr, indices) is not one of {n_images} images and {n_labels} "
                             f"labels: {error}") from error
        rows.sum_duplicates()
        return rows
    truth = np.asarray(truth)
    if truth.dtype != bool or truth.shape != (n_images, n_labels):
        raise ValueError(f"truth must be bool {[n_images, n_labels]}, or (indptr, indices); got "
                         f"{truth.dtype} {list(truth.shape)}")
    return scipy.sparse.csr_array(truth)


@dataclasses.dataclass(frozen=True)
class Draw:
    """Which rows are trained on.

    floor: a row that all models rate below it is neither trained on nor rated by the booster.
    hard_from: a negative row that some model rates so high is hard. max_rows: at most, of a booster.

    Every positive row is taken, with weight 1. Of the remaining max_rows - positives, hard negatives may
    fill half, and more where there are too few easy ones; easy negatives fill the rest. Where that is not
    all of a kind, the c rows of the kind are parted in order into as many runs as may be taken, of
    equal length (or one more), and of each run one row is drawn, whose weight is the run's length: the
    weights of a kind add up to c, and no row's expected weight is other than 1.
    """
    max_rows: int = 2_000_000
    hard_from: float = 0.05
    floor: float = 0.0

    def __post_init__(self):
        if not (0 <= self.floor <= 1 and 0 <= self.hard_from <= 1):
            raise ValueError(f"floor and hard_from are probabilities, 0..1; got {self.floor} and "
                             f"{self.hard_from}")

    def kinds(self, probabilities, truth):
        """(positive, hard, easy) of rows: bool [R] each. probabilities: [M, R]; truth: bool [R]."""
        largest = probabilities.max(0)
        rated = largest >= np.float32(self.floor)
        hard = largest >= np.float32(self.hard_from)
        return rated & truth, rated & ~truth & hard, rated & ~truth & ~hard

    def sizes(self, positives, hard, easy):
        """How many hard and easy negatives are taken of so many rows of each kind. Raises ValueError."""
        if not positives or not hard + easy:
            raise ValueError(f"{positives} positive and {hard + easy} negative rows to train on: it takes "
                             "both to tell them apart; see whether truth is that of these images, and "
                             f"lower floor ({self.floor})")
        room = self.max_rows - positives
        if room < 2:
            raise ValueError(f"max_rows is {self.max_rows:,}, but {positives:,} rows are positive, all of "
                             f"which are trained on: give {2 * positives:,} or more")
        n_hard = min(hard, max(room // 2, room - easy))
        return n_hard, min(easy, room - n_hard)


def count_rows(first, truth, draw, chunk_bytes):
    """Rows of each kind of each image: int64 [n, 3]; positive, hard, easy. Reads everything once."""
    counts = np.zeros((first.n_images, 3), np.int64)
    for images in first.chunks(np.arange(first.n_images), chunk_bytes):
        kinds = draw.kinds(first.read(images), truth[images].toarray().ravel())
        counts[images] = np.stack([kind.reshape(len(images), -1).sum(1) for kind in kinds], 1)
    return counts


def stand_ins(count, n, random):
    """n of `count` rows, ascending int64 [n], and how many each stands for, int64 [n]: see Draw."""
    edges = np.arange(n + 1, dtype=np.int64) * count // max(n, 1)
    runs = np.diff(edges)
    return edges[:-1] + (random.random(n) * runs).astype(np.int64), runs


@dataclasses.dataclass
class Sample:
    """Rows to train on, by image and then label. features: float32 [features, R]; target, weights:
    float32 [R]; images: int64 [R]."""
    features: np.ndarray
    target: np.ndarray
    weights: np.ndarray
    images: np.ndarray


def training_sample(first, truth, counts, images, frequency, draw, random, chunk_bytes):
    """The Sample of `images` (int, ascending). counts: of count_rows; frequency: float32 [K].

    Holds R * features * 4 bytes and a chunk; R is draw.max_rows at most. Raises ValueError.
    """
    n_positive, n_hard, n_easy = totals = counts[images].sum(0)
    drawn = [(np.arange(n_positive), np.ones(n_positive, np.int64)),
             *(stand_ins(count, n, random) for count, n in
               zip((n_hard, n_easy), draw.sizes(*totals.tolist()), strict=True))]
    n_rows = sum(len(places) for places, _ in drawn)
    sample = Sample(np.empty((len(first.features), n_rows), np.float32), np.empty(n_rows, np.float32),
                    np.empty(n_rows, np.float32), np.empty(n_rows, np.int64))
    at, passed = 0, np.zeros(3, np.int64)  # rows written; rows of each kind read
    for part in first.chunks(images, chunk_bytes):
        probabilities = first.read(part)
        kinds = draw.kinds(probabilities, truth[part].toarray().ravel())
        rows, weights = [], []
        for k, ((places, stands_for), kind) in enumerate(zip(drawn, kinds, strict=True)):
            here = np.flatnonzero(kind)
            of_chunk = slice(*np.searchsorted(places, [passed[k], passed[k] + len(here)]))
            rows.append(here[places[of_chunk] - passed[k]])
            weights.append(stands_for[of_chunk])
            passed[k] += len(here)
        order = np.argsort(np.concatenate(rows))
        chosen = np.concatenate(rows)[order]
        to = slice(at, at + len(chosen))
        first.make(probabilities, part, chosen, frequency, sample.features[:, to])
        sample.target[to] = kinds[0][chosen]
        sample.weights[to] = np.concatenate(weights)[order]
        sample.images[to] = part[chosen // first.n_labels]
        at += len(chosen)
    return sample
