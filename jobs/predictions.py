"""What the jobs share that make or use a classifier's predictions of a store's records."""
import numpy as np

from inference.predict import Predictor, classifier
from pipeline.cache import free_memory


def predictions_path(session, suffix="", run=None):
    """Of the run's predictions on the session's store. suffix: "_val" for its validation records."""
    run = run or session.run
    own = run is session.run and session.options.data_preds_dir
    return (own or run.folder / "predictions") / f"{session.store.info['name']}{suffix}.npz"


def predicted_logits(session, source, positions, description):
    """float32 [n, classes] of the run's network, the mean over --views. See Session.evaluation_batches.

    Raises MemoryError where memory does not hold them.
    """
    run, o, n = session.run, session.options, len(positions)
    classes = len(run.class_names)
    if n * classes * 4 > free_memory():
        raise MemoryError(f"the logits of {n} records x {classes} classes take "
                          f"{n * classes * 4 / 1e9:.1f} GB, {free_memory() / 1e9:.1f} GB are free: "
                          "pack the pages in several stores, and predict one at a time")
    if not n:  # a detector may have found nothing
        return np.zeros((0, classes), np.float32)
    batches = session.evaluation_batches(run, source, positions, o.views)
    predictor = Predictor(classifier(session.model, lambda logits, index: {"logits": logits},
                                     "sigmoids" if (o.task, o.views_mean) == ("multilabel", "probabilities")
                                     else o.views_mean), session.strategy)
    return predictor(batches, n, description)["logits"]
