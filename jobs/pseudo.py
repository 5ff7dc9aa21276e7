"""--job=pseudo: labels of what was read surely on unlabelled images -> RUN_DIR/pseudo/NAME.csv.

create_tfrecords.py --pseudo packs them. NAME.json beside it tells of the run that made them.
"""
import numpy as np
import pandas as pd

from inference.predict import load_predictions
from jobs import multilabel
from jobs.errors import OptionError
from jobs.predictions import predictions_path
from jobs.readings import best_probability, sound_readings
from records.detections import write_detections
from records.files import write_json, write_text


def run(session):
    o, store, run = session.options, session.store, session.run
    if store.info["source"] != "test":
        raise OptionError(f"{store.folder} was packed with --source={store.info['source']}: pseudo labels "
                          "are for images without labels (create_tfrecords.py --source=test)")
    path = run.folder / "pseudo" / f"{store.info['name']}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)  # never that of older labels
    if o.task == "multilabel":
        every = several_labels(session)
        kept = every[every["probability"] >= o.pseudo_probability]
        write_text(path, kept.to_csv(index=False, lineterminator="\n"))
    elif o.task == "classify" and store.info["records"] == "images":
        ids = store.manifest["id"].tolist()
        classes, logits = load_predictions(predictions_path(session), ids, store.own_sha256)
        every = pd.DataFrame({"id": ids, "label": np.array(classes)[logits.argmax(axis=1)],
                              "probability": best_probability(logits).round(4)})
        kept = every[every["probability"] >= o.pseudo_probability]
        write_text(path, kept.to_csv(index=False, lineterminator="\n"))
    else:
        every = sound_readings(session)
        kept = every[every["label_score"] >= o.pseudo_probability]
        write_detections(path, kept)
    write_json(path.with_suffix(".json"), {
        "run": str(run.folder), "run_created": run.info["created"], "members": run.info.get("members", []),
        "rescorer": None if o.rescorer is None else str(o.rescorer),
        "pseudo_probability": o.pseudo_probability, "store": str(store.folder),
        "store_manifest_sha256": store.info["manifest_sha256"]})
    names = kept["label" if "label" in kept else "labels"].str.split("|").explode().nunique()
    print(f"pseudo labels: {len(kept)} of {len(every)} with a probability of at least "
          f"{o.pseudo_probability:g}, {names} of {len(run.class_names)} classes -> {path}")


def several_labels(session):
    """Of every image that is given a label: id, labels parted by |, probability of the likeliest."""
    names, given, probabilities = multilabel.given_labels(session)
    table = pd.DataFrame({"id": session.store.manifest["id"],
                          "labels": ["|".join(np.array(names)[row]) for row in given],
                          "probability": probabilities.max(axis=1).round(4)})
    return table[table["labels"] != ""]
