"""Examples written by hand are what TensorFlow reads."""
import numpy as np
import tensorflow as tf

from records.schema import parse_examples, serialise_example


def example_of(image_id, image, label_id, label, label_ids=None):
    strings = lambda value: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    numbers = lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    features = {"image_id": strings(image_id.encode()), "image": strings(image), "label_id": numbers([label_id]),
                "label": strings(label.encode())}
    if label_ids is not None:
        features["label_ids"] = numbers(label_ids)
    return tf.train.Example(features=tf.train.Features(feature=features))


def test_read_by_tensorflow_as_they_were_meant():
    random = np.random.default_rng(0)
    for size in (0, 1, 100, 120, 127, 128, 5000, 16_383, 16_384, 3_000_000):
        for label_ids in (None, [], [0], [3, 127, 128, 70_000]):
            for name, label_id, label in (("", -1, ""), ("12_3", 0, "U+3042"), ("é" * 90, 2**40, "くずし字")):
                arguments = name, random.bytes(size), label_id, label, label_ids
                written = serialise_example(*arguments)
                assert tf.train.Example.FromString(written) == example_of(*arguments)
                assert len(written) == len(example_of(*arguments).SerializeToString())
    parsed = parse_examples([serialise_example("a", b"x", -1, ""), serialise_example("é_1", b"", 7, "く", [3])])
    assert [parsed[name].numpy().tolist() for name in ("image_id", "label_id")] == [
        ["a".encode(), "é_1".encode()], [-1, 7]]
