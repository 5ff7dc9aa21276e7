"""The F2 score and its thresholds against scikit-learn and brute force; no row told by its own truth."""
import functools
import itertools

import numpy as np
import pytest
from sklearn.metrics import fbeta_score

from inference import multilabel, multilabel_thresholds
from inference.multilabel import (MultilabelError, apply_thresholds, cross_fitted, f2_per_image,
                                  frequent_labels, group_f2, mean_f2)
from inference.multilabel_thresholds import (NEVER, candidate_thresholds, fit_group_thresholds,
                                             fit_label_thresholds)

GROUPS = {"culture": np.array([0, 3, 4]), "tag": np.array([1, 2, 5, 6])}


def made(seed, n=40, k=7, steps=None, dtype=np.float32):
    """(probabilities, truth): a few labels an image, sometimes none; steps: so many different values."""
    random = np.random.default_rng(seed)
    truth = random.random((n, k)) < random.uniform(0.05, 0.5, k)
    truth[:3] = False
    logits = 2.5 * truth - 1.5 + random.normal(0, 1.2, (n, k)) + random.normal(0, 0.7, k)
    probabilities = 1 / (1 + np.exp(-logits))
    if steps:
        probabilities = np.round(probabilities * steps) / steps
    return probabilities.astype(dtype), truth


def oracle(truth, predicted, beta=2.0):
    """From precision and recall, image by image; test_f2 holds it against scikit-learn, 1000 x slower."""
    scores = []
    for t, p in zip(truth, predicted):
        both = np.count_nonzero(t & p)
        if both:
            precision, recall = both / np.count_nonzero(p), both / np.count_nonzero(t)
            scores.append((1 + beta ** 2) * precision * recall / (beta ** 2 * precision + recall))
        else:
            scores.append(0.0 if t.any() or p.any() else 1.0)
    return np.array(scores)


def brute(probabilities, truth):
    """The mean F2 of the prediction, without anything of the product's."""
    return lambda thresholds: oracle(truth, probabilities.astype(np.float64) >= thresholds).mean()


@pytest.mark.parametrize("beta", [2.0, 1.0, 0.5])
def test_f2_equals_scikit_learn_also_of_empty_images(beta, monkeypatch):
    monkeypatch.setattr(multilabel, "BLOCK", 50)  # several blocks, the last one smaller
    random = np.random.default_rng(0)
    truth, predicted = random.random((2, 60, 7)) < 0.3
    truth[:4], predicted[2:6] = False, False
    scores = f2_per_image(truth, predicted, beta)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, oracle(truth, predicted, beta), rtol=1e-12)
    one_by_one = [fbeta_score(t, p, beta=beta, zero_division=1) for t, p in zip(truth[:10], predicted)]
    np.testing.assert_allclose(scores[:10], one_by_one, rtol=1e-12)
    assert scores[2] == scores[3] == 1 and scores[0] == 0 and predicted[0].any()
    samples = fbeta_score(truth, predicted, beta=beta, average="samples", zero_division=1)
    assert mean_f2(truth, predicted, beta) == pytest.approx(samples, rel=1e-12)


def test_a_group_is_scored_by_its_columns_alone():
    probabilities, truth = made(1)
    predicted = probabilities > 0.4
    figures = group_f2(truth, predicted, GROUPS)
    assert list(figures) == ["all", "culture", "tag"] and figures["all"] == mean_f2(truth, predicted)
    for name, columns in GROUPS.items():
        assert figures[name] == pytest.approx(oracle(truth[:, columns], predicted[:, columns]).mean())
    predicted[:, 1] ^= True
    assert group_f2(truth, predicted, GROUPS)["culture"] == figures["culture"]
    with pytest.raises(MultilabelError, match="called 'all'"):
        group_f2(truth, predicted, {"all": [0]})


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_thresholds_are_reached_from_their_own_value_on(dtype, monkeypatch):
    monkeypatch.setattr(multilabel, "BLOCK", 5)
    probabilities = np.array([[0.2, 0.7], [0.3, 0.1], [1.0, 0.0]], dtype)
    at = np.float64(probabilities[1, 0])
    assert apply_thresholds(probabilities, [at, 0]).tolist() == [[False, True], [True, True], [True, True]]
    above = [np.nextafter(at, 1), NEVER]  # compared in float64, not rounded to the probabilities' type
    assert apply_thresholds(probabilities, above).tolist() == [[False] * 2, [False] * 2, [True, False]]
    assert apply_thresholds(probabilities[:0], [0, 0]).shape == (0, 2)


