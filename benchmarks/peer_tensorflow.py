"""The usual ways in TensorFlow: tf.data with changes image by image."""
import contextlib
import io
import json
import math
import os

import keras2  # noqa: F401  before TensorFlow
import tensorflow as tf

from benchmarks.peers import (ERASE_AREA, ERASE_P, ERASE_RATIO, MEAN, RRC_RATIO, RRC_SCALE, STD)
from pipeline.colour import COMPONENTS, DEVIATIONS
from records.schema import parse_examples


def tf_image(photos, task, workers):
    """RGB, of TFRecords, with random numbers of tf.random. It lacks ICAP, in whose place is mixup.
    tf.data has as many threads as there are cores, whatever `workers` is."""
    def load(serialised):
        example = parse_examples(serialised[None])
        image = tf.io.decode_jpeg(example["image"][0], channels=3)
        return _changed(tf.cast(image, tf.float32) / 255, task), example["label_id"][0]

    def mix(images, labels):
        share = _beta(task.icap or task.mixup)
        partner = tf.random.shuffle(tf.range(task.batch_size))
        targets = tf.one_hot(labels, photos.n_classes)
        return (share * images + (1 - share) * tf.gather(images, partner),
                share * targets + (1 - share) * tf.gather(targets, partner))
    records = tf.data.TFRecordDataset(photos.store.shard_paths()).shuffle(4096).repeat()
    batches = records.map(load, tf.data.AUTOTUNE).batch(task.batch_size, drop_remainder=True)
    return iter(batches.map(mix, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE))


def _beta(concentration):
    gammas = tf.random.gamma([2], concentration)
    return gammas[0] / tf.reduce_sum(gammas)


def _changed(image, task):
    """One image float32 [h, w, 3], 0..1 -> [size, size, 3], normalised."""
    image = _rotated(image, task.rotate)
    image = _random_crop(image, task.size)
    image = tf.cond(tf.random.uniform([]) < task.gray, lambda: tf.image.grayscale_to_rgb(
        tf.image.rgb_to_grayscale(image)), lambda: image)
    factor = lambda: tf.random.uniform([], 1 - task.jitter, 1 + task.jitter)
    image = tf.clip_by_value(image * factor(), 0, 1)
    image = tf.clip_by_value(tf.image.adjust_contrast(image, factor()), 0, 1)
    image = tf.clip_by_value(tf.image.adjust_saturation(image, factor()), 0, 1)
    image = tf.image.random_hue(image, task.hue)
    noise = tf.random.normal([3], stddev=task.pca) * DEVIATIONS
    image = tf.clip_by_value(image + tf.linalg.matvec(COMPONENTS, noise), 0, 1)
    return (_erased(image, task.size) - MEAN) / STD


def _rotated(image, degrees):
    angle = math.radians(degrees) * tf.random.uniform([], -1, 1)
    cos, sin = tf.cos(angle), tf.sin(angle)
    height, width = (tf.cast(side, tf.float32) for side in tf.unstack(tf.shape(image)[:2]))
    x, y = (width - 1) / 2, (height - 1) / 2
    transform = tf.stack([cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, 0., 0.])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None], transforms=transform[None], output_shape=tf.shape(image)[:2],
        fill_value=0., interpolation="BILINEAR", fill_mode="NEAREST")[0]


def _random_crop(image, size):
    begin, extent, _ = tf.image.sample_distorted_bounding_box(
        tf.shape(image), tf.zeros([0, 0, 4]), aspect_ratio_range=RRC_RATIO, area_range=RRC_SCALE,
        use_image_if_no_bounding_boxes=True)
    image = tf.image.resize(tf.slice(image, begin, extent), [size, size])
    return tf.ensure_shape(image, [size, size, 3])


def _erased(image, size):
    begin, extent, _ = tf.image.sample_distorted_bounding_box(
        [size, size, 3], tf.zeros([0, 0, 4]), aspect_ratio_range=ERASE_RATIO, area_range=ERASE_AREA,
        use_image_if_no_bounding_boxes=True)
    rows, columns = tf.range(size)[:, None], tf.range(size)[None, :]
    inside = ((rows >= begin[0]) & (rows < begin[0] + extent[0])
              & (columns >= begin[1]) & (columns < begin[1] + extent[1]))
    inside &= tf.random.uniform([]) < ERASE_P
    return tf.where(inside[..., None], tf.random.uniform([size, size, 3]), image)


def kecam(photos, task, workers):
    """RGB, of files. It lacks rotation, all colour changes (it has them in RandAugment only), ICAP,
    in whose place is mixup, and the ratios and bounds of crops and erasing are its own."""
    from keras_cv_attention_models.imagenet import tf_data

    examples = [{"image": path, "label": int(label)}
                for path, label in zip(photos.paths, photos.labels)]
    examples *= 20  # so many epochs as one: at its end the pipeline runs dry
    table = os.path.join(photos.folder, os.pardir, "kecam.json")
    with open(table, "w") as file:
        json.dump({"train": examples, "test": examples[:1],
                   "info": {"num_classes": photos.n_classes}}, file)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        batches = tf_data.init_dataset(
            table, input_shape=(task.size, task.size), batch_size=task.batch_size,
            mixup_alpha=task.icap or task.mixup, rescale_mode=(255 * MEAN, 255 * STD),
            random_crop_min=RRC_SCALE[0], random_erasing_prob=ERASE_P, magnitude=-1)[0]
    return iter(batches.repeat())
