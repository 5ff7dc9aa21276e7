"""Neighbours by embeddings against a search written pair by pair, thresholds against all cuts."""
import fractions
import math
import tracemalloc

import numpy as np
import pytest

from inference.neighbours import (class_similarity, nearest, new_individual_threshold, normalised)
from inference.ranking import top_k_known


def features(n, d=16, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def cosine(a, b):
    a, b = a.tolist(), b.tolist()
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize("block", [2, 7, 64])
@pytest.mark.parametrize("k", [1, 4, 30])
def test_neighbours_are_those_of_a_search_over_all_pairs(k, block):
    gallery, queries = features(30), features(11, seed=1) * 1000
    indices, similarity = nearest(gallery, queries, k, block=block)
    assert (indices.dtype, similarity.dtype) == (np.int64, np.float32)
    for row, found, values in zip(queries, indices, similarity):
        all_pairs = [cosine(row, image) for image in gallery]
        assert found.tolist() == sorted(range(30), key=lambda i: -all_pairs[i])[:k]
        assert values == pytest.approx([all_pairs[i] for i in found], abs=1e-6)


@pytest.mark.parametrize("block", [3, 8, 100])
def test_of_like_images_the_lower_index_comes_first(block):
    few = features(5, d=301, seed=2)
    copies = np.random.default_rng(3).integers(0, 5, 40)
    gallery = few[copies] * np.random.default_rng(4).choice([1, 2, 64], (40, 1)).astype(np.float32)
    queries = features(25, d=301, seed=5)
    indices, similarity = nearest(gallery, queries, 40, block=block)
    for row, found, values in zip(queries, indices.tolist(), similarity):
        near = {c: cosine(row, few[c]) for c in range(5)}
        assert found == sorted(range(40), key=lambda i: (-near[copies[i]], i))
        assert len(set(values.tolist())) == len(set(copies))


@pytest.mark.parametrize("block", [4, 50])
def test_leaving_out_each_querys_own_image(block):
    gallery = features(20, seed=6)
    everyone = np.arange(20)
    indices, similarity = nearest(gallery, gallery, 19, exclude=everyone, block=block)
    full, values = nearest(gallery, gallery, 20, block=block)
    assert (full[:, 0] == everyone).all() and values[:, 0] == pytest.approx(1, abs=1e-6)
    assert (indices == full[:, 1:]).all() and (similarity == values[:, 1:]).all()
    some = np.where(everyone % 2, full[:, 3], -1)  # not only itself, and not for all
    indices, _ = nearest(gallery, gallery, 19, exclude=some, block=block)
    for found, whole, out in zip(indices.tolist(), full.tolist(), some):
        assert found == [i for i in whole if i != out][:19]


def test_memory_is_bounded_whatever_the_gallery():
    gallery, queries = features(2048, 64), features(300, 64, seed=7)
    peaks = []
    for count in (512, 2048):
        tracemalloc.start()
        nearest(gallery[:count], queries, 5, block=256)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 25 * 256 * (256 + 64) + 300 * 5 * 12 and peaks[1] < 1.05 * peaks[0]


def test_normalised_rows_have_length_one_and_zeros_stay():
    rows = np.float32([[3, 4], [0, 0], [-1e30, 1e30], [1e-30, 0]])
    given = rows.copy()
    out = normalised(rows)
    root = math.sqrt(0.5)
    assert out == pytest.approx(np.array([[.6, .8], [0, 0], [-root, root], [1, 0]]), abs=1e-7)
    assert out.dtype == np.float32 and (rows == given).all()
    assert normalised(np.float16([[60000, 60000]])) == pytest.approx(np.full((1, 2), root), abs=1e-6)
    _, similarity = nearest(rows, rows[1:2], 4)
    assert (similarity == 0).all()
    with pytest.raises(ValueError, match="image 1 are not finite"):
        normalised([[1.0, 2.0], [np.inf, 0.0]])


def test_what_cannot_be_searched_is_refused():
    gallery = features(5)
    for k, exclude, most in ((6, None, 5), (5, np.arange(5), 4), (0, None, 5)):
        with pytest.raises(ValueError, match=f"{k} neighbours .* can give 1 to {most}"):
            nearest(gallery, gallery, k, exclude=exclude)
    with pytest.raises(ValueError, match="same features.*\\[5, 16\\] and \\[2, 3\\]"):
        nearest(gallery, np.zeros((2, 3)), 1)
    for wrong in (np.arange(4), np.arange(1, 6), np.arange(5) - 2, np.arange(5.0)):
        with pytest.raises(ValueError, match="exclude needs"):
            nearest(gallery, gallery, 1, exclude=wrong)


def test_class_similarity_is_the_best_of_each_class():
    random = np.random.default_rng(8)
    similarity = random.integers(-3, 4, (30, 6)) / np.float32(4)
    labels = random.integers(0, 9, (30, 6))
    scores = class_similarity(similarity, labels, 9)
    for row, values, classes in zip(scores.tolist(), similarity.tolist(), labels.tolist()):
        assert row == [max((v for v, c in zip(values, classes) if c == own), default=-math.inf)
                       for own in range(9)]
    assert scores.dtype == np.float32
    assert top_k_known(scores, np.ones(9, bool), 9, 2.0).shape == (30, 9), "-inf has its place"
    with pytest.raises(ValueError, match="0..3, got 0..8"):
        class_similarity(similarity, labels, 4)
    with pytest.raises(ValueError, match="needs a label"):
        class_similarity(similarity, labels[:, :3], 9)


def rated(known, new, threshold, share):
    """Accuracy at a share of new individuals, exactly."""
    kept = fractions.Fraction(sum(v >= threshold for v in known), len(known))
    found = fractions.Fraction(sum(v < threshold for v in new), len(new))
    return (1 - share) * kept + share * found, kept, found


@pytest.mark.parametrize("share", [0.5, 0.25, 0.875])
@pytest.mark.parametrize("levels", [5, 30, 10**6])
@pytest.mark.parametrize("sizes", [(1, 1), (40, 25), (7, 60)])
def test_the_threshold_is_the_best_of_all_cuts(sizes, levels, share):
    random = np.random.default_rng(levels + sizes[0])
    known = (random.integers(0, levels, sizes[0]) / levels * .8 + .2).astype(np.float32)
    new = (random.integers(0, levels, sizes[1]) / levels * .8).astype(np.float32)
    threshold, figures = new_individual_threshold(known, new, share)
    values = sorted({*known.tolist(), *new.tolist()})
    cuts = [(a, 0.0) for a in values[:1]] + [(b, b - a) for a, b in zip(values, values[1:])] + [(9, 0.0)]
    exact = fractions.Fraction(share)
    best = max(rated(known.tolist(), new.tolist(), cut, exact)[0] for cut, _ in cuts)
    accuracy, kept, found = rated(known.tolist(), new.tolist(), threshold, exact)
    assert accuracy == best
    assert figures["accuracy"] == pytest.approx(float(best), abs=1e-12)
    assert (figures["known_kept"], figures["new_found"]) == (float(kept), float(found))
    # Of the equally good ones that in the widest gap, then the lowest.
    good = [cut for cut in cuts if rated(known.tolist(), new.tolist(), cut[0], exact)[0] == best]
    place = sum(v < threshold for v in values)
    widest = max(gap for _, gap in good)
    assert cuts[place] == next(cut for cut in good if cut[1] >= widest - 1e-9)
    auroc = np.mean([(a > b) + (a == b) / 2 for a in known.tolist() for b in new.tolist()])
    assert figures["auroc"] == pytest.approx(auroc, abs=1e-12)


def test_thresholds_by_hand():
    assert new_individual_threshold([.9, .8], [.2, .4])[0] == pytest.approx(.6)
    threshold, figures = new_individual_threshold([.9, .8], [.2, .4])
    assert figures == {"auroc": 1, "accuracy": 1, "known_kept": 1, "new_found": 1}
    # The wrong way round: nobody or everybody is new, and what has the say is the share.
    low, high = np.float32([.1, .2]), np.float32([.8, .9])
    assert new_individual_threshold(low, high, 0.25)[0] == low[0]
    everybody, figures = new_individual_threshold(low, high, 0.75)
    assert high[1] < np.float32(everybody) and figures["accuracy"] == 0.75
    assert new_individual_threshold([.5], [.5])[1]["accuracy"] == 0.5


@pytest.mark.parametrize("known, new, threshold", [
    ([.3, .9], [.1, .5], .7),          # .2 would do as well, in a narrower gap
    ([.25, .75], [0, .5], .125),       # as wide a gap lies around .625
    ([.25, .75], [.5, 1], .625)])      # nobody and everybody new are as good, without a gap
def test_of_equally_good_thresholds_the_widest_gap_then_the_lowest(known, new, threshold):
    assert new_individual_threshold(known, new)[0] == pytest.approx(threshold, abs=1e-12)


@pytest.mark.parametrize("steps", range(4))
def test_values_next_to_each_other_are_still_parted(steps):
    low = np.float32(.7)
    for _ in range(steps):  # halves between two neighbours are rounded up here, down there
        low = np.nextafter(low, np.float32(1))
    known = np.nextafter(low, np.float32(1))
    threshold, figures = new_individual_threshold([known], np.array([low]))
    assert low < np.float32(threshold) <= known and figures["accuracy"] == 1
    # As an array of float32 compares with Python's float.
    assert (np.array([low, known], np.float32) < threshold).tolist() == [True, False]


@pytest.mark.parametrize("known, new, share", [([], [.1], .5), ([.1], [], .5), ([np.nan], [.1], .5),
                                              ([.1], [-np.inf], .5), ([.1], [.2], 1.5)])
def test_no_threshold_without_both_kinds(known, new, share):
    with pytest.raises(ValueError, match="one known and one new individual"):
        new_individual_threshold(known, new, share)
