"""What many classes cost a CenterNet's training step: ours, evaluated at the centres only, with 4,212
classes against 80; and the peer, a class map of all cells as system D's dense layers would compute it.

    python -m benchmarks.centernet_classes                       ResNet101-D, 512 px crops
    python -m benchmarks.centernet_classes --backbone=resnet18 --side=256

Steps are taken in turn in one process; peak memory (resident, CPU) is of a process for each.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import time

import keras2  # noqa: F401
import numpy as np
import tensorflow as tf
from tensorflow import keras

from models.centernet import build_centernet
from models.centernet_targets import centernet_targets
from training.centernet_step import CenterNetLoss, TrainedCenterNet
from training.optimizers import make_optimizer

FEW, MANY = 80, 4212


class DenseClasses(TrainedCenterNet):
    """The peer: the class branch as convolutions over the whole map, then the cells are picked."""

    def _class_loss(self, maps, targets):
        embedding = self.class_dropout(tf.nn.relu(tf.nn.conv2d(
            maps["features"], self.class_conv.kernel, 1, "SAME") + self.class_conv.bias),
            training=True)
        logits = tf.einsum("bhwd,dc->bhwc", embedding, self.class_kernel) + self.class_bias
        total = []
        for row in (-1, 0, 1):
            for column in (-1, 0, 1):
                at = targets["cells"] + [row, column]
                grid = tf.constant(logits.shape[1:3].as_list())
                inside = tf.reduce_all((at >= 0) & (at < grid), axis=-1)
                weight = tf.cast(inside, tf.float32) * targets["mask"]
                picked = tf.gather_nd(logits, tf.clip_by_value(at, 0, grid - 1), batch_dims=1)
                loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
                    tf.maximum(targets["class_ids"], 0), picked)
                total.append(tf.reduce_sum(loss * weight))
        return tf.add_n(total)


def build(kind, classes, options):
    keras.utils.set_random_seed(1)
    model = build_centernet(backbone=options.backbone, n_classes=classes,
                            cls={"ours": TrainedCenterNet, "dense": DenseClasses}[kind])
    model.set_loss(CenterNetLoss())
    model.set_step(make_optimizer("adamw", 1e-5))
    return model


def batch(classes, options):
    random = np.random.default_rng(0)
    n, m, side = options.batch, options.characters, options.side
    corner = random.uniform(0, side - 40, (n, m, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + random.uniform(15, 40, (n, m, 2))], 2)
    targets = centernet_targets(tf.constant(boxes, tf.float32),
                                tf.constant(random.integers(0, classes, (n, m)), tf.int32),
                                tf.fill([n], m), side=side)
    images = tf.constant(random.normal(size=(n, side, side, 3)), tf.float32)
    return images, targets | {"left_out": tf.zeros([n], tf.int32)}


def peak_memory(kind, classes, options):
    """GB of a process that takes two steps."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.centernet_classes", "--memory_of", f"{kind},{classes}",
         *(f"--{name}={getattr(options, name)}" for name in ("backbone", "side", "batch",
                                                              "characters"))],
        capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet101d", help="(default: resnet101d)")
    parser.add_argument("--side", type=int, default=512, help="of a crop, px (default: 512)")
    parser.add_argument("--batch", type=int, default=2, help="crops (default: 2)")
    parser.add_argument("--characters", type=int, default=256, help="of a crop (default: 256)")
    parser.add_argument("--repeats", type=int, default=3, help="steps of each (default: 3)")
    parser.add_argument("--memory_of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        kind, classes = options.memory_of.split(",")
        model, data = build(kind, int(classes), options), batch(int(classes), options)
        model.fit(tf.data.Dataset.from_tensors(data).repeat(2), verbose=0)
        # Not ru_maxrss, which starts with that of the process that started this one.
        peak = re.search(r"VmHWM:\s*(\d+) kB", pathlib.Path("/proc/self/status").read_text())
        print(int(peak.group(1)) * 1024 / 1e9)
        return
    cases = [("ours", FEW), ("ours", MANY), ("dense", MANY)]
    models = [build(kind, classes, options) for kind, classes in cases]
    data = [batch(classes, options) for _, classes in cases]
    steps = [model.make_train_function() for model in models]
    seconds = np.zeros((options.repeats, len(cases)))
    for repeat in range(-1, options.repeats):  # the first is for tracing
        for number, (step, one) in enumerate(zip(steps, data)):
            iterator = iter(tf.data.Dataset.from_tensors(one))
            start = time.perf_counter()
            step(iterator)["loss"].numpy()
            if repeat >= 0:
                seconds[repeat, number] = time.perf_counter() - start
    memory = [peak_memory(kind, classes, options) for kind, classes in cases]
    for number, (kind, classes) in enumerate(cases):
        ratio = seconds[:, number] / seconds[:, 0]
        print(f"{kind}, {classes} classes: step {np.median(seconds[:, number]):.2f} s, "
              f"{np.median(ratio):.3f} ({ratio.min():.3f} to {ratio.max():.3f}) of ours with {FEW}; "
              f"peak memory {memory[number]:.2f} GB, {memory[number] / memory[0]:.3f} of it")


if __name__ == "__main__":
    main()
