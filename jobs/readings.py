"""What a run has read on the pages of a store: the boxes, their characters, and how sure it is."""
import numpy as np
import pandas as pd
from scipy.special import logsumexp

from inference.box_features import box_features
from inference.predict import load_predictions
from jobs.detect import read_found
from jobs.errors import OptionError, option_errors
from jobs.predictions import predictions_path
from records.detections import COLUMNS


def readings(session):
    """DataFrame of the columns of records.detections, in the annotations' or the detector's order.

    Of a classifier: the boxes of its store, label and label_score its own, score the detector's (1
    where the boxes were given).
    """
    if session.options.task == "detect":
        if session.run.info["classes"] == "none":
            raise OptionError(f"{session.run.folder} finds boxes, but reads no characters in them: pack "
                              "these boxes (create_tfrecords.py --detections) and classify them")
        return read_found(session)
    manifest = session.store.manifest
    if session.store.info["records"] != "boxes":
        raise OptionError(f"{session.store.folder} holds whole images, not boxes of pages: there is "
                          "no submission to write; the predictions are in "
                          f"{predictions_path(session)}")
    classes, logits = load_predictions(predictions_path(session), manifest["id"].tolist(),
                                       session.store.own_sha256)
    read = manifest[["image_id", "x", "y", "w", "h"]].astype(dict.fromkeys("xywh", np.int64))
    read["score"] = manifest["score"] if "score" in manifest else 1.0
    read["label"] = np.array(classes)[logits.argmax(axis=1)]
    read["label_score"] = best_probability(logits)
    number = [int(record_id.rsplit(":", 1)[1]) for record_id in manifest["id"]]
    return read[list(COLUMNS)].iloc[np.lexsort([number, manifest["image_id"]])].reset_index(drop=True)


def best_probability(logits):
    """float32 [n] of logits [n, classes]."""
    return np.exp(logits.max(axis=1) - logsumexp(logits, axis=1))


def page_sizes(session):
    """{image_id: (width, height)} px, of every page that was packed."""
    pages = session.store.images()
    return {page: (int(width), int(height))
            for page, width, height in pages[["image_id", "width", "height"]].itertuples(index=False)}


def sound_readings(session):
    """The readings without those that --rescorer takes for false; all of them without one."""
    read = readings(session)
    if not session.options.rescorer:
        return read
    from inference.false_positives import Rescorer  # LightGBM and scikit-learn: not before they are needed
    with option_errors():
        rescorer = Rescorer.load(session.options.rescorer)
    probability = rescorer.predict(box_features(read, page_sizes(session)))
    sound = read[probability >= rescorer.threshold].reset_index(drop=True)
    print(f"rescored: {len(read) - len(sound)} of {len(read)} characters are left out as false "
          f"({session.options.rescorer}, probability below {rescorer.threshold:.3f})")
    return sound
