"""A store seen by product: which pictures are whose, what is refused."""
import dataclasses

import numpy as np
import pandas as pd
import pytest

from records.products import product_store
from records.store import Store, StoreError

RANDOM = np.random.default_rng(0)


def store(rows):
    """A Store of rows (id, group, label, fold, split), in a random order as shards have them."""
    table = pd.DataFrame(rows, columns=["id", "group", "label", "fold", "split_a"])
    table = table.sample(frac=1, random_state=1).reset_index(drop=True)
    table = table.assign(image_id=table["id"], label_id=0, source="train", shard="s", offset=0, length=1,
                         **dict.fromkeys("xywh", 0))
    return Store("store", {"records": "images", "n_records": len(table), "manifest_sha256": "m"}, table)


def products(counts):
    return [(f"{p}_{k}", f"{p}", f"c{p % 3}", p % 4, "ab"[p % 2])
            for p, count in enumerate(counts) for k in range(count)]


COUNTS = [3, 1, 12, 2, 3, 1, 4, 2, 2]  # of 12 pictures 10 and 11 come after 9, not after 1


@pytest.mark.parametrize("n_images", [None, 1, 2, 3, 4])
def test_rows_are_products_with_their_pictures_in_order(n_images):
    images = store(products(COUNTS))
    seen = product_store(images, n_images)
    wanted = {str(p): count for p, count in enumerate(COUNTS) if n_images in (None, count)}
    assert dict(zip(seen.manifest["id"], seen.manifest["n_images"])) == wanted
    assert list(dict.fromkeys(g for g in images.manifest["group"] if g in wanted)) == seen.manifest["id"].tolist()
    ids = images.manifest["id"].to_numpy()
    for row, (name, count) in enumerate(zip(seen.manifest["id"], seen.manifest["n_images"])):
        expected = [f"{name}_{k}" for k in range(count)]
        assert ids[seen.pictures[seen.indptr[row]:seen.indptr[row + 1]]].tolist() == expected
        assert ids[seen.pictures_of([row])].tolist() == expected
    p = seen.manifest["id"].astype(int)
    assert (seen.manifest["label"] == "c" + (p % 3).astype(str)).all() and (seen.manifest["fold"] == p % 4).all()
    assert "shard" not in seen.manifest and seen.info["n_records"] == len(wanted)
    assert seen.own_sha256 == images.own_sha256 and seen.records_sha256 != images.records_sha256


def test_pictures_of_any_rows():
    seen = product_store(store(products(COUNTS)))
    rows = RANDOM.permutation(len(COUNTS))[:5]
    ids = seen.packed.manifest["id"].to_numpy()[seen.pictures_of(rows)].tolist()
    assert ids == [f"{name}_{k}" for name in seen.manifest["id"].to_numpy()[rows] for k in range(COUNTS[int(name)])]
    assert len(seen.pictures_of(np.zeros(0, int))) == 0


@pytest.mark.parametrize("rows, says", [
    ([("1_0", "1", "a", 0, "x"), ("1_1", "1", "b", 0, "x")], "of one product have different labels, [ab] and [ab]"),
    ([("1_0", "1", "a", 0, "x"), ("1_1", "1", "a", 1, "x")], "different folds, (0 and 1|1 and 0)"),
    ([("1_0", "1", "a", 0, "x"), ("1_1", "1", "a", 0, "y")], "different split_as, [xy] and [xy]"),
    ([("1_0", "", "a", 0, "x")], "record '1_0' of group '' is no picture of a product"),
    ([("1-0", "1", "a", 0, "x")], "record '1-0' of group '1'"), ([("1_x", "1", "a", 0, "x")], "record '1_x'")])
def test_pictures_that_make_no_product_are_refused(rows, says):
    with pytest.raises(StoreError, match=says):
        product_store(store(rows))


def test_no_product_of_so_many_pictures_and_other_stores_are_refused():
    images = store(products([1, 1, 3]))
    with pytest.raises(StoreError, match="no product of 2 pictures .2 of 1, 1 of 3."):
        product_store(images, 2)
    with pytest.raises(StoreError, match="holds boxes"):
        product_store(dataclasses.replace(images, info=images.info | {"records": "boxes"}))
    with pytest.raises(StoreError, match="several labels"):
        product_store(dataclasses.replace(images, info=images.info | {"multilabel": True}))


def test_pictures_of_many_products():
    group = np.repeat(np.arange(40_000), RANDOM.integers(1, 5, 40_000))
    first = np.flatnonzero(np.diff(group, prepend=-1))
    k = np.arange(len(group)) - first[group]
    names = group.astype(str).astype(object)
    table = pd.DataFrame({"id": names + "_" + k.astype(str).astype(object), "group": names, "label": "a", "fold": 0,
                          "source": "train"})
    seen = product_store(Store("s", {"records": "images"}, table), 3)
    of_three = np.flatnonzero(np.bincount(group) == 3)
    np.testing.assert_array_equal(seen.pictures.reshape(-1, 3), first[of_three][:, None] + np.arange(3))
