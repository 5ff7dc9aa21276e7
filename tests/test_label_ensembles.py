"""Ensembles, thresholds by halves and submissions of several labels, against plain NumPy."""
import numpy as np
import pytest
from scipy.special import expit

from inference.ensembles import EnsembleError
from inference.label_ensembles import combine_labels, fit_label_weights
from inference.label_scores import halves, label_groups
from inference.label_submissions import read_labels, write_label_submission
from inference.submissions import SubmissionError


@pytest.mark.parametrize("how", ["mean_logits", "mean_probabilities"])
def test_each_label_is_the_mean_of_those_who_tell_it(how):
    random = np.random.default_rng(0)
    columns = [[0, 1, 2, 3], [3, 1], [2]]
    logits = [random.normal(0, 2, (7, len(own))).astype(np.float32) for own in columns]
    for weights in (None, [1, 2, 0.5]):
        told = combine_labels(zip(columns, logits), 4, how, weights)
        for label in range(4):
            parts = [(weights[m] if weights else 1, logits[m][:, own.index(label)])
                     for m, own in enumerate(columns) if label in own]
            values = [w * (x if how == "mean_logits" else expit(x)) for w, x in parts]
            mean = sum(values) / sum(w for w, _ in parts)
            np.testing.assert_allclose(told[:, label] if how == "mean_logits" else expit(told[:, label]), mean,
                                       atol=1e-5)
    with pytest.raises(EnsembleError, match="1 of 4 labels are told by no member"):
        combine_labels([(columns[0][:3], logits[0][:, :3])], 4, how)
    with pytest.raises(EnsembleError, match="not by hard_vote"):
        combine_labels(zip(columns, logits), 4, "hard_vote")


@pytest.mark.parametrize("how", ["mean_logits", "mean_probabilities"])
def test_fitted_weights_are_the_best_of_a_grid(how):
    random = np.random.default_rng(1)
    truth = random.random((300, 5)) < 0.3
    logits = [((truth * 3 - 2) + random.normal(0, noise, truth.shape)).astype(np.float32) for noise in (1, 2, 6)]

    def loss(weights):
        mean = sum(w * (x if how == "mean_logits" else expit(x)) for w, x in zip(weights, logits))
        p = np.clip(expit(mean) if how == "mean_logits" else mean, 1e-7, 1 - 1e-7)
        return -np.where(truth, np.log(p), np.log(1 - p)).mean()
    weights = fit_label_weights(logits, truth, how)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all() and weights[0] == weights.max()
    grid = [(a, b, 1 - a - b) for a in np.linspace(0, 1, 41) for b in np.linspace(0, 1 - a, 41)]
    assert loss(weights) <= min(map(loss, grid)) + 1e-5


def test_groups_are_what_stands_before_the_colons():
    groups = label_groups(["a::x", "b::y", "a::z", "plain"])
    assert {name: columns.tolist() for name, columns in groups.items()} == {
        "a": [0, 2], "b": [1], "others": [3]}


def test_a_records_half_does_not_depend_on_the_order():
    ids = [f"id{k}" for k in range(101)]
    part = dict(zip(ids, halves(ids)))
    assert dict(zip(ids[::-1], halves(ids[::-1]))) == part and abs(2 * sum(part.values()) - 101) <= 1


@pytest.mark.parametrize("numbers", [None, [7, 3, 12]])
def test_a_submission_is_read_as_it_was_written(tmp_path, numbers):
    given = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]], bool)
    path = tmp_path / "s.csv"
    write_label_submission(path, ["c", "a", "b"], given, ["x y", "z", "w"], ["a", "b", "c"], numbers)
    lines = path.read_text().splitlines()
    assert lines == (["id,attribute_ids", "a,", "b,3", "c,7 12"] if numbers else
                     ["id,labels", "a,", "b,z", "c,x y|w"])
    ids, again = read_labels(path, ["x y", "z", "w"], numbers)
    assert ids == ["a", "b", "c"] and again.tolist() == given[[1, 2, 0]].tolist()
    with pytest.raises(SubmissionError, match="is not written"):
        write_label_submission(path, ["c", "a", "b"], given, ["x", "y", "z"], ["a", "b", "d"], numbers)
    path.write_text(lines[0] + "\na,\na,\n")
    with pytest.raises(SubmissionError, match="row 3: 'a' stands there already"):
        read_labels(path, ["x", "y", "z"], numbers)
