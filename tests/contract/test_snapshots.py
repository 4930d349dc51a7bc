"""Snapshots: one committed state each, whole whatever happens, and only what is new is copied."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import nearfield as nf
from forking import fork, fork_telling
from nearfield import stages
from nearfield.cli import main
from nearfield.engine.local import compaction, segments

DIMENSION = 8
ROW = DIMENSION * 4


class Encoder:
    """Numbers from the characters of a text."""

    name = "characters"
    dimension = DIMENSION
    max_tokens: int | None = None
    fingerprint = "characters-1"

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def encode_documents(self, texts):
        return np.array([[np.sin(1 + i * sum(map(ord, text))) for i in range(DIMENSION)] for text in texts], np.float32)

    encode_queries = encode_documents


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(segments, "SLOT", 64)


def batch(name, count=50):
    return [nf.Document(f"{name} text {i}", f"{name}-{i}", "", {"batch": name, "n": i}) for i in range(count)]


@pytest.fixture
def col(tmp_path):
    with nf.open(tmp_path / "col.nf", encoder=Encoder()) as collection:
        for name in ("a", "b", "c"):
            collection.add(batch(name))
        yield collection


def contents(source):
    """Return what a collection, or that in a folder, holds and answers."""
    if not isinstance(source, nf.Collection):
        with nf.open(source, encoder=Encoder()) as opened:
            return contents(opened)
    with source._engine.view() as view:
        keys = view.keys()
        documents = {
            one.doc_id: (one.title, one.text, one.metadata, one.spans, one.encoded, vectors.tobytes())
            for one, vectors in zip(view.read(keys), view.passage_vectors(keys), strict=True)
        }
    searches = [source.search("a text 7", k=500, mode=mode).doc_ids for mode in ("lexical", "semantic")]
    return documents, searches, source.doc_ids({"n": 3})


def files(folder: Path):
    return {file.name: (file.stat().st_ino, file.stat().st_size, file.stat().st_mtime_ns) for file in folder.iterdir()}


# -- what a snapshot is ----------------------------------------------------------------------------------------------


def test_a_snapshot_is_the_same_collection(col, tmp_path):
    col.delete(["a-3", "c-49"])
    snapshot = col.snapshot(tmp_path / "deep" / "snap.nf")
    assert nf.check(tmp_path / "deep" / "snap.nf").problems == []
    assert contents(tmp_path / "deep" / "snap.nf") == contents(col)
    vectors = sum(file.stat().st_size for file in (tmp_path / "deep" / "snap.nf" / "vectors").iterdir())
    assert snapshot.to_dict() == {
        "path": str(tmp_path / "deep" / "snap.nf"),
        "documents": 148,
        "passages": 148,
        "generation": col.generation,
        "copied_bytes": vectors + (tmp_path / "deep" / "snap.nf" / "documents.sqlite").stat().st_size,
        "kept_bytes": 0,
    }
    col.add("later")
    assert len(contents(tmp_path / "deep" / "snap.nf")[0]) == 148


def test_only_what_is_new_is_copied(col, tmp_path):
    snap = tmp_path / "snap.nf"
    col.snapshot(snap)
    before = files(snap / "vectors")
    assert len(before) == 3  # of 64, 64 and 22 rows
    col.add(batch("d", 10))
    again = col.snapshot(snap)
    after = files(snap / "vectors")
    assert list(after) == list(before)
    whole = ["000000.vec", "000001.vec"]
    assert [after[name] for name in whole] == [before[name] for name in whole]
    assert after["000002.vec"][0] == before["000002.vec"][0]
    assert after["000002.vec"][1] == before["000002.vec"][1] + 10 * ROW
    assert again.copied_bytes == 10 * ROW + (snap / "documents.sqlite").stat().st_size
    assert again.kept_bytes == sum(size for _, size, _ in before.values())
    assert contents(snap) == contents(col)
    assert nf.check(snap).ok


def test_segments_that_compaction_dropped_leave_the_snapshot(col, tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "LEAST_DEAD", 8)
    snap = tmp_path / "snap.nf"
    col.snapshot(snap)
    col.delete([f"a-{i}" for i in range(50)])
    col.compact()
    col.snapshot(snap)
    assert sorted(files(snap / "vectors")) == sorted(files(tmp_path / "col.nf" / "vectors"))
    assert "000000.vec" not in files(snap / "vectors")
    assert (nf.check(snap).ok, contents(snap)) == (True, contents(col))


def test_a_reader_of_a_snapshot_sees_the_new_one(col, tmp_path):
    snap = tmp_path / "snap.nf"
    col.snapshot(snap)
    with nf.open(snap, encoder=Encoder()) as reader:
        assert len(reader) == 150
        before = contents(reader)
        with reader._engine.view() as view:
            col.delete("b-1")
            col.add(batch("d"))
            col.snapshot(snap)
            assert len(view) == 150
        assert contents(reader) == contents(col) != before


def test_snapshots_beside_a_writer_hold_whole_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "LEAST_DEAD", 8)
    stop = threading.Event()
    with nf.open(tmp_path / "busy.nf", encoder=Encoder()) as col:
        col.add(batch("0", 40))

        def write():
            for number in range(1, 10_000):
                if stop.is_set():
                    return
                col.add(batch(str(number), 40))
                if number > 4:
                    col.delete(where={"batch": str(number - 4)})

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for turn in range(6):
                snapshot = col.snapshot(tmp_path / f"snap{turn % 2}.nf")
                documents, _, _ = contents(tmp_path / f"snap{turn % 2}.nf")
                assert len(documents) == snapshot.documents > 0
                batches = [metadata["batch"] for _, _, metadata, *_ in documents.values()]
                assert {batches.count(name) for name in batches} == {40}
                assert nf.check(tmp_path / f"snap{turn % 2}.nf").ok
        finally:
            stop.set()
            writer.join()


# -- what is refused -------------------------------------------------------------------------------------------------


def test_other_targets_are_refused_and_left_alone(col, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("x")
    with nf.open(tmp_path / "other.nf", encoder=Encoder()) as other:
        other.add("a stranger")
        other.snapshot(tmp_path / "others.nf")
    for target in ("file", "folder", "col.nf", "col.nf/inner", "."):
        with pytest.raises(nf.InvalidInput):
            col.snapshot(tmp_path / target)
    with pytest.raises(nf.Conflict, match="a collection of its own"):
        col.snapshot(tmp_path / "other.nf")
    with pytest.raises(nf.Conflict, match="snapshot of another collection"):
        col.snapshot(tmp_path / "others.nf")
    assert (len(contents(tmp_path / "other.nf")[0]), len(contents(tmp_path / "others.nf")[0])) == (1, 1)
    assert not (tmp_path / "col.nf" / "inner").exists()


@pytest.mark.parametrize("change", ["add", "delete", "bookmark"])
def test_a_snapshot_that_was_written_to_is_refused(col, tmp_path, change):
    snap = tmp_path / "snap.nf"
    col.snapshot(snap)
    with nf.open(snap, encoder=Encoder()) as written:
        if change == "add":
            written.add("written to the snapshot")
        elif change == "delete":
            written.delete("a-1")
        else:
            written._engine.remove_bookmark("source")
    expected = contents(snap)
    col.add(batch("d"))
    with pytest.raises(nf.Conflict, match="written to since"):
        col.snapshot(snap)
    assert contents(snap) == expected


def test_a_snapshot_that_somebody_writes_is_locked(col, tmp_path):
    col.snapshot(tmp_path / "snap.nf")
    with nf.open(tmp_path / "snap.nf", encoder=Encoder()) as written:
        written.add("x")
        with pytest.raises(nf.Locked):
            col.snapshot(tmp_path / "snap.nf")


# -- damage ----------------------------------------------------------------------------------------------------------


def flip(file: Path, byte: int) -> None:
    with file.open("r+b") as stream:
        stream.seek(byte)
        value = stream.read(1)[0]
        stream.seek(byte)
        stream.write(bytes([value ^ 4]))


def test_a_damaged_collection_is_not_copied(col, tmp_path):
    snap, fresh = tmp_path / "snap.nf", tmp_path / "fresh.nf"
    col.snapshot(snap)
    expected = contents(col)
    before = files(snap / "vectors")
    col.add(batch("d"))
    damaged = tmp_path / "col.nf" / "vectors" / "000003.vec"
    flip(damaged, 64 + 5 * ROW + 1)
    for target in (snap, fresh):
        with pytest.raises(nf.CorruptCollection) as caught:
            col.snapshot(target)
        assert str(damaged) in str(caught.value)
        assert "'d-" in str(caught.value)
    assert contents(snap) == expected
    assert {name: size for name, (_, size, _) in files(snap / "vectors").items()} == {
        name: size for name, (_, size, _) in before.items()
    }
    assert nf.check(snap).ok
    assert not (fresh / "manifest.json").exists()


def test_a_damaged_text_is_not_copied(col, tmp_path):
    col.close()
    database = tmp_path / "col.nf" / "documents.sqlite"
    flip(database, database.read_bytes().index(b"b text 7") + 1)
    with (
        nf.open(tmp_path / "col.nf", encoder=Encoder()) as opened,
        pytest.raises(nf.CorruptCollection, match=r"documents.sqlite.*'b-7'"),
    ):
        opened.snapshot(tmp_path / "snap.nf")


def test_vectors_that_suffered_in_the_snapshot_are_copied_again(col, tmp_path):
    snap = tmp_path / "snap.nf"
    col.snapshot(snap)
    flip(snap / "vectors" / "000001.vec", 64 + 9 * ROW + 1)
    os.truncate(snap / "vectors" / "000000.vec", 100)
    assert not nf.check(snap).ok
    snapshot = col.snapshot(snap)
    assert (nf.check(snap).ok, contents(snap)) == (True, contents(col))
    assert snapshot.copied_bytes > 2 * 64 * ROW


@pytest.mark.parametrize("place", ["snapshot vectors", "snapshot documents"])
def test_on_a_full_disk_the_older_snapshot_stays(col, tmp_path, place):
    snap = tmp_path / "snap.nf"
    col.snapshot(snap)
    expected, before = contents(col), files(snap / "vectors")
    col.add([nf.Document(f"{i} " + "long text " * 400, f"z{i}") for i in range(100)])
    # Files of the child can't grow beyond this: those of vectors are smaller than the database.
    limit = 64 + 30 * ROW if place == "snapshot vectors" else (snap / "documents.sqlite").stat().st_size + 40_000

    def work(tell):
        assert len(col)  # SQLite makes a file for its connections, while it can
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            col.snapshot(snap)
        except nf.NearfieldError as error:
            tell(type(error).__name__)
            tell(str(error))

    _, (kind, message) = fork_telling(work)
    assert kind == "NearfieldError", message
    assert str(snap) in message
    assert contents(snap) == expected
    assert {name: size for name, (_, size, _) in files(snap / "vectors").items()} == {
        name: size for name, (_, size, _) in before.items()
    }
    col.snapshot(snap)
    assert contents(snap) == contents(col)


@contextmanager
def dying(name: str, edge: str, occurrence: int):
    """Have this process killed at a step."""
    left = [occurrence]

    class Deadly(stages.stage):
        __slots__ = ()

        def __enter__(self):
            super().__enter__()
            self._die("enter")

        def __exit__(self, *error):
            self._die("exit")
            super().__exit__(*error)

        def _die(self, here):
            if (self._name, here) == (name, edge):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

    from nearfield.engine.local import layout
    from nearfield.engine.local.care import copying, snapshot

    with pytest.MonkeyPatch.context() as patch:
        for module in (copying, layout, snapshot, compaction):
            patch.setattr(module, "stage", Deadly)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("step", "occurrence"),
    [("snapshot vectors", 1), ("snapshot vectors", 2), ("snapshot documents", 1), ("write manifest", 1)],
)
@pytest.mark.parametrize("edge", ["enter", "exit"])
def test_a_killed_snapshot_leaves_the_older_one_or_the_newer(tmp_path, step, edge, occurrence, first):
    if step == "write manifest" and not first:
        return  # it stays as it was
    source, snap = tmp_path / "col.nf", tmp_path / "snap.nf"
    allowed = []
    with nf.open(source, encoder=Encoder()) as col:
        col.add(batch("a"))
        if not first:
            col.snapshot(snap)
            allowed.append(contents(col))
        col.delete("a-3")
        col.add(batch("b", 100))
        allowed.append(contents(col))

    def work():
        with nf.open(source, encoder=Encoder()) as col, dying(step, edge, occurrence):
            col.snapshot(snap)

    assert fork(work) == -signal.SIGKILL
    if (snap / "manifest.json").exists():
        assert nf.check(snap).problems == []
        assert contents(snap) in allowed
    else:
        assert first
        with pytest.raises((nf.NotFound, nf.CorruptCollection)):
            nf.open(snap, create=False)
    with nf.open(source, encoder=Encoder()) as col:
        col.add(batch("c", 10))
        col.snapshot(snap)
        assert (nf.check(snap).problems, nf.check(snap).notes, contents(snap)) == ([], [], contents(col))


# -- restoring -------------------------------------------------------------------------------------------------------


def test_a_restored_collection_is_that_of_the_snapshot_and_goes_on_with_it(col, tmp_path):
    snap, back = tmp_path / "snap.nf", tmp_path / "deep" / "back.nf"
    col.snapshot(snap)
    restored = nf.restore(snap, str(back))
    assert (restored.documents, restored.path) == (150, str(back))
    assert (back / "lexical" / "marker.json").exists()
    assert not (back / "snapshot.json").exists()
    assert (nf.check(back).problems, contents(back)) == ([], contents(col))
    with nf.open(back, encoder=Encoder()) as again:
        again.add(batch("d"))
        again.snapshot(snap)
        assert contents(snap) == contents(again)
        # What went on elsewhere must not be lost by a snapshot of the other.
        col.add(batch("e"))
        with pytest.raises(nf.Conflict, match="did not have"):
            col.snapshot(snap)
        assert contents(snap) == contents(again)


def test_an_older_state_is_not_put_in_the_place_of_a_newer(col, tmp_path):
    col.snapshot(tmp_path / "old.nf")
    col.add(batch("d"))
    col.snapshot(tmp_path / "new.nf")
    nf.restore(tmp_path / "old.nf", tmp_path / "back.nf")
    with (
        nf.open(tmp_path / "back.nf", encoder=Encoder()) as back,
        pytest.raises(nf.Conflict, match="did not have"),
    ):
        back.snapshot(tmp_path / "new.nf")
    assert len(contents(tmp_path / "new.nf")[0]) == 200


def test_snapshots_go_on_after_compaction_and_many_processes(col, tmp_path, monkeypatch):
    col.snapshot(tmp_path / "snap.nf")
    col.close()
    for number in range(3):
        with nf.open(tmp_path / "col.nf", encoder=Encoder()) as again:
            again.add(batch(f"more{number}"))
            again.delete(f"more{number}-1")
            again.compact()
    with nf.open(tmp_path / "col.nf", encoder=Encoder()) as again:
        again.snapshot(tmp_path / "snap.nf")
        assert contents(tmp_path / "snap.nf") == contents(again)


def test_restore_refuses_what_is_there_and_leaves_nothing_of_a_damaged_snapshot(col, tmp_path):
    snap = tmp_path / "snap.nf"
    col.snapshot(snap)
    with pytest.raises(nf.NotFound):
        nf.restore(tmp_path / "none.nf", tmp_path / "back.nf")
    for target in ("col.nf", "snap.nf/inner"):
        with pytest.raises(nf.InvalidInput):
            nf.restore(snap, tmp_path / target)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("x")
    with pytest.raises(nf.InvalidInput, match="not empty"):
        nf.restore(snap, tmp_path / "full")
    flip(snap / "vectors" / "000001.vec", 64 + 3 * ROW)
    (tmp_path / "empty").mkdir()
    for target in ("back.nf", "empty"):
        with pytest.raises(nf.CorruptCollection, match=r"snap.nf.vectors.000001.vec"):
            nf.restore(snap, tmp_path / target)
    assert not (tmp_path / "back.nf").exists()
    assert list((tmp_path / "empty").iterdir()) == []


def test_writing_that_fails_while_restoring_is_told(col, tmp_path, monkeypatch):
    col.snapshot(tmp_path / "snap.nf")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(nf.NearfieldError, match="No space left"):
        nf.restore(tmp_path / "snap.nf", tmp_path / "back.nf")
    assert not (tmp_path / "back.nf").exists()


# -- commands --------------------------------------------------------------------------------------------------------


def run(capsys, *words):
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_commands(col, tmp_path, capsys):
    made, snap = tmp_path / "col.nf", tmp_path / "snap.nf"
    code, out, err = run(capsys, "snapshot", made, snap, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["seconds"] >= 0
    assert {name: told[name] for name in ("path", "documents", "kept_bytes")} == {
        "path": str(snap), "documents": 150, "kept_bytes": 0,
    }  # fmt: skip
    code, out, err = run(capsys, "snapshot", made, snap)
    assert (code, err) == (0, "")
    assert out.startswith(f"Copied 150 documents to {snap} in ")
    assert out.endswith(f"{3 * 64 + 150 * ROW:,} bytes were there already).\n")
    code, out, err = run(capsys, "restore", snap, tmp_path / "back.nf")
    assert (code, err) == (0, "")
    assert out.startswith(f"Restored 150 documents to {tmp_path / 'back.nf'} in ")
    assert contents(tmp_path / "back.nf") == contents(col)
    assert run(capsys, "restore", snap, made)[0] == 2
    assert run(capsys, "restore", tmp_path / "none.nf", tmp_path / "x.nf")[0] == 3
    assert run(capsys, "snapshot", made, tmp_path / "back.nf")[0] == 4
    flip(snap / "vectors" / "000001.vec", 64 + 3 * ROW)
    assert run(capsys, "restore", snap, tmp_path / "x.nf", "--json")[0] == 6
