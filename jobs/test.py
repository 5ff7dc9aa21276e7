"""--job=test: predictions of a run for every record of a store, by id."""
import numpy as np

from inference.predict import Predictor, classifier, save_predictions
from pipeline.cache import free_memory, image_source


def predictions_path(session):
    folder = session.options.data_preds_dir or session.run.folder / "predictions"
    return folder / f"{session.store.info['name']}.npz"


def run(session):
    store, run = session.store, session.run
    session.check_packing()
    n, classes = len(store.manifest), len(run.class_names)
    if n * classes * 4 > free_memory():
        raise MemoryError(f"the logits of {n} records x {classes} classes take "
                          f"{n * classes * 4 / 1e9:.1f} GB, {free_memory() / 1e9:.1f} GB are free: "
                          "pack the pages in several stores, and predict one at a time")
    logits = np.zeros((0, classes), np.float32)
    if n:  # a detector may have found nothing
        model, rows = session.model, np.arange(n)
        source = image_source(store, rows, run.info["input"]["channels"], session.options.cache,
                              session.options.cache_dir)
        batches = session.evaluation_batches(run, source, rows)
        predictor = Predictor(classifier(model, lambda logits, index: {"logits": logits}),
                              session.strategy)
        logits = predictor(batches, n, "predicting")["logits"]
    path = predictions_path(session)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_predictions(path, store.manifest["id"].tolist(), run.class_names, logits,
                     store.info["manifest_sha256"])
    print(f"predicted: {n} records -> {path}")
