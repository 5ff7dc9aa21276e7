"""Training crops of pages: the whole input pipeline against decoding the same pages alone.

  python -m benchmarks.page_pipeline [--page 1536] [--crop 512] [--batch_size 8] [--repeats 5]

The pages are drawn here, as JPEG in memory. The peer and limit is tf.io.decode_jpeg of them,
several at a time, without any augmentation; it and the pipeline, with pages encoded and decoded in
memory, run in turn. Then each stage alone, one after the other, for its share of the time; last the
training step of system D's network on such crops, on this machine's devices.
"""
import argparse
import functools
import time

import keras2  # noqa: F401  before TensorFlow
import cv2
import numpy as np
import tensorflow as tf

from models.centernet import build_centernet
from models.centernet_targets import centernet_targets
from pipeline.batches import InputFormat
from pipeline.cache import ImageSource
from pipeline.geometry import warp
from pipeline.page_batches import PageAugmentation, PageBoxes, page_training_batches
from pipeline.page_geometry import draw_page_maps, place_boxes, select_boxes
from pipeline.page_pixels import PagePixels, page_pixel_stage
from training.centernet_step import CenterNetLoss, TrainedCenterNet, compile_centernet
from training.optimizers import make_optimizer

WARM_UP = 3  # batches before the clock starts
MAX_BOXES = 256
# As recipes/kuzushiji/centernet_resnet101d.args.
AUGMENTATION = PageAugmentation(rotate=10, scale=0.2, affine_p=0.9, pixels=PagePixels(
    p=0.5, brightness=0.2, contrast=0.2, gamma=0.25, hue=0.06, saturation=0.12, rgb_shift=0.08,
    gray=0.1, clahe=0.2, noise=0.03, blur=1.5))


