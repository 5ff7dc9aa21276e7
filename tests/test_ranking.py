"""Rankings and MAP@k against loops over plain Python lists, one record at a time, with many ties."""
import numpy as np
import pytest

from inference import ranking
from inference.ranking import (NEW, known_or_new, map_at_k, reciprocal_ranks, top_k, top_k_known)


def ordered(row):
    """Class indices, best first, of equal scores the lower first."""
    return sorted(range(len(row)), key=lambda c: (-row[c], c))


def published(row, known, k):
    """The published rule, word for word: outside -> NEW, repeats of it out, the next known behind."""
    whole = [c if known[c] else NEW for c in ordered(row)]
    kept = [c for place, c in enumerate(whole[:k]) if c not in whole[:place]]
    others = [c for c in whole if c != NEW and c not in kept]
    return kept + others[:k - len(kept)]


def by_score(row, known, k, new_score):
    """Known classes and NEW in the order of their scores, NEW after a known one of the same score."""
    names = [(-row[c], 0, c) for c in range(len(row)) if known[c]] + [(-new_score, 1, NEW)]
    return [name for _, _, name in sorted(names)][:k]


def scores_of(seed, n=60, c=12, levels=None):
    """Probabilities [n, c]; of a few levels only, so that most rows have ties, where asked."""
    random = np.random.default_rng(seed)
    scores = random.random((n, c)) if levels is None else random.integers(0, levels, (n, c)) + 1.0
    return (scores / scores.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("levels", [None, 1, 2, 4])
@pytest.mark.parametrize("k", [1, 5, 12])
def test_the_best_are_those_of_a_stable_sort(levels, k, monkeypatch):
    scores = scores_of(k, levels=levels)
    wanted = [ordered(row)[:k] for row in scores.tolist()]
    ranked = top_k(scores, k)
    assert ranked.dtype == np.int64 and ranked.tolist() == wanted
    monkeypatch.setattr(ranking, "BLOCK", 7 * 12)  # 60 rows by sevens, with a rest
    assert top_k(scores, k).tolist() == wanted


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint8"])
def test_every_type_of_number_is_ranked(dtype):
    scores = np.array([[0, 3, 3, 1, 127], [5, 0, 5, 5, 0]], dtype)
    assert top_k(scores, 4).tolist() == [[4, 1, 2, 3], [0, 2, 3, 1]]


def test_infinite_scores_are_last_or_first_by_index_and_nan_is_refused():
    assert top_k(np.float32([[-np.inf, 2, -np.inf, np.inf]]), 4).tolist() == [[3, 1, 0, 2]]
    with pytest.raises(ValueError, match="record 1 .* NaN"):
        top_k([[1.0, 2.0], [0.0, np.nan]], 1)
    with pytest.raises(ValueError, match="best 3 .* got \\[1, 2\\]"):
        top_k([[1.0, 2.0]], 3)
    with pytest.raises(ValueError, match="best 0"):
        top_k([[1.0, 2.0]], 0)
    assert top_k(np.zeros((0, 4)), 2).shape == (0, 2)


@pytest.mark.parametrize("levels", [None, 2, 5])
@pytest.mark.parametrize("n_known", [4, 5, 9, 11])
def test_known_and_new_follow_the_published_rule(levels, n_known, monkeypatch):
    scores = scores_of(n_known, n=200, levels=levels)
    known = np.isin(np.arange(12), np.random.default_rng(n_known).choice(12, n_known, replace=False))
    wanted = [published(row, known, 5) for row in scores.tolist()]
    assert top_k_known(scores, known, 5).tolist() == wanted
    assert any(NEW not in row for row in wanted) or n_known < 9
    monkeypatch.setattr(ranking, "BLOCK", 9 * 12)
    assert top_k_known(scores, known, 5).tolist() == wanted


def test_a_rank_of_new_by_hand():
    known = np.array([True, False, True, False, True, True, True])
    scores = [[.30, .20, .15, .12, .10, .08, .05],   # new second; class 3, its repeat, gives way
              [.01, .40, .02, .30, .10, .05, .12],   # the two best are new
              [.20, .02, .19, .01, .18, .17, .16]]   # new is not among the five
    assert top_k_known(scores, known, 5).tolist() == [
        [0, NEW, 2, 4, 5], [NEW, 6, 4, 5, 2], [0, 2, 4, 5, 6]]


@pytest.mark.parametrize("levels", [None, 3])
def test_a_score_of_new_stands_where_it_deserves(levels):
    scores = scores_of(1, n=100, levels=levels)
    known = np.arange(12) % 3 > 0
    random = np.random.default_rng(2)
    new_score = scores[np.arange(100), random.integers(0, 12, 100)]  # equal to a class's score, often
    ranked = top_k_known(scores, known, 5, new_score)
    assert ranked.tolist() == [by_score(row, known, 5, own)
                               for row, own in zip(scores.tolist(), new_score.tolist())]
    threshold = float(np.median(scores[:, known].max(1)))
    first = top_k_known(scores, known, 5, threshold)[:, 0] == NEW
    assert (first == (scores[:, known].max(1) < threshold)).all() and 0 < first.sum() < 100


def test_all_known_leaves_no_new_but_for_one_with_a_score():
    scores = scores_of(4)
    everyone = np.ones(12, bool)
    assert (top_k_known(scores, everyone, 5) == top_k(scores, 5)).all()
    assert (top_k_known(scores, everyone, 5, 2.0)[:, 1:] == top_k(scores, 4)).all()


def test_what_cannot_be_ranked_with_new_is_refused():
    scores, known = scores_of(5), np.arange(12) < 3
    with pytest.raises(ValueError, match="5 names .* 3 known classes and new"):
        top_k_known(scores, known, 5)
    assert top_k_known(scores, known, 4).shape == (60, 4)
    with pytest.raises(ValueError, match="0 known"):
        top_k_known(scores, np.zeros(12, bool), 1)
    with pytest.raises(ValueError, match="bool \\[classes\\].* int64"):
        top_k_known(scores, np.arange(12), 4)
    for wrong in (np.zeros(59), np.nan):
        with pytest.raises(ValueError, match="each of 60 records"):
            top_k_known(scores, known, 3, wrong)
    scores[7, 11] = np.nan
    with pytest.raises(ValueError, match="record 7 "):
        top_k_known(scores, known, 3)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_map_is_the_mean_of_one_over_the_rank(k):
    scores = scores_of(6, levels=4)
    labels = np.random.default_rng(7).integers(0, 12, 60)
    wanted = []
    for row, label in zip(scores.tolist(), labels):
        best = ordered(row)[:k]
        wanted.append(1 / (best.index(label) + 1) if label in best else 0.0)
    ranked = top_k(scores, k)
    assert reciprocal_ranks(labels, ranked).tolist() == wanted
    assert map_at_k(labels, ranked) == pytest.approx(sum(wanted) / 60, abs=1e-15)


def test_map_by_hand_and_the_first_of_two_places_counts():
    ranked = [[3, 1, 2], [1, 1, 3], [2, NEW, 0], [0, 1, 2]]
    assert reciprocal_ranks([2, 1, NEW, 9], ranked).tolist() == [1 / 3, 1, 0.5, 0]
    with pytest.raises(ValueError, match="one true class: got \\[3\\]"):
        reciprocal_ranks([1, 2, 3], ranked)
    with pytest.raises(ValueError, match="no records"):
        map_at_k(np.zeros(0, int), np.zeros((0, 5), int))


def test_labels_outside_the_known_are_new():
    known = np.array([True, False, True])
    assert known_or_new([0, 1, 2, NEW, 1], known).tolist() == [0, NEW, 2, NEW, NEW]
    assert known_or_new([NEW], np.array([True, True])).tolist() == [NEW], "-1 is not the last class"
    for wrong in (3, -2):
        with pytest.raises(ValueError, match=f"label {wrong} \\(record 1\\)"):
            known_or_new([0, wrong], known)
