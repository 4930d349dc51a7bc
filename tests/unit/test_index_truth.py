import numpy as np
import pytest

from nearfield.index import truth
from nearfield.index.truth import neighbours


def unit(rng, rows, dimension=8):
    vectors = rng.standard_normal((rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("chunk", [7, 64, 1000])
def test_the_neighbours_are_those_of_a_product_of_matrices(monkeypatch, chunk):
    monkeypatch.setattr(truth, "AT_ONCE", chunk)
    rng = np.random.default_rng(chunk)
    vectors = unit(rng, 300)
    live = np.flatnonzero(rng.random(300) < 0.8)
    own = np.concatenate((live[:20], np.full(10, -1)))
    queries = np.concatenate((vectors[live[:20]], unit(rng, 10)))
    found = neighbours(lambda rows: vectors[rows], live, queries, own, {3: 30, 40: 12})
    assert {k: len(one.queries) for k, one in found.items()} == {3: 30, 40: 12}
    for k, one in found.items():
        for row, query in enumerate(one.queries):
            scores = vectors @ query
            scores[np.setdiff1d(np.arange(300), live)] = -2
            if own[row] >= 0:
                scores[own[row]] = -2
            last = np.sort(scores)[-k]
            assert one.least[row] == pytest.approx(last, abs=1e-6)
            candidates = np.tile(np.concatenate((rng.permutation(300), [-1])), (len(one.queries), 1))
            hits = one.found(candidates, lambda rows: vectors[rows])[row]
            assert sorted(candidates[row][hits]) == np.flatnonzero(scores >= last - truth.EQUAL).tolist()


def test_of_equal_vectors_any_will_do_but_the_querys_own():
    vectors = np.tile(np.array([[0.6, 0.8]], np.float32), (50, 1))
    vectors[40:] = [0.8, 0.6]
    own = np.array([5, -1])
    found = neighbours(lambda rows: vectors[rows], np.arange(50), vectors[[5, 6]], own, {10: 2})[10]
    hits = found.found(np.tile(np.arange(50), (2, 1)), lambda rows: vectors[rows])
    assert np.flatnonzero(hits[0]).tolist() == [*range(5), *range(6, 40)]
    assert np.flatnonzero(hits[1]).tolist() == list(range(40))


def test_fewer_vectors_than_neighbours_are_all_neighbours_but_the_query_itself():
    vectors = unit(np.random.default_rng(5), 6)
    own = np.array([2, -1])
    found = neighbours(lambda rows: vectors[rows], np.arange(6), vectors[[2, 3]], own, {10: 2})[10]
    hits = found.found(np.tile(np.arange(6), (2, 1)), lambda rows: vectors[rows])
    assert hits.tolist() == [[True, True, False, True, True, True], [True] * 6]
