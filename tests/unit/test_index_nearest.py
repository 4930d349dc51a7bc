"""What a search does with candidates that are too few, or of too few documents, to hold the best."""

from dataclasses import replace

import numpy as np
import pytest

from indexing import QUICK_SAMPLE, answer, clustered, rows_of, searcher, truth
from nearfield.index import nearest, tuning
from nearfield.index.ann import Effort, build
from nearfield.index.names import NO_TABLE, Names
from nearfield.index.nearest import Approximate
from nearfield.index.tuning import Point, Tuning, tune

NONE = np.empty(0, np.int64)


class Finds:
    """An index that finds what it is told to find."""

    selects, lists = False, 0

    def __init__(self, count, positions):
        self.count, self.positions, self.asked = count, positions, []

    def reaches(self):
        return [0]

    def search(self, queries, effort, allowed=None):
        self.asked.append(effort.candidates)
        found = np.full(effort.candidates, -1)
        found[: len(self.positions)] = self.positions[: effort.candidates]
        return np.tile(found, (len(queries), 1))


def finding(rows, positions, candidates):
    keys = np.repeat(np.arange(len(rows.counts)), rows.counts)
    chosen = {k: Point(k, Effort(0, candidates), 1.0, 1.0, 1.0, 1.0, 1.0) for k in tuning.SAMPLE}
    names = Names(np.arange(len(rows.counts)), NO_TABLE)
    ann = Finds(len(keys), np.asarray(positions))
    asked = np.empty((0, rows.blocks[0].shape[1]), np.float32)
    efforts = Tuning(0.95, 1, chosen, {}, [])
    return Approximate(ann, keys, tuning=efforts, name="finds", names=names, asked=asked, lists_of=None), ann


def search(found, rows, query, k, live=None, mask=None):
    ((scored,), plan) = searcher(found, rows, live).search(query[np.newaxis], k, mask, NONE)
    return answer(scored, k), plan


def farthest(vectors, query):
    return np.argsort(vectors @ query)


def test_candidates_are_compared_and_nothing_else_is():
    vectors, _ = clustered(200)
    rows = rows_of(vectors)
    some = farthest(vectors, vectors[0])[:30]
    found, ann = finding(rows, some, 30)
    got, plan = search(found, rows, vectors[0], 5)
    assert [got] == truth(rows, vectors[:1], 5, some.tolist())
    assert (plan, ann.asked) == ("finds: all codes, 30 candidates rescored", [30])


def test_where_too_many_candidates_are_deleted_a_scan_steps_in():
    vectors, _ = clustered(200)
    rows = rows_of(vectors)
    some = farthest(vectors, vectors[0])[:60]
    live = np.ones(200, bool)
    live[some[:40]] = False
    found, ann = finding(rows, some, 30)
    got, plan = search(found, rows, vectors[0], 5, live)
    assert [got] == truth(rows, vectors[:1], 5, np.flatnonzero(live))
    assert plan.endswith("; for 1 of 1 queries these were too few: exact scan of 160 documents")
    assert ann.asked == [50]  # 30 of which live, were the deleted anywhere, a tenth more, and 8


def test_candidates_that_are_few_since_the_index_has_no_more_are_enough():
    vectors, _ = clustered(200)
    rows = rows_of(vectors)
    some = farthest(vectors, vectors[0])[:20]
    found, _ = finding(rows, some, 30)
    got, plan = search(found, rows, vectors[0], 5)
    assert [got] == truth(rows, vectors[:1], 5, some.tolist())
    assert "scan" not in plan
    live = np.ones(200, bool)
    live[some[3:15]] = False
    got, plan = search(found, rows, vectors[0], 5, live)
    assert [got] == truth(rows, vectors[:1], 5, np.flatnonzero(live))
    assert "exact scan of 188 documents" in plan


def test_where_one_document_has_most_candidates_a_scan_steps_in():
    vectors, _ = clustered(260)
    counts = np.ones(201, np.int64)
    counts[0] = 60
    rows = rows_of(vectors, counts)
    query = vectors[100]
    far = 60 + farthest(vectors[60:], query)[:20]
    found, _ = finding(rows, [*range(50), *far], 70)
    got, plan = search(found, rows, query, 10)
    assert [got] == truth(rows, query[np.newaxis], 10, range(201))
    assert "too few: exact scan of 201 documents" in plan
    found, _ = finding(rows, [*far, *range(50)], 70)  # the best 20 are of 20 documents
    got, plan = search(found, rows, query, 10)
    assert [got] == truth(rows, query[np.newaxis], 10, [0, *(far - 59).tolist()])
    assert "scan" not in plan


