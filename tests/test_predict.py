import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from inference.accuracy import accuracy_figures, on_device
from inference.predict import (PredictionError, Predictor, classifier, load_predictions,
                               save_predictions)

LOGITS = np.random.default_rng(0).normal(size=(11, 4)).astype(np.float32)


def model():
    """Logits are the images themselves."""
    images = keras.Input((4,))
    return keras.Model(images, keras.layers.Activation("linear")(images))


def batches(index, images, size=4):
    """Of one view each."""
    images = np.asarray(images)[:, None]
    return tf.data.Dataset.from_tensor_slices((index, images)).batch(size, drop_remainder=True)


def padded():
    return batches(np.r_[np.arange(11), -1].astype(np.int64), np.r_[LOGITS, LOGITS[:1] * 0 + 99])


def test_results_are_by_record_without_padding():
    predictor = Predictor(classifier(model(), lambda logits, index: {"logits": logits, "index": index}),
                          tf.distribute.get_strategy())
    results = predictor(padded(), 11)
    assert (results["logits"] == LOGITS).all() and (results["index"] == np.arange(11)).all()


@pytest.mark.parametrize("index, says", [([0, 1, 1, 2], "record 1 came 2 times"),
                                         ([0, 1, -1, -1], "record 2 came 0 times")])
def test_lost_and_double_records_are_errors(index, says):
    with pytest.raises(PredictionError, match=says):
        Predictor(classifier(model(), lambda l, i: {"logits": l}), tf.distribute.get_strategy())(
            batches(np.array(index, np.int64), LOGITS[:4]), 3)


def test_validation_figures_equal_numpy():
    labels = np.array([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2])
    results = Predictor(classifier(model(), on_device(labels)),
                        tf.distribute.get_strategy())(padded(), 11)
    loss = -np.log(np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True))[np.arange(11), labels]
    np.testing.assert_allclose(results["loss"], loss, rtol=1e-5)
    shared = np.arange(11) >= 6
    figures = accuracy_figures(labels, results["predicted"], results["loss"], shared)
    right = LOGITS.argmax(1) == labels
    assert figures["accuracy"] == right.mean() and figures["loss"] == pytest.approx(loss.mean())
    assert figures["accuracy_not_shared"] == right[:6].mean()
    assert figures["balanced_accuracy"] == pytest.approx(
        np.mean([right[labels == c].mean() for c in range(4)]))


def test_predictions_are_joined_by_id(tmp_path):
    path = tmp_path / "p.npz"
    ids = [f"p_{i}" for i in range(11)]
    save_predictions(path, ids, ["a", "b", "c", "d"], LOGITS, "s")
    order = np.random.default_rng(1).permutation(11)
    classes, logits = load_predictions(path, [ids[i] for i in order], "s")
    assert classes == ["a", "b", "c", "d"]
    np.testing.assert_allclose(logits, LOGITS[order], atol=2e-3)
    with pytest.raises(PredictionError, match="no prediction for 1 of 2 records.*'other'"):
        load_predictions(path, ["p_1", "other"], "s")
    with pytest.raises(PredictionError, match="of another store"):  # the same ids, other boxes
        load_predictions(path, ids, "another")


def test_damaged_pickled_and_double_predictions_are_refused(tmp_path):
    path = tmp_path / "p.npz"
    with pytest.raises(PredictionError, match="--job=test"):
        load_predictions(path, [], "s")
    save_predictions(path, ["a", "a"], ["x"], np.zeros((2, 1)), "s")
    with pytest.raises(PredictionError, match="twice"):
        load_predictions(path, ["a"], "s")
    np.savez(path, ids=np.array([{"not": "text"}], object), class_names=["x"], logits=[[0]])
    with pytest.raises(PredictionError, match="cannot be read"):
        load_predictions(path, ["a"], "s")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(PredictionError, match="cannot be read"):
        load_predictions(path, ["a"], "s")