def test_the_most_probable_labels_are_given_where_asked_for():
    probabilities = np.float32([[0.1, 0.4, 0.4], [0.9, 0.2, 0.3], [0, 0, 0]])
    thresholds = [NEVER, 0.5, 0.25]
    assert apply_thresholds(probabilities, thresholds, 0).tolist() == [
        [False, False, True], [False, False, True], [False] * 3]
    assert apply_thresholds(probabilities, thresholds, 1).tolist() == [
        [False, True, True], [True, False, True], [True, False, False]]  # the first of equal ones
    assert apply_thresholds(probabilities, [NEVER] * 3, 2).sum(1).tolist() == [2, 2, 2]
    assert apply_thresholds(probabilities, [NEVER] * 3, 3).all()


@pytest.mark.parametrize("seed, steps", itertools.product(range(6), [None, 8]))
def test_one_threshold_is_the_best_there_is(seed, steps):
    probabilities, truth = made(seed, n=20, steps=steps)
    thresholds = fit_group_thresholds(probabilities, truth, {"all": np.arange(7)})
    assert len(set(thresholds)) == 1 and thresholds.dtype == np.float64
    score = brute(probabilities, truth)
    every = [score(t) for t in [*np.unique(probabilities).astype(np.float64), NEVER]]
    assert score(thresholds) == pytest.approx(max(every), abs=1e-12)


@pytest.mark.parametrize("false, true, middle", [(0.3, 0.2, 0.6), (0.8, 0.7, 0.4)])
def test_the_middle_of_the_widest_plateau_is_taken(false, true, middle):
    # Label 1 is always right. For label 0, giving it to 3 more images that have it gains as much as 8
    # that have not lose, so (false, 0.9] and (0.1, true] are equally good.
    truth = np.ones((14, 2), bool)
    truth[5:, 0] = False
    p = np.float32([0.9, 0.9, *[true] * 3, *[false] * 8, 0.1])
    score = lambda at: oracle(truth, np.stack([p >= at, np.ones(14, bool)], 1)).mean()
    assert score(false + 0.01) == pytest.approx(score(true - 0.01), abs=1e-14)
    probabilities = np.stack([p, np.ones(14, np.float32)], 1)
    for fitted in (fit_group_thresholds(probabilities, truth, {"a": [0], "b": [1]}),
                   fit_label_thresholds(probabilities, truth, [0.0, 0.5], 1, 0.0)):
        assert score(fitted[0]) == pytest.approx(max(score(at) for at in np.arange(102) / 100), abs=1e-14)
        assert abs(fitted[0] - middle) < 0.011
        assert fitted[1] == 0.5 or abs(fitted[1] - 0.5) < 0.011  # all of 0..1 is as good


@pytest.mark.parametrize("where, expected", [(True, 0.0), (False, NEVER)])
def test_labels_that_all_or_no_images_have(where, expected):
    probabilities = np.random.default_rng(0).random((30, 3)).astype(np.float32)
    fitted = fit_group_thresholds(probabilities, np.full((30, 3), where), {"all": [0, 1, 2]})
    assert (apply_thresholds(probabilities, fitted) == where).all()
    by_label = fit_label_thresholds(probabilities, np.full((30, 3), where), [0.5] * 3, 1, 0.0)
    assert (apply_thresholds(probabilities, by_label) == where).all() == where  # without an image: left


def test_groups_are_searched_jointly():
    exact = 0
    for seed in range(8):
        probabilities, truth = made(seed, n=25, steps=12)
        fitted = fit_group_thresholds(probabilities, truth, GROUPS)
        assert all(len(set(fitted[columns])) == 1 for columns in GROUPS.values())
        score = brute(probabilities, truth)
        tried = {}
        for pair in itertools.product(np.arange(14) / 12 - 1 / 24, repeat=2):
            thresholds = np.empty(7)
            for at, columns in zip(pair, GROUPS.values()):
                thresholds[columns] = at
            tried[pair] = score(thresholds)
        found = score(fitted)
        exact += found == pytest.approx(max(tried.values()), abs=1e-12)
        assert found >= max(tried.values()) - 0.01
        single = max(value for (a, b), value in tried.items() if a == b)
        assert found >= single - 1e-12  # never worse than one threshold for all
    assert exact >= 7


