"""Class weights against their definitions."""
import numpy as np
import pytest

from models.class_weights import class_weights

COUNTS = [1, 10, 100, 2000, 7]


@pytest.mark.parametrize("kind, unnormalised", [
    ("inverse", [2118 / (5 * c) for c in COUNTS]),
    ("effective", [(1 - 0.999) / (1 - 0.999 ** c) for c in COUNTS])])
def test_weights_are_as_defined_with_mean_1_over_the_records(kind, unnormalised):
    weights = class_weights(COUNTS, kind)
    assert weights.dtype == np.float32 and weights.shape == (5,)
    np.testing.assert_allclose(weights / weights[0], np.array(unnormalised) / unnormalised[0], rtol=1e-5)
    assert np.dot(weights, COUNTS) / sum(COUNTS) == pytest.approx(1)


def test_inverse_needs_no_normalising():
    np.testing.assert_allclose(class_weights([1, 3], "inverse"), [2, 2 / 3], rtol=1e-6)


def test_effective_number_lies_between_equal_and_inverse():
    np.testing.assert_array_equal(class_weights(COUNTS, "effective", beta=0.0), 1)
    np.testing.assert_allclose(class_weights(COUNTS, "effective", beta=1 - 1e-9),
                               class_weights(COUNTS, "inverse"), rtol=1e-4)


@pytest.mark.parametrize("kind", ["inverse", "effective"])
def test_class_without_records_gets_1_and_changes_no_other(kind):
    weights = class_weights([5, 0, 20], kind)
    assert weights[1] == 1
    np.testing.assert_array_equal(weights[[0, 2]], class_weights([5, 20], kind))


@pytest.mark.parametrize("arguments, says", [
    (([1, -1], "inverse"), r"whole number >= 0.*\[ 1 -1\]"), (([0, 0], "inverse"), "not all 0"),
    (([1.5, 2], "inverse"), "whole number"), (([[1, 2]], "inverse"), "for each class"),
    (([], "inverse"), "whole number"),
    (([1, 2], "inverted"), "no class weights 'inverted': did you mean inverse"),
    (([1, 2], "effective", 1.0), "beta < 1, got 1.0")])
def test_what_gives_no_weights_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        class_weights(*arguments)
