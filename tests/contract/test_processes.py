"""A collection in forked and spawned processes, in threads and in asyncio's executors."""

import asyncio
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import nearfield as nf
from forking import fork


@pytest.fixture
def filled(col):
    col.add([{"doc_id": f"d{i}", "text": f"red number {i}", "n": i} for i in range(50)])
    col.search("red", where={"n": {"$gt": 3}})
    return col


def test_a_forked_child_reads_and_the_parent_goes_on_writing(filled):
    def work():
        assert len(filled) == 50
        assert [hit.doc_id for hit in filled.search("number 7", k=1, mode="semantic")] == ["d7"]
        assert len(filled.search("red", k=99, mode="lexical", where={"n": {"$lt": 10}})) == 10

    for number in range(3):
        assert fork(work) == 0
        filled.add({"doc_id": "new", "text": f"green {number}"})
        assert filled.get("new").text == f"green {number}"
        filled.delete("new")


def test_a_forked_child_does_not_hold_the_parents_lock(filled):
    def refused():
        with pytest.raises(nf.Locked, match=f"process {os.getppid()}"):
            filled.add("from the child")

    assert fork(refused) == 0

    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(ready[1], b"x")
            os.read(go[0], 1)  # until the parent has closed the collection
            filled.add({"doc_id": "child", "text": "from the child"})
            status = 0
        finally:
            os._exit(status)
    os.read(ready[0], 1)
    filled.close()
    with nf.open(filled._engine.location, encoder=filled.encoder) as again:
        again.add({"doc_id": "parent", "text": "from the parent"})  # though the child is alive
    os.write(go[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
    with nf.open(filled._engine.location, encoder=filled.encoder) as again:
        assert {"child", "parent"} <= set(again.doc_ids())
        assert again.check().problems == []


def test_what_a_child_writes_is_seen_by_a_parent_that_reads(tmp_path, encoder):
    with nf.open(tmp_path / "a.nf", encoder=encoder) as col:
        col.add("first")
    with nf.open(tmp_path / "a.nf", encoder=encoder) as col:
        assert len(col) == 1  # the parent has connections, and no lock

        def work():
            col.add([f"red {i}" for i in range(2000)])
            col.delete(col.doc_ids()[:1000])
            col.close()

        assert fork(work) == 0
        assert len(col) == 1001
        assert len(col.search("red", k=2000, mode="lexical")) == 1001


def test_a_fork_in_the_middle_of_reading_is_told_in_the_child(filled):
    reading = iter(filled)
    next(reading)

    def work():
        with pytest.raises(nf.NearfieldError, match="was in use when this process was forked"):
            len(filled)
        with pytest.raises(nf.NearfieldError, match="was in use when this process was forked"):
            nf.open(filled._engine.location)

    assert fork(work) == 0
    assert len(list(reading)) == 49
    assert len(filled) == 50


def test_a_fork_waits_for_a_write_of_another_thread(filled):
    stop = threading.Event()

    def write():
        while not stop.is_set():
            filled.upsert([{"doc_id": f"d{i}", "text": f"red again {i}", "n": i} for i in range(20)])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(5):
            assert fork(lambda: filled.get("d1").text.startswith("red")) == 0
    finally:
        stop.set()
        thread.join()
    assert len(filled) == 50


def count_and_best(collection):
    return len(collection), collection.search("number 7", k=1, mode="semantic")[0].doc_id


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_take_a_collection(filled, method):
    if method != "fork":
        filled._encoder_choice = None  # tests can't be imported there; `len` needs no encoder
    work = count_and_best if method == "fork" else len
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(work, [filled] * 4) == [(50, "d7") if method == "fork" else 50] * 4


def test_threads_and_executors_of_asyncio_share_a_collection(filled):
    async def ask(number):
        return await asyncio.to_thread(filled.search, f"number {number}", 1, mode="semantic")

    async def ask_all():
        return await asyncio.gather(*(ask(i) for i in range(40)))

    alone = [filled.search(f"number {i}", 1, mode="semantic").to_dicts() for i in range(40)]
    assert [hits.to_dicts() for hits in asyncio.run(ask_all())] == alone
    with ThreadPoolExecutor(8) as pool:
        texts = pool.map(lambda i: filled.get(f"d{i}").text, range(50))
    assert list(texts) == [f"red number {i}" for i in range(50)]


def test_a_fork_that_one_collection_does_not_survive_is_told_to_all_others(filled, tmp_path, encoder):
    others = [nf.open(tmp_path / f"{i}.nf", encoder=encoder) for i in range(6)]
    for other in others:
        other.add("red")
    reading = iter(filled)
    next(reading)

    def work():
        for other in others:
            assert len(other) == 1
            with pytest.raises(nf.Locked, match=f"process {os.getppid()}"):
                other.add("from the child")

    assert fork(work) == 0
    for other in others:
        other.add("from the parent")
        other.close()
    assert len(list(reading)) == 49


def test_forks_of_several_threads_at_once(filled):
    failed = []

    def fork_often():
        failed.extend(status for status in (fork(lambda: len(filled)) for _ in range(5)) if status)

    threads = [threading.Thread(target=fork_often) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        filled.upsert({"doc_id": "busy", "text": f"red {number}"})
    for thread in threads:
        thread.join()
    assert failed == []
    assert filled.get("busy").text == "red 19"


def test_an_encoder_that_was_loaded_before_another_process_stored_the_first_batch(tmp_path, encoder):
    other = type(encoder)()
    other.fingerprint = "of another"
    with nf.open(tmp_path / "a.nf", encoder=encoder) as col:
        assert col.encoder is encoder
        with nf.open(tmp_path / "a.nf", encoder=other) as first:
            first.add("red")
        with pytest.raises(nf.Conflict, match="another encoder"):
            col.search("red", mode="semantic")
