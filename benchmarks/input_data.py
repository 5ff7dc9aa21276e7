"""The images of the input pipeline's benchmark: crops of demo pages, packed, and as plain files."""
import pathlib

import keras2  # noqa: F401  before TensorFlow
import numpy as np
import tensorflow as tf

import create_tfrecords
from benchmarks.peers import Photos
from records import demo_pages
from records.schema import parse_examples
from records.store import open_store


def draw(folder, pages):
    demo_pages.main([f"--out_dir={folder / 'demo'}", f"--train_pages={pages}", "--test_pages=1",
                     "--test_books=1", "--books=2", "--drawings=0"])


def pack(folder, size, channels):
    """The opened store of all crops, JPEG of quality 95."""
    out = folder / f"store_{size}_{channels}"
    create_tfrecords.main([f"--data_dir={folder / 'demo'}", f"--out_dir={out}", f"--size={size}",
                           f"--channels={channels}", "--encoding=jpeg", "--jpeg_quality=95",
                           "--local_contrast=off", "--denoise=off"])
    return open_store(out)


def photos(store, folder):
    """The records of a store as Photos, the very bytes that are packed."""
    jpegs, labels, paths = [], [], []
    for serialised in tf.data.TFRecordDataset(store.shard_paths()).batch(512):
        examples = parse_examples(serialised)
        jpegs += examples["image"].numpy().tolist()
        labels += examples["label_id"].numpy().tolist()
    for number, (jpeg, label) in enumerate(zip(jpegs, labels)):
        path = pathlib.Path(folder, f"{label:04d}", f"{number:06d}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)
        paths.append(str(path))
    return Photos(store, jpegs, str(folder), paths, np.array(labels), len(store.class_names))
