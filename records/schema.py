"""The TFRecord schema of a packed example: id, image bytes, label."""
import tensorflow as tf

FEATURES = {
    "image_id": tf.io.FixedLenFeature([], tf.string),  # the record's id, as in manifest.csv
    "image": tf.io.FixedLenFeature([], tf.string),  # PNG or JPEG bytes
    "label_id": tf.io.FixedLenFeature([], tf.int64),  # index into class_names; -1: unknown
    "label": tf.io.FixedLenFeature([], tf.string),  # class name; "": unknown
}
# Beside them, in records of several labels or none, and read by name only (the manifest has it too):
LABEL_IDS = {"label_ids": tf.io.RaggedFeature(tf.int64)}  # ascending indices into class_names
FRAME_HEAD = 12  # bytes of a TFRecord before its data: length and its checksum
FRAME_TAIL = 4  # bytes after it: checksum of the data


def serialise_example(image_id, image, label_id, label, label_ids=None):
    """tf.train.Example as bytes. image_id, label: str; image: bytes; label_id: int.

    label_ids: list of int, in a store of several labels an image; None: no such feature.
    """
    def strings(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def numbers(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    features = {"image_id": strings(image_id.encode()), "image": strings(image),
                "label_id": numbers([label_id]), "label": strings(label.encode())}
    if label_ids is not None:
        features["label_ids"] = numbers(label_ids)
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def parse_examples(serialised):
    """string [n] -> dict of FEATURES' names to tensors [n]."""
    return tf.io.parse_example(serialised, FEATURES)
