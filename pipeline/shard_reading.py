"""Reading a store's shards: whole ones in order, or single records wherever they lie."""
import concurrent.futures
import os

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pipeline.decode import decode_image
from records.schema import parse_examples
from records.store import StoreError

MOST_READ = 512  # records read at once
READ_BYTES = 256e6  # of all batches that are being read at a time
READERS = 16  # of single records; disks and networks serve several at once


def reading_plan(record_bytes, cores):
    """(records of a batch, batches read in parallel) with which all fit in READ_BYTES.

    A batch at work takes twice its size, once per record and once together; three more wait or are
    in use.
    """
    parallel = int(np.clip((READ_BYTES / record_bytes - 3) // 2, 1, cores))
    return int(np.clip(READ_BYTES // ((2 * parallel + 3) * record_bytes), 1, MOST_READ)), parallel


def read_encoded(store, rows):
    """PNG or JPEG bytes of `rows`: NumPy array of objects [n]."""
    images = np.empty(len(rows), object)
    for places, batch in _read_shards(store, rows, tf.identity, 1, "reading"):
        images[places] = batch
    return images


def read_decoded(store, rows, images):
    """Decodes `rows` into `images`, uint8 [n, h, w, c]."""
    shape = images.shape[1:]
    convert = lambda data: tf.map_fn(lambda record: decode_image(record, shape), data,
                                     fn_output_signature=tf.TensorSpec(shape, tf.uint8))
    for places, batch in _read_shards(store, rows, convert, int(np.prod(shape)), "decoding"):
        images[places] = batch


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


def record_reader(store, rows):
    """A function of a Dataset of int64 [b] positions in `rows` -> Dataset of string [b], PNG or JPEG
    bytes read where the manifest says they lie, every time anew.

    Local files are read by Python threads: TensorFlow has nothing to read a part of a file but a
    data set per record, a tenth as fast. Cloud storage is read that way, without Python, so that it
    also works on the host of a remote TPU; there it is the network that takes the time.
    """
    manifest = store.manifest.iloc[rows]
    codes = {shard["file"]: i for i, shard in enumerate(store.info["shards"])}
    where = (manifest["shard"].map(codes).to_numpy(np.int64), manifest["offset"].to_numpy(np.int64),
             manifest["length"].to_numpy(np.int64))
    if "://" in store.folder:
        return _read_remote(store, *where)
    return _read_local(store, manifest["id"].to_numpy(), *where)


def _read_local(store, ids, shard, offset, length):
    paths = store.shard_paths()
    readers = concurrent.futures.ThreadPoolExecutor(READERS)

    def read_part(positions):
        return [_read_record(paths[shard[p]], ids[p], int(length[p]), int(offset[p]))
                for p in positions]

    def read(positions):
        examples = np.empty(len(positions), object)
        parts = [slice(start, None, READERS) for start in range(READERS)]
        for part, data in zip(parts, readers.map(read_part, [positions[part] for part in parts])):
            examples[part] = data
        return examples

    def load(positions):
        examples = tf.numpy_function(read, [positions], tf.string)
        return parse_examples(tf.ensure_shape(examples, positions.shape))["image"]
    # Two batches at a time keep the readers busy; more would only take memory.
    return lambda positions: positions.map(load, 2, deterministic=True)


def _read_record(path, name, length, offset):
    """Bytes of record `name`, its checksum not looked at. The StoreError it raises comes out of
    tf.data as InvalidArgumentError, in whose message stands "StoreError: " and its text."""
    try:
        descriptor = os.open(path, os.O_RDONLY)  # not kept: there may be more than may be open
        try:
            data = os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}), wanted for record {name}"
                         ) from error
    if len(data) != length:
        raise StoreError(f"{path} ends inside record {name}, at byte {offset}: copy it again or "
                         "repack the store")
    return data


def _read_remote(store, shard, offset, length):
    paths = tf.constant(store.shard_paths())
    sizes = np.array([s["bytes"] for s in store.info["shards"]], np.int64)
    after = tf.constant(sizes[shard] - offset - length)
    shard, offset, length = map(tf.constant, (shard, offset, length))

    def read(position):
        return tf.data.FixedLengthRecordDataset(
            paths[shard[position]], length[position], offset[position], after[position],
            buffer_size=tf.maximum(length[position], 1))

    def fetch(positions):
        batch = positions.element_spec.shape[0]
        examples = positions.unbatch().interleave(
            read, cycle_length=READERS, block_length=1, num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True).batch(batch, drop_remainder=True)
        return examples.map(lambda serialised: parse_examples(serialised)["image"])
    return fetch
