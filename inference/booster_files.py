"""LightGBM boosters on disk: a text file each, and a JSON record with their checksums; nothing pickled."""
import json
import pathlib

import lightgbm
import numpy as np

from records.files import sha256, write_text


def write_boosters(folder, boosters):
    """Writes fold0.txt, fold1.txt, ... (LightGBM's text) and returns {name: SHA-256}.

    The record with these checksums is to be written after them: a folder that was written over halfway
    is then refused by `read_boosters`. Makes the folder.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"fold{k}.txt" for k in range(len(boosters))]
    for name, booster in zip(names, boosters, strict=True):
        write_text(folder / name, booster.model_to_string())
    return {name: sha256(folder / name) for name in names}


def read_record(path, version, error):
    """The JSON object of `path`. Raises `error` (a ValueError's class) unless its format_version is
    `version`."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise error(f"{path} cannot be read: {reason}; fit the predictor again") from reason
    found = record.get("format_version") if isinstance(record, dict) else None
    if found != version:
        raise error(f"{path} has the format version {found!r}, expected {version}: fit the predictor "
                    "again")
    return record


def read_boosters(path, checksums, features, error):
    """The boosters beside the record `path`, in the order of checksums {name: SHA-256}.

    features: the names they must have, in order. Raises `error` naming the file.
    """
    return [_read_booster(path.with_name(name), checksum, path.name, features, error)
            for name, checksum in checksums.items()]


def _read_booster(path, checksum, record, features, error):
    try:
        if sha256(path) != checksum:  # LightGBM ends the process at some damaged texts
            raise error(f"{path} is not what {path.with_name(record)} says it is: damaged, or of another "
                        "fitting; fit the predictor again")
        booster = lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
    except (OSError, lightgbm.basic.LightGBMError) as reason:
        raise error(f"{path} cannot be read: {reason}; fit the predictor again") from reason
    if booster.feature_name() != list(features):
        raise error(f"{path} is of other features: fit the predictor again")
    return booster


def gain_shares(boosters):
    """Share of each feature in what a booster's splits gain: float64 [boosters, features]; rows sum to
    1, or are 0 for a booster without a split."""
    gain = np.array([booster.feature_importance("gain") for booster in boosters], np.float64)
    return gain / np.maximum(gain.sum(1, keepdims=True), np.finfo(np.float64).tiny)
