"""CTC against plain NumPy: the forward algorithm in logarithms, paths one by one, edits by the book."""
import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from inference.text_scores import edit_distances, text_figures
from models.ctc import ctc_loss, greedy_decode, reads_alike, steps_needed
from tests.gradients import finite_differences, value_and_gradient
from tests.helpers import modes


def log_softmax(x):
    return x - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)) - x.max(-1, keepdims=True)


def forward(texts, logits):
    """float64 [n]: the loss by the forward algorithm, a text and a state at a time."""
    losses = []
    for text, own in zip(texts, log_softmax(np.float64(logits))):
        blank = own.shape[1] - 1
        said = [blank]
        for character in text[text >= 0]:
            said += [character, blank]
        before = np.full(len(said), -np.inf)
        before[:2] = own[0, said[:2]]
        for step in own[1:]:
            now = np.full(len(said), -np.inf)
            for s, character in enumerate(said):
                ways = [before[s]] + [before[s - 1]] * (s > 0)
                if s > 1 and character != blank and character != said[s - 2]:
                    ways.append(before[s - 2])
                now[s] = np.logaddexp.reduce(ways) + step[character]
            before = now
        losses.append(-np.logaddexp.reduce(before[-2:]))
    return np.array(losses)


def collapsed(path, blank):
    return [c for c, group in itertools.groupby(path) if c != blank]


def padded(texts, width):
    return np.array([list(text) + [-1] * (width - len(text)) for text in texts], np.int32)


@pytest.fixture
def lines():
    """Texts of all lengths from none to as many as the steps allow, with and without repeats; logits."""
    random = np.random.default_rng(0)
    texts = padded([(), (1,), (0, 0), (2, 2, 2), (0, 1, 0, 2), random.integers(0, 3, 5)], 5)
    return texts, random.normal(scale=3, size=(6, 11, 4)).astype(np.float32)


def test_the_loss_sums_every_path_of_a_text():
    logits = np.random.default_rng(1).normal(size=(1, 5, 3))
    own = log_softmax(logits[0])
    for text in ((), (0,), (0, 1), (1, 1), (0, 1, 0)):
        paths = [path for path in itertools.product(range(3), repeat=5) if collapsed(path, 2) == list(text)]
        total = np.logaddexp.reduce([own[range(5), path].sum() for path in paths])
        assert forward(padded([text], 3), logits) == pytest.approx(-total, rel=1e-12)
        assert float(ctc_loss(padded([text], 3), logits)[0]) == pytest.approx(-total, rel=1e-5)


def test_the_loss_is_that_of_the_forward_algorithm(lines):
    expected = forward(*lines)
    for loss in modes(ctc_loss, *lines):
        np.testing.assert_allclose(loss, expected, rtol=2e-5)
    texts, logits = lines[0][1:], lines[1][1:]  # TensorFlow's own has no empty texts, and the blank comes first
    theirs = tf.nn.ctc_loss(tf.sparse.from_dense(texts + 1), np.roll(logits, 1, axis=2), None, [11] * 5,
                            logits_time_major=False, blank_index=0)
    np.testing.assert_allclose(theirs, expected[1:], rtol=1e-4)


@pytest.mark.parametrize("compiled", [False, True])
def test_its_gradient_is_that_of_finite_differences(lines, compiled):
    texts, logits = lines
    value, gradient = value_and_gradient(functools.partial(ctc_loss, texts), logits, compiled)
    np.testing.assert_allclose(value, forward(texts, logits), rtol=2e-5)
    flat = lambda x: forward(texts, x.reshape(logits.shape))
    expected = finite_differences(flat, logits.reshape(len(logits), -1), 1e-5)
    np.testing.assert_allclose(gradient.reshape(len(logits), -1), expected, atol=2e-4)


def test_half_precision_is_as_good_as_its_logits(lines):
    texts, logits = lines
    low = tf.cast(logits, tf.bfloat16)
    np.testing.assert_allclose(ctc_loss(texts, low), forward(texts, tf.cast(low, tf.float32).numpy()), rtol=2e-5)


def test_a_text_that_does_not_fit_in_the_steps(lines):
    texts = padded([(0, 0), (0, 1), (0, 0, 0)], 4)
    assert steps_needed(texts).tolist() == [3, 2, 5] and steps_needed(padded([()], 1)).tolist() == [0]
    for steps in (2, 3, 5):
        logits = np.zeros((3, steps, 3), np.float32)
        possible = steps_needed(texts) <= steps
        assert ((ctc_loss(texts, logits).numpy() < 1e6) == possible).all()
        _, gradient = value_and_gradient(functools.partial(ctc_loss, texts), logits, False)
        assert np.isfinite(gradient).all()


def test_greedy_decoding():
    random = np.random.default_rng(2)
    logits = random.normal(scale=2, size=(7, 15, 4)).astype(np.float32)
    logits[0, :, 3] += 20  # nothing but blanks
    logits[1, :, 2] += 20  # one character, long
    paths = logits.argmax(2)
    texts = [collapsed(path, 3) for path in paths.tolist()]
    assert texts[:2] == [[], [2]]
    best = log_softmax(np.float64(logits)).max(2).sum(1)
    for found in modes(greedy_decode, logits):
        assert found["ids"].tolist() == padded(texts, 15).tolist()
        np.testing.assert_allclose(found["log_probability"], best, rtol=1e-5, atol=1e-5)
    (theirs,), _ = tf.nn.ctc_greedy_decoder(logits.transpose(1, 0, 2), [15] * 7)
    dense = tf.sparse.to_dense(theirs, -1).numpy()
    assert (dense == padded(texts, dense.shape[1])).all()
    assert reads_alike(padded(texts, 15), padded(texts, 20)).numpy().all()
    assert reads_alike(padded([(1, 2)], 2), padded([(1, 2), (1,), (1, 2, 2)], 3)).numpy().tolist() == [True, False, False]


def edits(a, b):
    @functools.lru_cache(maxsize=None)
    def distance(i, j):
        if not i or not j:
            return i + j
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]))
    return distance(len(a), len(b))


def test_edit_distances_and_error_rate():
    random = np.random.default_rng(3)
    text = lambda: "".join(random.choice(list("ab文𠮷"), random.integers(0, 9)))
    read, truth = [text() for _ in range(300)], [text() + "x" for _ in range(300)]
    read[:3], truth[:3] = ["", "kitten", "same"], ["abc", "sitting", "same"]
    expected = [edits(a, b) for a, b in zip(read, truth)]
    assert expected[:3] == [3, 3, 0] and edit_distances(read, truth).tolist() == expected
    assert edit_distances([], []).tolist() == [] and edit_distances([""], [""]).tolist() == [0]
    figures = text_figures(read, truth)
    assert figures == {"cer": sum(expected) / sum(map(len, truth)), "exact": expected.count(0) / 300}
    with pytest.raises(ValueError, match="one for each"):
        edit_distances(["a"], [])
