"""What test-time views cost: records per second in several views against the same records in one.

    python -m benchmarks.views_cost                       ResNet34, 124 px records, 112 px views
    python -m benchmarks.views_cost --backbone=wide_resnet10_2 --records=512

From decoded records in memory to mean logits on the host, as --job=test does it. Views cost as many
forward passes; what the ratio has beyond their number is cutting them out and averaging.
"""
import argparse
import time

import keras2  # noqa: F401
import numpy as np
import tensorflow as tf

from benchmarks.input_pipeline import print_rows, spread
from inference.predict import Predictor, classifier
from models.classifier import build_classifier
from pipeline.augmentation import InputFormat
from pipeline.batches import evaluation_batches
from pipeline.cache import ImageSource
from pipeline.views import view_maps

RECORD, SIZE = 124, 112


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet34", help="(default: resnet34)")
    parser.add_argument("--records", type=int, default=64, help="(default: 64)")
    parser.add_argument("--batch_size", type=int, default=64, help="views at a time (default: 64)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    o = parser.parse_args()
    model = build_classifier(o.backbone, (SIZE, SIZE, 3), 1000)
    images = tf.constant(np.random.default_rng(0).integers(0, 256, [o.records, RECORD, RECORD, 3], np.uint8))
    source = ImageSource("decoded", lambda at: at.map(lambda batch: tf.gather(images, batch)), 0)
    predictor = Predictor(classifier(model, lambda logits, index: {"logits": logits}),
                          tf.distribute.get_strategy())
    kinds = ("one", "crops5", "crops7", "nine", "crops20")
    ways = {}
    for kind in kinds:
        maps = view_maps(kind, SIZE, RECORD, SIZE / RECORD)
        ways[kind] = len(maps), evaluation_batches(
            source, np.arange(o.records), InputFormat(SIZE, 3, (0.0,), (1.0,), "float32"),
            batch_size=max(1, o.batch_size // len(maps)), views=maps)
    seconds = {kind: [] for kind in kinds}
    for repeat in range(-1, o.repeats):
        for kind, (_, batches) in ways.items():
            start = time.perf_counter()
            predictor(batches, o.records)
            if repeat >= 0:  # the first compiles
                seconds[kind].append(time.perf_counter() - start)
    one = np.array(seconds["one"])
    print(f"{o.backbone}, {o.records} records of {RECORD} px, {SIZE} px views, batches of {o.batch_size} views")
    print_rows(["views", "number", "records/s", "cost against one", "per view"],
               [[kind, str(ways[kind][0]), spread(o.records / np.array(seconds[kind]), ".1f"),
                 spread(np.array(seconds[kind]) / one, ".2f"),
                 spread(np.array(seconds[kind]) / one / ways[kind][0], ".2f")] for kind in kinds])


if __name__ == "__main__":
    main()
