"""Packing Cdiscount's products against reading the same file with the bson library alone, and its memory.

  python -m benchmarks.bson_packing [--documents 100000] [--repeats 3]
  python -m benchmarks.bson_packing --documents=1000000 --side=32 --repeats=1

A train.bson of products with one to four small pictures is rendered by repetition. Packing it (the whole
command, with no index from before) and decoding every document with bson.decode_file_iter run in turn; the
ratio is printed with its spread, of the time and of the CPU time of all processes, which other work on the
machine changes less. What the command takes for 5 documents is its start, mostly TensorFlow's import, and
is taken off the CPU time. Memory is the sum of the resident sets of all
processes, sampled 20 times a second.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import bson
import cv2
import numpy as np
import psutil

PICTURES = 200  # different ones
PER_PRODUCT = (1, 1, 2, 3, 1, 2, 1, 4)  # pictures
CATEGORIES = 300
FEW = 5  # documents, as many as there are folds


def render(path, documents, side):
    """Writes documents of `PER_PRODUCT` pictures of side x side px in turn."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(PICTURES):
        small = random.integers(0, 256, (max(2, side // 15), max(2, side // 15), 3)).astype(np.uint8)
        picture = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
        pictures.append(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 75])[1].tobytes())
    with open(path, "wb") as file:
        for number in range(documents):
            shown = range(number, number + PER_PRODUCT[number % len(PER_PRODUCT)])
            file.write(bson.encode({"_id": number, "category_id": 1_000_000_000 + number * 7 % CATEGORIES,
                                    "imgs": [{"picture": pictures[i % PICTURES]} for i in shown]}))
    rows = "".join(f"{1_000_000_000 + i},a{i % 5},b{i % 25},c{i}\n" for i in range(CATEGORIES))
    path.with_name("category_names.csv").write_text(
        "category_id,category_level1,category_level2,category_level3\n" + rows)


def read_alone(path):
    """(seconds, of the CPU) that bson takes to decode every document."""
    start, cpu = time.perf_counter(), time.process_time()
    with open(path, "rb") as file:
        for _ in bson.decode_file_iter(file):
            pass
    return time.perf_counter() - start, time.process_time() - cpu


def packed(folder, side, workers):
    """(seconds, of the CPUs, most bytes of all processes together) of packing folder/train.bson, 5 folds."""
    command = [sys.executable, "create_tfrecords.py", "--format=cdiscount", f"--data_dir={folder}",
               f"--out_dir={folder}/packed/store", f"--size={side}", "--n_folds=5", f"--workers={workers}"]
    start, cpu, most = time.perf_counter(), sum(os.times()[2:4]), 0
    with open(folder / "log", "w") as log:
        process = psutil.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            most = max(most, resident(process))
            time.sleep(0.05)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{(folder / 'log').read_text()[-2000:]}")
    shutil.rmtree(folder / "packed")
    return seconds, sum(os.times()[2:4]) - cpu, most


def resident(process):
    """Bytes of the resident sets of a process and its descendants."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:  # it ended meanwhile
        pass
    return total


def spread(values):
    return f"{np.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000, help="products (default: 100000)")
    parser.add_argument("--side", type=int, default=180, help="of the pictures, px (default: 180)")
    parser.add_argument("--repeats", type=int, default=3, help="of both, in turn (default: 3)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        few, many = pathlib.Path(folder, "few"), pathlib.Path(folder, "many")
        for place, documents in ((few, FEW), (many, options.documents)):
            place.mkdir()
            render(place / "train.bson", documents, options.side)
        size = (many / "train.bson").stat().st_size
        print(f"{options.documents} documents, {size / 1e6:.0f} MB", flush=True)
        whole, of_cpu, memory = [], [], 0
        for _ in range(options.repeats):
            before = read_alone(many / "train.bson")
            seconds, cpu, most = packed(many, options.side, options.workers)
            start, start_cpu, _ = packed(few, options.side, options.workers)
            alone, alone_cpu = np.mean([before, read_alone(many / "train.bson")], axis=0)
            whole.append(alone / seconds)
            of_cpu.append(alone_cpu / max(cpu - start_cpu, 1e-3))
            memory = max(memory, most)
            print(f"bson alone {options.documents / alone:.0f} documents/s; packing "
                  f"{options.documents / seconds:.0f} documents/s in {seconds:.1f} s ({cpu:.1f} s of the CPUs), of "
                  f"which its start takes {start:.1f} s ({start_cpu:.1f})", flush=True)
    print(f"packing at {spread(whole)} of the pace of bson alone; of the CPU time without its start, bson alone "
          f"takes {spread(of_cpu)}")
    print(f"peak memory of all processes {memory / 1e6:.0f} MB")
    return memory


if __name__ == "__main__":
    main()