def draw_pages(count, side, characters):
    """JPEG bytes of pages of written columns, and the PageBoxes of the characters."""
    random = np.random.default_rng(0)
    pages, boxes = [], []
    columns = int(np.ceil(np.sqrt(characters)))
    step = side // (columns + 1)
    for _ in range(count):
        paper = cv2.resize(random.normal(200, 15, (side // 16, side // 16, 3)), (side, side))
        page = (paper + random.normal(0, 3, paper.shape)).clip(0, 255).astype(np.uint8)
        for k in range(characters):
            corner = np.array([k // columns, k % columns]) * step + step // 2
            strokes = (corner + random.uniform(0, 0.8 * step, (6, 2))).astype(np.int32)
            cv2.polylines(page, [strokes], False, (30, 30, 40), max(1, step // 16), cv2.LINE_AA)
            boxes.append([*strokes.min(0), *strokes.max(0)])
        pages.append(cv2.imencode(".jpg", page, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    classes = random.integers(0, 4212, len(boxes)).astype(np.int32)
    return pages, PageBoxes(np.float32(boxes) / side, classes, np.arange(count + 1) * characters)


def sources(pages, side):
    """(encoded, decoded) ImageSource of the same pages, as pipeline.cache makes them."""
    data = tf.constant(pages)
    decode = lambda position: tf.ensure_shape(
        tf.io.decode_jpeg(tf.gather(data, position), channels=3), [side, side, 3])
    images = tf.map_fn(decode, tf.range(len(pages)), fn_output_signature=tf.uint8)

    def fetch_encoded(positions):
        return positions.unbatch().map(decode, tf.data.AUTOTUNE, deterministic=True).batch(
            positions.element_spec.shape[0], drop_remainder=True)
    fetch_decoded = lambda positions: positions.map(lambda batch: tf.gather(images, batch))
    return (ImageSource("encoded", fetch_encoded, sum(map(len, pages))),
            ImageSource("decoded", fetch_decoded, int(np.prod(images.shape))))


def crops_per_second(dataset, batches, batch_size):
    iterator = iter(dataset)
    for _ in range(WARM_UP):
        next(iterator)
    start = time.perf_counter()
    for _ in range(batches):
        next(iterator)
    return batches * batch_size / (time.perf_counter() - start)


def stage_seconds(pages, side, boxes, targets, batch_size, crop, repeats):
    """{stage: seconds per batch}, each by itself with all cores, median."""
    data, positions = tf.constant(pages), tf.range(batch_size, dtype=tf.int64) % len(pages)
    o = AUGMENTATION
    pixel_stage = page_pixel_stage(o.pixels, (0.5,), (0.25,), "float32")

    @tf.function
    def decode():
        return tf.map_fn(lambda k: tf.ensure_shape(tf.io.decode_jpeg(data[k], channels=3),
                                                   [side, side, 3]),
                         positions, fn_output_signature=tf.uint8, parallel_iterations=batch_size)

    @tf.function
    def cut(seed, images):
        maps = draw_page_maps(seed, batch_size, o.rotate, o.scale, o.affine_p, side, crop)
        return warp(images, maps, crop), maps

    @tf.function
    def make_targets(maps):
        found, class_ids, count = boxes.fetch(positions)
        found, class_ids, kept, _ = select_boxes(place_boxes(maps, found), class_ids, count,
                                                 MAX_BOXES)
        return targets(found * crop, class_ids, kept)
    change = tf.function(pixel_stage)
    seconds = {"decode": [], "warp": [], "pixels": [], "targets": []}

    def timed(name, function, *arguments):
        start = time.perf_counter()
        result = function(*arguments)
        seconds[name].append(time.perf_counter() - start)
        return result
    for k in range(WARM_UP + repeats):
        seed = tf.constant([1, k], tf.int64)
        images = timed("decode", decode)
        crops, maps = timed("warp", cut, seed, images)
        timed("pixels", change, seed, crops)
        timed("targets", make_targets, maps)
    return {name: np.median(values[WARM_UP:]) for name, values in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, what in (
            ("pages", 24, "how many are drawn"), ("page", 1536, "side of a page, px"),
            ("characters", 400, "of a page"), ("crop", 512, "side of a crop, px"),
            ("batch_size", 8, "crops"), ("batches", 20, "timed in each run"),
            ("repeats", 5, "runs of each")):
        parser.add_argument(f"--{name}", type=int, default=default,
                            help=f"{what} (default: {default})")
    parser.add_argument("--backbone", default="resnet101d",
                        help="of the training step (default: resnet101d)")
    o = parser.parse_args()
    pages, boxes = draw_pages(o.pages, o.page, o.characters)
    print(f"{o.pages} pages of {o.page} px, {np.mean(list(map(len, pages))) / 1e6:.2f} MB as JPEG; "
          f"crops of {o.crop} px, batches of {o.batch_size}")
    encoded, decoded = sources(pages, o.page)
    targets = functools.partial(centernet_targets, side=o.crop, kernel="3x3")
    positions = tf.data.Dataset.range(o.pages).repeat().batch(o.batch_size, drop_remainder=True)
    ways = {"decode alone": encoded.fetch(positions).prefetch(tf.data.AUTOTUNE)}
    for source in (encoded, decoded):
        ways[f"pipeline, {source.kind}"] = page_training_batches(
            source, range(o.pages), boxes, AUGMENTATION,
            InputFormat(o.crop, 3, (0.5,), (0.25,), "float32"), targets, batch_size=o.batch_size,
            seed=1, n_epochs=10**6, crops_per_page=o.batch_size, max_boxes=MAX_BOXES)
    rates = {name: [] for name in ways}
    for _ in range(o.repeats):
        for name, dataset in ways.items():
            rates[name].append(crops_per_second(dataset, o.batches, o.batch_size))
    limit = np.array(rates["decode alone"])
    for name, rate in rates.items():
        ratio = rate / limit
        print(f"{name}: {np.median(rate):.1f} crops/s, ratio to decode alone: median "
              f"{np.median(ratio):.2f}, {ratio.min():.2f} to {ratio.max():.2f} over "
              f"{len(ratio)} runs")
    seconds = stage_seconds(pages, o.page, boxes, targets, o.batch_size, o.crop, 4 * o.repeats)
    print(f"stages alone, per batch of {o.batch_size}: " + ", ".join(
        f"{name} {value * 1e3:.1f} ms ({value / sum(seconds.values()):.0%})"
        for name, value in seconds.items()))
    step = step_rate(ways["pipeline, decoded"], o.backbone)
    print(f"training step, {o.backbone}: {step:.2f} crops/s; the pipeline gives "
          f"{np.median(rates['pipeline, encoded']) / step:.1f} (encoded) to "
          f"{np.median(rates['pipeline, decoded']) / step:.1f} (decoded) times as many")


def step_rate(batches, backbone, steps=2):
    """Crops per second of the training step alone, on the pipeline's own batch."""
    model = build_centernet(backbone=backbone, n_classes=4212, cls=TrainedCenterNet)
    compile_centernet(model, make_optimizer("adamw", 5e-5), CenterNetLoss(),
                      xla=bool(tf.config.list_physical_devices("GPU")))
    images, targets = next(iter(batches))
    iterator = iter(tf.data.Dataset.from_tensors((images, targets)).repeat())
    step = model.make_train_function()
    step(iterator)
    start = time.perf_counter()
    for _ in range(steps):
        step(iterator)["loss"].numpy()
    return steps * len(images) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
