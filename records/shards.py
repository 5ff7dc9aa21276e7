"""Encoded records -> shuffled TFRecord shards and the table of where each record lies."""
import concurrent.futures
import os

import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from records.files import sha256, write_parts
from records.schema import FRAME_HEAD, FRAME_TAIL, serialise_example

READ_BYTES = 32 << 20  # of records at a time
MOST_THREADS = 4  # Python's own part of the work is one thread's


def plan_shards(name, folds, lengths, shard_bytes, seed, shard_by="size", first=None):
    """[(file name, int rows)] of the shards in order, records shuffled by `seed`.

    folds, lengths: int [n], -1 for no fold, and bytes; shard_bytes: about the size of a shard. first: int,
    ascending, where each product begins, whose records then stay together and in order; None: each record
    is by itself.
    shard_by: "size" shuffles all of them into NAME-00000-of-0000N.tfrecord; "fold" puts those of
    fold K into fold.K.tfrecord-00000-of-0000N, in order of K, and those of none, ahead of them, into
    NAME.tfrecord-00000-of-0000N. There is at least one shard, if without a record.
    """
    folds, lengths = np.asarray(folds), np.asarray(lengths)
    random = np.random.default_rng([seed, 0])
    if first is None:
        order = begins = random.permutation(len(lengths))
    else:
        begins = random.permutation(np.asarray(first))
        sizes = np.diff(first, append=len(lengths))[np.searchsorted(first, begins)]
        within = np.arange(len(lengths)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        order = np.repeat(begins, sizes) + within
    starts = np.zeros(len(lengths), bool)
    starts[begins] = True
    if shard_by == "size":
        parts = [(name + "-{}.tfrecord", order)]
    else:
        parts = [((name if fold < 0 else f"fold.{fold}") + ".tfrecord-{}", order[folds[order] == fold])
                 for fold in (np.unique(folds) if len(folds) else [-1])]
    plan = []
    for pattern, rows in parts:
        count = max(1, round(lengths[rows].sum() / shard_bytes))
        alone = np.array_split(np.flatnonzero(starts[rows]), count)  # where what stays together begins
        plan += [(pattern.format(f"{number:05d}-of-{count:05d}"), chosen) for number, chosen in enumerate(
            np.split(rows, [part[0] if len(part) else len(rows) for part in alone[1:]]))]
    return plan


def write_shards(folder, plan, table, where, named, workers):
    """Writes the shards of plan_shards in `folder`, and manifest.csv, a row per record in their order.

    table: DataFrame, a row per record, numbered from 0. where: places.Places of the same records, where they
    lie now, encoded. named: makes of some rows of the table those of the manifest (`id`, `label`, `label_id`
    and perhaps `label_ids`, ...), to which `shard`, `offset` (of the serialised example, bytes from the
    start of the shard) and `length` are added. Memory: the names of a shard's records and READ_BYTES of
    these, for each of `workers` threads, of which there are MOST_THREADS at most. Returns a dict of file,
    records, bytes, sha256 for each shard.
    """
    files = [os.open(path, os.O_RDONLY) for path in where.files]

    def write(shard, rows):
        block, placed, position = named(table.iloc[rows]).reset_index(drop=True), [], 0
        several = block["label_ids"].tolist() if "label_ids" in block else [None] * len(rows)
        columns = zip(*(block[name].tolist() for name in ("id", "label_id", "label")), several)
        with tf.io.TFRecordWriter(str(folder / shard)) as writer:
            for image, (record_id, label_id, label, label_ids) in zip(_read(files, where, rows), columns):
                example = serialise_example(record_id, image, label_id, label, None if label_ids is None else
                                            [int(i) for i in label_ids.split()])
                writer.write(example)
                placed.append((shard, position + FRAME_HEAD, len(example)))
                position += FRAME_HEAD + len(example) + FRAME_TAIL
        block = pd.concat([block, pd.DataFrame(placed, columns=["shard", "offset", "length"])], axis=1)
        told.append({"file": shard, "records": len(rows), "bytes": position, "sha256": sha256(folder / shard)})
        return block.to_csv(index=False, header=shard == plan[0][0]), len(rows)

    def rows_of_manifest(written):
        with tqdm(total=len(table), desc="shards", unit=" records", delay=2) as progress:
            for text, count in written:
                yield text
                progress.update(count)
    told, pool = [], concurrent.futures.ThreadPoolExecutor(min(workers, MOST_THREADS))
    try:
        write_parts(folder / "manifest.csv", rows_of_manifest(pool.map(write, *zip(*plan))))
    finally:
        pool.shutdown(cancel_futures=True)
        for file in files:
            os.close(file)
    order = {shard: place for place, (shard, _) in enumerate(plan)}
    return sorted(told, key=lambda shard: order[shard["file"]])


def _read(files, where, rows):
    """Yields the bytes of the records `rows`, some read at a time and in the order in which they lie."""
    total = np.cumsum(where.length[rows])
    cuts = np.searchsorted(total, np.arange(READ_BYTES, total[-1] if len(rows) else 0, READ_BYTES))
    for part in np.split(rows, cuts):
        file, offset, length = (column[part].tolist() for column in (where.file, where.offset, where.length))
        data = [None] * len(part)
        for i in np.lexsort((offset, file)).tolist():
            data[i] = os.pread(files[file[i]], length[i], offset[i])
        yield from data
