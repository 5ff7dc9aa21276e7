"""Examples written by hand are TensorFlow's own, byte for byte."""
import numpy as np
import tensorflow as tf

from records.schema import serialise_example


def tensorflows(image_id, image, label_id, label, label_ids=None):
    strings = lambda value: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    numbers = lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    features = {"image_id": strings(image_id.encode()), "image": strings(image), "label_id": numbers([label_id]),
                "label": strings(label.encode())}
    if label_ids is not None:
        features["label_ids"] = numbers(label_ids)
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def test_same_bytes_as_tensorflows():
    random = np.random.default_rng(0)
    for size in (0, 1, 100, 120, 127, 128, 5000, 16_383, 16_384, 3_000_000):
        for label_ids in (None, [], [0], [3, 127, 128, 70_000]):
            for name, label_id, label in (("", -1, ""), ("12_3", 0, "U+3042"), ("é" * 90, 2**40, "くずし字")):
                arguments = name, random.bytes(size), label_id, label, label_ids
                assert serialise_example(*arguments) == tensorflows(*arguments)
