"""Errors that come out of tf.data end in one line too."""
import pytest
import tensorflow as tf

from jobs.errors import user_errors
from pipeline.decode import decode_image
from records.store import StoreError


def stopped_by(function):
    with pytest.raises(SystemExit) as stop, user_errors("run.py"):
        next(iter(tf.data.Dataset.from_tensors(b"\x89PNG\r\n\x1a\nbroken").map(function)))
    return str(stop.value)


def test_a_record_that_cannot_be_decoded():
    said = stopped_by(lambda data: decode_image(data, (4, 4, 1)))
    assert said.startswith("run.py: a record of the store is damaged") and "\n" not in said


def test_what_reading_says():
    def read(data):
        raise StoreError("shard-0 ends inside record a_1, at byte 7")
    said = stopped_by(lambda data: tf.numpy_function(read, [data], tf.uint8))
    assert said == "run.py: shard-0 ends inside record a_1, at byte 7"


def test_other_errors_show_where_they_are():
    with pytest.raises(tf.errors.InvalidArgumentError), user_errors("run.py"):
        tf.reshape(tf.zeros([3]), [2])
