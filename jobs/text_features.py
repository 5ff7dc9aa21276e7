"""--job=text_features: what a CRNN sees on the words of each image, as a vector by image_id.

RUN/text_features/NAME.npz (see records.features) has a vector for every image of the store's images.csv: of
each record the sequence of the last recurrent layer, its mean and its maximum over the steps, 2 x 2 units
numbers together; of several records of an image the maximum or the mean of these (--pool_boxes). Images
without a record, in which no text was found, have zeros. Memory: 4 bytes x images x numbers.
"""

import numpy as np
import pandas as pd
import tensorflow as tf

from inference.predict import Predictor
from jobs.text import line_batches
from models.crnn import sequence_model
from pipeline.cache import free_memory, image_source
from records.features import write_features


def run(session):
    store, run, o = session.store, session.run, session.options
    session.check_packing()
    rows, images = np.arange(len(store.manifest)), store.images()["image_id"].to_numpy()
    sequence = sequence_model(session.model)
    width = 2 * sequence.output_shape[-1]
    if len(images) * width * 4 > free_memory():
        raise MemoryError(f"the vectors of {len(images)} images x {width} numbers take "
                          f"{len(images) * width * 4 / 1e9:.1f} GB, {free_memory() / 1e9:.1f} GB are free: pack "
                          "the images in several stores, and take one at a time")
    source = image_source(store, rows, run.info["input"]["channels"], o.cache, o.cache_dir)
    predictor = Predictor(lambda index, lines: {"vector": over_steps(sequence(lines, training=False))},
                          session.strategy)
    place = pd.Index(images).get_indexer(store.manifest["image_id"])
    parts = predictor.results(line_batches(session, source, rows), len(rows), "looking")
    vectors = over_boxes(((place[index], values["vector"]) for index, values in parts), len(images), width,
                         o.pool_boxes)
    path = (o.data_preds_dir or run.folder / "text_features") / f"{store.info['name']}.npz"
    write_features(path, images, vectors, {
        "run": str(run.folder), "created": run.info["created"], "store": store.own_sha256,
        "pool_boxes": o.pool_boxes})
    found = len(np.unique(place))
    print(f"text features: {width} numbers of {len(images)} images, {found} of them with text -> {path}")


def over_steps(sequence):
    """float32 [n, 2 f]: mean and maximum over the steps of a sequence [n, steps, f]."""
    sequence = tf.cast(sequence, tf.float32)
    return tf.concat([tf.reduce_mean(sequence, axis=1), tf.reduce_max(sequence, axis=1)], axis=1)


def over_boxes(parts, n, width, kind):
    """float32 [n, width]: of the vectors of an image the "max" or "mean", 0 where it has none.

    parts: (int [k], float32 [k, width])s, images and vectors.
    """
    vectors, counts = np.zeros((n, width), np.float32), np.zeros(n, np.int64)
    if kind == "max":
        vectors[:] = -np.inf
    for images, values in parts:
        (np.maximum if kind == "max" else np.add).at(vectors, images, values)
        np.add.at(counts, images, 1)
    if kind == "mean":
        vectors /= np.maximum(counts, 1)[:, None].astype(np.float32)
    vectors[counts == 0] = 0
    return vectors
