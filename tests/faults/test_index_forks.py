"""Forks beside the vectors' index: after searches, after batches on all processors, and while it is being built."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

import nearfield as nf
from forking import fork, fork_telling
from nearfield.engine.local import neighbours, pace
from nearfield.engine.local.neighbours import NeighbourKeeper
from nearfield.index import tuning

COUNT = 3000
K = 5
SECONDS = 60


def some_vectors(count: int = COUNT, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((30, 24))
    return (middles[rng.integers(0, 30, count)] + 0.5 * rng.standard_normal((count, 24))).astype(np.float32)


VECTORS = some_vectors()
UNIT = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
QUERIES = (VECTORS[:40] + 0.1).astype(np.float32)


@pytest.fixture(autouse=True)
def small_sample(monkeypatch):
    """Measure an index with a few queries: brute force judges it here."""
    monkeypatch.setattr(tuning, "SAMPLE", {10: 200, 100: 50})


def fill(folder, kind, *, with_index=True):
    """Make a collection, and return its folder."""
    with pytest.MonkeyPatch.context() as patch:
        if not with_index:
            patch.setattr(NeighbourKeeper, "settle", lambda *_: None)
            patch.setattr(NeighbourKeeper, "is_due", lambda *_, **__: False)
        with nf.open(folder, index=kind) as col:
            col.add([{"doc_id": f"d{i}", "text": f"number {i}"} for i in range(COUNT)], vectors=VECTORS)
    return folder


def single(col):
    return [col.search(query, k=K, mode="semantic").doc_ids for query in QUERIES]


def batch(col):
    return [hits.doc_ids for hits in col.search(QUERIES, k=K, mode="semantic")]


def assert_exact(col):
    """Compare single and batch searches with brute force."""
    scores = QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True) @ UNIT.T
    truth = [[f"d{place}" for place in np.argsort(-row, kind="stable")[:K]] for row in scores]
    assert single(col) == truth
    assert batch(col) == truth


def wait_for_index(col):
    """Search until there is an index, which the search begins to build."""
    deadline = time.monotonic() + SECONDS
    while col.stats().index["kind"] == "exact":
        assert time.monotonic() < deadline, col.stats().index
        col.search(QUERIES[0], k=1, mode="semantic")
        time.sleep(0.01)


@pytest.mark.parametrize(
    "kind",
    ["flat", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("hnsw", "ivf-fastscan", "PCA16,IVF8,Flat"))],
)
def test_a_fork_after_searches_and_batches(tmp_path, kind):
    with nf.open(fill(tmp_path / "col.nf", kind)) as col:
        alone = single(col)
        assert batch(col) == alone

        def work():
            assert batch(col) == alone
            assert single(col) == alone
            assert batch(col) == alone

        for _ in range(3):
            assert fork(work) == 0
            assert batch(col) == alone
            assert single(col) == alone


@pytest.mark.slow
def test_a_fork_while_other_threads_search(tmp_path):
    stop, failed = threading.Event(), []
    with nf.open(fill(tmp_path / "col.nf", "flat")) as col:
        alone = single(col)

        def search():
            while not stop.is_set():
                failed.extend(ask for ask in (batch, single) if ask(col) != alone)

        def work():
            assert batch(col) == alone
            assert single(col) == alone

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            assert [fork(work) for _ in range(10)] == [0] * 10
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failed == []


@pytest.mark.slow
def test_forks_while_the_index_is_built(tmp_path):
    with nf.open(fill(tmp_path / "col.nf", "flat", with_index=False)) as col:
        assert col.stats().index["kind"] == "exact"
        began = time.monotonic()
        for number in range(8):
            col.search(QUERIES[0], k=1, mode="semantic")  # which begins, or goes on
            time.sleep(0.02 * number)
            assert fork(lambda: assert_exact(col)) == 0
        assert time.monotonic() - began < SECONDS
        assert_exact(col)
        wait_for_index(col)
        assert_exact(col)
    assert nf.check(tmp_path / "col.nf").problems == []


def test_a_child_builds_what_its_parent_then_searches(tmp_path, monkeypatch):
    with nf.open(fill(tmp_path / "col.nf", "flat", with_index=False)) as col:

        def work():
            wait_for_index(col)
            col.close()

        monkeypatch.setattr(pace, "GRACE_SECONDS", 1e9)  # for the parent
        assert_exact(col)
        monkeypatch.setattr(pace, "GRACE_SECONDS", 0.0)
        monkeypatch.setattr(pace, "QUIET_SECONDS", 0.0)
        assert fork(work) == 0
        assert col.stats().index["kind"] == "Flat"
        assert_exact(col)
        hits = col.search(QUERIES[0], k=K, mode="semantic", explain=True)
        assert "Flat" in str(hits[0].explanation)


@pytest.mark.slow
def test_a_server_that_opens_and_then_forks_its_workers(tmp_path):
    """As gunicorn does with --preload: all of them find that an index is due, and one builds it."""
    with nf.open(fill(tmp_path / "col.nf", "flat", with_index=False)) as col:
        reading, writing = os.pipe()
        workers = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    assert_exact(col)
                    wait_for_index(col)
                    assert_exact(col)
                    os.write(writing, f"{col.stats().index['failure']}\n".encode())
                    col.close()
                    status = 0
                finally:
                    os._exit(status)
            workers.append(child)
        os.close(writing)
        with os.fdopen(reading) as told:
            assert told.read() == "\n" * 3
        assert [os.waitpid(worker, 0)[1] for worker in workers] == [0] * 3
        assert_exact(col)
    numbered = [path.name for path in (tmp_path / "col.nf" / "index").iterdir() if path.is_dir()]
    assert len(numbered) == 1
    assert nf.check(tmp_path / "col.nf").problems == []


def test_a_child_does_not_keep_the_lock_of_its_parents_build(tmp_path, monkeypatch):
    with nf.open(fill(tmp_path / "col.nf", "flat")) as col:
        col.search(QUERIES[0], k=1, mode="semantic")
        with col._engine._indexes.neighbours._locked(0.0):

            def refused(tell):
                with pytest.raises(nf.Locked, match=f"process {os.getppid()}"):
                    col._engine._indexes.neighbours.renew(col._engine._indexes.state())
                tell("refused")

            monkeypatch.setattr(neighbours, "WAIT_SECONDS", 0.0)
            assert fork_telling(refused) == (0, ["refused"])
        col._engine._indexes.neighbours.renew(col._engine._indexes.state())
