"""Words in an invented hand: the same by the same numbers, whole, and told apart."""
import cv2
import numpy as np
import pytest

from records.demo_words import ALPHABET, word_mask
from tests.helpers import needs_opencv_5

pytestmark = needs_opencv_5


def drawn(text, height=32, seed=0):
    return word_mask(text, height, np.random.default_rng(seed))


def test_same_numbers_same_word_and_others_another():
    mask = drawn("Roman 1984")
    assert mask.dtype == np.uint8 and mask.shape[0] == 32 and mask.max() > 200
    assert mask[:, 0].any() and mask[:, -1].any()
    assert (mask == drawn("Roman 1984")).all()
    others = [drawn("Roman 1984", seed=seed) for seed in range(1, 5)]
    assert all(other.shape != mask.shape or (other != mask).any() for other in others)


@pytest.mark.parametrize("height", [64, 200])
def test_nothing_is_cut_off(height):
    for seed in range(40):
        mask = drawn("jgQflAhyp", height, seed)
        assert mask.shape[0] == height and not mask[[0, -1]].any()
        assert height < mask.shape[1] < 9 * height
    assert drawn("jgQ", 8).shape[0] == 8


def test_every_letter_is_its_own():
    random = np.random.default_rng(0)
    seen = {}
    for letter in ALPHABET.strip():
        plain = cv2.resize(drawn(f"H{letter}H", 48), (96, 48)).astype(int)
        seen[letter] = plain
    letters = list(seen)
    for _ in range(300):
        a, b = random.choice(letters, 2, replace=False)
        assert np.abs(seen[a] - seen[b]).mean() > 1, (a, b)


def test_spaces_part_words():
    gap = lambda text: np.diff(np.flatnonzero(drawn(text, 40).max(0))).max()
    assert gap("AB AB") > gap("ABAB") + 5
    assert (drawn("AB ") == drawn("AB")).all()  # and leave nothing behind


@pytest.mark.parametrize("text, height, says", [
    ("é", 32, "has 'é'"), ("  ", 32, "has no letter"), ("", 32, "has no letter"), ("A", 7, "at least 8")])
def test_what_cannot_be_drawn_is_refused(text, height, says):
    with pytest.raises(ValueError, match=says):
        drawn(text, height)
