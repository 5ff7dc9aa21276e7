"""--job=test: predictions of a run for the records of a store, by id."""
import numpy as np

from inference.predict import save_predictions
from jobs.predictions import predicted_blocks, predictions_path


def run(session):
    store, run, o = session.store, session.run, session.options
    session.check_packing()
    rows = np.arange(len(store.manifest))
    logits = predicted_blocks(session, session.images_of(rows), rows, "predicting", rows)
    path = predictions_path(session)
    save_predictions(path, store.manifest["id"].tolist(), run.class_names, logits,
                     store.own_sha256, store.records_sha256)
    views = "" if o.views == "one" else f" in {o.views} views"
    print(f"predicted: {len(rows)} records{views} -> {path}")
