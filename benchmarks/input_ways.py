"""Ours with each cache, and the limits: what decoding and reading alone would allow."""
import concurrent.futures
import collections

import cv2
import numpy as np
import tensorflow as tf

from benchmarks.peers import ERASE_AREA, ERASE_P, ERASE_RATIO, MEAN, RRC_RATIO, RRC_SCALE, STD
from pipeline.augmentation import Augmentation, InputFormat
from pipeline.batches import training_batches
from pipeline.cache import CACHES, image_source
from pipeline.colour import Colour
from pipeline.erasing import Erasing
from pipeline.geometry import Geometry
from pipeline.mixing import Mixing

FOREVER = 10**6  # epochs


def augmentation(task):
    colour = {"saturation": task.jitter, "hue": task.hue, "gray": task.gray, "pca": task.pca}
    return Augmentation(
        Geometry(rotate=task.rotate, rrc_scale=RRC_SCALE, rrc_ratio=RRC_RATIO),
        colour=Colour(brightness=task.jitter, contrast=task.jitter,
                      **(colour if task.channels == 3 else {})),
        mixing=Mixing(mixup=task.mixup, icap=task.icap, icap_p=0.5 if task.icap else None),
        erasing=Erasing(ERASE_P, ERASE_AREA, ERASE_RATIO))


def input_format(task):
    return InputFormat(task.size, task.channels, (MEAN,) * task.channels, (STD,) * task.channels,
                       "float32")


def our_batches(store, source, task, augment_on="host"):
    """Our endless data set over all records of the store, which `source` holds."""
    labels = store.manifest["label_id"].to_numpy(np.int64)
    return training_batches(source, np.arange(len(labels)), labels, len(store.class_names),
                            augmentation(task), input_format(task), batch_size=task.batch_size,
                            seed=1, n_epochs=FOREVER, augment_on=augment_on)


def ours(store, task):
    """{name: endless iterator}"""
    rows = np.arange(len(store.manifest))
    ways = {}
    for kind in CACHES:
        if kind != "auto":
            source = image_source(store, rows, task.channels, kind)
            ways[f"ours, {kind}"] = iter(our_batches(store, source, task))
            if kind == "decoded":
                ways["ours, decoded, augment_on=device: host part"] = iter(
                    our_batches(store, source, task, "device"))
    return ways


def limits(photos, task, workers):
    """{name: endless iterator}; batches of as many images, or records, as ours."""
    n, shape = task.batch_size, (task.record, task.record, task.channels)
    decode = lambda jpeg: tf.ensure_shape(tf.io.decode_jpeg(jpeg, channels=task.channels), shape)
    encoded = tf.data.Dataset.from_tensor_slices(photos.jpegs).repeat()
    records = tf.data.TFRecordDataset(photos.store.shard_paths()).repeat()
    images = tf.stack([decode(jpeg) for jpeg in photos.jpegs])
    numbers = tf.data.Dataset.range(len(photos.jpegs)).shuffle(len(photos.jpegs)).repeat()
    limit = {"JPEG decode in tf.data": encoded.map(decode, tf.data.AUTOTUNE).batch(n, True),
             "TFRecord read": records.batch(n, True),
             "shuffled uint8 gather": numbers.batch(n, True).map(
                 lambda batch: tf.gather(images, batch), tf.data.AUTOTUNE)}
    iterators = {name: iter(data.prefetch(tf.data.AUTOTUNE)) for name, data in limit.items()}
    return {"OpenCV decode": _opencv_decode(photos.jpegs, task, workers), **iterators}


def _opencv_decode(jpegs, task, workers):
    cv2.setNumThreads(1)  # the threads here are the parallelism
    flags = cv2.IMREAD_GRAYSCALE if task.channels == 1 else cv2.IMREAD_COLOR_RGB
    data = [np.frombuffer(jpeg, np.uint8) for jpeg in jpegs]

    def batch(start):
        return [cv2.imdecode(data[k % len(data)], flags) for k in range(start, start + task.batch_size)]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        ahead, start = collections.deque(), 0
        while True:
            ahead.append(pool.submit(batch, start))
            start += task.batch_size
            if len(ahead) > workers + 1:
                yield ahead.popleft().result()
