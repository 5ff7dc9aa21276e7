"""What the jobs share that make or use a classifier's predictions of a store's records."""
import numpy as np

from inference.predict import PredictionError, Predictor, classifier
from pipeline.cache import free_memory


def predictions_path(session, suffix="", run=None):
    """Of the run's predictions on the session's store. suffix: "_val" for its validation records."""
    run = run or session.run
    own = run is session.run and session.options.data_preds_dir
    return (own or run.folder / "predictions") / f"{session.store.info['name']}{suffix}.npz"


def held_logits(blocks, n, classes):
    """float32 [n, classes], blocks of predicted_blocks as one. Raises MemoryError where memory does not hold them."""
    if n * classes * 4 > free_memory():
        raise MemoryError(f"the logits of {n} records x {classes} classes take "
                          f"{n * classes * 4 / 1e9:.1f} GB, {free_memory() / 1e9:.1f} GB are free: "
                          "validate fewer records")
    logits, done = np.zeros((n, classes), np.float32), 0
    for block in blocks:
        logits[done:done + len(block)] = block
        done += len(block)
    return logits


def predicted_blocks(session, source, positions, description, rows):
    """Yields float32 [b, classes], what the run's network says of the records, in order, the mean over --views.
    rows: int [n], of the store, at these positions of the source. See Session.evaluation_batches."""
    run, o, n = session.run, session.options, len(positions)
    if not n:  # a detector may have found nothing
        return
    batches = session.evaluation_batches(run, source, positions, o.views, rows)
    predictor = Predictor(classifier(session.model, lambda logits, index: {"logits": logits},
                                     "sigmoids" if (o.task, o.views_mean) == ("multilabel", "probabilities")
                                     else o.views_mean), session.strategy)
    done = 0
    for index, values in predictor.results(batches, n, description):
        order = np.argsort(index)
        if not np.array_equal(index[order], np.arange(done, done + len(index))):
            raise PredictionError(f"record {index[order][0]} came where {done} was to come: a fault of the program")
        done += len(index)
        yield values["logits"][order]
