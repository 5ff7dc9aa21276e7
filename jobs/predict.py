"""--job=predict: the most probable classes of any images, from a run directory alone.

predictions/images.csv (path, then class and probability by rank) and images.png, in the run's folder.
"""
import glob
import pathlib

import cv2
import numpy as np
import pandas as pd
import tensorflow as tf
from scipy.special import expit, softmax
from tqdm import tqdm

from inference.predict import Predictor, classifier
from jobs.errors import OptionError
from jobs.vectors import without_vectors
from pipeline.cache import ImageSource
from records.annotations import IMAGE_SUFFIXES
from records.chunks import CropOptions, cut_records
from records.files import write_text
from records.images import BadImage, decode_image
from reports.top_predictions import MOST_IMAGES, draw_top_predictions, top_rows

AT_ONCE = 256  # images, so that memory stays bounded
PRINTED = 20


def run(session):
    without_vectors(session, "predict")
    paths, info = image_paths(session.options.images), session.run.info
    names, probabilities, shown = session.run.class_names, [], []
    predictor = Predictor(classifier(session.model, lambda logits, index: {"logits": logits},
                                     session.options.views_mean), session.strategy)
    for start in tqdm(range(0, len(paths), AT_ONCE), desc="predicting", unit=" x 256 images", delay=2):
        images = np.stack([read_record(path, info) for path in paths[start:start + AT_ONCE]])
        held = tf.constant(images)
        source = ImageSource("decoded", lambda at: at.map(lambda batch: tf.gather(held, batch)), images.nbytes)
        batches = session.evaluation_batches(session.run, source, np.arange(len(images)),
                                             session.options.views)
        logits = predictor(batches, len(images))["logits"]
        probabilities.append(expit(logits) if info["task"] == "multilabel" else softmax(logits, axis=1))
        shown += list(images[:max(0, MOST_IMAGES - start)])
    classes, shares = top_rows(np.concatenate(probabilities), names)
    folder = session.options.data_preds_dir or session.run.folder / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({"path": list(map(str, paths))})
    for rank in range(shares.shape[1]):
        table[f"class{rank + 1}"] = [row[rank] for row in classes]
        table[f"probability{rank + 1}"] = shares[:, rank].round(4)
    write_text(folder / "images.csv", table.to_csv(index=False, lineterminator="\n"))
    for path, row, share in list(zip(paths, classes, shares))[:PRINTED]:
        print(f"{path}: " + ", ".join(f"{name} {p:.3f}" for name, p in zip(row, share)))
    draw_top_predictions(folder / "images.png", shown + [shown[0]] * (len(paths) - len(shown)), classes,
                         shares, titles=[path.name for path in paths])
    print(f"predicted: {len(paths)} images -> {folder / 'images.csv'}, {folder / 'images.png'}")


def image_paths(given):
    """Every image that is named, lies in a named folder, or fits a pattern. Raises OptionError."""
    paths = []
    for text in given:
        path = pathlib.Path(text)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        else:
            found = [path] if path.is_file() else sorted(map(pathlib.Path, glob.glob(text, recursive=True)))
        if not found:
            raise OptionError(f"--images: no image at {text}")
        paths += found
    return list(dict.fromkeys(paths))


def read_record(path, info):
    """uint8 [size, size, channels] of an image file, made as the records of the run's store were."""
    packing, channels = info["dataset"]["packing"], info["input"]["channels"]
    how = CropOptions(records="images", encoding="png", jpeg_quality=0, max_megapixels=200, **packing)
    try:
        page = decode_image(pathlib.Path(path).read_bytes())
    except (BadImage, OSError) as error:
        raise OptionError(f"{path}: {error}") from error
    record = next(cut_records(page, None, how))
    if record.shape[2] == channels:
        return record if channels == 1 else record[:, :, ::-1]
    convert = cv2.COLOR_BGR2GRAY if channels == 1 else cv2.COLOR_GRAY2RGB
    return cv2.cvtColor(record, convert).reshape(*record.shape[:2], channels)
