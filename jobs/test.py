"""--job=test: predictions of a run for the records of a store, by id."""
import numpy as np

from inference.predict import save_predictions
from jobs.predictions import predicted_logits, predictions_path


def run(session):
    store, run, o = session.store, session.run, session.options
    session.check_packing()
    rows = np.arange(len(store.manifest))
    source = session.image_source(rows, o.cache, run.info["input"]["channels"])
    logits = predicted_logits(session, source, rows, "predicting")
    path = predictions_path(session)
    save_predictions(path, store.manifest["id"].tolist(), run.class_names, logits,
                     store.own_sha256, store.records_sha256)
    views = "" if o.views == "one" else f" in {o.views} views"
    print(f"predicted: {len(rows)} records{views} -> {path}")
