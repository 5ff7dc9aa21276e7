"""Predictions of products from those of their pictures, against NumPy; files that memory need not hold."""
import zipfile

import numpy as np
import pytest
from scipy.special import softmax

from inference import product_means as module
from inference.predict import PredictionError, read_predictions, save_predictions
from inference.prediction_blocks import map_member, open_predictions, places_of, write_npz
from inference.product_means import Member, best_first, product_means, save_product_predictions

RANDOM = np.random.default_rng(0)
COUNTS = np.array([2, 1, 4, 3, 1, 1, 2, 7, 1])
INDPTR = np.concatenate([[0], np.cumsum(COUNTS)])
N, PICTURES, CLASSES = len(COUNTS), COUNTS.sum(), 9


def members():
    of_pictures = RANDOM.normal(size=(PICTURES, CLASSES)).astype(np.float16) * 3
    shuffled = RANDOM.permutation(PICTURES)
    of_products = RANDOM.normal(size=(N, CLASSES)).astype(np.float16) * 3
    pairs = np.where(COUNTS == 2, np.cumsum(COUNTS == 2) - 1, -1)
    return [Member(of_pictures, shuffled, True, 1.0), Member(of_products, np.arange(N)[::-1], False, 2.5),
            Member(of_products[:2], pairs, False, 0.5)]


