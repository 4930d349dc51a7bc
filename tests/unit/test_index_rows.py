import numpy as np
import pytest

from nearfield.index import exact
from nearfield.index.exact import best_documents, rescore
from nearfield.index.rows import Rows


def scattered(sizes, order, dimension=5, gap=3, seed=0):
    """Return blocks whose places in memory are in another order than their addresses, with gaps in both."""
    rng = np.random.default_rng(seed)
    buffer = np.full((sum(sizes) + 11 * len(sizes), dimension), np.nan, np.float32)
    blocks, place = {}, 0
    for number in order:
        place += 11
        blocks[number] = buffer[place : place + sizes[number]]
        blocks[number][:] = rng.standard_normal((sizes[number], dimension))
        place += sizes[number]
    parts = [blocks[number] for number in range(len(sizes))]
    starts = np.cumsum([gap, *(size + gap for size in sizes[:-1])])
    addresses = np.concatenate([np.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)])
    return Rows(parts, starts, addresses, np.ones(len(addresses), np.int64)), dict(
        zip(addresses.tolist(), np.concatenate(parts), strict=True)
    )


@pytest.mark.parametrize(
    ("sizes", "order"),
    [([4], [0]), ([4, 3, 6], [0, 1, 2]), ([4, 3, 6], [2, 0, 1]), ([1, 1, 1, 1], [3, 1, 2, 0]), ([1, 50, 1], [1, 2, 0])],
)
def test_rows_are_those_of_their_addresses_however_the_blocks_lie(sizes, order):
    rows, expected = scattered(sizes, order)
    asked = np.random.default_rng(1).choice(rows.firsts, 200)
    np.testing.assert_array_equal(rows.gather(asked), [expected[address] for address in asked.tolist()])
    np.testing.assert_array_equal(rows.gather(rows.firsts[:1]), [expected[int(rows.firsts[0])]])
    assert rows.gather(rows.firsts[:0]).shape == (0, 5)
    assert rows.total == sum(sizes)
    assert rows.end == rows.firsts[-1] + 1


def test_blocks_may_be_separate_arrays_and_mapped_files(tmp_path):
    rng = np.random.default_rng(0)
    blocks = [rng.standard_normal((size, 3)).astype(np.float32) for size in (5, 1, 700)]
    (tmp_path / "header").write_bytes(bytes(64) + blocks[2].tobytes())
    mapped = np.memmap(tmp_path / "header", np.float32, "r", 64, blocks[2].shape)
    starts = np.array([0, 5, 6])
    rows = Rows([blocks[0], blocks[1], mapped], starts, np.arange(706), np.ones(706, np.int64))
    whole = np.concatenate(blocks)
    asked = rng.integers(0, 706, 300)
    np.testing.assert_array_equal(rows.gather(asked), whole[asked])
    copied = rows.gather(asked)
    copied[:] = 0
    np.testing.assert_array_equal(rows.gather(asked), whole[asked])


def test_without_blocks_there_is_nothing():
    none = np.empty(0, np.int64)
    rows = Rows([], none, none, none)
    assert (rows.total, rows.end, rows.gather(none).shape) == (0, 0, (0, 0))


@pytest.mark.parametrize("passages", [False, True])
@pytest.mark.parametrize("k", [1, 7, 39, 500])
@pytest.mark.parametrize("few", [10_000, 0])
def test_rescoring_equals_the_scan(passages, k, few, monkeypatch):
    monkeypatch.setattr(exact, "FEW_ROWS", few)
    rng = np.random.default_rng(k)
    counts = rng.integers(1, 4, 80) if passages else np.ones(80, np.int64)
    vectors = rng.standard_normal((counts.sum(), 6)).astype(np.float32)
    vectors[::3] = vectors[0]  # ties
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = Rows([vectors], np.zeros(1, np.int64), np.cumsum(counts) - counts, counts)
    documents = np.sort(rng.choice(80, 40, replace=False))
    for query in (*vectors[:4], np.zeros(6, np.float32)):
        found, scores = rescore(rows, query, documents, k, single=not passages)
        ((expected, expected_scores),) = best_documents(rows, query[np.newaxis], k, documents)
        assert found.tolist() == expected.tolist()
        np.testing.assert_array_equal(scores, expected_scores)
    assert len(rescore(rows, vectors[0], documents[:0], k)[0]) == 0


@pytest.mark.parametrize("passages", [1, 3])
@pytest.mark.parametrize("count", [10, exact.GATHERED_AT_ONCE, exact.GATHERED_AT_ONCE + 1, 1_500, 4_000])
def test_candidates_in_any_order_are_compared_exactly(count, passages):
    rng = np.random.default_rng(count)
    vectors = rng.standard_normal((4_000 * passages, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = Rows([vectors], np.zeros(1, np.int64), passages * np.arange(4_000), np.full(4_000, passages))
    query = vectors[5]
    documents = rng.permutation(4_000)[:count]
    scores = (vectors.astype(np.float64) @ query.astype(np.float64)).reshape(4_000, passages).max(axis=1)
    found, values = exact.rescore(rows, query, documents, 7)
    order = np.argsort(-values, kind="stable")
    assert found[order].tolist() == documents[np.argsort(-scores[documents])][:7].tolist()
    np.testing.assert_allclose(values, scores[found], atol=1e-12)
