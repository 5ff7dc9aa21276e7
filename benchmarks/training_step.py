"""The training step against PyTorch's, and the training loop against the bare compiled step.

  python -m benchmarks.training_step                                      all of it, about 10 minutes
  python -m benchmarks.training_step --section=peer --dtype=bfloat16 --backbones=resnet50

Sections:
  peer      images per second of a training step on one batch in memory: ours as run.py trains, and
            the same network (equal count of parameters) in PyTorch; both with softmax cross-entropy,
            SGD with momentum and weight decay. Each has a process of its own, which waits while the
            other works, as their thread pools would disturb each other. FLOPs (training.cost) per
            second, and their share of those of a plain matrix product and of a plain convolution of
            the same library, measured in the same rounds
  overhead  an epoch of the training loop on one batch in memory, without checkpoints, against the
            same train_step called in a plain loop, in one process

A ratio is that of two runs of the same round; on a machine that others use it flatters ours, as
PyTorch's threads wait for each other. TensorFlow uses oneDNN, as in run.py.
PyTorch: pip install -r requirements-benchmarks.txt
"""
import argparse
import importlib.util
import os
import subprocess
import sys
import time

import numpy as np

from benchmarks.input_pipeline import print_rows, spread

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# The limits: a square matrix product, and a 3x3 convolution of (images, side, channels).
MATRIX, MAPS = 2048, (32, 14, 256)
LIMIT_FLOPS = {"matmul": 2 * MATRIX ** 3, "conv": 2 * MAPS[0] * MAPS[1] ** 2 * 9 * MAPS[2] ** 2}
N_CLASSES = 1000
SMALL = "wide_resnet10_2"  # what overhead measures besides
ANSWER = "answer:"  # begins the lines that a process of this benchmark sends


def build(name, options):
    """(TrainedClassifier ready to train, (images, soft targets) of a batch)"""
    import keras2  # noqa: F401
    import tensorflow as tf
    from models.classifier import build_classifier
    from models.losses import make_loss
    from training.classifier_step import TrainedClassifier
    from training.optimizers import make_optimizer

    keras = tf.keras
    keras.mixed_precision.set_global_policy("mixed_bfloat16" if options.dtype == "bfloat16" else
                                            "float32")
    keras.utils.set_random_seed(1)
    shape = (options.size, options.size, 3)
    model = build_classifier(name, shape, N_CLASSES, head="softmax", cls=TrainedClassifier)
    model.set_objective(make_loss("cross_entropy"))
    model.set_step(make_optimizer("sgd", 0.01, weight_decay=1e-4, decay_norms_and_biases=True),
                   xla=options.xla == "on")
    images = tf.random.normal([options.batch_size, *shape])
    labels = np.random.default_rng(1).integers(0, N_CLASSES, options.batch_size)
    return model, (images, tf.one_hot(labels, N_CLASSES))


def loop(model, batch, options):
    """(training.loop.Training of the batch again and again, its iterator)"""
    import tensorflow as tf
    from training.loop import Plan, Training
    plan = Plan(steps_per_epoch=options.steps, n_epochs=1, monitor="loss",
                batch_size=options.batch_size)
    data = tf.data.Dataset.from_tensors(batch).repeat()
    training = Training(model, tf.distribute.get_strategy(), "nowhere", plan,
                        lambda start, worker, n: data, xla=options.xla == "on")
    return training, iter(data)


def wait(model):
    """Until the device has finished."""
    return float(model.metrics[0].result())


def ours(name, options):
    """((count of parameters, FLOPs of a step), {"step", "matmul", "conv": a function doing it once})"""
    import tensorflow as tf
    from training.cost import network_flops
    model, batch = build(name, options)
    training, iterator = loop(model, batch, options)

    def step():
        training.execute(iterator, 1)
        wait(model)
    kind = tf.dtypes.as_dtype(options.dtype)
    n, side, channels = MAPS
    matrix, maps, kernel = (tf.cast(tf.random.normal(shape), kind) for shape in (
        [MATRIX, MATRIX], [n, side, side, channels], [3, 3, channels, channels]))
    flops = network_flops(model, batch[0].shape[1:])[1] * options.batch_size
    return (model.count_params(), flops), {
        "step": step, "matmul": lambda: tf.matmul(matrix, matrix).numpy(),
        "conv": lambda: tf.nn.conv2d(maps, kernel, 1, "SAME").numpy()}


def serve(library, name, options):
    """What the process of a library does: says the facts that `ours` or `make` give, then, for each
    line KIND TIMES of its input, how many seconds KIND took on average."""
    if library == "ours":
        facts, functions = ours(name, options)
    else:
        from benchmarks.peer_resnet import make
        facts, functions = make(name, options.size, options.batch_size, N_CLASSES, options.dtype,
                                options.threads)
    for function in functions.values():
        function()
        function()
    print(ANSWER, *facts, flush=True)
    for line in sys.stdin:
        kind, times = line.split()
        start = time.perf_counter()
        for _ in range(int(times)):
            functions[kind]()
        print(ANSWER, (time.perf_counter() - start) / int(times), flush=True)


