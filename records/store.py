"""Reading a packed store: dataset.json, manifest.csv, shards; nothing half-written gets through."""
import dataclasses
import hashlib
import io
import json

import numpy as np
import pandas as pd
import tensorflow as tf

from records.layout import BOX_COLUMNS, FLOAT_COLUMNS, FORMAT_VERSION, TEXT_COLUMNS

REMEDY = "copy the store again, or repack it with create_tfrecords.py --overwrite"


class StoreError(ValueError):
    """A store that is absent, unfinished, damaged, or of another version."""


@dataclasses.dataclass
class Store:
    """folder: where it lies. info: dataset.json. manifest: a row per record, in shard order."""
    folder: str
    info: dict
    manifest: pd.DataFrame

    @property
    def class_names(self):
        return self.info["class_names"]

    @property
    def known_classes(self):
        """Names, sorted, of the classes that count as known; None where the format tells none apart."""
        return self.info.get("known_classes")

    @property
    def class_levels(self):
        """Coarser classes, from the top: dicts of name, names (sorted) and of_class, an index into them per
        class of class_names; [] where the format has none."""
        return self.info.get("class_levels", [])

    @property
    def multilabel(self):
        """Whether a record has any number of labels, instead of one or, unlabelled, none."""
        return self.info.get("multilabel", False)

    @property
    def text(self):
        """Whether the label of a record is what stands on its line; class_names are the characters."""
        return "characters" in self.info

    @property
    def lines(self):
        """Whether a record is a line of text, whether it is known what stands there or not."""
        return "width" in self.info["image"]

    @property
    def record_size(self):
        """(height, width) px of a record."""
        size = self.info["image"]["size"]
        return size, self.info["image"].get("width", size)

    @property
    def label_groups(self):
        """{what stands before `::` in the class names, "" for nothing: ascending class ids}, in order of
        first appearance; {} of a store of one label a record."""
        return self.info.get("label_groups", {})

    def label_ids(self):
        """(indptr int64 [n + 1], indices int64): the labels of every record, as a sparse matrix's rows.

        Those of record i of the manifest are indices[indptr[i]:indptr[i + 1]], ascending, into
        class_names; of one label a record, that label, or none where it is unlabelled. Raises
        StoreError for labels that are none.
        """
        if not self.multilabel:
            label = self.manifest["label_id"].to_numpy(np.int64)
            return np.concatenate([[0], np.cumsum(label >= 0)]).astype(np.int64), label[label >= 0]
        rows = [text.split() for text in self.manifest["label_ids"]]
        indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        try:
            indices = np.array([number for row in rows for number in row], np.int64)
        except (ValueError, OverflowError) as error:
            raise StoreError(f"{self.folder}/manifest.csv has label_ids that are no numbers ({error}): "
                             f"{REMEDY}") from error
        first = np.zeros(len(indices) + 1, bool)
        first[indptr] = True
        wrong = (indices < 0) | (indices >= len(self.class_names)) | (
            ~first[:-1] & (np.diff(indices, prepend=-1) <= 0))
        if wrong.any():
            record = self.manifest["id"].iloc[np.searchsorted(indptr, np.flatnonzero(wrong)[0], "right") - 1]
            raise StoreError(f"{self.folder}/manifest.csv: the label_ids of {record!r} are not ascending "
                             f"numbers below {len(self.class_names)}, the number of classes: {REMEDY}")
        return indptr, indices

    @property
    def own_sha256(self):
        """Of the manifest, without the pseudo-labelled records that were put beside it."""
        return self.info.get("own_manifest_sha256", self.info["manifest_sha256"])

    @property
    def records_sha256(self):
        """Of the ids and boxes of the records, whatever their pixels: of two packings of the same."""
        boxes = self.manifest[["id", "image_id", *"xywh"]].sort_values("id")
        return hashlib.sha256(boxes.to_csv(index=False).encode()).hexdigest()

    def shard_paths(self):
        return [f"{shard.get('folder', self.folder)}/{shard['file']}" for shard in self.info["shards"]]

    def images(self):
        """images.csv: image_id, width, height (px), records, group of every packed image."""
        with tf.io.gfile.GFile(f"{self.folder}/images.csv") as file:
            return pd.read_csv(io.StringIO(file.read()), keep_default_na=False,
                               dtype={"image_id": str, "group": str})

    def boxes(self):
        """boxes.csv of a store of pages: image_id, label (str), label_id, x, y, w, h (int64).

        x y w h are px of the page as it was, not of its record; in the annotations' order. Raises
        StoreError for a file that is not the packed one, and for a store of other records.
        """
        path = f"{self.folder}/boxes.csv"
        if self.info["records"] != "pages":
            raise StoreError(f"{self.folder} holds {self.info['records']} and so no boxes.csv: "
                             "pack pages with create_tfrecords.py --records=pages")
        try:
            with tf.io.gfile.GFile(path, "rb") as file:
                data = file.read()
        except tf.errors.OpError as error:
            raise StoreError(f"{path} is missing ({error.message}): {REMEDY}") from error
        if hashlib.sha256(data).hexdigest() != self.info["boxes_sha256"]:
            raise StoreError(f"{path} is not the one that was packed: {REMEDY}")
        return pd.read_csv(io.BytesIO(data), keep_default_na=False, dtype={
            name: str if name in TEXT_COLUMNS else "int64" for name in BOX_COLUMNS})


