"""The vectors' index where the disk is full, where nothing may be written, where files are damaged, and beside other
processes: searches and writes go on, what is wrong is told, and once it is mended, the index is there."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import numpy.testing
import pytest
from crash import indexed, watch

import nearfield as nf
from forking import fork_telling
from nearfield.engine.local.neighbours import NeighbourKeeper
from nearfield.index import folder as folders
from nearfield.index import tuning
from nearfield.index.faiss import import_faiss

COUNT = 2000
SECONDS = 60


def some_vectors(count=COUNT, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)


VECTORS = some_vectors()


class Shelf:
    """A collection and what it should hold."""

    def __init__(self, path, kind=indexed.KIND):
        self.path = path
        self.kind = kind
        self.vectors = {}

    def open(self):
        return nf.open(self.path, index=self.kind) if not self.path.exists() else nf.open(self.path)

    def add(self, col, count=COUNT, seed=0):
        names = [f"{seed}-{i}" for i in range(count)]
        vectors = some_vectors(count, seed)
        col.upsert([{"doc_id": name, "text": name} for name in names], vectors=vectors)
        self.vectors |= dict(zip(names, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), strict=True))

    def delete(self, col, names):
        col.delete(list(names))
        for name in names:
            del self.vectors[name]

    def assert_right(self, col, seed=9):
        queries = some_vectors(4, seed)
        rows = np.array(list(self.vectors.values()))
        for query, hits in zip(queries, col.search(queries, k=10, mode="semantic"), strict=True):
            truth = np.sort(rows @ (query / np.linalg.norm(query)))[::-1][:10]
            np.testing.assert_allclose([hit.score for hit in hits], truth, rtol=0, atol=1e-5)
            single = col.search(query, k=10, mode="semantic")
            assert single.doc_ids == hits.doc_ids
            assert set(hits.doc_ids) <= set(self.vectors)


@pytest.fixture(autouse=True)
def small_sample(monkeypatch):
    """Measure an index with a few queries: brute force judges it here."""
    monkeypatch.setattr(tuning, "SAMPLE", {10: 200, 100: 50})


@pytest.fixture
def place(disk):
    """Where a collection goes; anybody may read there."""
    disk.chmod(0o755)
    return disk / "col.nf"


@pytest.fixture
def shelf(place):
    """A collection with an index."""
    made = Shelf(place)
    with made.open() as col:
        made.add(col)
    return made


@contextmanager
def no_index_at_close():
    """Let a writer close without its index."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NeighbourKeeper, "settle", lambda *_: None)
        patch.setattr(NeighbourKeeper, "is_due", lambda *_, **__: False)
        yield


@pytest.fixture
def bare(place):
    """A collection that lacks its index."""
    made = Shelf(place)
    with no_index_at_close(), made.open() as col:
        made.add(col)
    assert not (made.path / "index").exists()
    return made


def told(col):
    return col.stats().index


def wait(col, done):
    """Search until something is so of the index, and return what is told of it then."""
    deadline = time.monotonic() + SECONDS
    while not done(index := told(col)):
        assert time.monotonic() < deadline, index
        col.search(VECTORS[0], k=1, mode="semantic")
        time.sleep(0.01)
    return index


def is_there(index):
    return index["kind"] == "Flat"


def numbered(path):
    return sorted(child.name for child in (path / "index").iterdir() if child.is_dir())


# -- the disk is full --------------------------------------------------------------------------------------------------


def largest(shelf, tmp_path):
    """Return the bytes of the index file that will be written."""
    copy = shutil.copytree(shelf.path, tmp_path / "measured.nf")
    with nf.open(copy) as col:
        wait(col, is_there)
    (file,) = copy.glob("index/*/index.faiss")
    return file.stat().st_size


@pytest.mark.parametrize("missing", [1, 4000, 60_000])
def test_files_that_may_not_grow_so_large(bare, tmp_path, missing):
    """The system refuses bytes of a file beyond a limit, as a full disk does: also the last ones, with which FAISS's
    stream is closed."""
    limit = largest(bare, tmp_path) - missing

    def work(tell):
        with nf.open(bare.path) as col:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            tell(wait(col, lambda index: index["failure"])["failure"])
            assert told(col)["kind"] == "exact"
            bare.assert_right(col)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            wait(col, is_there)
            assert told(col)["failure"] == ""
            bare.assert_right(col)

    status, lines = fork_telling(work)
    assert status == 0
    assert "the index can't be written" in lines[0]
    assert nf.check(bare.path).problems == []


