"""Where training finds its images: decoded in memory, encoded in memory, or in the shards.

  decoded  uint8 in one tensor: records x size x size x channels bytes
  encoded  the PNG or JPEG bytes, decoded anew every epoch: their size in the shards, while they are
           loaded twice that, as TensorFlow copies strings
  none     read from the shards each time, one record per read
Only the records in use are held; while they are loaded, READ_BYTES more.
"""
import dataclasses
import os
import pathlib

import numpy as np
import psutil
import tensorflow as tf
from tqdm import tqdm

from pipeline.host import on_host
from records.schema import parse_examples
from records.store import StoreError

CACHES = ("auto", "decoded", "encoded", "none")
SHARE_OF_FREE_MEMORY = 0.5  # what a cache may take when it is chosen by itself
MOST_READ = 512  # records read at once
READ_BYTES = 256e6  # of all batches that are being read at a time
ALIGNMENT = 64  # bytes; TensorFlow takes over an array so aligned without copying it


def free_memory():
    """Bytes that may be used: what the machine has free, or what the container still allows."""
    free = psutil.virtual_memory().available
    try:
        group = pathlib.Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        free = min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no limit is set
        pass
    return free


@dataclasses.dataclass
class ImageSource:
    """Images by position in `rows`.

    fetch: a function of a Dataset of int64 [b] positions -> a Dataset of uint8 [b, h, w, c], in
    order. held: bytes in memory.
    """
    kind: str
    fetch: object
    held: int


def choose_cache(kind, decoded_bytes, encoded_bytes, free):
    """(kind, why) for --cache=kind; all figures in bytes. It is the most that is held at a time
    that must fit: of the encoded, two copies."""
    sizes = {"decoded": decoded_bytes, "encoded": 2 * encoded_bytes}
    if kind != "auto":
        need = sizes.get(kind, 0)
        if need > free:
            raise MemoryError(f"--cache={kind} needs {need / 1e9:.2f} GB, {free / 1e9:.2f} GB are "
                              "free: choose --cache=auto")
        return kind, "as told"
    for kind, need in sizes.items():
        if need <= SHARE_OF_FREE_MEMORY * free:
            return kind, f"{need / 1e9:.2f} GB of {free / 1e9:.2f} GB free"
    return "none", f"encoded would take {need / 1e9:.2f} GB of {free / 1e9:.2f} GB free"


@on_host
def image_source(store, rows, channels, cache="auto"):
    """An ImageSource over `rows` (int [n], rows of the manifest, each once) of the store.

    channels: 1 or 3, as the network takes them. Prints which cache was chosen and why.
    """
    size = store.info["image"]["size"]
    shape = (size, size, channels)
    lengths = store.manifest["length"].to_numpy(np.int64)[rows]
    kind, why = choose_cache(cache, len(rows) * int(np.prod(shape)), int(lengths.sum()),
                             free_memory())
    print(f"cache: {kind} ({why}), {len(rows)} records")
    decode = lambda data: _decode(data, shape)
    if kind == "none":
        return ImageSource(kind, _from_shards(store, rows, decode), 0)
    if kind == "encoded":
        images = tf.constant(_read_encoded(store, rows))
        return ImageSource(kind, lambda positions: _per_record(
            positions, lambda position: decode(tf.gather(images, position))), int(lengths.sum()))
    array = _read_decoded(store, rows, decode, shape)
    images = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return ImageSource(kind, lambda positions: positions.map(
        lambda batch: tf.gather(images, batch)), array.nbytes)


def _decode(data, shape):
    """Encoded bytes -> uint8 [h, w, c], gray or RGB as the network takes it."""
    image = tf.io.decode_image(data, channels=shape[2], expand_animations=False)
    return tf.ensure_shape(image, shape)


def _per_record(positions, load):
    """Dataset of [b] positions -> Dataset of [b, ...] loaded records, several at a time."""
    batch = positions.element_spec.shape[0]
    return positions.unbatch().map(load, tf.data.AUTOTUNE, deterministic=True).batch(
        batch, drop_remainder=True)


