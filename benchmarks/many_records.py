"""What a store of millions of records costs besides its images: reading the manifest, the order of an epoch.

  python -m benchmarks.many_records                       1 million records, about 20 seconds
  python -m benchmarks.many_records --records=12400000    Cdiscount; needs some 10 GB

Each part has a process of its own. Memory is resident, beyond the libraries: what is left, and the most.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.input_pipeline import print_rows

COLUMNS = "id,image_id,x,y,w,h,group,label,fold,label_id,source,shard,offset,length"
BUFFER, BATCH = 65_536, 256


def write_manifest(path, n):
    """manifest.csv of n pictures of products, as packed with --format=cdiscount."""
    labels = np.random.default_rng(0).integers(0, 5270, n)
    with open(path, "w") as file:
        file.write(COLUMNS + "\n")
        for i, label in enumerate(labels.tolist()):
            product = 1_000_000 + i // 2
            file.write(f"{product}_{i % 2},{product}_{i % 2},,,,,{product},{1000010653 + label},{i % 100},{label},"
                       f"train,train-{i // 15000:05d}-of-00827.tfrecord,{8000 * (i % 15000) + 12},7900\n")


def read(n):
    from records.store import read_manifest
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "manifest.csv")
        write_manifest(path, n)
        before, start = resident(), time.perf_counter()
        manifest = read_manifest(path.read_text())
        return time.perf_counter() - start, before, manifest


def order(n, buffer_size):
    import keras2  # noqa: F401
    import tensorflow as tf

    from pipeline.order import training_positions
    labels = np.zeros(n, int)

    def first_batch(n, labels):
        start = time.perf_counter()
        batches = iter(training_positions(labels, None, 1, BATCH, 1, buffer_size=buffer_size))
        next(batches)
        return time.perf_counter() - start, batches
    first_batch(10 * BATCH, labels[:10 * BATCH])  # loads what is needed
    tf.sort(tf.range(10))
    before = resident()
    seconds, batches = first_batch(n, labels)
    return seconds, before, batches


PARTS = {"manifest, read": read, "order of an epoch": lambda n: order(n, None),
         f"order, --buffer_size={BUFFER}": lambda n: order(n, BUFFER)}


def resident(what="VmRSS"):
    """Bytes of this process in memory; VmHWM: the most there ever were."""
    return int(re.search(rf"{what}:\s*(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024


def measure(name, n):
    """Prints (seconds, bytes left, most bytes)."""
    seconds, before, kept = PARTS[name](n)
    print(seconds, resident() - before, resident("VmHWM") - before)
    del kept


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_records", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000, help="(default: 1000000)")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.part:
        return measure(options.part, options.records)
    rows = []
    for name in PARTS:
        done = subprocess.run([sys.executable, "-m", "benchmarks.many_records", f"--records={options.records}",
                               f"--part={name}"], stdout=subprocess.PIPE, text=True, check=True)
        seconds, left, most = map(float, done.stdout.split()[-3:])
        rows.append([name, f"{seconds:.2f}", *(f"{bytes_ / options.records:,.0f}" for bytes_ in (left, most)),
                     f"{most / 1e9:.2f}"])
    print_rows([f"{options.records:,} records", "s", "bytes a record, left", "at most", "at most, GB"], rows)


if __name__ == "__main__":
    main()
