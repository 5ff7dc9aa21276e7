"""The TFRecord schema of a packed example: id, image bytes, label."""
import functools

import tensorflow as tf

FEATURES = {
    "image_id": tf.io.FixedLenFeature([], tf.string),  # the record's id, as in manifest.csv
    "image": tf.io.FixedLenFeature([], tf.string),  # PNG or JPEG bytes
    "label_id": tf.io.FixedLenFeature([], tf.int64),  # index into class_names; -1: unknown
    "label": tf.io.FixedLenFeature([], tf.string),  # class name; "": unknown
}
# Beside them, in records of several labels or none, and read by name only (the manifest has it too):
LABEL_IDS = {"label_ids": tf.io.RaggedFeature(tf.int64)}  # ascending indices into class_names
VALUE, MAP_VALUE, INT64_LIST = b"\x0a", b"\x12", b"\x1a"  # tags of fields 1, 2, 3 that have a length
FRAME_HEAD = 12  # bytes of a TFRecord before its data: length and its checksum
FRAME_TAIL = 4  # bytes after it: checksum of the data


def serialise_example(image_id, image, label_id, label, label_ids=None):
    """tf.train.Example as bytes. image_id, label: str; image: bytes; label_id: int.

    label_ids: list of int, in a store of several labels an image; None: no such feature. They are put
    together here in a tenth of the time that its own classes take, most of the packing of small pictures.
    """
    name = image_id.encode()
    entries = (_head(b"image", len(image)), image, _head(b"image_id", len(name)), name,
               _labels(label_id, label, None if label_ids is None else tuple(label_ids)))
    return b"".join((b"\n", _varint(sum(map(len, entries))), *entries))


@functools.lru_cache(1 << 14)
def _head(key, length):
    """What stands before `length` bytes that are the feature `key`."""
    head = b""
    for tag, before in ((VALUE, b""), (VALUE, b""), (MAP_VALUE, _field(VALUE, key)), (VALUE, b"")):
        head = before + tag + _varint(len(head) + length) + head  # value, BytesList, Feature, map entry
    return head


@functools.lru_cache(1 << 14)
def _labels(label_id, label, label_ids):
    """The features label, label_id and perhaps label_ids, in the order of their names."""
    text = label.encode()
    entries = _head(b"label", len(text)) + text
    for key, values in ((b"label_id", (label_id,)), (b"label_ids", label_ids)):
        if values is not None:
            numbers = _field(VALUE, b"".join(map(_varint, values))) if values else b""
            entries += _field(VALUE, _field(VALUE, key) + _field(MAP_VALUE, _field(INT64_LIST, numbers)))
    return entries


def _field(tag, contents):
    return tag + _varint(len(contents)) + contents


def _varint(value):
    """The bytes of an int64: 7 bits each, the lowest first, the highest bit set but in the last."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def parse_examples(serialised):
    """string [n] -> dict of FEATURES' names to tensors [n]."""
    return tf.io.parse_example(serialised, FEATURES)
