"""Targets of pseudo labels: scaled before they are mixed, on the host as on the device."""
import numpy as np
import pytest
import tensorflow as tf

import create_tfrecords
from jobs.options import parse
from jobs.session import Session
from jobs.train import augmented_batches
from pipeline.augmentation import Augmentation, InputFormat
from pipeline.batches import augment_on_device, training_batches
from pipeline.cache import ImageSource
from pipeline.mixing import Mixing
from tests.helpers import make_classes

RECORDS = 24
FORMAT = InputFormat(size=8, channels=1, mean=(0.5,), std=(0.25,), dtype="float32")
SCALES = np.where(np.arange(RECORDS) % 3, 1.0, 0.9).astype(np.float32)


def batches(augmentation=Augmentation(), **arguments):
    """Every record is a class of its own, so that a target tells which records are in it."""
    images = tf.random.stateless_uniform([RECORDS, 8, 8, 1], [1, 2], 0, 255, tf.int32)
    images = tf.cast(images, tf.uint8)
    source = ImageSource("decoded", lambda drawn: drawn.map(lambda batch: tf.gather(images, batch)), 0)
    return list(training_batches(source, np.arange(RECORDS), np.arange(RECORDS), RECORDS, augmentation,
                                 FORMAT, batch_size=8, seed=1, n_epochs=1, **arguments))


@pytest.mark.parametrize("mixing", [Mixing(), Mixing(mixup=0.4, icap=1.0)])
def test_each_record_brings_its_scale_into_the_mixture(mixing):
    augmentation = Augmentation(mixing=mixing)
    plain, scaled = batches(augmentation), batches(augmentation, target_scales=SCALES)
    assert len(plain) == 3
    for (images, targets), (same, scaled_targets) in zip(plain, scaled, strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_allclose(scaled_targets, targets * SCALES, rtol=1e-6)  # by column, by record
    if mixing == Mixing():
        assert {round(float(row.max()), 6) for _, targets in scaled for row in targets.numpy()} == {0.9, 1}


def test_the_device_and_the_parts_of_workers_have_the_same_targets():
    augmentation = Augmentation(mixing=Mixing(mixup=0.4))
    whole = batches(augmentation, target_scales=SCALES, replicas=2)
    finish = augment_on_device(augmentation, FORMAT, RECORDS)
    parts = [batches(augmentation, target_scales=SCALES, replicas=2, worker=worker, n_workers=2,
                     augment_on="device") for worker in (0, 1)]
    for (_, targets), *of_workers in zip(whole, *parts, strict=True):
        assert [drawn["plan"]["target_scale"].shape for drawn, _ in of_workers] == [(4,), (4,)]
        finished = [finish(*part)[1] for part in of_workers]
        np.testing.assert_allclose(np.concatenate(finished), targets, rtol=1e-6)


def test_the_manifest_says_which_records_are_pseudo_labelled(tmp_path):
    make_classes(tmp_path / "set", classes=2)
    create_tfrecords.main(["--format=folder", f"--data_dir={tmp_path / 'set'}", "--size=16",
                           f"--out_dir={tmp_path / 'store'}", "--channels=1", "--workers=1"])
    session = Session(parse([f"--data_tfrec_dir={tmp_path / 'store'}", "--job=train", "--batch_size=16",
                             "--pseudo_target=0.75"]))
    session.store.manifest.loc[session.labels == 1, "source"] = "pseudo"
    for _, targets in augmented_batches(session, np.arange(16), "host").take(2):
        assert sorted(map(tuple, targets.numpy())) == [(0, 0.75)] * 8 + [(1, 0)] * 8
