import os
import subprocess
import sys

import numpy as np
import pytest

from nearfield.index.ann import Effort, build, load
from nearfield.index.faiss import beside_other_work, in_parts, processors
from nearfield.index.lists import FEW_CENTRES, Lists


def unit(rng, rows, dimension=16):
    vectors = rng.standard_normal((rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("count", [5, 3 * FEW_CENTRES + 7])
def test_the_lists_within_a_margin_are_those_nearly_as_near_as_the_nearest(count):
    rng = np.random.default_rng(count)
    centres, queries = unit(rng, count), unit(rng, 20)
    lists = Lists(centres)
    near = queries @ centres.T
    together = lists.within(queries, 0.3)
    for row, query in enumerate(queries):
        wanted = np.flatnonzero(near[row] >= near[row].max() - 0.3)
        assert 0 < len(wanted) <= count
        alone, nearness = lists.within(query[np.newaxis], 0.3)
        np.testing.assert_array_equal(alone[0], wanted)
        np.testing.assert_allclose(nearness[0], near[row][wanted], rtol=1e-5)
        chosen = together[0][row]
        np.testing.assert_array_equal(chosen[chosen >= 0], wanted)
        np.testing.assert_allclose(together[1][row][chosen >= 0], near[row][wanted], rtol=1e-5)


def test_a_margin_is_that_with_so_many_lists_on_the_mean():
    rng = np.random.default_rng(1)
    lists, queries = Lists(unit(rng, 64)), unit(rng, 500)
    margins = lists.margins(queries, [1, 8, 40])
    assert margins[1] == 0
    for reach, margin in margins.items():
        looked_at = (lists.within(queries, margin)[0] >= 0).sum(axis=1)
        assert looked_at.mean() == pytest.approx(reach, abs=0.01)
        assert reach == 1 or looked_at.min() < reach < looked_at.max()


@pytest.mark.parametrize("factory", ["IVF32,PQ8x4fs", "IVF32,Flat", "IVF32,SQ8", "IVF32,PQ8x4"])
def test_with_a_margin_an_index_finds_what_it_finds_in_those_lists(factory, tmp_path):
    rng = np.random.default_rng(2)
    vectors, queries = unit(rng, 5_000), unit(rng, 30)
    ann = build(factory, 16, len(vectors), lambda rows: vectors[rows])
    margins = ann.margins(queries)
    assert list(margins) == ann.reaches()[:-1]
    effort = Effort(8, 20, margins[8])
    together = ann.search(queries, effort)
    for query, found in zip(queries, together, strict=True):
        assert set(ann.search(query[np.newaxis], effort)[0]) == set(found)
    everything = ann.search(queries, Effort(32, 20))
    np.testing.assert_array_equal(ann.search(queries, Effort(8, 20, 2.0)), everything)
    nearest = ann.search(queries, Effort(1, 20))
    np.testing.assert_array_equal(ann.search(queries, Effort(8, 20, 0.0)), nearest)
    assert (together != everything).any()
    ann.save(tmp_path / "index")
    np.testing.assert_array_equal(load(tmp_path / "index").search(queries, effort), together)


@pytest.mark.parametrize("factory", ["HNSW16", "LSH", "PCA8,IVF16,PQ4x4fs", "IVF64_HNSW8,Flat"])
def test_a_kind_whose_lists_are_not_compared_one_by_one_has_no_margins(factory):
    vectors = unit(np.random.default_rng(3), 3_000)
    ann = build(factory, 16, len(vectors), lambda rows: vectors[rows])
    assert ann.margins(vectors[:50]) == {}


def test_parts_are_all_of_it_and_what_fails_in_one_is_raised():
    assert sorted(
        number for part in in_parts(lambda part: list(range(part.start, part.stop)), 101) for number in part
    ) == list(range(101))
    with pytest.raises(ZeroDivisionError):
        in_parts(lambda part: 1 // part.start, 5)


def test_so_many_parts_as_processors_that_may_be_used():
    parts = "from nearfield.index.faiss import in_parts; print(len(in_parts(lambda part: part, 100)))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.run([sys.executable, "-c", parts], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == "1\n"
    assert len(in_parts(lambda part: part, 100)) == processors()
    with beside_other_work():
        assert len(in_parts(lambda part: part, 100)) == max(1, processors() // 2)