def test_blocks_and_types_change_nothing(monkeypatch):
    probabilities, truth = made(3, n=60, dtype=np.float16)
    whole = fit_group_thresholds(probabilities, truth, GROUPS)
    by_label = fit_label_thresholds(probabilities, truth, whole, 3, 5.0)
    for module in (multilabel, multilabel_thresholds):
        monkeypatch.setattr(module, "blocks", _small_blocks)
    assert np.array_equal(fit_group_thresholds(probabilities.astype(np.float64), truth, GROUPS), whole)
    single = probabilities.astype(np.float32)
    assert np.array_equal(fit_label_thresholds(single, truth, whole, 3, 5.0), by_label)


def _small_blocks(shape):
    return [slice(start, start + 7) for start in range(0, shape[0], 7)]


@pytest.mark.parametrize("seed", range(3))
def test_many_values_are_searched_nearly_as_well_as_all(seed):
    probabilities, truth = made(seed, n=400)
    grid = candidate_thresholds(probabilities, truth, [np.arange(7)])
    assert len(np.unique(probabilities)) > 2500 and len(grid) <= 255
    assert grid[0] == 0 and grid[-1] == NEVER and (np.diff(grid) > 0).all()
    fitted = fit_group_thresholds(probabilities, truth, {"all": np.arange(7)})
    dense = max(mean_f2(truth, probabilities >= at) for at in np.unique(probabilities))
    found = mean_f2(truth, apply_thresholds(probabilities, fitted))
    assert found == max(mean_f2(truth, probabilities.astype(np.float64) >= at) for at in grid)
    assert found > dense - 2e-3


def test_rare_labels_of_very_small_probabilities_find_their_threshold():
    random = np.random.default_rng(0)
    truth = random.random((300, 200)) < 0.004
    truth[:, 0] = True
    probabilities = np.where(truth, 3e-4, 1e-4) * random.uniform(0.8, 1.2, truth.shape)
    probabilities[:, 0] = 0.9
    groups = {"common": [0], "rare": np.arange(1, 200)}
    fitted = fit_group_thresholds(probabilities, truth, groups)
    assert mean_f2(truth, apply_thresholds(probabilities, fitted)) == 1


@pytest.mark.parametrize("seed, steps", itertools.product(range(4), [None, 6]))
def test_labels_end_where_none_gets_better_alone(seed, steps):
    probabilities, truth = made(seed, n=30, k=4, steps=steps)
    fitted = fit_label_thresholds(probabilities, truth, np.full(4, 0.5), 1, 0.0, rounds=30)
    score = brute(probabilities, truth)
    best = score(fitted)
    for label in np.flatnonzero(truth.any(0)):
        for at in [*np.unique(probabilities[:, label]).astype(np.float64), NEVER]:
            other = fitted.copy()
            other[label] = at
            assert score(other) <= best + 1e-12


def test_labels_of_few_images_keep_their_threshold_and_others_go_a_share_of_the_way():
    probabilities, truth = made(5, n=300, k=5)
    truth[:, 4] = False
    truth[:9, 4] = True
    start = np.full(5, 0.45)
    free = fit_label_thresholds(probabilities, truth, start, 10, 0.0, rounds=1)
    assert free[4] == 0.45 and (free[:4] != 0.45).any()
    assert fit_label_thresholds(probabilities, truth, start, 9, 0.0)[4] != 0.45
    first = np.argmax(truth.sum(0))  # set before all others, so that only the shrinkage differs
    positives = truth[:, first].sum()
    shrunk = fit_label_thresholds(probabilities, truth, start, 10, 40.0, rounds=1)
    assert shrunk[first] == pytest.approx(0.45 + positives / (positives + 40) * (free[first] - 0.45))
    assert free[first] != 0.45
    score = brute(probabilities, truth)
    assert score(start) < score(shrunk)
    for shrink in (0.0, 5.0, 1e3, 1e9):  # never below the start
        assert score(fit_label_thresholds(probabilities, truth, start, 1, shrink)) >= score(start) - 1e-12
    np.testing.assert_allclose(fit_label_thresholds(probabilities, truth, start, 1, 1e9), start, atol=1e-6)


