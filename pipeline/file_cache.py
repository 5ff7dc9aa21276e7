"""Decoded images in a file that is mapped into memory: for sets that memory does not hold, and for
several runs on one machine, which share its pages.

FOLDER/decoded-KEY.u8    the pixels, uint8 [records, h, w, c] and nothing else
FOLDER/decoded-KEY.json  what they are of, their shape, and a CRC-32 of every block of them
KEY is a digest of all that decides the pixels: records and shards by their SHA-256, rows, shape,
decoder. The JSON is written last, so a file without one is what a kill has left. FOLDER/lock is held
while one looks and writes: a second run waits, then finds the file. A folder that can only be read
serves what is whole in it.

Every opening looks at the size and at CHECKED_BLOCKS random blocks. That finds what a kill, a full
disk or a cut leaves; of a file of more blocks it does not promise to find a single changed byte.
"""
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import zlib

import numpy as np
import tensorflow as tf

from records.files import replaced, write_json

FORMAT = 1  # of these files
BLOCK = 1 << 22  # bytes
CHECKED_BLOCKS = 16  # at every opening; other ones each time
KEY_DIGITS = 16
OURS = re.compile(rf"decoded-[0-9a-f]{{{KEY_DIGITS}}}\.(u8|json)")
TEMPORARY = re.compile(rf"\.{OURS.pattern}\.[0-9]+\.tmp")  # as records.files.replaced() names them


class CacheError(ValueError):
    """A file cache that cannot be kept where it was asked for."""


def cache_folder(store, cache_dir=None):
    """Where the file caches of a store lie (pathlib.Path): in cache_dir (str, "~" is the home), or in
    the store itself. Raises CacheError for a remote one."""
    folder = os.path.expanduser(cache_dir or f"{store.folder}/cache")
    if "://" in folder:
        raise CacheError(f"--cache=file needs a folder of this machine, not {folder}: give "
                         "--cache_dir")
    return pathlib.Path(folder)


def open_file_cache(folder, store, rows, shape, fill):
    """Images of `rows`, uint8 [n, h, w, c], mapped from a file that is written if it must be.

    folder: pathlib.Path. rows: int [n], of the manifest. shape: (h, w, c). fill: writes the images
    into the array uint8 [n, h, w, c] it is given. Prints what was found and what is done. Raises
    CacheError where it is not there and the disk is too full or cannot be written.
    """
    where = os.path.abspath(store.folder)
    what = {"pixels": _pixels_digest(store), "shape": [len(rows), *shape],
            "rows": hashlib.sha256(np.asarray(rows, np.int64).tobytes()).hexdigest()}
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:KEY_DIGITS]
    path = folder / f"decoded-{key}.u8"
    need = len(rows) * int(np.prod(shape))
    if not need:
        return tf.zeros(what["shape"], tf.uint8)
    with _disk_errors(folder), _locked(folder) as refused:
        if not refused:
            _tidy(folder, where, what["pixels"])
        fault = _fault(path, what)
        if fault and refused:
            raise refused
        if fault:
            path.unlink(missing_ok=True)
            free = shutil.disk_usage(folder).free
            if need > free:
                raise CacheError(f"--cache=file needs {need / 1e9:.2f} GB in {folder}, "
                                 f"{free / 1e9:.2f} GB are free: give another --cache_dir, or "
                                 "choose --cache=encoded")
            print(f"cache: file (as told; {need / 1e9:.2f} GB of {free / 1e9:.2f} GB free to "
                  f"{path}: {fault}), {len(rows)} records")
            _write(path, where, what, fill)
        else:
            print(f"cache: file (as told; {need / 1e9:.2f} GB found in {path}), {len(rows)} records")
        # The mapping outlives the file's name: another run may remove it from now on.
        return tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=what["shape"],
                                         memory_region_name=str(path))


def _pixels_digest(store):
    """Of all that decides the pixels of a store's records but the choice of rows and channels."""
    shards = [[shard["file"], shard["bytes"], shard["sha256"]] for shard in store.info["shards"]]
    return hashlib.sha256(json.dumps([FORMAT, tf.__version__, store.info["manifest_sha256"],
                                      store.info["image"], shards]).encode()).hexdigest()


@contextlib.contextmanager
def _disk_errors(folder):
    try:
        yield
    except OSError as error:
        raise CacheError(f"{folder} cannot be written ({error.strerror}): give another --cache_dir"
                         ) from error


@contextlib.contextmanager
def _locked(folder):
    """Yields None while it holds the lock, or the OSError for which there is none to be had."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "w")
    except OSError as error:
        yield error
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"cache: another run is writing in {folder}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield None


def _tidy(folder, where, pixels):
    """Removes what killed runs have left, and caches of what this store held before, as far as they
    may be removed. The folder may hold other things: only names of our making are touched."""
    paths = list(folder.iterdir())
    for rest in paths:
        if TEMPORARY.fullmatch(rest.name):
            _remove(rest)
    for path in {path.with_suffix(".u8") for path in paths if OURS.fullmatch(path.name)}:
        header = path.is_file() and _header(path)
        stale = header and header["store"] == where and header["what"]["pixels"] != pixels
        if stale:
            print(f"cache: {path} removed: {where} was repacked since, or TensorFlow is another")
        if stale or not header:
            _remove(path)
            _remove(path.with_suffix(".json"))


def _remove(path):
    with contextlib.suppress(OSError):
        path.unlink()


def _header(path):
    """The JSON beside the pixels; {} if it is not there, not whole or not ours."""
    try:
        header = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if header["store"] and header["what"]["pixels"] and isinstance(header["blocks"], list):
            return header
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {}


def _fault(path, what):
    """Why the file cannot be used, or None. Reads CHECKED_BLOCKS of it."""
    header = _header(path)
    if not header or not path.is_file():
        return "not there yet"
    need, sums = int(np.prod(what["shape"])), header["blocks"]
    if header["what"] != what or path.stat().st_size != need or len(sums) != _block_count(need):
        return "the one there is not whole"
    pixels = np.memmap(path, np.uint8, "r")
    checked = np.random.default_rng().permutation(len(sums))[:CHECKED_BLOCKS]
    if any(_block_sum(pixels, block) != sums[block] for block in checked):
        return "the one there is damaged"
    return None


def _block_count(size):
    return -(-size // BLOCK)


def _block_sum(pixels, block):
    return zlib.crc32(pixels[block * BLOCK:(block + 1) * BLOCK])


def _write(path, where, what, fill):
    need = int(np.prod(what["shape"]))
    path.with_suffix(".json").unlink(missing_ok=True)
    with replaced(path) as beside:
        with open(beside, "w+b") as file:
            _reserve(file.fileno(), need)
            pixels = np.memmap(file, np.uint8, "r+")
            fill(pixels.reshape(what["shape"]))
            pixels.flush()  # to the disk, before the JSON says that it is there
        sums = [_block_sum(pixels, block) for block in range(_block_count(need))]
    write_json(path.with_suffix(".json"), {"store": where, "what": what, "blocks": sums})


def _reserve(descriptor, size):
    """Makes the file `size` bytes long, on the disk too: a full one ends it here, where a write into
    the mapping would be a SIGBUS. Some file systems cannot."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(descriptor, size)
