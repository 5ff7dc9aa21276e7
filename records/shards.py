"""Finished chunks -> shuffled TFRecord shards and the table of where each record lies."""
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from records.schema import FRAME_HEAD, FRAME_TAIL, serialise_example


def plan_shards(name, folds, lengths, shard_bytes, seed, shard_by="size"):
    """[(file name, int rows)] of the shards in order, records shuffled by `seed`.

    folds, lengths: int [n], -1 for no fold, and bytes; shard_bytes: about the size of a shard.
    shard_by: "size" shuffles all of them into NAME-00000-of-0000N.tfrecord; "fold" puts those of
    fold K into fold.K.tfrecord-00000-of-0000N, in order of K, and those of none, ahead of them, into
    NAME.tfrecord-00000-of-0000N. There is at least one shard, if without a record.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(lengths))
    folds, lengths = np.asarray(folds), np.asarray(lengths)
    if shard_by == "size":
        parts = [(name + "-{}.tfrecord", order)]
    else:
        parts = [((name if fold < 0 else f"fold.{fold}") + ".tfrecord-{}", order[folds[order] == fold])
                 for fold in (np.unique(folds) if len(folds) else [-1])]
    plan = []
    for pattern, rows in parts:
        count = max(1, round(lengths[rows].sum() / shard_bytes))
        plan += [(pattern.format(f"{number:05d}-of-{count:05d}"), chosen)
                 for number, chosen in enumerate(np.array_split(rows, count))]
    return plan


def write_shards(folder, plan, table, sources):
    """Writes the shards of plan_shards in `folder`.

    table: DataFrame with `id`, `label`, `label_id` and perhaps `label_ids`, as manifest.csv has them,
    one row per record. sources: DataFrame with
    `file`, `offset`, `length` (bytes), the same rows: where the encoded record lies now.
    Memory: one record at a time. Returns the table in shard order, with `shard`, `offset` (of the
    serialised example, bytes from the start of the shard) and `length` added.
    """
    files = {path: open(path, "rb") for path in sources["file"].unique()}
    placed, several = [], "label_ids" in table
    try:
        with tqdm(total=len(table), desc="shards", unit=" records", delay=2) as progress:
            for shard, rows in plan:
                position = 0
                with tf.io.TFRecordWriter(str(folder / shard)) as writer:
                    for row, file, offset, length in zip(
                            rows, sources["file"].iloc[rows], sources["offset"].iloc[rows],
                            sources["length"].iloc[rows]):
                        files[file].seek(offset)
                        example = serialise_example(
                            table["id"].iat[row], files[file].read(length),
                            int(table["label_id"].iat[row]), table["label"].iat[row],
                            [int(i) for i in table["label_ids"].iat[row].split()] if several else None)
                        writer.write(example)
                        placed.append((shard, position + FRAME_HEAD, len(example)))
                        position += FRAME_HEAD + len(example) + FRAME_TAIL
                        progress.update()
    finally:
        for file in files.values():
            file.close()
    placed = pd.DataFrame(placed, columns=["shard", "offset", "length"])
    order = np.concatenate([rows for _, rows in plan])
    return pd.concat([table.iloc[order].reset_index(drop=True), placed], axis=1)
