"""Finished chunks -> shuffled TFRecord shards and the table of where each record lies."""
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from records.schema import FRAME_HEAD, FRAME_TAIL, serialise_example


def write_shards(folder, name, table, sources, shard_bytes, seed):
    """Writes NAME-00000-of-0000N.tfrecord in `folder`, records shuffled by `seed`.

    table: DataFrame with `id`, `label`, `label_id`, one row per record. sources: DataFrame with
    `file`, `offset`, `length` (bytes), the same rows: where the encoded record lies now.
    Memory: one record at a time. Returns the table in shard order, with `shard`, `offset` (of the
    serialised example, bytes from the start of the shard) and `length` added.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(table))
    n_shards = max(1, round(sources["length"].sum() / shard_bytes))
    files = {path: open(path, "rb") for path in sources["file"].unique()}
    placed = []
    try:
        with tqdm(total=len(order), desc="shards", unit=" records", delay=2) as progress:
            for number, rows in enumerate(np.array_split(order, n_shards)):
                shard = f"{name}-{number:05d}-of-{n_shards:05d}.tfrecord"
                position = 0
                with tf.io.TFRecordWriter(str(folder / shard)) as writer:
                    for row, file, offset, length in zip(
                            rows, sources["file"].iloc[rows], sources["offset"].iloc[rows],
                            sources["length"].iloc[rows]):
                        files[file].seek(offset)
                        example = serialise_example(
                            table["id"].iat[row], files[file].read(length),
                            int(table["label_id"].iat[row]), table["label"].iat[row])
                        writer.write(example)
                        placed.append((shard, position + FRAME_HEAD, len(example)))
                        position += FRAME_HEAD + len(example) + FRAME_TAIL
                        progress.update()
    finally:
        for file in files.values():
            file.close()
    placed = pd.DataFrame(placed, columns=["shard", "offset", "length"])
    return pd.concat([table.iloc[order].reset_index(drop=True), placed], axis=1)
