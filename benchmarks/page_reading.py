"""Reading whole pages with a CenterNet: pages per second, and what each part takes.

    python -m benchmarks.page_reading                                   ResNet101-D, 1,536 px, 3 scales
    python -m benchmarks.page_reading --backbone=resnet18 --side=768    smaller

The limit is the network alone on the same pages at the same scales; the whole is measured against it
in turn. Parts: input (JPEG to normalised page), network, peaks (merging the scales, peaks, boxes),
classes at the peaks, output (suppression, page coordinates, rows of the CSV). The characters found are
those of a random network whose threshold is chosen so that a page has --characters of them.
"""
import argparse
import functools
import resource
import time

import keras2  # noqa: F401
import numpy as np
import tensorflow as tf
from tensorflow import keras

from inference.boxes import non_max_suppression
from inference.page_reader import PageReader
from models.centernet import build_centernet
from records.letterbox import Letterbox


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet101d", help="(default: resnet101d)")
    parser.add_argument("--side", type=int, default=1536, help="of a page, px (default: 1536)")
    parser.add_argument("--classes", type=int, default=4212, help="(default: 4212)")
    parser.add_argument("--characters", type=int, default=300, help="of a page (default: 300)")
    parser.add_argument("--repeats", type=int, default=3, help="pages (default: 3)")
    options = parser.parse_args()
    scales, side = (0.75, 1.0, 1.25), options.side
    keras.utils.set_random_seed(1)
    model = build_centernet(backbone=options.backbone, n_classes=options.classes)
    random = np.random.default_rng(0)
    rough = tf.image.resize(random.uniform(0, 255, (side // 16, side // 16, 3)), [side, side], "bicubic")
    jpeg = tf.io.encode_jpeg(tf.cast(tf.clip_by_value(rough, 0, 255), tf.uint8), quality=95)
    letterbox = Letterbox(2400, 3900, side, 1.5)

    def load():
        image = tf.io.decode_jpeg(jpeg, channels=3)
        return (tf.cast(image, tf.float32) / 255 - 0.5)[None]

    page = load()
    heat = tf.sigmoid(model(page, training=False)[-1]["heatmap"]).numpy()
    peaks = heat[(heat == tf.nn.max_pool2d(heat, 3, 1, "SAME").numpy())]
    threshold = float(np.sort(peaks)[-min(options.characters, len(peaks))])
    reader = PageReader(model, scales, threshold, 1300)
    grid = side // model.stride
    network = tf.function(lambda page: [maps for maps, _ in reader.views(page)])
    whole = tf.function(reader)
    whole(page)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # before maps are kept below
    views = [({name: tf.constant(value) for name, value in maps.items()},
              (round(side * scale) / side,) * 2) for maps, scale in zip(network(page), scales)]
    without, with_classes = [tf.function(functools.partial(reader.read, views, grid, grid, classes))
                             for classes in (False, True)]

    def finish(found):
        n = int(found["count"][0])
        corners = letterbox.to_page(found["boxes"][0, :n].numpy().astype(float).reshape(-1, 2, 2))
        boxes = np.concatenate([corners[:, 0], corners[:, 1] - corners[:, 0]], axis=1)
        kept = non_max_suppression(boxes, found["score"][0, :n].numpy(), 0.3)
        return "\n".join(",".join(f"{value:.2f}" for value in box) for box in boxes[kept])

    def timed(function, *arguments):
        start = time.perf_counter()
        result = function(*arguments)
        for value in tf.nest.flatten(result):  # waits until it is there
            if hasattr(value, "numpy"):
                tf.reshape(value, [-1])[:1].numpy()
        return time.perf_counter() - start, result

    names = ("input", "network", "merging and peaks", "classes", "output", "whole")
    seconds = np.zeros((options.repeats, len(names)))
    for repeat in range(-1, options.repeats):
        row = [timed(load)[0], timed(network, page)[0], timed(without)[0], timed(with_classes)[0]]
        row[3] -= row[2]
        total, found = timed(whole, page)
        row += [timed(finish, found)[0], 0]
        row[5] = total + row[0] + row[4]
        if repeat >= 0:
            seconds[repeat] = row
    middle = np.median(seconds, axis=0)
    ratio = seconds[:, 5] / seconds[:, 1]
    print(f"{options.backbone}, {side} px at scales {scales}, {int(found['count'][0])} characters: "
          f"{1 / middle[5]:.3f} pages/s; whole / network alone {np.median(ratio):.3f} "
          f"({ratio.min():.3f} to {ratio.max():.3f})")
    for name, value in zip(names, middle):
        print(f"  {name}: {value:.3f} s, {value / middle[5]:.1%}")
    print(f"  peak memory: {memory:.2f} GB")


if __name__ == "__main__":
    main()
