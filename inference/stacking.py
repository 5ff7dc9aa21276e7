"""Stacking: a model of the models' predictions, fitted and used out of fold.

logits: float [models, n, k], what each model tells of each image and label, itself out of fold (by the
network of that fold, which never saw the image). folds: int [n], the same that those networks had.
"""
import numpy as np

from inference.multilabel import checked_bool, checked_folds
from models.stacking_cnn import network_inputs


class StackingError(ValueError):
    """Predictions, truth and folds that do not belong together, or a fit that tells something odd."""


def stack_out_of_fold(fit, logits, truth, folds, *, seed=0, columns=None):
    """(float32 [n, k], predictors): every image told by what was fitted without its fold.

    fit: function (logits float [models, m, k], truth bool [m, k], seed int) -> predictor, a function
    (logits float [models, b, k]) -> float [b, k]; it is called once per fold, with a seed that is a
    function of `seed` >= 0 and the fold's number alone. truth: bool [n, labels]. folds: whole numbers
    >= 0, two different ones at least. columns: int [k], the labels of a group, of which alone fit and
    predictors are given; None: all. predictors: one per fold, by rising number; for new images their
    mean is used.

    An image's truth touches its own answer by no fit of this stage. It did touch the first stage's
    networks of the other folds, on whose answers this stage is fitted: that is how stacking is done,
    and makes scores a little too good. Memory: a copy of the rows fitted to. Raises StackingError or
    MultilabelError.
    """
    logits, truth = np.asarray(logits), checked_bool("truth", truth)
    if logits.ndim != 3 or logits.shape[1:] != truth.shape or not logits.size:
        raise StackingError(f"logits are {list(logits.shape)} and truth {list(truth.shape)}: needed are "
                            "[models, images, labels] and [images, labels] of the same images and labels")
    folds = checked_folds(folds, len(truth))
    if folds.min() < 0:
        raise StackingError(f"folds are numbered from 0, got {folds.min()}")
    columns = np.arange(truth.shape[1]) if columns is None else np.asarray(columns)
    told, predictors = np.empty((len(truth), len(columns)), np.float32), []
    for fold in np.unique(folds):
        held_out, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        of_fold = int(np.random.SeedSequence([seed, fold]).generate_state(1)[0] // 2)
        predictor = fit(_chosen(logits, rest, columns), truth[np.ix_(rest, columns)], of_fold)
        answer = np.asarray(predictor(_chosen(logits, held_out, columns)))
        if answer.shape != (len(held_out), len(columns)) or not np.isfinite(answer).all():
            raise StackingError(f"fold {fold}'s predictor told {list(answer.shape)} for "
                                f"{[len(held_out), len(columns)]} [images, labels], finite "
                                f"{np.isfinite(answer).mean():.0%}: its training may have diverged")
        told[held_out] = answer
        predictors.append(predictor)
    return told, predictors


def predict_stacked(model, logits, columns=None, batch_size=1024):
    """Logits float32 [n, k] of a stacking network (models.stacking_cnn).

    logits: float [models, n, labels], or the probabilities if it was built for them. columns: int [k],
    the labels of the network where it is of a group; None: all. Memory: that of a batch besides.
    """
    logits = np.asarray(logits)
    batches = (network_inputs(logits, slice(start, start + batch_size), columns)
               for start in range(0, logits.shape[1], batch_size))
    parts = [np.asarray(model(batch, training=False)) for batch in batches]
    return np.concatenate(parts) if parts else np.zeros((0, model.output_shape[-1]), np.float32)


def _chosen(logits, rows, columns):
    return logits[np.ix_(np.arange(len(logits)), rows, columns)]