def test_a_failure_to_write_is_told_once_and_the_next_try_is_whole(bare, monkeypatch, caplog):
    real, failing = folders.sync_folder, True

    def sync(folder):
        if failing and folder.name == "index":
            raise OSError(28, "No space left on device")
        real(folder)

    monkeypatch.setattr(folders, "sync_folder", sync)
    with caplog.at_level(logging.WARNING, "nearfield"), nf.open(bare.path) as col:
        for _ in range(3):
            wait(col, lambda index: "No space left" in index["failure"])
            bare.assert_right(col)
        assert told(col)["kind"] == "exact"
        assert [record.levelname for record in caplog.records if "can't be written" in record.message] == ["WARNING"]
        failing = False
        wait(col, is_there)
        bare.assert_right(col)
    assert len(numbered(bare.path)) == 1


def test_a_marker_that_can_not_be_swapped_leaves_the_old_index_and_no_litter(shelf, monkeypatch):
    real, failing = folders.write_json, True

    def write(file, content):
        if failing:
            raise OSError(28, "No space left on device")
        real(file, content)

    (before,) = numbered(shelf.path)
    monkeypatch.setattr(folders, "write_json", write)
    with nf.open(shelf.path) as col:
        shelf.add(col, 900, seed=1)
        wait(col, lambda index: index["failure"])
        wait(col, lambda index: len(numbered(shelf.path)) <= 2)
        assert before in numbered(shelf.path)
        shelf.assert_right(col)
        failing = False
        wait(col, lambda index: index["indexed"] == 2900)
        shelf.assert_right(col)
    assert before not in numbered(shelf.path)
    assert len(numbered(shelf.path)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["room", "failing_syncs"])
def test_a_full_disk(watching, disk, trouble):
    machine = disk / "machine"
    machine.mkdir()
    indexed.make(machine / "col.nf")
    done = watch.run(["-m", "crash.squeeze", str(machine / "col.nf"), trouble, "7", "15"], machine)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failures"] > 3
    indexed.assert_swept(machine / "col.nf")


# -- nothing may be written --------------------------------------------------------------------------------------------


def as_nobody(work):
    """Return the exit status of a child without the rights of root, and what it told."""
    import_faiss()  # whose folder the child may not be allowed to read, as that of NumPy

    def without_rights(tell):
        os.setgid(65534)
        os.setuid(65534)
        work(tell)

    return fork_telling(without_rights)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@needs_root
def test_a_user_who_may_not_write_searches_without_an_index_and_is_told(bare):
    def work(tell):
        with nf.open(bare.path) as col:
            bare.assert_right(col)
            tell(wait(col, lambda index: index["failure"])["failure"])
            tell(told(col)["kind"])
            bare.assert_right(col)

    status, lines = as_nobody(work)
    assert status == 0
    assert "let a process that may write open the collection once" in lines[0]
    assert lines[1] == "exact"


@needs_root
def test_a_user_who_may_not_write_searches_by_the_index_that_is_there(shelf):
    def work(tell):
        with nf.open(shelf.path) as col:
            shelf.assert_right(col)
            tell(str(col.search(VECTORS[0], k=1, mode="semantic", explain=True)[0].explanation))
            tell(told(col)["kind"])

    status, lines = as_nobody(work)
    assert status == 0
    assert "Flat" in lines[0]
    assert lines[1] == "Flat"


@needs_root
@pytest.mark.parametrize("part", ["", "marker.json", "*/keys.npy", "*/index.faiss"])
def test_an_index_that_a_user_may_not_read_is_told_by_its_name(shelf, part):
    (hidden,) = (shelf.path / "index").glob(part) if part else [shelf.path / "index"]
    mode = hidden.stat().st_mode
    hidden.chmod(0)

    def work(tell):
        with nf.open(shelf.path) as col, pytest.raises(nf.CorruptCollection, match=r"index.* can't be read"):
            col.search(VECTORS[0], k=1, mode="semantic")
        tell("told")

    assert as_nobody(work) == (0, ["told"])
    hidden.chmod(mode)


# -- files are damaged -------------------------------------------------------------------------------------------------


