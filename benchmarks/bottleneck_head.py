"""What Cdiscount's bottleneck costs: 1x1 convolution and dense layer as wide as there are classes, before the
last dense layer, against that last layer alone.

  python -m benchmarks.bottleneck_head                            about 2 minutes on 2 cores
  python -m benchmarks.bottleneck_head --batch_size=32 --backbones=resnet34 --repeats=3

Training steps (Adam, softmax cross-entropy, one batch in memory) are taken in turn in one process; a ratio is
of two steps of the same round. Memory is of a process for each: what it takes beyond the libraries, at most,
while it takes two steps; of that the weights and the optimizer's two moments are counted.
"""
import argparse
import os
import subprocess
import sys
import time

import numpy as np

from benchmarks.input_pipeline import print_rows, spread

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

CHANNELS = {"resnet34": 512, "resnet50": 2048}
NECKS = ("none", "bottleneck")


def parameters_above(channels, classes, neck):
    """Numbers of a classifier above a feature map of so many channels, statistics of BatchNorm included."""
    above = {"none": 0, "bottleneck": channels * classes + 4 * classes + classes * classes + 4 * classes}[neck]
    features = channels if neck == "none" else classes
    return above + features * classes + classes


def build(backbone, neck, options):
    """(a function that takes a step, the model)"""
    import keras2  # noqa: F401
    import tensorflow as tf
    from models.classifier import build_classifier
    from models.losses import make_loss
    from training.classifier_step import TrainedClassifier
    from training.optimizers import make_optimizer

    tf.keras.utils.set_random_seed(1)
    shape = (options.size, options.size, 3)
    model = build_classifier(backbone, shape, options.classes, "softmax", neck=neck, cls=TrainedClassifier)
    model.set_objective(make_loss("cross_entropy"))
    model.set_step(make_optimizer("adam", 3e-4))
    images = tf.random.normal([options.batch_size, *shape])
    targets = tf.one_hot(np.arange(options.batch_size) % options.classes, options.classes)
    compiled = tf.function(model.train_step)

    def step():
        compiled((images, targets))
        return float(model.metrics[0].result())  # waits
    return step, model


def memory(backbone, neck, options):
    """(peak bytes beyond the libraries, of weights, of the optimizer), of a process of its own."""
    arguments = [f"--{name}={getattr(options, name)}" for name in ("size", "batch_size", "classes")]
    done = subprocess.run([sys.executable, "-m", "benchmarks.bottleneck_head", *arguments,
                           f"--memory_of={backbone},{neck}"], stdout=subprocess.PIPE, text=True, check=True)
    return [float(word) for word in done.stdout.split()[-3:]]


def print_memory(backbone, neck, options):
    import keras2  # noqa: F401
    import tensorflow as tf
    from models import classifier  # noqa: F401  and the libraries that it loads
    from training.cost import bytes_of, peak_memory
    from training.optimizers import optimizer_variables
    tf.matmul(tf.ones([256, 256]), tf.ones([256, 256])).numpy()  # threads and their memory
    before = peak_memory()["process"]
    step, model = build(backbone, neck, options)
    step(), step()
    print(peak_memory()["process"] - before, bytes_of(model.weights),
          bytes_of(optimizer_variables(model.optimizer)))


def compare(backbone, options):
    """Two rows of the table."""
    made = {neck: build(backbone, neck, options) for neck in NECKS}
    for step, _ in made.values():
        step(), step()  # compiles
    seconds = {neck: [] for neck in NECKS}
    for _ in range(options.repeats):
        for neck, (step, _) in made.items():
            start = time.perf_counter()
            step()
            seconds[neck].append(time.perf_counter() - start)
    counts = {neck: model.count_params() for neck, (_, model) in made.items()}
    seconds = {neck: np.array(values) for neck, values in seconds.items()}
    held = {neck: memory(backbone, neck, options) for neck in NECKS}
    for neck in NECKS:
        peak, weights, optimizer = (value / 1e9 for value in held[neck])
        yield [f"{backbone}, {neck}", f"{counts[neck] / 1e6:.2f} M",
               f"{parameters_above(CHANNELS[backbone], options.classes, neck) / 1e6:.2f} M",
               spread(1e3 * seconds[neck], ",.0f"), spread(seconds[neck] / seconds["none"], ".2f"),
               f"{peak:.2f}", f"{held[neck][0] / held['none'][0]:.2f}", f"{weights:.2f} + {optimizer:.2f}"]


def parse(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bottleneck_head", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", default=",".join(CHANNELS),
                        help="separated by commas (default: %(default)s)")
    for name, default, what in (("classes", 5270, "that are told apart"), ("size", 160, "side of an image, px"),
                                ("batch_size", 4, "images"), ("repeats", 5, "rounds")):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} (default: {default})")
    parser.add_argument("--memory_of", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv=None):
    options = parse(argv)
    if options.memory_of:
        return print_memory(*options.memory_of.split(","), options)
    rows = [row for backbone in options.backbones.split(",") for row in compare(backbone, options)]
    print(f"\n{options.classes:,} classes, {options.size} px, batches of {options.batch_size}, float32")
    print_rows(["", "parameters", "above the backbone", "step, ms", "of none", "peak memory, GB", "of none",
                "weights + optimizer, GB"], rows)


if __name__ == "__main__":
    main()
