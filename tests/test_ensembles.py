"""Ensembles of classifiers, against formulas written one record at a time in plain Python."""
import math
import weakref

import numpy as np
import pytest

from inference import ensembles
from inference.ensembles import FITTED, HOW, EnsembleError, check_members, combine, fit_weights


def softmax(row):
    row = [float(value) for value in row]
    parts = [math.exp(value - max(row)) for value in row]
    return [part / sum(parts) for part in parts]


def oracle(members, how, weights):
    """What `combine` should give for members [members][n][classes], as probabilities or logits."""
    shares = [weight / sum(weights) for weight in weights]
    result = []
    for rows in zip(*members):
        soft = [softmax(row) for row in rows]
        average = lambda columns: [sum(s * v for s, v in zip(shares, c)) for c in zip(*columns)]
        mean = average(soft)
        if how == "mean_logits":
            result.append(average(rows))
        elif how == "mean_probabilities":
            result.append(mean)
        elif how == "geometric_mean":
            product = [math.prod(p ** s for p, s in zip(column, shares)) for column in zip(*soft)]
            result.append([value / sum(product) for value in product])
        else:
            result.append(voted(rows, mean, shares))
    return np.array(result)


def voted(rows, mean, shares):
    votes = [0.0] * len(mean)
    for row, share in zip(rows, shares):
        votes[list(row).index(max(row))] += share
    fewer = [v for v in votes if v < max(votes) - 1e-6]
    small = 1 / sum(share > 0 for share in shares)
    small = min([small] + [(max(votes) - vote) / 2 for vote in fewer])
    return [(v + small * p) / (1 + small) for v, p in zip(votes, mean)]


def random_members(random, number, n, classes, spread=3.0):
    return [(random.normal(size=(n, classes)) * spread).astype(np.float32) for _ in range(number)]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("number, n, classes", [(1, 5, 4), (2, 30, 3), (5, 40, 7), (3, 4, 1)])
def test_it_equals_the_plain_formulas(how, number, n, classes):
    for seed in range(3):
        random = np.random.default_rng(seed)
        members = random_members(random, number, n, classes)
        for weights in (None, random.uniform(0.1, 5, number)):
            combined = combine(iter(members), how, weights)
            assert combined.dtype == np.float32 and combined.shape == (n, classes)
            expected = oracle(members, how, [1] * number if weights is None else weights.tolist())
            told = combined if how == "mean_logits" else np.exp(combined)
            np.testing.assert_allclose(told, expected, rtol=2e-5, atol=1e-6)
            if how != "mean_logits":
                np.testing.assert_allclose(told.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("how", HOW)
def test_blocks_do_not_matter(how, monkeypatch):
    members = random_members(np.random.default_rng(0), 3, 29, 5)
    whole, weights = combine(members, how), [1.0, 0.0, 2.0]
    weighed = combine(members, how, weights)
    monkeypatch.setattr(ensembles, "BLOCK", 20)
    np.testing.assert_array_equal(combine(members, how), whole)
    np.testing.assert_array_equal(combine(members, how, weights), weighed)
    np.testing.assert_allclose(weighed, combine([members[0], members[2]], how, [10, 20]), rtol=1e-5)


@pytest.mark.parametrize("how", HOW)
def test_extreme_logits_stay_finite(how):
    ends = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [0, 0, 0], [1e4, 1e4, 1e4], [1e4, 0, -1e4]],
                    np.float32)
    others = np.array([[1e4, 0, -1e4], [-1e4, 1e4, -1e4], [1, 0, -1], [-1e4] * 3, [-1e4, 0, 1e4]],
                      np.float32)
    combined = combine([ends, others], how)
    assert np.isfinite(combined).all() and np.isfinite(combined.astype(np.float16)).all()
    expected = oracle([ends, others], "mean_probabilities" if how == "geometric_mean" else how, [1, 1])
    if how == "geometric_mean":  # of 0 and 1, in which the plain formula has no digits left
        third = softmax([0.5, 0, -0.5])
        expected = np.array([[1, 0, 0], [0, 1, 0], third, [1 / 3] * 3, [1 / 3] * 3])
    told = combined if how == "mean_logits" else np.exp(combined)
    np.testing.assert_allclose(told, expected, atol=2e-6)
    if how != "mean_logits":
        assert combined.min() == pytest.approx(math.log(1e-30)) or how == "hard_vote"


def test_the_order_of_unlikely_classes_is_kept():
    sure = np.array([[20, -18, -20, -19]], np.float32)  # cosines over a temperature of 0.05
    for how in HOW:
        assert np.argsort(-combine([sure, sure], how)[0]).tolist() == [0, 1, 3, 2], how


def as_logits(*probabilities):
    return np.log(np.array([probabilities], np.float32))