def flip(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["index.faiss", "keys.npy", "names.npy"])
@pytest.mark.parametrize("how", ["flipped", "cut off", "gone"])
def test_a_damaged_file_is_named_and_repaired(shelf, name, how):
    (file,) = shelf.path.glob(f"index/*/{name}")
    if how == "flipped":
        flip(file, file.stat().st_size // 2)
    elif how == "cut off":
        os.truncate(file, file.stat().st_size - 1)
    else:
        file.unlink()
    with nf.open(shelf.path) as col, pytest.raises(nf.CorruptCollection, match=name):
        col.search(VECTORS[0], k=1, mode="semantic")
    assert [problem.file for problem in nf.check(shelf.path).problems] == [str(file)]
    assert nf.repair(shelf.path).rebuilt == ["index/"]
    with nf.open(shelf.path) as col:
        assert is_there(told(col))
        shelf.assert_right(col)


def test_a_file_that_rots_while_it_is_searched_is_not_extended(shelf):
    """What was loaded stays right; a copy of the rotten file with a new checksum would look whole."""
    (file,) = shelf.path.glob("index/*/index.faiss")
    with nf.open(shelf.path) as col:
        shelf.assert_right(col)
        flip(file, file.stat().st_size // 2)
        shelf.add(col, 900, seed=1)
        failed = wait(col, lambda index: index["failure"])
        assert "index.faiss is not what was written" in failed["failure"]
        assert told(col)["indexed"] == COUNT
        shelf.assert_right(col)
    nf.repair(shelf.path)
    with nf.open(shelf.path) as col:
        assert told(col)["indexed"] == COUNT + 900
        shelf.assert_right(col)


def test_a_folder_removed_while_it_is_searched(shelf):
    with nf.open(shelf.path) as col:
        shelf.assert_right(col)
        shutil.rmtree(shelf.path / "index")
        shelf.assert_right(col)
        shelf.add(col, 10, seed=1)
        shelf.assert_right(col)
        wait(col, is_there)
        shelf.assert_right(col)


def test_an_index_is_forgotten_for_good_before_its_files_go(shelf, monkeypatch):
    """A marker that came back after a loss of power would name what is gone."""
    synced, root, real = [], shelf.path / "index", folders.sync_folder

    def sync(folder):
        synced.append((folder.name, sorted(path.name for path in root.iterdir())))
        real(folder)

    monkeypatch.setattr(folders, "sync_folder", sync)
    folders.IndexFolder(root).remove()
    assert synced == [("index", ["000001"])]
    assert list(root.iterdir()) == []


def test_leftovers_of_killed_builds_make_room_for_the_next(shelf, monkeypatch):
    leftover = shelf.path / "index" / "000007"
    leftover.mkdir()
    (leftover / "index.faiss").write_bytes(b"cut off")
    seen, real = [], folders.np.save

    def save(file, array):
        seen.append(numbered(shelf.path))
        real(file, array)

    monkeypatch.setattr(folders.np, "save", save)
    with nf.open(shelf.path) as col:
        col._engine._indexes.neighbours.renew(col._engine._indexes.state())
    assert seen[0] == ["000001", "000002"]
    assert numbered(shelf.path) == ["000002"]


# -- beside other processes --------------------------------------------------------------------------------------------


def test_a_lock_of_a_dead_process_is_none(bare):
    """The lock's file names a process that is dead, and another one was killed while it held it."""
    (bare.path / "index.lock").write_text("999999")
    command = (
        "import fcntl, os, signal, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", command, str(bare.path / "index.lock")], check=False)
    assert killed.returncode == -9
    with nf.open(bare.path) as col:
        wait(col, is_there)
        assert (bare.path / "index.lock").read_text() == str(os.getpid())


@pytest.mark.slow
def test_two_processes_that_both_want_to_build(bare):
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with nf.open(bare.path) as col:
                    while not is_there(told(col)):
                        bare.assert_right(col)
                    bare.assert_right(col)
                    assert told(col)["failure"] == ""
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert len(numbered(bare.path)) == 1


@pytest.mark.slow
def test_a_reader_beside_one_who_extends_builds_and_compacts(shelf):
    """Whichever state a reader sees, it answers as brute force does, while the index is replaced again and again."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with nf.open(shelf.path) as col:
                for seed in range(1, 5):
                    shelf.add(col, 600, seed)
                    shelf.delete(col, [f"{seed}-{i}" for i in range(0, 600, 3)])
                    shelf.assert_right(col)
                    col.compact()
                    shelf.assert_right(col)
            status = 0
        finally:
            os._exit(status)
    rounds, queries = 0, some_vectors(4, 9)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    with nf.open(shelf.path) as col:
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            with col._engine.view() as view:
                found = view.semantic(queries, 10)
                scores = queries @ view.document_vectors(view.keys()).T
            for row, ranking in zip(scores, found, strict=True):
                np.testing.assert_allclose(ranking.scores, np.sort(row)[::-1][:10], rtol=0, atol=1e-5)
            rounds += 1
    assert rounds > 3
    assert nf.check(shelf.path).problems == []


def test_a_long_view_beside_a_replaced_index(shelf):
    """A view that began before the index was replaced reads its own state by a scan."""
    gone = [f"0-{i}" for i in range(1000)]
    with nf.open(shelf.path) as reader:
        with reader._engine.view() as view:
            before = [view.doc_ids(ranking.keys) for ranking in view.semantic(some_vectors(3, 5), 10)]

            command = (
                "import sys, nearfield as nf\n"
                "with nf.open(sys.argv[1]) as col:\n"
                "    col.delete([f'0-{i}' for i in range(1000)])\n"
                "    col.compact()\n"
            )
            subprocess.run([sys.executable, "-c", command, str(shelf.path)], check=True)
            after = [view.doc_ids(ranking.keys) for ranking in view.semantic(some_vectors(3, 5), 10)]
            assert after == before
        for name in gone:
            del shelf.vectors[name]
        shelf.assert_right(reader)


# -- snapshots and backups ---------------------------------------------------------------------------------------------


def test_a_snapshot_has_no_index_and_a_restored_collection_has_its_own(shelf, tmp_path):
    with nf.open(shelf.path) as col:
        col.snapshot(tmp_path / "snapshot.nf")
        assert not (tmp_path / "snapshot.nf" / "index").exists()
        shelf_of_then = dict(shelf.vectors)
        shelf.delete(col, [f"0-{i}" for i in range(1500)])
    nf.restore(tmp_path / "snapshot.nf", tmp_path / "restored.nf")
    restored = Shelf(tmp_path / "restored.nf")
    restored.vectors = shelf_of_then
    with restored.open() as col:
        assert told(col)["indexed"] == COUNT
        assert is_there(told(col))
        restored.assert_right(col)


def test_a_snapshot_that_was_searched_is_brought_up_to_date(shelf, tmp_path):
    """Who searches a snapshot builds an index there; after the next snapshot it holds documents that are gone."""
    snapshot = Shelf(tmp_path / "snapshot.nf")
    with nf.open(shelf.path) as col:
        col.snapshot(snapshot.path)
        with nf.open(snapshot.path) as reader:
            wait(reader, is_there)
        shelf.delete(col, [f"0-{i}" for i in range(0, COUNT, 9)])
        shelf.add(col, 60, seed=3)
        col.compact()
        col.snapshot(snapshot.path)
    snapshot.vectors = dict(shelf.vectors)
    with nf.open(snapshot.path) as reader:
        snapshot.assert_right(reader)
    assert nf.check(snapshot.path).problems == []


@pytest.mark.parametrize("rewritten", [False, True])
def test_an_index_of_states_that_the_database_never_had(shelf, tmp_path, rewritten):
    """The tables are put back from a backup beside an index of later documents, whose keys others get then."""
    backup = shutil.copytree(shelf.path, tmp_path / "backup.nf")
    then = dict(shelf.vectors)
    with nf.open(shelf.path) as col:
        shelf.add(col, 900, seed=1)
        shelf.delete(col, ["0-0", "0-1"])
        col._engine._indexes.neighbours.renew(col._engine._indexes.state())
    later = shutil.copytree(shelf.path / "index", tmp_path / "later")
    shutil.rmtree(shelf.path)
    shutil.copytree(backup, shelf.path)
    shutil.rmtree(shelf.path / "index")
    shutil.copytree(later, shelf.path / "index")
    shelf.vectors = then
    if rewritten:
        with no_index_at_close(), nf.open(shelf.path) as col:
            for _ in range(4):  # beyond the generation of the index
                shelf.add(col, 300, seed=2)
            shelf.delete(col, ["0-5"])
    with no_index_at_close(), nf.open(shelf.path) as col:
        assert told(col)["kind"] == "exact"
        shelf.assert_right(col)
    with nf.open(shelf.path) as col:
        col.add({"doc_id": "new", "text": "new"}, vectors=VECTORS[:1])
        shelf.vectors["new"] = VECTORS[0] / np.linalg.norm(VECTORS[0])
    with nf.open(shelf.path) as col:
        assert is_there(told(col))
        shelf.assert_right(col)
    assert nf.check(shelf.path).problems == []
