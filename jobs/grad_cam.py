"""--job=grad_cam: where in any images a run sees its labels, from a run directory alone.

RUN_DIR/grad_cam/NAME.png of each image, under the heat map of each label, and sheet.png of all.
"""
import difflib

import numpy as np
import tensorflow as tf
from scipy.special import expit, softmax
from tqdm import tqdm

from inference.predict import Predictor
from jobs.errors import OptionError, option_errors
from jobs.predict import image_paths, read_record
from jobs.vectors import without_vectors
from models.grad_cam import heat_maps
from pipeline.cache import ImageSource
from reports.example_grid import denormalise
from reports.heat_overlay import MOST_IMAGES, draw_heat_maps

AT_ONCE = 32  # images, so that memory stays bounded
MOST_LABELS = 3  # of an image, where none are named
SIDE, SHEET_SIDE = 448, 192  # px, of an image in its own picture and in that of all
SHEET = "sheet"


def run(session):
    without_vectors(session, "grad_cam")
    paths, run = image_paths(session.options.images), session.run
    names, asked = run.class_names, label_numbers(session.options.labels, run.class_names)
    with option_errors():
        method, heat_of = heat_maps(session.model, run.info["network"]["backbone"])

    def look(index, images):
        """images: [b, 1, size, size, c]. Labels int32 [b, k], heat [b, k, size, size]."""
        images = images[:, 0]
        logits = tf.cast(session.model(images, training=False), tf.float32)
        labels = (tf.repeat(tf.constant([asked], tf.int32), tf.shape(images)[0], axis=0) if asked else
                  tf.math.top_k(logits, min(MOST_LABELS, len(names))).indices)
        return {"images": tf.cast(images, tf.float32), "logits": logits, "labels": labels,
                "heat": heat_of(images, labels)}
    predictor = Predictor(look, session.strategy)
    folder = run.folder / "grad_cam"
    folder.mkdir(parents=True, exist_ok=True)
    files, shown = file_names(paths), []
    for start in tqdm(range(0, len(paths), AT_ONCE), desc=method, unit=f" x {AT_ONCE} images", delay=2):
        for place, values in enumerate(looked_at(session, predictor, paths[start:start + AT_ONCE]), start):
            shares = probabilities(values["logits"], run.info)[values["labels"]]
            drawn = (denormalise(values["images"], run.info["input"]["mean"], run.info["input"]["std"]),
                     values["heat"], [names[k] for k in values["labels"]], shares, paths[place].name)
            draw_heat_maps(folder / f"{files[place]}.png", *([part] for part in drawn), method, side=SIDE)
            if len(shown) < MOST_IMAGES:
                shown.append(drawn)
    parts = [list(part) + [part[0]] * (len(paths) - len(shown)) for part in zip(*shown)]
    draw_heat_maps(folder / f"{SHEET}.png", *parts, method, side=SHEET_SIDE)
    print(f"{method}: {len(paths)} images -> {folder}/, all together in {SHEET}.png")


def looked_at(session, predictor, paths):
    """Yields the dict of what the predictor gives for each image, in order."""
    images = np.stack([read_record(path, session.run.info) for path in paths])
    held = tf.constant(images)
    source = ImageSource("decoded", lambda at: at.map(lambda batch: tf.gather(held, batch)), images.nbytes)
    batches = session.evaluation_batches(session.run, source, np.arange(len(images)))
    for index, values in predictor.results(batches, len(images)):
        for k in np.argsort(index):
            yield {name: value[k] for name, value in values.items()}


def probabilities(logits, info):
    """Of the classes: of a multi-label run each by itself, else of one of them. logits: float [classes]."""
    return expit(logits) if info["task"] == "multilabel" else softmax(logits)


def label_numbers(labels, class_names):
    """Numbers of the classes of these names. Raises OptionError."""
    numbers = {name: number for number, name in enumerate(class_names)}
    for label in labels:
        if label not in numbers:
            close = difflib.get_close_matches(label, class_names, 3, 0.5)
            raise OptionError(f"--labels: the run has no class {label!r} among its {len(class_names)}" +
                              (f" (did you mean {' or '.join(close)}?)" if close else ""))
    return [numbers[label] for label in dict.fromkeys(labels)]


def file_names(paths):
    """A name for the picture of each image: its own, numbered where another has it."""
    taken, names = {SHEET}, []
    for path in paths:
        name, number = path.stem, 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name)
        names.append(name)
    return names
