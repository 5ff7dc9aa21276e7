"""Training batches from a store that memory does not hold, against the same from memory.

  python -m benchmarks.streaming                     about 3 minutes
  python -m benchmarks.streaming --records=200000 --buffer_size=65536 --seconds=20   a window's reading in each run

A store of --records JPEG of --size px is packed here, from --pictures that are drawn, repeated. Batches as
run.py trains on (random crops, normalised) come in turn from

  encoded    --cache=encoded: the bytes in memory, decoded anew every epoch
  streaming  --cache=none --buffer_size: read from the shards in blocks; before each round the system is told
             to forget what it holds of them (posix_fadvise)
  decoding   a limit: decoding the bytes in memory, nothing else
  reading    a limit: reading the streaming way's windows, nothing else; likewise

Each runs --repeats times for --seconds after its warm-up, in another order in each round, and the next one waits
until what is made ahead is there. A ratio is that of two runs of the same round; over the rounds some windows of
--buffer_size should be read. Processor time counts less of what others do on the machine.
"""
import argparse
import os
import pathlib
import tempfile
import time

import numpy as np

from benchmarks.input_pipeline import images_per_second, print_rows, spread

CROP = (0.6, 0.9)  # share of the area, as of 160 px from 180


def draw(folder, pictures, size):
    """Smooth pictures with fine grain, as JPEG files of quality 90: about the bytes of photographs."""
    import cv2
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(pictures):
        coarse = random.integers(0, 256, (9, 9, 3), np.uint8)
        coarse = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        image = np.clip(coarse + random.normal(0, 4, coarse.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 90])


