"""A store of pictures seen by product: a row for each product, and which pictures are its own.

The record ids of such a store are `{product}_{k}`, k from 0 in the order of its pictures, and `group` is the
product (create_tfrecords.py --format=cdiscount).
"""
import dataclasses
import re

import numpy as np
import pandas as pd

from records.store import Store, StoreError

MOST_IMAGES = 4  # of a product that is trained on as one picture
NUMBER = re.compile(r"\d{1,9}", re.ASCII)
OF_A_PICTURE = ("shard", "offset", "length")  # columns of the manifest that say nothing of a product


@dataclasses.dataclass
class ProductStore(Store):
    """manifest: a row for each product, in the order of their first pictures: id and image_id are the
    product's, n_images its number of pictures, the rest is what all of them have in common.
    packed: the Store of the pictures. pictures: int64 [all], rows of its manifest, product by product and
    each in the order of its k. indptr: int64 [n + 1], product i has pictures[indptr[i]:indptr[i + 1]].
    """
    packed: Store
    pictures: np.ndarray
    indptr: np.ndarray

    def pictures_of(self, rows):
        """int64 [all], rows of the pictures of the products at `rows`, one product after the other."""
        first, count = self.indptr[rows], self.indptr[np.asarray(rows) + 1] - self.indptr[rows]
        start = np.cumsum(count) - count
        return self.pictures[np.repeat(first - start, count) + np.arange(count.sum())]


def product_store(store, n_images=None):
    """The ProductStore of the products with exactly n_images pictures; None: of all.

    Pictures that were left out when the store was packed do not count. Checksums, classes, counts and
    statistics stay those of the pictures. Memory: about 50 bytes a picture while it is made, besides the new
    manifest. Raises StoreError for a store that is not of such pictures, a product whose pictures differ in
    label, fold, split or source, and where no product is left.
    """
    manifest = store.manifest
    if store.info["records"] != "images" or store.multilabel:
        kind = "images of several labels" if store.multilabel else store.info["records"]
        raise StoreError(f"{store.folder} holds {kind}: products are made of whole images with one label "
                         "(create_tfrecords.py --format=cdiscount)")
    number = _numbers(store)
    product, _ = pd.factorize(manifest["group"])
    pictures = np.lexsort((number, product))
    _check_alike(store, product, pictures)
    count = np.bincount(product)
    if n_images is not None:
        pictures = pictures[count[product[pictures]] == n_images]
        kinds = ", ".join(f"{n} of {k}" for k, n in enumerate(np.bincount(count)) if n)
        count = count[count == n_images]
        if not len(count):
            raise StoreError(f"{store.folder} has no product of {n_images} pictures ({kinds or 'it is empty'}): "
                             "give another --product_images")
    indptr = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    rows = manifest.iloc[pictures[indptr[:-1]]].drop(columns=[c for c in OF_A_PICTURE if c in manifest])
    rows = rows.assign(id=rows["group"], image_id=rows["group"], n_images=count).reset_index(drop=True)
    return ProductStore(store.folder, store.info | {"n_records": len(rows)}, rows, store, pictures, indptr)


def _numbers(store):
    """int64 [n], the k of every record's id."""
    ids, groups = store.manifest["id"].tolist(), store.manifest["group"].tolist()
    numbers = np.empty(len(ids), np.int64)
    for row, (name, group) in enumerate(zip(ids, groups)):
        number = name[len(group) + 1:]
        if not group or not name.startswith(group + "_") or not NUMBER.fullmatch(number):
            raise StoreError(f"{store.folder}: record {name!r} of group {group!r} is no picture of a product, "
                             "whose ids are the group's with _0, _1, …: pack products (create_tfrecords.py "
                             "--format=cdiscount)")
        numbers[row] = int(number)
    return numbers


def _check_alike(store, product, pictures):
    """All pictures of a product must have the same labels and be on the same side of every split."""
    manifest, of = store.manifest, product[pictures]
    first = pictures[np.searchsorted(of, of)]
    columns = ["label", "fold", "source", *(c for c in manifest if c.startswith("split_"))]
    for column in (c for c in columns if c in manifest):
        values = manifest[column].to_numpy()
        odd = np.flatnonzero(values[pictures] != values[first])
        if len(odd):
            a, b = first[odd[0]], pictures[odd[0]]
            name = manifest["id"].to_numpy()
            raise StoreError(f"{store.folder}: the pictures {name[a]} and {name[b]} of one product have different "
                             f"{column}s, {values[a]} and {values[b]}: correct the annotations, or pack folds by "
                             "product (create_tfrecords.py --format=cdiscount, or --folds_by_group=on)")