def test_hard_votes_win_over_probability_and_ties_are_broken_by_it():
    a, b, c = as_logits(0.51, 0.49, 1e-9), as_logits(0.5, 0.4, 0.1), as_logits(1e-9, 1, 1e-9)
    votes = combine([a, b, c], "hard_vote")  # a mean of 0.34, 0.63: the mean would choose the other
    assert votes.argmax() == 0 and combine([a, b, c], "mean_probabilities").argmax() == 1
    np.testing.assert_allclose(np.exp(combine([a, a], "hard_vote"))[0],
                               (np.array([1, 0, 0]) + np.exp(a[0]) / 2) / 1.5, atol=1e-6)
    assert combine([a, c], "hard_vote").argmax() == 1  # one vote each
    assert combine([c, a], "hard_vote").argmax() == 1
    same = combine([as_logits(0.6, 0.4), as_logits(0.4, 0.6)], "hard_vote")
    assert same.argmax() == 0  # equal in all: the first


def test_hard_votes_by_weight():
    """Votes of 0.6 against 0.4 and a mean of 0.306 against 0.694: the plain sum would be wrong."""
    a, c = as_logits(0.51, 0.49), as_logits(1e-9, 1)
    for scale in (1e-8, 1, 1e8):
        assert combine([a, a, c], "hard_vote", np.array([0.3, 0.3, 0.4]) * scale).argmax() == 0
    assert combine([a, a, c], "hard_vote", [0.3, 0.3, 0.6001]).argmax() == 1
    for one in range(1, 10):  # sums that differ by rounding only are ties, 0.1 + 0.2 and 0.3
        for two in range(1, 10):
            weights = np.array([one, two, one + two]) / 10
            assert combine([a, a, c], "hard_vote", weights).argmax() == 1, weights