class Worker:
    """A process of `serve`."""

    def __init__(self, library, name, arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.training_step", *arguments, f"--serve={library},{name}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = self._answer()

    def seconds(self, kind, times):
        """Of KIND, the mean of so many."""
        time.sleep(0.3)  # until the threads of the one before are asleep
        print(kind, times, file=self.process.stdin, flush=True)
        return self._answer()[0]

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def _answer(self):
        for line in self.process.stdout:
            if line.startswith(ANSWER):
                return list(map(float, line.split()[1:]))
        raise RuntimeError("a process of this benchmark ended, see above")


def compare(name, libraries, options, arguments):
    """Section peer, of one network."""
    workers = {library: Worker(library, name, arguments) for library in libraries}
    counts = {library: worker.facts[0] for library, worker in workers.items()}
    if len(set(counts.values())) > 1:
        raise RuntimeError(f"{name} is not the same network everywhere: it has parameters {counts}")
    kinds = {"step": options.steps} | dict.fromkeys(LIMIT_FLOPS, 5)
    seconds = {library: {kind: [] for kind in kinds} for library in libraries}
    for _ in range(options.repeats):
        for library, worker in workers.items():
            for kind, times in kinds.items():
                seconds[library][kind].append(worker.seconds(kind, times))
    for worker in workers.values():
        worker.close()
    flops = workers["ours"].facts[1]
    print(f"\n{name}, {options.size} px, batches of {options.batch_size}, {options.dtype}, "
          f"{options.threads} threads: {counts['ours'] / 1e6:.2f} M parameters, "
          f"{flops / 1e9:.4g} GFLOPs a step")
    print_speeds(seconds, flops, options.batch_size)


def print_speeds(seconds, flops, batch_size):
    """The table of a network. seconds: {library: {kind: of each round}}; flops: of a step."""
    rows = []
    for library, measured in seconds.items():
        of = {kind: np.array(values) for kind, values in measured.items()}
        ratio = of["step"] / np.array(seconds["ours"]["step"])
        rows.append([library, spread(batch_size / of["step"], ",.1f"),
                     "" if library == "ours" else spread(ratio, ".2f"),
                     f"{np.median(flops / of['step']) / 1e9:,.1f}",
                     *(spread(flops / of["step"] / (LIMIT_FLOPS[kind] / of[kind]), ".2f")
                       for kind in LIMIT_FLOPS)])
    print_rows(["", "images/s", "ours / it", "GFLOP/s", *(f"of its {kind}" for kind in LIMIT_FLOPS)],
               rows)


def overhead(name, options):
    """A row of section overhead's table."""
    import tensorflow as tf
    from training.progress import Progress
    model, batch = build(name, options)
    bare = tf.function(model.train_step, jit_compile=options.xla == "on")
    training, iterator = loop(model, batch, options)

    def epoch():
        training.progress = Progress()
        training._epoch(iterator, [])  # without what ends an epoch: log, checkpoint

    def plain():
        for _ in range(options.steps):
            bare(batch)

    def timed(function):
        start = time.perf_counter()
        function()
        wait(model)
        return (time.perf_counter() - start) / options.steps
    timed(epoch), timed(plain)  # compiles
    seconds = np.array([[timed(epoch), timed(plain)] for _ in range(options.repeats)])
    looped, alone = seconds.T
    return [f"{name}, {options.batch_size} of {options.size} px", spread(1e3 * alone, ",.1f"),
            spread(1e3 * (looped - alone), ".2f"), spread(looped / alone, ".3f")]


def small(options):
    """The same options for a step so short that what the loop adds shows."""
    return argparse.Namespace(**vars(options) | {"size": 32, "batch_size": 4,
                                                 "steps": 10 * options.steps})


def parse(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_step", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", choices=["peer", "overhead", "all"], default="all",
                        help="(default: all)")
    parser.add_argument("--backbones", default="resnet34,resnet50",
                        help="separated by commas; PyTorch has these two (default: %(default)s)")
    for name, default, what in (("size", 112, "side of an image, px"), ("batch_size", 32, "images"),
                                ("repeats", 5, "rounds"), ("steps", 4, "of a round")):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} (default: {default})")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32",
                        help="bfloat16: mixed precision, of both; for CPUs with instructions for it, as "
                             "PyTorch takes minutes a step elsewhere (default: float32)")
    parser.add_argument("--xla", choices=["on", "off"], default="off",
                        help="on: our step compiled by XLA (default: off)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="cores for all (default: every core, here %(default)s)")
    parser.add_argument("--peers", choices=["on", "off"], default="on",
                        help="off: only ours and its limits (default: on)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.peers = options.peers == "on"
    return options


def main(argv=None):
    options = parse(argv)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:options.threads])
    if options.serve:
        return serve(*options.serve.split(","), options)
    names = options.backbones.split(",")
    if options.section != "overhead":
        absent = importlib.util.find_spec("torch") is None
        libraries = ["ours"] + ["PyTorch"] * (options.peers and not absent)
        for name in names:
            compare(name, libraries, options, sys.argv[1:] if argv is None else argv)
        if options.peers and absent:
            print("left out: PyTorch is not installed (pip install -r requirements-benchmarks.txt)")
    if options.section != "peer":
        rows = [overhead(name, options) for name in names] + [overhead(SMALL, small(options))]
        print()
        print_rows(["", "bare step, ms", "the loop adds, ms", "loop / bare"], rows)


if __name__ == "__main__":
    main()