@pytest.mark.parametrize("fit", [functools.partial(fit_group_thresholds, groups=GROUPS),
                                 lambda p, t: fit_label_thresholds(p, t, np.full(7, 0.5), 2, 3.0)])
def test_no_fold_is_told_by_thresholds_that_saw_it(fit):
    probabilities, truth = made(7, n=90)
    folds = np.random.default_rng(1).permutation(np.repeat([0, 2, 5], 30))
    predicted, fitted = cross_fitted(probabilities, truth, folds, fit)
    for number, fold in enumerate([0, 2, 5]):
        mine = folds == fold
        alone = fit(probabilities[~mine], truth[~mine])
        assert np.array_equal(fitted[number], alone)
        assert np.array_equal(predicted[mine], probabilities[mine].astype(np.float64) >= alone)
        flipped = truth.copy()
        flipped[mine] ^= True
        again, refitted = cross_fitted(probabilities, flipped, folds, fit)
        assert np.array_equal(again[mine], predicted[mine]) and np.array_equal(refitted[number], alone)
        assert not any(np.array_equal(refitted[k], fitted[k]) for k in range(3) if k != number)
    least_one, _ = cross_fitted(probabilities, truth, folds, lambda p, t: np.full(7, NEVER), at_least=1)
    assert (least_one.sum(1) == 1).all()


def test_frequent_labels():
    truth = np.array([[1, 0, 1], [1, 0, 0]], bool)
    assert frequent_labels(truth, 1).tolist() == [True, False, True]
    assert frequent_labels(truth, 2).tolist() == [True, False, False]
    assert frequent_labels(truth, 0).all()


P, T = made(0)


@pytest.mark.parametrize("call, says", [
    (lambda: f2_per_image(T, T[:3]), "truth is .40, 7. and predicted .3, 7."),
    (lambda: f2_per_image(T.astype(int), T), "truth is bool .* got int64"),
    (lambda: mean_f2(T[:0], T[:0]), "one image at least"),
    (lambda: group_f2(T, T, {"a": [7]}), "group 'a' needs different label columns in 0..6"),
    (lambda: apply_thresholds(P * 2, np.zeros(7)), "sigmoid"),
    (lambda: apply_thresholds(P * np.nan, np.zeros(7)), "never NaN"),
    (lambda: apply_thresholds(T, np.zeros(7)), "float .images, labels., got bool"),
    (lambda: apply_thresholds(P, np.zeros(6)), "each of 7 labels"),
    (lambda: apply_thresholds(P, np.full(7, np.nan)), "7 NaN"),
    (lambda: apply_thresholds(P, np.zeros(7), 8), "0..7.*got 8"),
    (lambda: fit_group_thresholds(P, T[:5], GROUPS), "of the same images"),
    (lambda: fit_group_thresholds(P[:0], T[:0], GROUPS), "one at least"),
    (lambda: fit_group_thresholds(P, T, {}), "no groups"),
    (lambda: fit_group_thresholds(P, T, {"a": range(6)}), "column 6 is in 0 of the groups 'a'"),
    (lambda: fit_group_thresholds(P, T, {"a": range(7), "b": [3]}), "column 3 is in 2"),
    (lambda: fit_group_thresholds(P, T, {"a": [0, 0]}), "different label columns"),
    (lambda: fit_label_thresholds(P, T, np.zeros(7), 0), "least_positives"),
    (lambda: fit_label_thresholds(P, T, np.zeros(7), shrink=-1.0), "shrink"),
    (lambda: fit_label_thresholds(P, T, np.zeros(3)), "each of 7 labels"),
    (lambda: cross_fitted(P, T, np.zeros(40, int), None), "with one fold nothing"),
    (lambda: cross_fitted(P, T, np.zeros(39, int), None), "each of 40 images"),
    (lambda: cross_fitted(P, T, np.zeros(40), None), "whole number"),
    (lambda: frequent_labels(T, -1), ">= 0, got -1")])
def test_what_does_not_fit_is_refused(call, says):
    with pytest.raises(MultilabelError, match=says):
        call()