@pytest.mark.parametrize("how", HOW)
def test_no_records_one_member_and_half_precision(how):
    assert combine([np.zeros((0, 4), np.float32)] * 2, how).shape == (0, 4)
    logits = random_members(np.random.default_rng(2), 1, 20, 4)[0].astype(np.float16)
    before = logits.copy()
    combined = combine([logits], how)
    np.testing.assert_array_equal(combined.argmax(1), logits.argmax(1))
    np.testing.assert_array_equal(logits, before)
    if how != "hard_vote":
        np.testing.assert_allclose([softmax(row) for row in combined], [softmax(row) for row in logits],
                                   rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("how", HOW)
def test_only_one_member_is_held_at_a_time(how):
    held = []

    def reading():
        for seed in range(4):
            assert all(reference() is None for reference in held)
            logits = random_members(np.random.default_rng(seed), 1, 6, 3)[0]
            held.append(weakref.ref(logits))
            yield logits
            del logits
    combine(reading(), how)
    assert len(held) == 4


ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize("members, arguments, says", [
    ([ONES], {"how": "median"}, "by mean_logits, .*not by 'median'"),
    ([], {}, "there are 0 members"), ([], {"weights": [1]}, "0 members for 1 weights"),
    ([ONES], {"weights": [1, 1]}, "1 members for 2 weights"),
    ([ONES, ONES], {"weights": [1]}, "more members than the 1 weights"),
    ([ONES], {"weights": [0]}, "not all 0"), ([ONES] * 2, {"weights": [1, -1]}, r"got \[1.0, -1.0\]"),
    ([ONES], {"weights": [np.nan]}, "finite"),
    ([ONES, ONES[:1]], {}, r"member 1 have the shape \[1, 3\].*\[2, 3\]"),
    ([ONES, ONES[:, :1]], {}, r"member 1 have the shape \[2, 1\]"),
    ([ONES[0]], {}, r"member 0 have the shape \[3\]"),
    ([ONES, ONES * np.inf], {}, "member 1 has logits that are not finite")])
@pytest.mark.parametrize("how", HOW)
def test_what_cannot_be_combined_is_refused(how, members, arguments, says):
    with pytest.raises(EnsembleError, match=says):
        combine(members, **({"how": how} | arguments))


def noisy(random, labels, classes, noise, strength=2.0):
    """Logits of a member that sees the truth through noise of its own."""
    return (strength * np.eye(classes)[labels]
            + random.normal(size=(len(labels), classes)) * noise).astype(np.float32)


def log_loss(combined, labels):
    return -np.mean([math.log(max(softmax(row)[label], 1e-30)) for row, label in zip(combined, labels)])


@pytest.mark.parametrize("how", HOW)
def test_an_ensemble_of_independent_members_beats_each(how):
    random = np.random.default_rng(4)
    labels = random.integers(0, 6, 3000)
    members = [noisy(random, labels, 6, 1.5) for _ in range(7)]
    accuracy = lambda logits: (logits.argmax(1) == labels).mean()
    assert accuracy(combine(members, how)) > max(map(accuracy, members)) + 0.1


@pytest.mark.parametrize("how", FITTED)
def test_fitted_weights_are_the_best_of_all(how):
    """Against a grid over all weights of three members, by the plain formulas of this file."""
    random = np.random.default_rng(5)
    labels = random.integers(0, 4, 60)
    members = [noisy(random, labels, 4, random.choice([0.5, worse], (60, 1))) for worse in (4, 4, 6)]
    weights, figures = fit_weights(members, labels, how)
    assert weights.dtype == np.float64 and weights.sum() == pytest.approx(1) and weights.min() >= 0

    def plain(weights):
        told = oracle(members, how, weights)
        told = np.array([softmax(row) for row in told]) if how == "mean_logits" else told
        return -np.log(told[np.arange(60), labels]).mean(), (told.argmax(1) == labels).mean()
    grid = [(a / 12, b / 12, 1 - a / 12 - b / 12) for a in range(13) for b in range(13 - a)]
    best = min(grid, key=lambda weights: plain(weights)[0])
    assert plain(weights)[0] <= plain(best)[0] + 1e-9
    assert np.abs(weights - best).max() < 0.15 and (weights > 0.05).sum() >= 2
    around = [weights + 0.02 * (np.eye(3)[a] - np.eye(3)[b]) for a in range(3) for b in range(3)]
    assert all(plain(weights)[0] <= plain(near)[0] + 1e-7 for near in around if near.min() >= 0)
    for name, own in (("equal", [1, 1, 1]), ("fitted", weights)):
        assert (figures[f"log_loss_{name}"], figures[f"accuracy_{name}"]) == pytest.approx(
            plain(own), rel=1e-5)
    again, _ = fit_weights(members, labels, how)
    np.testing.assert_array_equal(weights, again)


@pytest.mark.parametrize("how", FITTED)
def test_fitting_finds_the_better_of_a_good_and_a_bad_member(how, monkeypatch):
    monkeypatch.setattr(ensembles, "BLOCK", 1000)
    random = np.random.default_rng(6)
    labels = random.integers(0, 5, 2000)
    good, bad = noisy(random, labels, 5, 0.8), noisy(random, labels, 5, 3, strength=0)
    weights, figures = fit_weights([bad, good], labels, how)
    assert weights[1] > 0.9
    assert figures["log_loss_fitted"] < figures["log_loss_equal"] - 0.05
    assert figures["accuracy_fitted"] > figures["accuracy_equal"]
    oversure = [1e4 * bad, 1e4 * good, good]
    weights, figures = fit_weights(oversure, labels, how)
    assert weights[0] < 1e-3 < weights[2] and weights[1] > 1e-5  # a little of it sharpens the other
    assert figures["log_loss_fitted"] < min(log_loss(logits, labels) for logits in oversure[1:])
    wrong = np.where(np.eye(5)[labels] > 0, -1e4, 1e4)  # of probability 0 by all of the members
    weights, figures = fit_weights([wrong, 2 * wrong], labels, how)
    assert np.isfinite(weights).all() and figures["log_loss_fitted"] == pytest.approx(-math.log(1e-30))
    assert fit_weights([bad], labels, how)[0].tolist() == [1.0]
    same, _ = fit_weights([good] * 3, labels, how)
    np.testing.assert_allclose(same, 1 / 3)


@pytest.mark.parametrize("members, labels, says", [
    (iter([ONES]), [0, 1], "not a generator"), ([], [0, 1], "no members"),
    ([ONES], [0], r"each of 2 records.*\[1\]"), ([ONES], [0, 3], r"int 0..2.*\[0, 3\]"),
    ([ONES], [-1, 0], "int 0..2"), ([ONES], [0.0, 1.0], "float64"),
    ([ONES[:0]], np.zeros(0, int), "one record at least"), ([ONES, ONES[:, :2]], [0, 1], "shape|each")])
@pytest.mark.parametrize("how", FITTED)
def test_what_cannot_be_fitted_is_refused(how, members, labels, says):
    with pytest.raises(EnsembleError, match=says):
        fit_weights(members, labels, how)
    with pytest.raises(EnsembleError, match="not by 'hard_vote'"):
        fit_weights([ONES], [0, 1], "hard_vote")


def test_members_must_be_of_the_same_records_and_classes():
    check_members(["a", "b"], [["1", "2"], ["2", "1"]], [["x", "y"]] * 2)
    check_members(["a"], [[]], [["x"]])
    for ids, classes, says in [
            ([["1", "2"], ["2", "3", "4"]], [["x"]] * 2,
             "'a' and 'b' differ in their ids: 1 only in 'a' .for instance '1'., 2 only in 'b' .*'3'"),
            ([["1", "2"], ["2"]], [["x"]] * 2, "1 only in 'a' .for instance '1'., 0 only in 'b';"),
            ([["1"], ["1"]], [["x"], ["x", "z"]], "differ in their classes: 0 only in 'a', 1 .*'z'"),
            ([["1"], ["1"]], [["x", "y"], ["y", "x"]], "another order .number 0: 'x', 'y'"),
            ([["1"], ["1", "1"]], [["x"]] * 2, "'b' has the id '1' more than once")]:
        with pytest.raises(EnsembleError, match=says):
            check_members(["a", "b"], ids, classes)
    with pytest.raises(EnsembleError, match="'a' and 'c'"):
        check_members("abc", [["1"]] * 3, [["x"], ["x"], ["q"]])
