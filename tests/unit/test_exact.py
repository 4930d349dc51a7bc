import numpy as np
import pytest

from nearfield.errors import CorruptCollection
from nearfield.index import exact
from nearfield.index.exact import best_documents, document_scores
from nearfield.index.rows import Rows

START = np.zeros(1, np.int64)


def make(rng, documents=60, dimension=8, blocks=1):
    counts = rng.integers(1, 4, documents)
    vectors = rng.standard_normal((counts.sum(), dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    firsts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    parts = np.array_split(vectors, blocks)
    starts = np.cumsum([0] + [len(part) for part in parts])[:-1]
    return Rows(parts, starts, firsts, counts), vectors


def brute_force(rows, vectors, query, k, allowed):
    scores = {}
    for document in np.flatnonzero(allowed):
        first = rows.firsts[document]
        part = vectors[first : first + rows.counts[document]].astype(np.float64)
        scores[document] = (part @ query.astype(np.float64)).max()
    return sorted(scores.items(), key=lambda pair: -pair[1])[:k]


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_the_scan_equals_brute_force_over_the_passages_of_each_document(blocks, share):
    rng = np.random.default_rng(blocks)
    rows, vectors = make(rng, blocks=blocks)
    queries = vectors[:5] + 0.1
    allowed = rng.random(60) < share
    for query, (documents, scores) in zip(
        queries, best_documents(rows, queries, 7, np.flatnonzero(allowed)), strict=True
    ):
        order = np.argsort(-scores, kind="stable")
        expected = brute_force(rows, vectors, query, 7, allowed)
        assert documents[order].tolist() == [document for document, _ in expected]
        np.testing.assert_allclose(scores[order], np.clip([score for _, score in expected], -1, 1), rtol=1e-12)


def test_many_queries_go_in_several_chunks(monkeypatch):
    rng = np.random.default_rng(0)
    rows, vectors = make(rng)
    allowed = np.ones(60, bool)
    whole = best_documents(rows, vectors[:20], 5, np.flatnonzero(allowed))
    monkeypatch.setattr(exact, "SCORES_AT_ONCE", 1)
    for (documents, scores), (expected, expected_scores) in zip(
        best_documents(rows, vectors[:20], 5, np.flatnonzero(allowed)), whole, strict=True
    ):
        assert documents.tolist() == expected.tolist()
        np.testing.assert_array_equal(scores, expected_scores)


def test_all_that_tie_with_the_last_come_back():
    vectors = np.tile(np.array([[0.6, 0.8]], np.float32), (9, 1))
    rows = Rows([vectors], START, np.arange(9), np.ones(9, int))
    ((documents, scores),) = best_documents(rows, vectors[:1], 2, np.arange(9))
    assert documents.tolist() == list(range(9))
    assert len(set(scores.tolist())) == 1


def test_rows_of_deleted_documents_between_others_are_passed_over():
    vectors = np.eye(3, dtype=np.float32)
    rows = Rows([vectors], START, np.array([0, 2]), np.array([1, 1]))  # row 1 belongs to nobody
    ((documents, scores),) = best_documents(rows, vectors[1:2], 2, np.arange(2))
    assert scores.tolist() == [0.0, 0.0]
    assert documents.tolist() == [0, 1]


def test_nothing_allowed_and_nothing_asked():
    rows, vectors = make(np.random.default_rng(0))
    ((documents, scores),) = best_documents(rows, vectors[:1], 5, np.arange(0))
    assert len(documents) == len(scores) == 0
    assert best_documents(rows, vectors[:0], 5, np.arange(60)) == []


def scattered(rng, blocks):
    """The same documents, their rows in another order and with addresses left out between blocks."""
    rows, vectors = make(rng)
    order = rng.permutation(60)
    block_of = np.sort(rng.integers(0, blocks, 60))
    parts, starts, firsts, address = [], [], np.empty(60, np.int64), 0
    for number in np.unique(block_of):
        address += 7
        starts.append(address)
        members = order[block_of == number]
        for document in members:
            firsts[document] = address
            address += rows.counts[document]
        parts.append(np.concatenate([vectors[rows.of(np.array([document]))] for document in members]))
    return Rows(parts, np.array(starts), firsts, rows.counts), rows, vectors


@pytest.mark.parametrize("blocks", [1, 4])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_where_the_rows_lie_makes_no_difference(blocks, share):
    rng = np.random.default_rng(blocks)
    moved, rows, vectors = scattered(rng, blocks)
    allowed = np.flatnonzero(rng.random(60) < share)
    everywhere = zip(
        best_documents(moved, vectors[:9], 7, allowed), best_documents(rows, vectors[:9], 7, allowed), strict=True
    )
    for (documents, scores), (expected, expected_scores) in everywhere:
        assert documents.tolist() == expected.tolist()
        np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("damage", [np.nan, np.inf, 1e20])
@pytest.mark.parametrize("k", [1, 59, 60])
def test_a_damaged_vector_anywhere_is_noticed(damage, k):
    rows, vectors = make(np.random.default_rng(0))
    vectors[17, 3] = damage * np.sign(vectors[0, 3])
    with pytest.raises(CorruptCollection, match="nearfield check"):
        best_documents(rows, vectors[:1], k, np.arange(60))


def test_zero_vectors_score_zero():
    rows = Rows([np.array([[0, 0], [1, 0]], np.float32)], START, np.array([0, 1]), np.array([1, 1]))
    query = np.array([1, 0], np.float32)
    assert document_scores(rows, query, np.array([0, 1])).tolist() == [0.0, 1.0]
    ((documents, scores),) = best_documents(rows, query[np.newaxis] * np.float32(1.0000001), 1, np.arange(2))
    assert (documents.tolist(), scores.tolist()) == ([1], [1.0])
