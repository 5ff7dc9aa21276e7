"""The TFRecord schema of a packed example: id, image bytes, label."""
import tensorflow as tf

FEATURES = {
    "image_id": tf.io.FixedLenFeature([], tf.string),  # the record's id, as in manifest.csv
    "image": tf.io.FixedLenFeature([], tf.string),  # PNG or JPEG bytes
    "label_id": tf.io.FixedLenFeature([], tf.int64),  # index into class_names; -1: unknown
    "label": tf.io.FixedLenFeature([], tf.string),  # class name; "": unknown
}
FRAME_HEAD = 12  # bytes of a TFRecord before its data: length and its checksum
FRAME_TAIL = 4  # bytes after it: checksum of the data


def serialise_example(image_id, image, label_id, label):
    """tf.train.Example as bytes. image_id, label: str; image: bytes; label_id: int."""
    def strings(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature={
        "image_id": strings(image_id.encode()), "image": strings(image),
        "label_id": tf.train.Feature(int64_list=tf.train.Int64List(value=[label_id])),
        "label": strings(label.encode())})).SerializeToString(deterministic=True)


def parse_examples(serialised):
    """string [n] -> dict of FEATURES' names to tensors [n]."""
    return tf.io.parse_example(serialised, FEATURES)
