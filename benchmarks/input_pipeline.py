"""The input pipeline against the usual loaders and against the limits of decoding and reading.

  python -m benchmarks.input_pipeline                        all of it, about 20 minutes
  python -m benchmarks.input_pipeline --section=rgb112 --repeats=3 --seconds=3

Sections:
  rgb112   recipe 04 of system A: RGB 124 -> 112 px, batches of 256, its full list of changes
  gray190  recipe 01: gray 210 -> 190 px, batches of 128
  table    ours, stage by stage; cost against image size and batch size; memory held

The images are crops of demo pages, drawn and packed here; the peers get the same JPEG bytes, as
files or in memory. Ours, every peer that is installed and every limit run in turn, `repeats` times;
each yields float32 batches in the host's memory without end, and a ratio is that of two runs of the
same round. For the peers: pip install -r requirements-benchmarks.txt
"""
import argparse
import dataclasses
import os
import pathlib
import tempfile
import time

import numpy as np

from benchmarks.peers import PEERS, Task, find_peers

TASKS = {
    "rgb112": Task(record=124, size=112, channels=3, batch_size=256, rotate=5, jitter=0.25,
                   hue=0.125, gray=0.2, pca=0.125, icap=1.0),
    "gray190": Task(record=210, size=190, channels=1, batch_size=128, rotate=3, jitter=0.1,
                    mixup=0.2)}
SECTION_PEERS = {"rgb112": list(PEERS),
                 "gray190": ["albumentations + OpenCV, DataLoader", "OpenCV in threads"]}
WARM_UP_BATCHES, WARM_UP_SECONDS = 8, 1  # both at least: what was made ahead has to be used up


def images_per_second(batches, batch_size, seconds):
    """Of an endless iterator, in steady state."""
    start, count = time.perf_counter(), 0
    while count < WARM_UP_BATCHES or time.perf_counter() - start < WARM_UP_SECONDS:
        next(batches)
        count += 1
    start, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        next(batches)
        count += 1
    return count * batch_size / passed


def measure_in_turn(ways, batch_size, repeats, seconds):
    """{name: images/s float [repeats]} of {name: endless iterator}."""
    rates = {name: [] for name in ways}
    for number in range(repeats):
        for name, batches in ways.items():
            rates[name].append(images_per_second(batches, batch_size, seconds))
            print(f"round {number + 1}: {name}: {rates[name][-1]:,.0f} images/s", flush=True)
    return {name: np.array(values) for name, values in rates.items()}


def spread(values, form):
    return f"{np.median(values):{form}} ({values.min():{form}}..{values.max():{form}})"


def print_rows(head, rows):
    """As a table in Markdown; all str."""
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |")


def print_comparison(rates, limits, ours, peers):
    """A row per way of `rates`: images/s, its share of each of `limits`, and, of a peer, how many
    times as many images each of `ours` makes; medians with their range over the rounds."""
    def row(name, rate):
        shares = [spread(rate / rates[limit], ".2f") for limit in limits]
        ratios = [spread(rates[way] / rate, ".2f") if name in peers else "" for way in ours]
        return [name, spread(rate, ",.0f"), *shares, *ratios]
    print_rows(["", "images/s", *(f"of {name}" for name in limits),
                *(f"{way} / it" for way in ours)],
               [row(name, rate) for name, rate in rates.items()])


def compare(name, folder, options):
    """One section: ours with every cache, the peers and the limits."""
    from benchmarks import input_data, input_ways

    task = TASKS[name]
    task = dataclasses.replace(task, batch_size=options.batch_size or task.batch_size)
    store = input_data.pack(folder, task.record, task.channels)
    photos = input_data.photos(store, folder / f"{name}_files")
    print(f"\n{name}: {len(photos.jpegs):,} JPEG of {task.record} px, "
          f"{np.mean(list(map(len, photos.jpegs))) / 1e3:.1f} kB each, to {task.size} px, "
          f"{task.channels} channel(s), batches of {task.batch_size}")
    peers, missing = find_peers(SECTION_PEERS[name] if options.peers else [])
    ways = {peer: make(photos, task, options.workers) for peer, make in peers.items()}
    limits = input_ways.limits(photos, task, options.workers)
    ours = input_ways.ours(store, task)
    rates = measure_in_turn(ours | ways | limits, task.batch_size, options.repeats,
                            options.seconds)
    print()
    print_comparison(rates, [way for way in limits if "decode" in way],
                     [way for way in ours if "device" not in way], peers)
    for line in missing:
        print(f"left out: {line}")


def parse(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.input_pipeline", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    sections = [*TASKS, "table"]
    parser.add_argument("--section", default=",".join(sections),
                        help="which, separated by commas (default: %(default)s)")
    for name, kind, default, what in (
            ("repeats", int, 5, "rounds in which each runs once"),
            ("seconds", float, 3, "of each run, after its warm-up"),
            ("pages", int, 24, "demo pages that are drawn, about 200 crops each")):
        parser.add_argument(f"--{name}", type=kind, default=default,
                            help=f"{what} (default: {default})")
    parser.add_argument("--batch_size", type=int, help="images (default: the recipe's)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)),
                        help="cores for all, and worker processes or threads of each peer "
                             "(default: every core, here %(default)s)")
    parser.add_argument("--peers", choices=["on", "off"], default="on",
                        help="off: only ours and the limits (default: on)")
    options = parser.parse_args(argv)
    options.section = options.section.split(",")
    unknown = set(options.section) - set(sections)
    if unknown:
        parser.error(f"--section={','.join(sorted(unknown))}: there are {', '.join(sections)}")
    options.peers = options.peers == "on"
    return options


def main(argv=None):
    options = parse(argv)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:options.workers])
    from benchmarks import input_data, input_stages

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        input_data.draw(folder, options.pages)
        for name in options.section:
            if name == "table":
                input_stages.tables(folder, TASKS["rgb112"], options)
            else:
                compare(name, folder, options)


if __name__ == "__main__":
    main()