@pytest.mark.parametrize("block", [1, 30, 1 << 22])
def test_means_are_numpys_whatever_the_block(block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    chosen = members()
    blocks = list(product_means(chosen, INDPTR))
    assert (len(blocks) == 1) == (block > 1000) and all(b.dtype == np.float32 for b in blocks)
    got = np.concatenate(blocks)
    images, products, pairs = (softmax(m.logits.astype(np.float64), axis=1) for m in chosen)
    for i in range(N):
        own = [images[chosen[0].places[INDPTR[i]:INDPTR[i + 1]]].mean(0), products[N - 1 - i]]
        weights = [1.0, 2.5]
        if COUNTS[i] == 2:
            own, weights = [*own, pairs[chosen[2].places[i]]], [1.0, 2.5, 0.5]
        np.testing.assert_allclose(got[i], np.average(own, axis=0, weights=weights), rtol=1e-5, atol=1e-7)


def test_products_nobody_predicted_and_what_is_no_number_are_errors():
    only_pairs = members()[2]
    with pytest.raises(PredictionError, match="product 1 of the store"):
        list(product_means([only_pairs], INDPTR))
    spoiled = members()[0]
    spoiled.logits[3, 3] = np.nan
    with pytest.raises(PredictionError, match="not all numbers"):
        list(product_means([spoiled], INDPTR))


@pytest.mark.parametrize("k", [1, 5, 9])
def test_best_classes_come_in_order_and_the_first_of_equals_first(k):
    scores = RANDOM.integers(0, 6, (50, 9)).astype(np.float32)
    np.testing.assert_array_equal(best_first(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])


@pytest.mark.parametrize("keep_logits", [True, False])
def test_saved_products_are_predictions_like_others(tmp_path, keep_logits):
    means = softmax(RANDOM.normal(size=(N, CLASSES)), axis=1).astype(np.float32)
    ids, names, path = [f"p{i}" for i in range(N)], [f"c{i}" for i in range(CLASSES)], tmp_path / "new" / "p.npz"
    top, shares = save_product_predictions(path, ids, names, iter([means[:4], means[4:]]), "s", "r", keep_logits)
    found = open_predictions(path, "s", "r")
    assert found.ids.tolist() == ids and found.class_names == names
    np.testing.assert_array_equal(found.top, np.argsort(-means, axis=1)[:, :5])
    np.testing.assert_array_equal(found.best(), means.argmax(1))
    np.testing.assert_allclose(np.load(path)["top_probabilities"], -np.sort(-means, axis=1)[:, :5])
    if keep_logits:
        np.testing.assert_allclose(np.exp(read_predictions(path, ids, "s")[2]), means, atol=2e-3)
        assert isinstance(found.logits, np.memmap)
    else:
        assert found.logits is None
        with pytest.raises(PredictionError, match="cannot be read"):
            read_predictions(path, ids, "s")
    assert [p.name for p in path.parent.iterdir()] == ["p.npz"]


def test_blocks_write_the_file_that_an_array_does(tmp_path):
    logits = RANDOM.normal(size=(11, 4)) * 1e5  # beyond float16's range too
    parts = [logits[:3], logits[3:3], logits[3:10], logits[10:]]
    for name, value in (("whole", logits), ("parts", iter(parts))):
        save_predictions(tmp_path / f"{name}.npz", [str(i) for i in range(11)], list("abcd"), value, "s", "r")
    whole, apart = (read_predictions(tmp_path / f"{name}.npz") for name in ("whole", "parts"))
    np.testing.assert_array_equal(whole[2], apart[2])
    np.testing.assert_array_equal(map_member(tmp_path / "parts.npz", "logits"), whole[2].astype(np.float16))
    assert zipfile.ZipFile(tmp_path / "parts.npz").testzip() is None
    with pytest.raises(ValueError, match="10 rows in all, not 11"):
        save_predictions(tmp_path / "few.npz", [str(i) for i in range(11)], list("abcd"), iter(parts[:3]), "s")
    assert not (tmp_path / "few.npz").exists()
    save_predictions(tmp_path / "none.npz", [], list("abcd"), iter([]), "s")
    assert open_predictions(tmp_path / "none.npz").logits.shape == (0, 4)
    assert len(open_predictions(tmp_path / "none.npz").best()) == 0


def test_mapped_predictions_are_joined_by_id_and_the_best_are_found(tmp_path):
    logits = RANDOM.normal(size=(20, 4)).astype(np.float16)
    ids = np.array([f"i{k}" for k in range(20)])
    save_predictions(tmp_path / "p.npz", ids, list("abcd"), logits, "s", "r")
    found = open_predictions(tmp_path / "p.npz", records="r")
    np.testing.assert_array_equal(found.best(block=7), logits.argmax(1))
    order = RANDOM.permutation(20)
    np.testing.assert_array_equal(places_of(found, ids[order], "image"), order)
    np.testing.assert_array_equal(places_of(found, ids, "image"), np.arange(20))
    assert places_of(found, np.array(["i3", "other"]), "image").tolist() == [3, -1]
    with pytest.raises(PredictionError, match="of another store"):
        open_predictions(tmp_path / "p.npz", records="others")
    save_predictions(tmp_path / "p.npz", ["a", "a"], ["x"], np.zeros((2, 1)), "s")
    with pytest.raises(PredictionError, match="image 'a' occurs twice"):
        places_of(open_predictions(tmp_path / "p.npz"), np.array(["a"]), "image")


def test_damaged_and_pickled_files_are_refused(tmp_path):
    path = tmp_path / "p.npz"
    with pytest.raises(PredictionError, match="--job=val"):
        open_predictions(path, job="val")
    save_predictions(path, ["a", "b"], ["x"], np.zeros((2, 1)), "s")
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(PredictionError, match="cannot be read"):
        open_predictions(path)
    np.savez(path, ids=["a"], class_names=["x"], store="s", records="", logits=np.array([[{}]], object))
    with pytest.raises(PredictionError, match="no plain array"):
        open_predictions(path)
    np.savez_compressed(path, ids=["a"], class_names=["x"], store="s", records="", logits=np.zeros((1, 1)))
    with pytest.raises(PredictionError, match="compressed"):
        open_predictions(path)
    write_npz(path, {}, ids=np.array(["a", "b"]), class_names=np.array(["x"]), store=np.array("s"),
              records=np.array(""), logits=np.zeros((1, 1), np.float16))
    with pytest.raises(PredictionError, match="not of the same records"):
        open_predictions(path)
