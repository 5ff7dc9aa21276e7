"""Predictions that memory does not hold: written as they come, read from where they lie in the file.

An .npz is a zip of .npy files; NumPy stores them as they are, so that one can be mapped into memory. What is
mapped is not checked against the zip's checksum; that a file was cut off is noticed, as its list of members
stands at its end.
"""
import dataclasses
import pathlib
import shutil
import struct
import zipfile

import numpy as np
import pandas as pd
from numpy.lib import format as npy

LOCAL_HEADER, NAME_AND_EXTRA = 30, 26  # bytes of a member's own header in a zip; where two lengths stand in it


class PredictionError(ValueError):
    """Predictions that are missing, damaged, or of other records than asked for."""


def write_npz(beside, blocks, **arrays):
    """Writes arrays as numpy.savez does, nothing pickled, and blocks: {name: (dtype, shape, iterable of arrays
    that make it up, along the first axis)}. Memory: a block at a time.

    Raises ValueError for blocks that do not make up the shape.
    """
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        def member(name):
            return archive.open(f"{name}.npy", "w", force_zip64=True)
        for name, array in arrays.items():
            with member(name) as file:
                npy.write_array(file, np.asanyarray(array), allow_pickle=False)
        for name, (dtype, shape, parts) in blocks.items():
            rows = 0
            with member(name) as file:
                npy.write_array_header_1_0(file, {"descr": np.dtype(dtype).str, "fortran_order": False,
                                                  "shape": shape})
                for part in parts:
                    rows += len(part)
                    if part.shape[1:] != shape[1:] or rows > shape[0]:
                        raise ValueError(f"{name}: a block of shape {part.shape} at row {rows} of {shape}")
                    file.write(np.ascontiguousarray(part, dtype).data)
            if rows != shape[0]:
                raise ValueError(f"{name}: blocks of {rows} rows in all, not {shape[0]}")


def map_member(path, name):
    """A read-only np.memmap of the array `name` of an .npz that is stored, not compressed.

    Raises KeyError where it has none, ValueError for one that cannot be mapped, OSError, BadZipFile.
    """
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed")
        file.seek(info.header_offset + NAME_AND_EXTRA)
        start = info.header_offset + LOCAL_HEADER + sum(struct.unpack("<HH", file.read(4)))
        file.seek(start)
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"{name} is of .npy version {version}")
        shape, fortran, dtype = read(file)
        offset = file.tell()
    if fortran or dtype.hasobject or offset - start + int(np.prod(shape)) * dtype.itemsize != info.file_size:
        raise ValueError(f"{name} is no plain array of the size that it says")
    if not np.prod(shape):
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape)


@dataclasses.dataclass
class Predictions:
    """What an .npz of predictions holds. ids: str [n]. logits: float16 [n, classes], mapped; None where only the
    best were kept. top: int32 [n, k], the best classes of each, best first; None where they were not kept."""
    path: pathlib.Path
    ids: np.ndarray
    class_names: list
    logits: np.ndarray | None
    top: np.ndarray | None

    def best(self, block=1 << 12):
        """int64 [n], the most probable class of each record. block: records looked at together."""
        if self.top is not None:
            return self.top[:, 0].astype(np.int64)
        parts = [self.logits[start:start + block].argmax(1) for start in range(0, len(self.ids), block)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def in_half(logits):
    """float16 of float [n, classes], what is beyond its range at its ends."""
    largest = np.finfo(np.float16).max
    return np.clip(logits, -largest, largest).astype(np.float16)


def check_room(folder, need):
    """Raises PredictionError where a file of `need` bytes has no room in the folder."""
    free = shutil.disk_usage(folder).free
    if need > free:
        raise PredictionError(f"the predictions take {need / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB "
                              "free: make room, or give another --data_preds_dir or --run_dir")


def open_predictions(path, store=None, records=None, job="test"):
    """The Predictions of a file, their logits mapped instead of read; arguments and errors as of
    inference.predict.read_predictions."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise PredictionError(f"no predictions at {path}: make them with --job={job}")
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in ("ids", "class_names", "store", "records", "top_classes")
                    if name in file}
            logits = map_member(path, "logits") if "logits" in file else None
        ids, top = held["ids"], held.get("top_classes")
        if len(logits if top is None else top) != len(ids):
            raise ValueError("its arrays are not of the same records")
        check_store(path, (str(held["store"]), str(held["records"])), store, records, job)
    except (ValueError, OSError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, PredictionError):
            raise
        raise PredictionError(f"{path} cannot be read ({error}): make it again with --job={job}") from error
    return Predictions(path, ids, held["class_names"].tolist(), logits, top)


def places_of(found, ids, what, job="test"):
    """int64 [n], where each of `ids` (str [n]) stands in the Predictions `found`; -1: nowhere. what: the
    records, for the message.

    Raises PredictionError for an id that `found` has twice.
    """
    if np.array_equal(found.ids, ids):
        return np.arange(len(ids))
    index = pd.Index(found.ids.astype(object))
    if not index.is_unique:
        raise PredictionError(f"{found.path}: the {what} {index[index.duplicated()][0]!r} occurs twice: make it "
                              f"again with --job={job}")
    return index.get_indexer(np.asarray(ids, object))


def check_store(path, theirs, store, records, job):
    if store not in (None, theirs[0]) or records not in (None, theirs[1]):
        raise PredictionError(f"{path} is of another store than this, or of an older packing of it: "
                              f"make it again with --job={job}")