def test_a_condition_whose_documents_lie_elsewhere_is_scanned(monkeypatch):
    monkeypatch.setattr(nearest, "SCANNED", 5)
    vectors, _ = clustered(200)
    rows = rows_of(vectors)
    order = farthest(vectors, vectors[0])
    mask = np.zeros(200, bool)
    mask[order[100:]] = True
    found, ann = finding(rows, order, 20)
    got, plan = search(found, rows, vectors[0], 5, mask=mask)
    assert ann.asked == [60]  # thrice as many, as a half is allowed
    assert [got] == truth(rows, vectors[:1], 5, np.flatnonzero(mask))
    assert "widened for 100 allowed documents" in plan
    assert "too few: exact scan of 100 documents" in plan


@pytest.mark.parametrize("kind", ["HNSW4", "IVF16,PQ4x4fs"])
def test_what_was_measured_is_what_a_search_with_that_effort_finds(kind, monkeypatch):
    monkeypatch.setattr(tuning, "SAMPLE", QUICK_SAMPLE)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ann = build(kind, 16, 2000, lambda some: vectors[some])
    tuned = tune(ann, lambda some: vectors[some], np.arange(2000), 0.9)
    queries = np.arange(0, 2000, 5)
    true = [row[1:] for row in np.argsort(-(vectors[queries] @ vectors.T), axis=1)[:, :11]]
    assert len(tuned.curve) > 1
    for point in tuned.curve:
        found = ann.search(vectors[queries], Effort(point.effort.reach, point.effort.candidates + 1))
        recall = np.mean([np.isin(best, row).mean() for best, row in zip(true, found, strict=True)])
        assert recall == pytest.approx(point.recall, abs=0.05)
        assert point.low <= point.recall <= point.high


class Lists(Finds):
    """The same with lists, and a filter that allows everything."""

    selects, lists = True, 1

    def lists_of(self):
        return np.zeros(self.count, np.int32)


@pytest.mark.parametrize("error", [0.0, 0.1, 0.4])
def test_under_a_filter_more_candidates_are_compared_the_more_codes_err(monkeypatch, error):
    monkeypatch.setattr(nearest, "SCANNED", 50)
    monkeypatch.setattr(nearest, "MOST_CANDIDATES", 640)
    vectors, _ = clustered(1000)
    rows, mask = rows_of(vectors), np.ones(1000, np.bool_)
    rng = np.random.default_rng(0)
    recalls, asked = [], set()
    for query in vectors[:20]:
        order = np.argsort(-(vectors @ query + error * rng.standard_normal(1000)))
        found, _ = finding(rows, order, 40)
        ann = Lists(1000, order)
        efforts = Tuning(0.95, 1, found.tuning.chosen, {10: 40}, [])
        listed = Approximate(ann, found.keys, efforts, "finds", found.names, found.asked, ann.lists_of())
        got, _ = search(listed, rows, query, 10, mask=mask)
        (true,) = truth(rows, query[np.newaxis], 10, np.arange(1000))
        recalls.append(len(set(got) & set(true)) / 10)
        asked.add(ann.asked[-1])
    assert np.mean(recalls) >= 0.95
    assert (max(asked) > 40) == (error > 0)


def test_the_likely_time_of_an_effort_is_not_the_luckiest_measurement():
    rng = np.random.default_rng(3)
    places = [(reach, candidates) for reach in (8, 16, 24, 32) for candidates in (10, 240)]
    times = [20 + 3 * reach + 0.5 * candidates for reach, candidates in places]
    measured = [
        Point(10, Effort(*place), 1.0, 1.0, 1.0, 1.0, time * (1 + 0.03 * rng.standard_normal()))
        for place, time in zip(places, times, strict=True)
    ]
    likely = tuning._likely_times([*measured, replace(measured[0], milliseconds=np.inf)], measured)
    np.testing.assert_allclose(likely, times, rtol=0.06)
    one_reach = [replace(point, effort=Effort(0, 10 * n), milliseconds=float(n)) for n, point in enumerate(measured, 1)]
    np.testing.assert_allclose(tuning._likely_times(one_reach, one_reach), range(1, 9))
