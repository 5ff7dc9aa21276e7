"""Where training finds its images: decoded in memory or in a file, encoded in memory, or in the shards.

  decoded  uint8 in one tensor: records x size x size x channels bytes
  file     the same, in a file of a local disk that is mapped into memory (see file_cache.py)
  encoded  the PNG or JPEG bytes, decoded anew every epoch: their size in the shards, while they are
           loaded twice that, as TensorFlow copies strings
  none     read from the shards each time; with a buffer size in windows, as streaming.py says
Only the records in use are held; while they are loaded, shard_reading.READ_BYTES more.
"""
import dataclasses
import pathlib

import numpy as np
import psutil
import tensorflow as tf

from pipeline.decode import decode_image, per_record
from pipeline.file_cache import cache_folder, open_file_cache
from pipeline.host import on_host
from pipeline.shard_reading import read_decoded, read_encoded, record_reader
from pipeline.streaming import window_reader

CACHES = ("auto", "decoded", "file", "encoded", "none")
SHARE_OF_FREE_MEMORY = 0.5  # what a cache may take when it is chosen by itself
ALIGNMENT = 64  # bytes; TensorFlow takes over an array so aligned without copying it


def free_memory(group="/sys/fs/cgroup"):
    """Bytes that may be used: what the machine has free, or what the container still allows.

    group: folder that tells of the container. Files read lately count as used there, but give way.
    """
    free = psutil.virtual_memory().available
    read = lambda name: (pathlib.Path(group) / name).read_text()
    try:
        files = dict(line.split() for line in read("memory.stat").splitlines())["inactive_file"]
        free = min(free, int(read("memory.max")) - int(read("memory.current")) + int(files))
    except (OSError, ValueError, KeyError):  # no limit is set
        pass
    return free


@dataclasses.dataclass
class ImageSource:
    """Images by position in `rows`.

    fetch: a function of a Dataset of int64 [b] positions -> a Dataset of uint8 [b, h, w, c], in
    order. held: bytes in memory.
    pictures: k, where a record is so many and fetch gives uint8 [b, k, h, w, c] (product_grid); else None.
    What windows of large images are cut from, one of the two, the other None:
    fetch_encoded: as fetch -> a Dataset of string [b], PNG or JPEG bytes. images: uint8 [records,
    h, w, c].
    stream: None, or as fetch of a Dataset of int64 [k, b]: batches that are read together.
    vectors: None, or a function of int64 [b] positions -> float32 [b, d], what comes beside each image.
    """
    kind: str
    fetch: object
    held: int
    fetch_encoded: object = None
    images: object = None
    pictures: int | None = None
    stream: object = None
    vectors: object = None


def choose_cache(kind, decoded_bytes, encoded_bytes, free, most=None):
    """(kind, why) for --cache=kind; all figures in bytes. It is the most that is held at a time
    that must fit: of the encoded, two copies. `auto` never chooses a file. most: that `auto` may take;
    None: SHARE_OF_FREE_MEMORY."""
    sizes = {"decoded": decoded_bytes, "encoded": 2 * encoded_bytes}
    said = f"{free / 1e9:.2f} GB free" if most is None else f"{most / 1e9:.2f} GB allowed"
    most = SHARE_OF_FREE_MEMORY * free if most is None else min(most, free)
    of_free = lambda need: f"{need / 1e9:.2f} GB of {said}"
    if kind in sizes and sizes[kind] > free:
        raise MemoryError(f"--cache={kind} needs {sizes[kind] / 1e9:.2f} GB, {free / 1e9:.2f} GB "
                          "are free: choose --cache=auto or --cache=file")
    if kind != "auto":
        return kind, "as told" + (f"; {of_free(sizes[kind])}" if kind in sizes else "")
    if decoded_bytes <= most:
        return "decoded", of_free(decoded_bytes)
    hint = (f"decoded would take {of_free(decoded_bytes)}, or {decoded_bytes / 1e9:.2f} GB of disk "
            "with --cache=file")
    if sizes["encoded"] <= most:
        return "encoded", f"{of_free(sizes['encoded'])}; {hint}"
    return "none", f"encoded would take {of_free(sizes['encoded'])}; {hint}"


@on_host
def image_source(store, rows, channels, cache="auto", cache_dir=None, cache_bytes=None, buffer_size=None):
    """An ImageSource over `rows` (int [n], rows of the manifest, each once) of the store.

    channels: 1 or 3, as the network takes them. cache: one of CACHES. cache_dir: str, folder of the
    file cache, by default STORE/cache. cache_bytes: see choose_cache. buffer_size: records that are read
    together where there is no cache. Prints which cache was chosen and why.
    """
    shape = (*store.record_size, channels)
    image_bytes = int(np.prod(shape))
    encoded_bytes = int(store.manifest["length"].to_numpy(np.int64)[rows].sum())
    kind, why = choose_cache(cache, len(rows) * image_bytes, encoded_bytes, free_memory(), cache_bytes)
    if kind == "file":
        return _of_images(kind, open_file_cache(cache_folder(store, cache_dir), store, rows, shape,
                                                lambda images: read_decoded(store, rows, images)), 0)
    if kind == "none":
        why += (f"; records are read {buffer_size} at a time, about "
                f"{4 * buffer_size * encoded_bytes / max(len(rows), 1) / 1e9:.2g} GB" if buffer_size else
                "; each record is read by itself, --buffer_size reads blocks of them")
    print(f"cache: {kind} ({why}), {len(rows)} records")
    if kind == "decoded":
        array = _aligned((len(rows), *shape))
        read_decoded(store, rows, array)
        return _of_images(kind, tf.experimental.dlpack.from_dlpack(array.__dlpack__()), array.nbytes)
    if kind == "encoded":
        held, encoded = encoded_bytes, tf.constant(read_encoded(store, rows))
        fetch_encoded = lambda positions: positions.map(lambda batch: tf.gather(encoded, batch))
    elif buffer_size:
        held, read = 0, window_reader(store, rows)
        fetch_encoded = lambda positions: read(positions.batch(
            max(1, buffer_size // positions.element_spec.shape[0])))
    else:
        held, fetch_encoded = 0, record_reader(store, rows)
    decoded = lambda data: per_record(data, lambda image: decode_image(image, shape), image_bytes)
    return ImageSource(kind, lambda positions: decoded(fetch_encoded(positions)), held, fetch_encoded,
                       stream=(lambda windows: decoded(read(windows))) if kind == "none" and buffer_size else None)


def _of_images(kind, images, held):
    """ImageSource of decoded images, uint8 [n, h, w, c]."""
    return ImageSource(kind, lambda positions: positions.map(
        lambda batch: tf.gather(images, batch)), held, images=images)


def _aligned(shape):
    """An array of uint8 that TensorFlow takes over without a copy."""
    count = int(np.prod(shape))
    buffer = np.empty(count + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start:start + count].reshape(shape)
