"""Where the time and the memory of our input pipeline go."""
import concurrent.futures
import dataclasses
import multiprocessing
import pathlib
import time

import keras2  # noqa: F401  before TensorFlow
import numpy as np
import tensorflow as tf

from benchmarks import input_data, input_ways
from benchmarks.input_pipeline import images_per_second, print_rows, spread
from pipeline.augmentation import augment, draw_plan, finish
from pipeline.batches import training_batches
from pipeline.cache import CACHES, image_source
from pipeline.colour import change_colour
from pipeline.geometry import warp
from records.store import open_store

SIZES, BATCH_SIZES = (64, 112, 190, 224, 320), (32, 128, 256, 512)
KINDS = [kind for kind in CACHES if kind != "auto"]
RECORDS = 1024  # of each size: 0.4 GB of the largest


def tables(folder, task, options):
    """Prints all three tables for `task`."""
    task = dataclasses.replace(task, batch_size=options.batch_size or task.batch_size)
    store = input_data.pack(folder, task.record, task.channels)
    _print_table(
        f"where the time goes: {task.size} px, {task.channels} channel(s), batches of "
        f"{task.batch_size}; each stage alone, on all cores",
        ["stage", "ms per batch", "us per image"],
        [[name, spread(1e3 * seconds, ".2f"), f"{1e6 * np.median(seconds) / task.batch_size:.1f}"]
         for name, seconds in stages(store, task, options).items()])
    _print_table(
        f"cost of the whole pipeline against image size and batch size, from records "
        f"{task.record / task.size:.2f} times as large",
        ["size, px", "batch", "decoded: us per image", "ns per value", "encoded: us per image"],
        list(costs(folder, task, options)))
    _print_table(
        f"memory of a process, MB; formula: {len(store.manifest):,} records x {task.record}^2 px x "
        f"{task.channels} bytes if decoded, the JPEG bytes if encoded; a batch of floats is "
        f"{task.batch_size * task.size**2 * task.channels * 4 / 1e6:.1f} MB",
        ["cache", "formula", "the cache adds", "at most, while loaded", "running adds"],
        [[kind, *(f"{value / 1e6:.1f}"
                  for value in memory(store.folder, task, kind, options.seconds))]
         for kind in KINDS])


def _print_table(title, head, rows):
    print(f"\n{title}\n")
    print_rows(head, rows)


def stages(store, task, options):
    """{stage: seconds per batch, float [repeats]}; in each round every stage has its turn."""
    n, rows = task.batch_size, np.arange(len(store.manifest))
    positions = tf.data.Dataset.range(len(rows)).shuffle(len(rows)).repeat().batch(n, True)
    sources = {kind: image_source(store, rows, task.channels, kind) for kind in KINDS}
    datasets = {f"fetch, {kind}": source.fetch(positions).prefetch(tf.data.AUTOTUNE)
                for kind, source in sources.items()}
    datasets |= {f"whole, {kind}": input_ways.our_batches(store, source, task)
                 for kind, source in sources.items()}
    iterators = {name: iter(dataset) for name, dataset in datasets.items()}

    augmentation, form = input_ways.augmentation(task), input_ways.input_format(task)
    records = next(iter(sources["decoded"].fetch(positions)))
    targets = tf.one_hot(tf.range(n) % 80, 80)
    draw = tf.function(lambda seed: draw_plan(seed, n, augmentation, form))
    plan = draw(tf.constant([1, 0], tf.int64))
    crops = warp(records, plan["maps"], task.size, augmentation.geometry.cubic)
    change = tf.function(change_colour, jit_compile=True)
    rest = {name: part for name, part in plan.items() if name in ("mixing", "erasing")}
    last = tf.function(lambda: finish(crops, rest, form))
    everything = tf.function(lambda: augment(records, targets, plan, augmentation, form))
    calls = {"draw the plan": lambda: draw(tf.constant([1, 0], tf.int64)),
             "warp": lambda: warp(records, plan["maps"], task.size, augmentation.geometry.cubic),
             "mix, erase, normalise": last,
             "all after the plan": everything}
    if "colour" in plan:
        calls["colour"] = lambda: change(crops, plan["colour"])
    seconds = {name: [] for name in [*calls, *iterators]}
    for _ in range(options.repeats):
        for name, call in calls.items():
            seconds[name].append(_seconds(call, options.seconds))
        for name, batches in iterators.items():
            seconds[name].append(n / images_per_second(batches, n, options.seconds))
    order = ["fetch", "draw", "warp", "colour", "mix", "all", "whole"]
    return {name: np.array(seconds[name]) for start in order
            for name in seconds if name.startswith(start)}


def _seconds(call, seconds):
    """Mean time of a call, its first ones left out; for half of `seconds`."""
    for _ in range(3):
        call()
    start, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds / 2:
        call()  # on a CPU, it returns when it is done
        count += 1
    return passed / count


def costs(folder, task, options):
    """Rows of the second table: every size at the task's batch size, then every batch size."""
    cases = [(size, task.batch_size) for size in SIZES]
    cases += [(task.size, batch_size) for batch_size in BATCH_SIZES if batch_size != task.batch_size]
    for size, batch_size in cases:
        case = dataclasses.replace(task, size=size, batch_size=batch_size,
                                   record=round(size * task.record / task.size))
        store = input_data.pack(folder, case.record, task.channels)
        rows = np.arange(min(len(store.manifest), max(RECORDS, batch_size)))
        labels = np.zeros(len(rows), np.int64)
        costs = []
        for kind in ("decoded", "encoded"):
            source = image_source(store, rows, task.channels, kind)
            batches = training_batches(
                source, rows, labels, 80, input_ways.augmentation(case), input_ways.input_format(case),
                batch_size=batch_size, seed=1, n_epochs=input_ways.FOREVER)
            costs.append(1e6 / images_per_second(iter(batches), batch_size, options.seconds))
        values = size * size * task.channels
        yield (str(size), str(batch_size), f"{costs[0]:.1f}", f"{1e3 * costs[0] / values:.2f}",
               f"{costs[1]:.1f}")


def memory(folder, task, kind, seconds):
    """Bytes, measured in a process of its own: (formula, cache adds, most while it is loaded,
    running adds)."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
        return pool.submit(memory_here, folder, task, kind, seconds).result()


def memory_here(folder, task, kind, seconds):
    store = open_store(folder)
    rows = np.arange(len(store.manifest))
    few = image_source(store, rows[:task.batch_size], task.channels, kind)  # as much code as later
    next(iter(few.fetch(tf.data.Dataset.range(task.batch_size).batch(task.batch_size, True))))
    before = _status("VmRSS")
    source = image_source(store, rows, task.channels, kind)
    loaded, most_loading = _status("VmRSS"), _status("VmHWM")
    images_per_second(iter(input_ways.our_batches(store, source, task)), task.batch_size, seconds)
    most = max(_status("VmHWM"), loaded)
    return source.held, loaded - before, most_loading - before, most - loaded


def _status(field):
    """A figure of this process in /proc, bytes: VmRSS, what it holds now; VmHWM, the most it held."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024
