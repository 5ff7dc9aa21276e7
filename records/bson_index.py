"""The first and only pass over a BSON file of products: where each document and picture lies, and every fault.

A document is {_id: int, category_id: int, imgs: [{picture: bytes}, ...]}. What was found is kept beside the
packed stores, so that no later call reads the file again while its size and time are the same.
"""
import array
import dataclasses
import hashlib
import json
import os
import pathlib
import struct
import zipfile

import numpy as np
from tqdm import tqdm

from records.annotations import AnnotationError
from records.files import replaced
from records.images import EXIF_ORIENTATION, BadImage, decode_image, open_image, plain_jpeg_size

FORMAT = 1  # of the file of the index
SMALLEST, LARGEST = 5, (16 << 20) + (16 << 10)  # bytes of a document: what BSON and MongoDB allow
DECODED_AT_MOST = 25  # megapixels of a picture that is looked into now; larger ones are when they are packed
NONE = np.iinfo(np.int64).min  # no category
COLUMNS = {  # array.array's type codes
    "product": "q", "category": "q", "start": "q", "pictures": "i",  # of each sound document
    "offset": "q", "length": "i", "width": "i", "height": "i", "plain": "b"}  # of each of their pictures


@dataclasses.dataclass
class BsonIndex:
    """columns: {name of COLUMNS: array}. faults: list of (byte, _id or None, what), in the file's order."""
    columns: dict
    faults: list


class _Fault(ValueError):
    """What is wrong with a document."""


def bson_index(path, folder):
    """The BsonIndex of a file, read from `folder` or made and put there. Raises AnnotationError.

    Memory: 28 bytes a document, 21 a picture, and one document.
    """
    path = pathlib.Path(path)
    try:
        stat = os.stat(path)
        kept = pathlib.Path(folder) / (
            f".{path.name}.{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}.index.npz")
        key = f"{FORMAT} {stat.st_size} {stat.st_mtime_ns}"
        index = _read(kept, key)
        if index is None:
            index = _scan(path, stat.st_size)
            kept.parent.mkdir(parents=True, exist_ok=True)
            faults = np.frombuffer(json.dumps(index.faults).encode(), np.uint8)
            with replaced(kept) as beside, open(beside, "wb") as file:
                np.savez(file, key=np.array(key), faults=faults, **index.columns)
        return index
    except OSError as error:
        raise AnnotationError(f"{error.filename or path} cannot be read or written ({error.strerror})") from error


def _read(kept, key):
    """The index kept in a file; None where there is none, or of another state of what it is of."""
    try:
        with np.load(kept, allow_pickle=False) as file:
            if file["key"].item() != key:
                return None
            columns = {name: file[name] for name in COLUMNS}
            return BsonIndex(columns, [tuple(fault) for fault in json.loads(file["faults"].tobytes())])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _scan(path, size):
    try:
        import bson
    except ImportError as error:
        raise AnnotationError(f"{path} is read with the package pymongo, which is not installed: "
                              "pip install -r requirements.txt") from error
    columns, faults = {name: array.array(code) for name, code in COLUMNS.items()}, []
    product, category, begin, pictures, offset, length, width, height, plain = columns.values()
    start = 0
    with open(path, "rb", buffering=1 << 20) as file, tqdm(
            total=size, desc=f"reading {path.name} once", unit="B", unit_scale=True, delay=2) as progress:
        while start < size:
            head = file.read(4)
            claimed = int.from_bytes(head, "little", signed=True)
            if len(head) < 4 or not SMALLEST <= claimed <= min(LARGEST, size - start):
                what = (f"says it has {claimed} bytes, and {size - start} are left" if claimed > size - start else
                        f"says it has {claimed} bytes; a document has {SMALLEST} to {LARGEST}")
                faults.append((start, None, f"the document {what}: it and what may follow, {size - start} bytes "
                                            "in all, cannot be read"))
                break
            try:
                name, label, shown = _document(head + file.read(claimed - 4), bson)
            except _Fault as fault:
                faults.append((start, *fault.args))
            else:
                product.append(name)
                category.append(label)
                begin.append(start)
                pictures.append(len(shown))
                for at, bytes_, wide, high, is_plain in shown:
                    offset.append(start + at)
                    length.append(bytes_)
                    width.append(wide)
                    height.append(high)
                    plain.append(is_plain)
            start += claimed
            progress.update(claimed)
    arrays = {name: np.frombuffer(values, values.typecode) if len(values) else np.zeros(0, values.typecode)
              for name, values in columns.items()}
    return BsonIndex(arrays | {"plain": arrays["plain"].astype(bool)}, faults)


def _document(data, bson):
    """(_id, category_id or NONE, [(offset in data, length, width, height, plain)]). Raises _Fault(_id, what)."""
    try:
        document = bson.decode(data)
    except (bson.errors.BSONError, RecursionError, ValueError, TypeError, OverflowError) as error:
        raise _Fault(None, f"not a BSON document ({str(error)[:120]})") from error
    name, label, images = (document.get(key) for key in ("_id", "category_id", "imgs"))
    if not _is_number(name):
        raise _Fault(None, "its _id is no whole number")
    if not isinstance(images, list) or not images:
        raise _Fault(name, "no picture: imgs must be a list of {picture: bytes}")
    at, shown = 0, []
    for place, image in enumerate(images):
        picture = image.get("picture") if isinstance(image, dict) else None
        if not isinstance(picture, bytes) or not picture:
            raise _Fault(name, f"picture {place}: no bytes")
        while not data.startswith(picture, at := data.find(picture[:32], at)):  # a search for all of it is slow
            at += 1
        try:
            size = plain_jpeg_size(picture)
            shown.append((at, len(picture), *(size or _looked_into(picture)), size is not None))
        except BadImage as error:
            raise _Fault(name, f"picture {place}: {error}") from error
        at += len(picture)
    return name, label if _is_number(label) else NONE, shown


def _is_number(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _looked_into(picture):
    """(width, height) of any other picture, which is decoded unless it is large. Raises BadImage."""
    _, width, height = open_image(picture)
    if width * height <= DECODED_AT_MOST * 1e6:
        decode_image(picture)
    return width, height