def read_manifest(text):
    """manifest.csv's text as a DataFrame: names and split_* as str, the others as numbers."""
    columns = text[:text.index("\n")].split(",")
    names = {c: str for c in columns if c in TEXT_COLUMNS or c.startswith("split_")}
    numbers = {c: "float64" if c in FLOAT_COLUMNS else "Int64" for c in columns if c not in names}
    return pd.read_csv(io.StringIO(text), dtype=names | numbers, keep_default_na=False,
                       na_values={c: [""] for c in numbers})


def open_store(folder):
    """Checks the files against dataset.json (sizes, counts, ids) and returns the Store.

    folder: a path, gs:// included. Raises StoreError naming the file and the remedy.
    """
    folder = str(folder).rstrip("/")
    join = lambda name: f"{folder}/{name}"
    if not tf.io.gfile.exists(join("dataset.json")):
        raise StoreError(f"no packed store at {folder} (dataset.json is absent): pack one with "
                         "create_tfrecords.py, or correct --data_tfrec_dir")
    try:
        with tf.io.gfile.GFile(join("dataset.json")) as file:
            info = json.loads(file.read())
        version = info["format_version"]
        if version == FORMAT_VERSION:
            info["shards"], info["manifest_sha256"], info["class_names"], info["image"]
            info["options"], info["records"] == "pages" and info["boxes_sha256"]
            info.get("multilabel") and info["label_groups"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{join('dataset.json')} is damaged ({error}): {REMEDY}") from error
    if version != FORMAT_VERSION:
        raise StoreError(f"{join('dataset.json')} is of format {version}, this program reads "
                         f"{FORMAT_VERSION}: repack with create_tfrecords.py --overwrite")
    if info["records"] == "pages" and not tf.io.gfile.exists(join("boxes.csv")):
        raise StoreError(f"{join('boxes.csv')} is missing: {REMEDY}")
    try:
        with tf.io.gfile.GFile(join("manifest.csv")) as file:
            text = file.read()
        manifest = read_manifest(text)
        manifest["shard"], manifest["id"], manifest["label_ids" if info.get("multilabel") else "label_id"]
    except (tf.errors.OpError, ValueError, KeyError) as error:  # ParserError is a ValueError
        raise StoreError(f"{join('manifest.csv')} is missing or damaged ({error}): {REMEDY}"
                         ) from error
    for shard in info["shards"]:
        path = join(shard["file"])
        if not tf.io.gfile.exists(path):
            raise StoreError(f"shard {path} is missing: {REMEDY}")
        size = tf.io.gfile.stat(path).length
        if size != shard["bytes"]:
            raise StoreError(f"shard {path} has {size} bytes, dataset.json says {shard['bytes']}: "
                             f"it was cut or changed; {REMEDY}")
    counts = manifest["shard"].value_counts()
    for shard in info["shards"]:
        if counts.get(shard["file"], 0) != shard["records"]:
            raise StoreError(f"{join('manifest.csv')} has {counts.get(shard['file'], 0)} rows of "
                             f"shard {shard['file']}, dataset.json says {shard['records']}: "
                             f"{REMEDY}")
    doubles = manifest["id"][manifest["id"].duplicated()]
    if len(doubles):
        raise StoreError(f"{join('manifest.csv')}: id {doubles.iloc[0]!r} occurs twice: {REMEDY}")
    if hashlib.sha256(text.encode()).hexdigest() != info["manifest_sha256"]:
        raise StoreError(f"{join('manifest.csv')} is not the one that was packed: {REMEDY}")
    return Store(folder, info, manifest)
