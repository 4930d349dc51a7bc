"""`unit_vectors`: what every vector passes before it is stored or compared."""

import numpy as np
import pytest

import nearfield as nf
from nearfield.checks import SCALED_TOGETHER, unit_vectors


@pytest.mark.parametrize("size", [1.0, 1e-300, 5e-324, 1e300, 3e-45, 1e38])
def test_vectors_of_any_size_get_unit_length(size):
    units = unit_vectors(np.array([[3 * size, 0.0, -4 * size]]), 1, 3)
    expected = [[0.6, 0, -0.8]]
    np.testing.assert_allclose(units, expected, rtol=1e-6)
    assert units.dtype == np.float32


def test_zero_vectors_stay_zero_among_others():
    units = unit_vectors(np.array([[0, 0], [0, 7], [-5, 0]], np.int8), None, None)
    assert units.tolist() == [[0, 0], [0, 1], [-1, 0]]


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint8])
def test_the_least_and_the_largest_integers_are_scaled_too(kind):
    least, largest = np.iinfo(kind).min, np.iinfo(kind).max
    rows = np.array([[least, 0], [0, largest]], kind)
    assert unit_vectors(rows, 2, 2).tolist() == [[-1.0 if least else 0.0, 0], [0, 1]]


def test_a_vector_is_scaled_alike_alone_and_among_many():
    vectors = np.random.default_rng(0).standard_normal((3 * SCALED_TOGETHER + 1, 24)).astype(np.float32)
    together = unit_vectors(vectors, len(vectors), 24)
    assert all((unit_vectors(vectors[i : i + 1], 1, 24) == together[i]).all() for i in range(0, len(vectors), 17))
    exact = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(together, exact, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_row_that_is_not_finite_is_named(bad):
    vectors = np.ones((2 * SCALED_TOGETHER, 3), np.float32)
    vectors[[SCALED_TOGETHER + 5, -1], 1] = bad
    message = rf"vectors must be finite; row {SCALED_TOGETHER + 5} has NaN or an infinity \(2 such rows\)"
    with pytest.raises(nf.InvalidInput, match=message):
        unit_vectors(vectors, None, 3)


def test_no_vectors_are_fine_and_vectors_of_no_length_are_not():
    assert unit_vectors(np.empty((0, 3), np.float32), None, 3).shape == (0, 3)
    with pytest.raises(nf.InvalidInput, match="got shape"):
        unit_vectors(np.empty((2, 0), np.float32), None, None)
