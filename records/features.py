"""Vectors stored by id in an .npz: one a record, an image or a group, to be used beside the image.

  ids       str [n], each once
  features  float32 [n, d], finite
  made_by   str, JSON: what made them, and how
Nothing in it is pickled. Reading and writing hold all of it: n x d x 4 bytes, and the ids.
"""
import dataclasses
import hashlib
import json
import pathlib
import zipfile

import numpy as np
import pandas as pd

from records.files import replaced

REMEDY = "make it again, or give another file"
KEYS = ("id", "image_id", "group")  # columns of a manifest that the ids may be of


class FeatureError(ValueError):
    """Vectors that are missing, damaged, or of other records than asked for."""


@dataclasses.dataclass(frozen=True)
class Features:
    """ids: str array [n]. values: float32 [n, d]. sha256: of ids and values, however they are stored.
    path: where they were read; made_by: what made them."""
    ids: np.ndarray
    values: np.ndarray
    sha256: str
    path: pathlib.Path
    made_by: object

    @property
    def width(self):
        return self.values.shape[1]

    def of(self, manifest):
        """int64 [records]: the row of `values` of every record of a manifest (a DataFrame).

        The ids of the file are ids of records, of images or of groups: of the column of KEYS in which
        most records are found, the first of equals. Every record must be found; other ids may be there
        besides. Raises FeatureError naming the first record without one.
        """
        index = pd.Index(self.ids)
        best, found = max(((key, index.get_indexer(manifest[key])) for key in KEYS if key in manifest),
                          key=lambda pair: np.count_nonzero(pair[1] >= 0))
        missing = np.flatnonzero(found < 0)
        if len(missing):
            row = manifest.iloc[missing[0]]
            raise FeatureError(
                f"{self.path} has no vector for {len(missing)} of {len(found)} records, the first is "
                f"{row['id']!r} ({best} {row[best]!r}): its ids must be every {', '.join(KEYS[:-1])} or "
                f"every {KEYS[-1]} of manifest.csv; {REMEDY}")
        return found.astype(np.int64)


def write_features(path, ids, values, made_by):
    """ids: n different str. values: finite, [n, d], d >= 1; kept as float32. made_by: what JSON can say.
    Raises FeatureError."""
    path = pathlib.Path(path)
    ids, values = _checked(path, np.array(ids, str), np.asarray(values, np.float32))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as beside, open(beside, "wb") as file:
        np.savez(file, ids=ids, features=values, made_by=np.array(json.dumps(made_by)))


def read_features(path):
    """The Features of a file. Raises FeatureError."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise FeatureError(f"no vectors at {path}: {REMEDY}")
    try:
        with np.load(path, allow_pickle=False) as file:
            ids, values, made_by = file["ids"], file["features"], json.loads(str(file["made_by"]))
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FeatureError(f"{path} cannot be read ({error}): {REMEDY}") from error
    ids, values = _checked(path, ids, values)
    digest = hashlib.sha256(json.dumps([list(values.shape), *ids.tolist()]).encode())
    digest.update(np.ascontiguousarray(values))
    return Features(ids, values, digest.hexdigest(), path, made_by)


def _checked(path, ids, values):
    """The two, if they are what the file must hold."""
    if ids.ndim != 1 or ids.dtype.kind != "U" and len(ids):
        raise FeatureError(f"{path}: ids must be text [n], not {ids.dtype} {list(ids.shape)}: {REMEDY}")
    if values.dtype != np.float32 or values.ndim != 2 or len(values) != len(ids) or not values.shape[1]:
        raise FeatureError(f"{path}: features must be float32 [{len(ids)}, d], d at least 1, one for each "
                           f"id, not {values.dtype} {list(values.shape)}: {REMEDY}")
    double = pd.Index(ids).duplicated()
    if double.any():
        raise FeatureError(f"{path}: id {ids[double][0]!r} occurs twice: {REMEDY}")
    odd = ~np.isfinite(values).all(axis=1)
    if odd.any():
        raise FeatureError(f"{path}: the vector of {ids[odd][0]!r} is not finite in {odd.sum()} of "
                           f"{len(ids)} rows: {REMEDY}")
    return ids.astype(str), values