def pack(folder, options):
    """The opened store: shards of the drawn bytes, again and again, each record with its own id."""
    import hashlib
    import json

    import pandas as pd
    import tensorflow as tf

    import create_tfrecords
    from records.schema import FRAME_HEAD, FRAME_TAIL, serialise_example
    from records.store import open_store

    draw(folder / "set" / "all", options.pictures, options.size)
    create_tfrecords.main(["--format=folder", f"--data_dir={folder / 'set'}", f"--out_dir={folder / 'store'}",
                           f"--size={options.size}", "--encoding=jpeg", "--jpeg_quality=90"])
    packed = open_store(folder / "store")
    jpegs = [p.read_bytes() for p in sorted((folder / "set" / "all").iterdir())]
    info, rows, shards = packed.info, [], []
    shard_records = -(-options.records // options.shards)
    for shard in range(options.shards):
        name, position = f"{info['name']}-{shard:05d}-of-{options.shards:05d}.tfrecord", 0
        numbers = range(shard * shard_records, min((shard + 1) * shard_records, options.records))
        with tf.io.TFRecordWriter(str(folder / "store" / name)) as writer:
            for number in numbers:
                example = serialise_example(str(number), jpegs[number * 7919 % len(jpegs)], 0, "all")
                writer.write(example)
                rows.append((str(number), name, position + FRAME_HEAD, len(example)))
                position += FRAME_HEAD + len(example) + FRAME_TAIL
        shards.append({"file": name, "records": len(numbers), "bytes": position})
    manifest = pd.DataFrame(rows, columns=["id", "shard", "offset", "length"])
    for column in packed.manifest.columns.difference(manifest.columns):
        manifest[column] = packed.manifest[column].iloc[0]
    manifest["image_id"] = manifest["id"]
    text = manifest.to_csv(index=False)
    (folder / "store" / "manifest.csv").write_text(text)
    info |= {"shards": shards, "n_records": len(rows),
             "manifest_sha256": hashlib.sha256(text.encode()).hexdigest()}
    (folder / "store" / "dataset.json").write_text(json.dumps(info))
    return open_store(folder / "store")


def forget(store):
    """What the system holds of the shards in memory is dropped, so that they are read from the disk."""
    for path in store.shard_paths():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def ways(store, options):
    """{name: endless iterator of batches}."""
    import tensorflow as tf

    from pipeline.augmentation import Augmentation, InputFormat
    from pipeline.batches import training_batches
    from pipeline.cache import image_source
    from pipeline.geometry import Geometry
    from pipeline.order import training_positions
    from pipeline.streaming import window_reader

    rows = np.arange(len(store.manifest))
    crops = Augmentation(Geometry(rrc_scale=CROP))
    shown = InputFormat(options.size * 8 // 9, 3, (0.5,) * 3, (0.25,) * 3, "float32")

    def batches(cache, buffer_size):
        source = image_source(store, rows, 3, cache, buffer_size=buffer_size)
        return source, iter(training_batches(
            source, rows, np.zeros(len(rows), int), 1, crops, shown, batch_size=options.batch_size, seed=1,
            n_epochs=1 << 20, buffer_size=options.buffer_size))
    held, encoded = batches("encoded", None)
    at = tf.data.Dataset.from_tensor_slices(rows).repeat().batch(options.batch_size, drop_remainder=True)
    windows = training_positions(np.zeros(len(rows), int), None, 2, options.batch_size, 1 << 20,
                                 buffer_size=options.buffer_size, windows=True)
    return {"encoded": encoded, "streaming": batches("none", options.buffer_size)[1],
            "decoding": iter(held.fetch(at).prefetch(2)), "reading": iter(window_reader(store, rows)(windows))}


def pace(batches, options):
    """Images of an endless iterator, in steady state: (per second, per second of processor time)."""
    images_per_second(batches, options.batch_size, 0)  # warms up
    wall, processor, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < options.seconds:
        next(batches)
        count += options.batch_size
    rates = count / (time.perf_counter() - wall), count / (time.process_time() - processor)
    for _ in range(10):  # it is busy with what it makes ahead, at the cost of the next one
        before = time.process_time()
        time.sleep(0.2)
        if time.process_time() - before < 0.04:
            break
    return rates


def measure(options):
    """{name: float [repeats, 2], what `pace` gives}."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = pack(pathlib.Path(folder), options)
        size = store.manifest["length"].astype(int).sum()
        print(f"{options.records:,} records of {size / options.records / 1e3:.1f} kB, {size / 1e9:.2f} GB; "
              f"{options.buffer_size:,} are shuffled at a time, "
              f"{options.buffer_size * size / options.records / 1e6:,.0f} MB")
        measured = ways(store, options)
        rates = {name: [] for name in measured}
        for number in range(options.repeats):
            for name in np.roll(list(measured), -number).tolist():
                forget(store)
                rates[name].append(pace(measured[name], options))
                print(f"round {number + 1}: {name}: {rates[name][-1][0]:,.0f} images/s", flush=True)
    return {name: np.array(values) for name, values in rates.items()}


def parse(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, kind, default, what in (
            ("records", int, 20_000, "in the store"), ("pictures", int, 256, "that are drawn"),
            ("size", int, 180, "side of a picture, px"), ("shards", int, 4, "files of the store"),
            ("batch_size", int, 128, "images"), ("buffer_size", int, 2048, "records shuffled and read at a time"),
            ("repeats", int, 9, "rounds"), ("seconds", float, 1.5, "of each run, after its warm-up")):
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{what} (default: {default})")
    parser.add_argument("--folder", help="on the disk that is measured (default: the system's temporary one)")
    return parser.parse_args(argv)


def main(argv=None):
    import keras2  # noqa: F401  before TensorFlow
    rates = measure(parse(argv))
    print()
    print_rows(["", "images/s", "of encoded", "of decoding", "images/s of a processor", "of encoded"],
               [[name, spread(rate[:, 0], ",.0f"), *(spread((rate / rates[way])[:, 0], ".2f")
                                                     for way in ("encoded", "decoding")),
                 spread(rate[:, 1], ",.0f"), spread((rate / rates["encoded"])[:, 1], ".2f")]
                for name, rate in rates.items()])


if __name__ == "__main__":
    main()