def _from_shards(store, rows, decode):
    """Reads each record where the manifest says it lies. Python-free, so that it runs anywhere."""
    manifest = store.manifest.iloc[rows]
    codes = {shard["file"]: i for i, shard in enumerate(store.info["shards"])}
    shard = tf.constant(manifest["shard"].map(codes).to_numpy(np.int32))
    offset = tf.constant(manifest["offset"].to_numpy(np.int64))
    length = tf.constant(manifest["length"].to_numpy(np.int64))
    paths = tf.constant(store.shard_paths())
    sizes = tf.constant([s["bytes"] for s in store.info["shards"]], tf.int64)

    def read(position):
        number = shard[position]
        after = sizes[number] - offset[position] - length[position]
        return tf.data.FixedLengthRecordDataset(
            paths[number], length[position], offset[position], after,
            buffer_size=tf.maximum(length[position], 1))

    def load(serialised):
        return decode(parse_examples(serialised[None])["image"][0])

    def fetch(positions):
        batch = positions.element_spec.shape[0]
        records = positions.unbatch().interleave(
            read, cycle_length=16, block_length=1, num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True)
        return records.map(load, tf.data.AUTOTUNE, deterministic=True).batch(batch, True)
    return fetch


def reading_plan(record_bytes, cores):
    """(records of a batch, batches read in parallel) with which all fit in READ_BYTES.

    A batch at work takes twice its size, once per record and once together; three more wait or are
    in use.
    """
    parallel = int(np.clip((READ_BYTES / record_bytes - 3) // 2, 1, cores))
    return int(np.clip(READ_BYTES // ((2 * parallel + 3) * record_bytes), 1, MOST_READ)), parallel


def _read_shards(store, rows, convert, record_bytes, description):
    """Yields (positions in `rows`, batch) over every shard in order; checks ids and counts.

    convert: of the encoded images string [b], to whatever; record_bytes: of one as converted.
    """
    longest = int(store.manifest["length"].to_numpy(np.int64).max(initial=1))
    size, parallel = reading_plan(max(record_bytes, longest), os.cpu_count())
    position = np.full(len(store.manifest), -1)
    position[rows] = np.arange(len(rows))
    ids = np.array([name.encode() for name in store.manifest["id"]], object)
    start = 0
    with tqdm(total=len(store.manifest), desc=description, unit=" records", delay=2) as progress:
        for shard, path in zip(store.info["shards"], store.shard_paths()):
            wanted = position[start:start + shard["records"]]
            seen = 0
            dataset = tf.data.TFRecordDataset(path, buffer_size=1 << 22).batch(size).enumerate()
            dataset = dataset.map(_selection(wanted, size, convert), parallel,
                                  deterministic=True).prefetch(1)
            try:
                for places, images, names, count in dataset.as_numpy_iterator():
                    if (ids[rows[places]] != names).any():
                        raise StoreError(f"{path}: its records are not those that manifest.csv "
                                         "names: repack the store")
                    seen += count
                    progress.update(count)
                    yield places, images
            except tf.errors.DataLossError as error:
                raise StoreError(f"{path} is damaged ({error.message}): repack the store") from error
            except tf.errors.InvalidArgumentError as error:
                raise StoreError(f"{path} holds a record that cannot be decoded "
                                 f"({error.message[:200]}): repack the store") from error
            if seen != shard["records"]:
                raise StoreError(f"{path} ends after {seen} records, dataset.json says "
                                 f"{shard['records']}: copy it again or repack the store")
            start += shard["records"]


def _selection(wanted, size, convert):
    """A function of (a batch's number, its serialised examples) giving those in use: places
    (int64 [k], of `wanted`), converted images, ids; and int64 [], the number of all."""
    wanted = tf.constant(wanted, tf.int64)

    def choose(number, serialised):
        count = tf.shape(serialised, tf.int64)[0]
        # A shard with more records than it should have must not read past the end of `wanted`.
        places = wanted[number * size:number * size + count]
        keep = places >= 0
        example = parse_examples(tf.boolean_mask(serialised[:tf.shape(places)[0]], keep))
        return tf.boolean_mask(places, keep), convert(example["image"]), example["image_id"], count
    return choose


def _read_encoded(store, rows):
    images = np.empty(len(rows), object)
    for places, batch in _read_shards(store, rows, tf.identity, 1, "reading"):
        images[places] = batch
    return images


def _read_decoded(store, rows, decode, shape):
    count = len(rows) * int(np.prod(shape))
    buffer = np.empty(count + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    images = buffer[start:start + count].reshape(len(rows), *shape)
    convert = lambda data: tf.map_fn(decode, data, fn_output_signature=tf.TensorSpec(shape, tf.uint8))
    for places, batch in _read_shards(store, rows, convert, int(np.prod(shape)), "decoding"):
        images[places] = batch
    return images
