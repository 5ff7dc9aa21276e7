"""What has to be cut and encoded before a store is written, and where every encoded record lies then."""
import math
from typing import NamedTuple

import numpy as np

from records.image_columns import ImageColumns

PAGES_PER_CHUNK = 4
IMAGES_PER_CHUNK = 256
MOST_CHUNKS = 512  # their files are all open at once in the end
SAMPLE = 4096  # pictures, of those whose bytes are taken as they are, that the statistics are of


class Chunk(NamedTuple):
    """Some images for chunks.pack_chunk. rows: of columns, where they stand among all; else None."""
    images: list
    as_they_are: bool
    rows: np.ndarray | None = None


class Places(NamedTuple):
    """Where the records lie, in the order of the record table: in which of `files`, at which byte, how long.

    length: 0 where a record cannot be made. Of the statistics `measured` has dicts of pixels, sum, squares;
    sampled: how many records those of bytes taken as they are stand for all of them, None without such.
    """
    files: list
    file: np.ndarray  # int32 [n]
    offset: np.ndarray  # int64 [n]
    length: np.ndarray  # int64 [n]
    measured: list
    sampled: int | None


def chunks_of(images, options):
    """List of Chunk: all that must be decoded of `images`. options: PackingOptions."""
    def parted(rows, as_they_are, per_chunk):
        return [Chunk(images[part], as_they_are, part) for part in
                (rows[i:i + per_chunk] for i in range(0, len(rows), per_chunk))]
    if not isinstance(images, ImageColumns):
        length = chunk_length(len(images), options.crops.records)
        return [Chunk(images[i:i + length], False) for i in range(0, len(images), length)]
    ready = images.as_they_are(options.crops)
    cut, kept = np.flatnonzero(~ready), np.flatnonzero(ready)
    sample = np.random.default_rng([options.seed, 5]).choice(kept, min(SAMPLE, len(kept)), replace=False)
    return (parted(cut, False, chunk_length(len(cut), "images"))
            + parted(np.sort(sample), True, IMAGES_PER_CHUNK))


def chunk_length(n_images, records):
    """Images of a chunk: few where each is much work, more where there would be too many chunks."""
    return max(IMAGES_PER_CHUNK if records == "images" else PAGES_PER_CHUNK,
               math.ceil(n_images / MOST_CHUNKS))


def lengths_by_id(images, records, lengths):
    """int [n]: bytes of each record of the images, in their order; 0: none. lengths: {record id: bytes}."""
    return np.array([lengths.get(record_id, 0) for image in images for record_id in image.record_ids(records)],
                    np.int64)


def places(images, chunks, indices, options):
    """Places of the records of `images`, from their chunks' indices: dicts with `file`, `lengths` (int [n])."""
    starts = [np.cumsum(index["lengths"]) - index["lengths"] for index in indices]
    files = [index["file"] for index in indices]
    if not isinstance(images, ImageColumns):
        lengths = [index["lengths"] for index in indices]
        number = np.repeat(np.arange(len(files), dtype=np.int32), list(map(len, lengths)))
        return Places(files, number, _joined(starts), _joined(lengths), indices, None)
    ready = images.as_they_are(options.crops)
    file = np.full(len(images), len(files), np.int32)
    offset, length = images.offset.copy(), np.where(ready, images.length, 0).astype(np.int64)
    for number, (chunk, index, start) in enumerate(zip(chunks, indices, starts)):
        length[chunk.rows] = index["lengths"]
        if not chunk.as_they_are:
            file[chunk.rows], offset[chunk.rows] = number, start
    length[np.isin(images.product, images.product[length == 0])] = 0  # a product is whole or not there
    decoded = sum(int(np.count_nonzero(index["lengths"]))
                  for chunk, index in zip(chunks, indices) if chunk.as_they_are)
    share = np.count_nonzero(ready) / max(1, decoded)  # what the sample stands for
    measured = [{name: np.multiply(index[name], share if chunk.as_they_are else 1)
                 for name in ("pixels", "sum", "squares")} for chunk, index in zip(chunks, indices)]
    return Places([*files, images.path], file, offset, length, measured, decoded if ready.any() else None)


def _joined(arrays):
    return np.concatenate([np.zeros(0, np.int64), *arrays])
