"""Damage is noticed and mended: what changes what a reader could see is reported, and repair loses only what it says.

The truth is what was stored. A flip of a bit that the check lets pass must change nothing that can be asked for.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import sqlite3
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest

import nearfield as nf
from nearfield.cli import main
from nearfield.engine.local import segments, upkeep
from nearfield.engine.local.care import inspection
from nearfield.engine.local.database import text_sum

GIVEN = [f"g{i}" for i in range(10)]
DIMENSION = 16


class Encoder:
    """Numbers from the characters of a text; a passage holds sixteen words."""

    name = "characters"
    dimension = DIMENSION
    max_tokens: int | None = 24

    def __init__(self, fingerprint: str = "characters-1") -> None:
        self.fingerprint = fingerprint

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def encode_documents(self, texts):
        return np.array([[np.sin(1 + i * sum(map(ord, text))) for i in range(DIMENSION)] for text in texts], np.float32)

    encode_queries = encode_documents


def fill(col):
    for batch in range(4):
        col.add(
            [
                {
                    "doc_id": f"d{batch}-{i}",
                    "title": "A title" * (i % 2),
                    "text": f"word{i} of batch {batch}. " + "A longer text it is. " * (i % 7),
                    "year": i % 7,
                    "tag": {"x": [i]},
                }
                for i in range(30)
            ]
        )
    vectors = np.random.default_rng(0).standard_normal((len(GIVEN), DIMENSION))
    vectors[3] = 0
    col.add([nf.Document(f"given {name}", name) for name in GIVEN], vectors=vectors)
    col.delete([f"d1-{i}" for i in range(20)])
    col.compact()
    col.add([{"text": "a late one", "year": 3}])
    col.delete("d2-2")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Several segments, saved columns, and several parts of whatever is looked at in parts, with few documents."""
    monkeypatch.setattr(segments, "SLOT", 64)
    monkeypatch.setattr(upkeep, "LEAST_UNSAVED", 10)
    monkeypatch.setattr(inspection, "AT_ONCE", 17)
    monkeypatch.setattr(inspection, "ROWS_AT_ONCE", 13)


def contents(folder):
    """Return what a collection holds and answers."""
    with nf.open(folder, encoder=Encoder()) as col:
        with col._engine.view() as view:
            keys = view.keys()
            documents = {
                one.doc_id: (one.title, one.text, repr(one.metadata), one.spans, vectors.tobytes())
                for one, vectors in zip(view.read(keys), view.passage_vectors(keys), strict=True)
            }
        answers = [
            col.search("word7 batch late", k=200, mode="lexical").doc_ids,
            col.search("word7 batch late", k=200, mode="semantic").doc_ids,
            col.doc_ids({"year": 3}),
            col.doc_ids({"tag.x": [4]}),
        ]
    return documents, answers


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A collection, which tests copy, and what it holds and answers."""
    folder = tmp_path_factory.mktemp("origin") / "made.nf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SLOT", 64)
        patch.setattr(upkeep, "LEAST_UNSAVED", 10)
        with nf.open(folder, encoder=Encoder()) as col:
            fill(col)
        truth = contents(folder)
        assert (folder / "columns" / "marker.json").exists()
        assert len(list((folder / "vectors").iterdir())) >= 3
    return folder, truth


@pytest.fixture
def made(origin, tmp_path):
    return Path(shutil.copytree(origin[0], tmp_path / "made.nf"))


@pytest.fixture
def truth(origin):
    return origin[1]


def flip(file: Path, byte: int, bit: int = 0) -> None:
    content = bytearray(file.read_bytes())
    content[byte] ^= 1 << bit
    file.write_bytes(content)


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def swap_half(made: Path) -> None:
    one, other = vec(made, 0), vec(made, 1)
    one.rename(one.with_suffix(".moved"))
    other.rename(one)
    one.with_suffix(".moved").rename(other.with_suffix(".moved"))


def at(file: Path, text: bytes) -> int:
    """Return where a text stands in a file, the first time."""
    return file.read_bytes().index(text)


def rows_of(made: Path, number: int) -> list[str]:
    """Return the doc_ids of the documents in a segment."""
    connection = sqlite3.connect(made / "documents.sqlite")
    found = connection.execute(
        "SELECT doc_id FROM documents, segments WHERE number = ? AND documents.first_row >= segments.first_row "
        "AND documents.first_row < segments.first_row + rows ORDER BY key",
        (number,),
    ).fetchall()
    connection.close()
    return [doc_id for (doc_id,) in found]


def numbers(made: Path) -> list[int]:
    return sorted(int(file.stem) for file in (made / "vectors").glob("*.vec"))


def vec(made: Path, place: int) -> Path:
    return made / "vectors" / f"{numbers(made)[place]:06d}.vec"


# -- whole -----------------------------------------------------------------------------------------------------------


def test_a_whole_collection_has_no_problems_and_repair_leaves_it_alone(made, truth):
    before = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in made.rglob("*") if file.is_file()}
    health = nf.check(made)
    assert (health.ok, health.problems, health.notes) == (True, [], [])
    assert health.documents == len(truth[0]) == 110
    assert health.passages == sum(len(spans) for *_, spans, _ in truth[0].values()) > 110
    assert nf.check(str(made)).to_dict() == {
        "ok": True, "path": str(made), "documents": 110, "passages": health.passages,
        "generation": health.generation, "problems": [], "notes": [],
    }  # fmt: skip
    repaired = nf.repair(made)
    assert repaired.to_dict() == {
        "path": str(made), "documents": 110, "rebuilt": [], "lost": {}, "remains": "", "complete": True,
    }  # fmt: skip
    after = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in made.rglob("*") if file.is_file()}
    lock = made / "writer.lock"
    assert {**after, lock: None} == {**before, lock: None}
    with nf.open(made, encoder=Encoder()) as col:
        assert col.check() == health


def test_an_empty_collection_is_whole(tmp_path):
    with nf.open(tmp_path / "empty.nf", encoder=Encoder()) as col:
        assert col.check().ok
        assert col.check().documents == 0
    assert nf.repair(tmp_path / "empty.nf").rebuilt == []


def test_what_is_no_collection_is_refused(tmp_path):
    for call in (nf.check, nf.repair):
        with pytest.raises(nf.NotFound):
            call(tmp_path / "none.nf")
        with pytest.raises(nf.InvalidInput):
            call("http://localhost/a")
    (tmp_path / "file").write_text("x")
    with pytest.raises(nf.InvalidInput):
        nf.check(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "stranger.txt").write_text("x")
    with pytest.raises(nf.InvalidInput, match="stranger"):
        nf.check(tmp_path / "folder")


def test_another_format_is_told(made):
    content = json.loads((made / "manifest.json").read_text())
    (made / "manifest.json").write_text(json.dumps({**content, "version": 3}))
    assert [Path(problem.file).name for problem in nf.check(made).problems] == ["manifest.json"]  # the tables say 2
    old = Path(__file__).parents[1] / "formats" / "v1"
    (folder,) = [file.parent for file in old.rglob("manifest.json")][:1]
    copied = shutil.copytree(folder, made.parent / "v1.nf")
    with pytest.raises(nf.IncompatibleFormat, match="open it once"):
        nf.check(copied)
    nf.open(copied).close()
    assert nf.check(copied).ok


def test_leftovers_are_told_and_harm_nothing(made):
    (made / "vectors" / "000099.vec").write_bytes(b"cut off")
    health = nf.check(made)
    assert health.ok
    assert ["000099.vec" in note for note in health.notes] == [True]


def test_rows_beyond_the_committed_ones_are_no_matter(made):
    with vec(made, -1).open("ab") as stream:
        stream.write(b"\1" * 1000)
    assert nf.check(made).ok


# -- damage ----------------------------------------------------------------------------------------------------------

DAMAGES = {
    "truncated vectors": ("vectors/2", lambda made: os.truncate(vec(made, 2), 64 + 10 * 4 * DIMENSION)),
    "a flipped row": ("vectors/1", lambda made: flip(vec(made, 1), 64 + 7 * 4 * DIMENSION, 6)),
    "a header's number": ("vectors/1", lambda made: flip(vec(made, 1), 16)),
    "a header's identity": ("vectors/1", lambda made: flip(vec(made, 1), 30)),
    "a header's padding": ("vectors/1", lambda made: flip(vec(made, 1), 63)),
    "swapped vectors, and a repair that was cut off": ("vectors/0", swap_half),
    "no vectors": ("vectors/1", lambda made: vec(made, 1).unlink()),
    "swapped vectors": ("vectors/0", lambda made: swap(vec(made, 0), vec(made, 1))),
    "no manifest": ("manifest.json", lambda made: (made / "manifest.json").unlink()),
    "an empty manifest": ("manifest.json", lambda made: (made / "manifest.json").write_text("")),
    "the manifest's name": ("manifest.json", lambda made: flip(made / "manifest.json", 14)),
    "the manifest's identity": ("manifest.json", lambda made: flip(made / "manifest.json", 60)),
    "the database's first page": (
        "documents.sqlite",
        lambda made: (made / "documents.sqlite").write_bytes(
            bytes(4096) + (made / "documents.sqlite").read_bytes()[4096:]
        ),
    ),
    "the database's name": ("documents.sqlite", lambda made: flip(made / "documents.sqlite", 3)),
    "a doc_id in the index": (
        "documents.sqlite",
        lambda made: flip(made / "documents.sqlite", 4 + at(made / "documents.sqlite", b"d3-17")),
    ),
    "no columns": ("columns", lambda made: next((made / "columns").glob("*/keys.npy")).unlink()),
    "the columns' marker": (
        "columns",
        lambda made: flip(made / "columns" / "marker.json", at(made / "columns" / "marker.json", b"year")),
    ),
    "a column": ("columns", lambda made: flip(next((made / "columns").glob("*/field-0.npy")), -4)),
    "the lexical marker": ("lexical", lambda made: flip(made / "lexical" / "marker.json", 40)),
    "the lexical index": ("lexical", lambda made: flip(next((made / "lexical").glob("*/*.idx")), 20)),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_of_which_nothing_is_lost(made, truth, name):
    where, damage = DAMAGES[name]
    if where.startswith("vectors/"):
        where = f"vectors/{vec(made, int(where[8:])).name}"
    damage(made)
    health = nf.check(made)
    assert not health.ok
    assert health.problems[0].file.startswith(str(made / where))
    repaired = nf.repair(made, Encoder())
    assert repaired.lost == {}
    assert repaired.rebuilt
    assert repaired.complete
    assert nf.check(made).ok
    assert contents(made) == truth


def test_given_vectors_that_are_damaged_are_lost_and_kept_aside(made, truth):
    place = next(i for i, number in enumerate(numbers(made)) if "g5" in rows_of(made, number))
    connection = sqlite3.connect(made / "documents.sqlite")
    (row,) = connection.execute(
        "SELECT documents.first_row - segments.first_row FROM documents, segments WHERE doc_id = 'g5' AND number = ?",
        (numbers(made)[place],),
    ).fetchone()
    connection.close()
    flip(vec(made, place), 64 + row * 4 * DIMENSION + 2, 3)
    (problem,) = nf.check(made).problems
    assert (problem.file, problem.doc_ids) == (str(vec(made, place)), ["g5"])
    assert "checksum" in problem.what
    with nf.open(made, encoder=Encoder()) as col:
        assert col.check().problems == [problem]
    repaired = nf.repair(made, Encoder())
    assert list(repaired.lost) == ["g5"]
    documents, _ = contents(made)
    assert documents == {name: document for name, document in truth[0].items() if name != "g5"}
    (line,) = (Path(repaired.remains) / "documents.jsonl").read_text().splitlines()
    kept = json.loads(line)
    assert (kept["doc_id"], kept["text"]) == ("g5", "given g5")
    rows = np.frombuffer(base64.b64decode(kept["vectors"]), "<f4")
    expected = np.frombuffer(truth[0]["g5"][-1], "<f4")
    assert np.count_nonzero(rows != expected) == 1
    assert (Path(repaired.remains) / "documents.sqlite").exists()


@pytest.mark.parametrize("bit", [0, 7])
def test_a_damaged_text_is_lost_and_kept_aside(made, truth, bit):
    database = made / "documents.sqlite"
    flip(database, at(database, b"word7 of batch 3") + 2, bit)  # with bit 7, it is no UTF-8 any more
    (problem,) = nf.check(made).problems
    assert (problem.file, problem.doc_ids) == (str(database), ["d3-7"])
    repaired = nf.repair(made, Encoder())
    assert repaired.lost == {"d3-7": "is not what was written (its checksum differs)"}
    assert contents(made)[0] == {name: document for name, document in truth[0].items() if name != "d3-7"}
    (line,) = (Path(repaired.remains) / "documents.jsonl").read_text().splitlines()
    assert "d7 of batch 3" in json.loads(line)["text"]


def test_vectors_that_cannot_be_encoded_again_are_lost(made, truth):
    names = rows_of(made, numbers(made)[1])
    vec(made, 1).unlink()
    repaired = nf.repair(made, Encoder("another"))
    assert sorted(repaired.lost) == sorted(names)
    assert all("another encoder" in reason for reason in repaired.lost.values())
    assert contents(made)[0] == {name: document for name, document in truth[0].items() if name not in names}
    kept = [json.loads(line) for line in (Path(repaired.remains) / "documents.jsonl").read_text().splitlines()]
    assert {one["doc_id"]: one["text"] for one in kept} == {name: truth[0][name][1] for name in names}


@pytest.mark.parametrize("pages", [1, 3, 9, 14, 17])
def test_of_a_truncated_database_all_is_kept_that_can_be_read(made, truth, pages):
    database = made / "documents.sqlite"
    os.truncate(database, database.stat().st_size - 4096 * pages)
    health = nf.check(made)
    assert [problem.file for problem in health.problems] == [str(database)]
    repaired = nf.repair(made, Encoder())
    assert nf.check(made).ok
    documents, _ = contents(made)
    assert documents == {name: truth[0][name] for name in documents}
    unnamed = set(truth[0]) - set(documents) - set(repaired.lost)
    assert not unnamed or not repaired.complete
    assert not set(documents) & set(repaired.lost)
    with nf.open(made, encoder=Encoder()) as col:  # it goes on
        assert col.add("another")[0] not in truth[0] or not repaired.complete


def test_a_database_that_cannot_be_mended_is_left_alone(made, tmp_path):
    with nf.open(tmp_path / "other.nf", encoder=Encoder()) as col:
        col.add([f"other {i}" for i in range(100)])
    shutil.copy(tmp_path / "other.nf" / "documents.sqlite", made)
    assert {Path(problem.file).name for problem in nf.check(made).problems} >= {"manifest.json", "000000.vec"}
    with pytest.raises(nf.CorruptCollection, match="another collection"):
        nf.repair(made, Encoder())
    assert list((made / "damaged").iterdir()) == []
    (made / "documents.sqlite").unlink()
    assert nf.check(made).problems[-1].what.startswith("is missing")
    with pytest.raises(nf.CorruptCollection, match=r"documents.sqlite is missing"):
        nf.repair(made, Encoder())


def test_files_of_another_collection_are_named_and_set_aside(made, truth, tmp_path):
    with nf.open(tmp_path / "other.nf", encoder=Encoder()) as col:
        col.add([f"other {i}" for i in range(100)])
    shutil.copy(tmp_path / "other.nf" / "manifest.json", made)
    shutil.copy(vec(tmp_path / "other.nf", 1), vec(made, 1))
    named = {problem.file for problem in nf.check(made).problems}
    assert named == {str(made / "manifest.json"), str(vec(made, 1))}
    repaired = nf.repair(made, Encoder())
    assert (Path(repaired.remains) / f"{1 + numbers(made)[0]:06d}.vec").exists() or repaired.rebuilt
    assert (repaired.lost, nf.check(made).ok, contents(made)) == ({}, True, truth)


def test_a_repair_that_was_cut_off_before_the_swap_is_finished(made, truth):
    database, log = made / "documents.sqlite", made / "documents.sqlite-wal"
    whole = database.read_bytes()
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("INSERT INTO deletions VALUES (1000000, 1)")
    of_the_old_file = log.read_bytes()
    connection.close()
    flip(database, 3)
    (made / "documents.sqlite.repaired").write_bytes(whole)
    log.write_bytes(of_the_old_file)
    assert nf.repair(made).rebuilt == ["documents.sqlite, which an earlier repair had made"]
    assert not (made / "documents.sqlite.repaired").exists()
    with nf.open(made, encoder=Encoder()) as col, col._engine._database.reading() as connection:
        assert connection.execute("SELECT * FROM deletions WHERE key = 1000000").fetchall() == []
    assert contents(made) == truth


def left_by_a_killed_writer(made, *transactions):
    """A copy of a collection with transactions in the log, each adding keys to a table, and the log's lengths."""
    log = made / "documents.sqlite-wal"
    connection = sqlite3.connect(made / "documents.sqlite", isolation_level=None)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    lengths = []
    for keys in transactions:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO deletions VALUES (?, 1)", [(key,) for key in keys])
        connection.execute("COMMIT")
        lengths.append(log.stat().st_size)
    killed = shutil.copytree(made, made.parent / "killed.nf")
    connection.close()
    return killed, killed / log.name, lengths


def test_a_log_that_a_killed_writer_left_and_that_is_damaged_is_reported(made, truth):
    """SQLite ends reading at a damaged frame, and forgets what was committed behind it, without a word."""
    killed, log, _ = left_by_a_killed_writer(made, *([key] for key in range(1000, 1020)))
    assert nf.check(killed).ok
    whole = log.read_bytes()
    assert len(whole) > 20 * 4120
    for byte in (5, 17, 32 + 9, 32 + 18, 32 + 4120 + 500, len(whole) // 2):
        flip(log, byte)
        (problem,) = nf.check(killed).problems
        assert problem.file == str(log)
        assert problem.what.endswith("is lost")
        assert log.exists()  # a check changes nothing
        flip(log, byte)
    os.truncate(log, len(whole) - 100)  # as a loss of power may leave it
    assert nf.check(killed).ok
    flip(log, len(whole) // 2)
    repaired = nf.repair(killed, Encoder())
    assert (repaired.lost, repaired.complete, nf.check(killed).ok) == ({}, False, True)
    assert contents(killed) == truth


def test_a_log_whose_last_transaction_was_torn_into_litter_is_whole(made):
    """A sector may begin within a frame's header, and hold anything before the header's second half."""
    killed, log, (acknowledged, length) = left_by_a_killed_writer(made, [1000], range(2000, 4000))
    assert length > acknowledged + 3 * 4120
    with log.open("r+b") as file:
        file.seek(acknowledged)
        file.write(b"\x81litter!")  # the page, and the database's size: 0x74657221 pages
    assert nf.check(killed).ok


def test_a_flipped_bit_in_what_a_committed_frame_says_is_reported(made):
    killed, log, _ = left_by_a_killed_writer(made, *([key] for key in range(1000, 1004)))
    content = log.read_bytes()
    commits = [at for at in range(32, len(content), 4120) if content[at + 4 : at + 8] != bytes(4)]
    assert len(commits) >= 4
    for byte in (0, 4, 6, 7):  # of the page, and of the database's size
        flip(log, commits[-2] + byte)
        (problem,) = nf.check(killed).problems
        assert "is lost" in problem.what
        flip(log, commits[-2] + byte)
    assert nf.check(killed).ok


def test_repair_waits_for_nobody(made):
    flip(made / "documents.sqlite", 3)
    with nf.open(made.parent / "other.nf", encoder=Encoder()) as col:
        col.add("held")
        with pytest.raises(nf.Locked):
            nf.repair(made.parent / "other.nf")


# -- tables that contradict each other -------------------------------------------------------------------------------


def sum_again(connection, doc_id):
    row = connection.execute(
        "SELECT key, doc_id, title, text, metadata, spans FROM documents JOIN texts USING (key) WHERE doc_id = ?",
        (doc_id,),
    ).fetchone()
    connection.execute("UPDATE documents SET text_sum = ? WHERE doc_id = ?", (text_sum(*row), doc_id))


KEY = "(SELECT key FROM documents WHERE doc_id = 'd3-5')"
PLACE = "(first_row, vector_sum) = (SELECT first_row, vector_sum FROM documents WHERE doc_id = 'g5')"
CONTRADICTIONS = {
    f"UPDATE documents SET {PLACE} WHERE doc_id = 'g6'": ["g6"],
    "UPDATE documents SET first_row = first_row + 1000000 WHERE doc_id = 'g6'": ["g6"],
    "UPDATE documents SET first_row = first_row + 1000000 WHERE doc_id = 'd3-5'": [],
    "UPDATE documents SET n_rows = 0 WHERE doc_id = 'd3-5'": ["d3-5"],
    "UPDATE documents SET vector_sum = 'x' WHERE doc_id = 'd3-5'": ["d3-5"],
    "UPDATE documents SET encoded = 2 WHERE doc_id = 'd3-5'": ["d3-5"],
    "UPDATE segments SET rows = rows - 1": [],
    "UPDATE segments SET first_row = 0": [],
    "DELETE FROM segments": [],
    "UPDATE state SET next_key = 5": [],
    "UPDATE state SET next_segment = 0": [],
    "UPDATE state SET generation = 1": [],
    "UPDATE state SET generation = 'x'": [],
    "UPDATE state SET identity = '00000000000000000000000000000000'": [],
    "DELETE FROM state": [],
    f"INSERT INTO deletions VALUES ({KEY}, 3)": [],
    "INSERT INTO moves VALUES (99999, 3)": [],
    f"DELETE FROM texts WHERE key = {KEY}": ["d3-5"],
    f"UPDATE texts SET text = CAST(text AS BLOB) WHERE key = {KEY}": ["d3-5"],
    f"UPDATE texts SET title = 'another' WHERE key = {KEY}": ["d3-5"],
    "INSERT INTO texts VALUES (99999, '', 'of nobody', NULL)": ["key 99999"],
    "UPDATE settings SET value = '2.0' WHERE name = 'recall'": [],
    "DELETE FROM settings WHERE name = 'dimension'": [],
    "UPDATE documents SET metadata = '[]' WHERE doc_id = 'd3-5'": ["d3-5"],
    f"UPDATE texts SET spans = '[[0, 99999]]' WHERE key = {KEY}": ["d3-5"],
    f"UPDATE texts SET spans = '[[0, 5], [6, 7], [7, 8], [8, 9]]' WHERE key = {KEY}": ["d3-5"],
    "DROP INDEX moves_by_generation": [],
    "ALTER TABLE bookmarks ADD COLUMN more TEXT": [],
    "PRAGMA user_version = 7": [],
}


@pytest.mark.parametrize("statement", CONTRADICTIONS)
def test_tables_that_contradict_each_other(made, truth, statement):
    connection = sqlite3.connect(made / "documents.sqlite", isolation_level=None)
    connection.execute(statement)
    if "metadata" in statement or "spans" in statement:
        sum_again(connection, "d3-5")
    connection.close()
    assert str(made / "documents.sqlite") in {problem.file for problem in nf.check(made).problems} or (
        "identity" in statement
    )
    assert not nf.check(made).ok
    repaired = nf.repair(made, Encoder())
    assert list(repaired.lost) == CONTRADICTIONS[statement]
    expected = {name: document for name, document in truth[0].items() if name not in repaired.lost}
    assert contents(made)[0] == expected
    assert nf.check(made).ok


def test_vectors_of_another_length_are_reported(made):
    place = next(i for i, number in enumerate(numbers(made)) if "g5" in rows_of(made, number))
    connection = sqlite3.connect(made / "documents.sqlite", isolation_level=None)
    (row,) = connection.execute(
        "SELECT documents.first_row - segments.first_row FROM documents, segments WHERE doc_id = 'g5' AND number = ?",
        (numbers(made)[place],),
    ).fetchone()
    for factor, ok in ((1.0005, True), (1.002, False), (0.998, False), (np.nan, False), (0.0, True)):
        with vec(made, place).open("r+b") as stream:
            stream.seek(64 + row * 4 * DIMENSION)
            vector = np.zeros(DIMENSION, "<f4")
            vector[5] = factor
            stream.write(vector.tobytes())
        connection.execute("UPDATE documents SET vector_sum = ? WHERE doc_id = 'g5'", (zlib.crc32(vector.tobytes()),))
        health = nf.check(made)
        assert health.ok == ok
        if not ok:
            (problem,) = health.problems
            assert (problem.file, problem.doc_ids) == (str(vec(made, place)), ["g5"])
            assert "unit length" in problem.what
    connection.close()


# -- every bit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["documents.sqlite", "vectors", "manifest.json", "columns", "lexical"])
def test_a_flipped_bit_is_reported_or_changes_nothing(origin, truth, tmp_path, file):
    rng = random.Random(file)
    made = tmp_path / "made.nf"
    reported = 0
    for _ in range(16 if file != "documents.sqlite" else 40):
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(origin[0], made)
        files = [part for part in sorted(made.glob(file + "*")) + sorted((made / file).rglob("*")) if part.is_file()]
        chosen = rng.choice([part for part in files if part.stat().st_size and part.suffix != ".lock"])
        where = (chosen, rng.randrange(chosen.stat().st_size), rng.randrange(8))
        flip(*where)
        if nf.check(made).ok:
            assert contents(made) == truth, where
            continue
        reported += 1
        repaired = nf.repair(made, Encoder())
        assert nf.check(made).ok, where
        documents, _ = contents(made)
        kept = {name: document for name, document in truth[0].items() if name not in repaired.lost}
        assert documents == kept, where
    assert reported >= 3


# -- beside others ---------------------------------------------------------------------------------------------------


def test_a_check_beside_a_writer_finds_nothing(tmp_path, monkeypatch):
    from nearfield.engine.local import compaction

    monkeypatch.setattr(compaction, "LEAST_DEAD", 8)
    stop = threading.Event()
    with nf.open(tmp_path / "busy.nf", encoder=Encoder()) as col:
        col.add([nf.Document(f"text {i}", str(i), "", {"n": i % 5}) for i in range(200)])

        def write():
            for i in range(10_000):
                if stop.is_set():
                    return
                col.upsert(
                    [nf.Document(f"text {i} {j}", str(j), "", {"n": j % 5}) for j in range(i % 100, i % 100 + 60)]
                )

        writer = threading.Thread(target=write)
        writer.start()
        try:
            found = [nf.check(tmp_path / "busy.nf") for _ in range(12)]
        finally:
            stop.set()
            writer.join()
        assert [health.problems for health in found] == [[]] * 12
        assert found[-1].generation > found[0].generation
        assert {health.documents for health in found} == {200}
        assert nf.check(tmp_path / "busy.nf").ok


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_can_be_checked(made):
    folders = [made, *(path for path in made.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert nf.check(made).ok
    finally:
        for folder in folders:
            folder.chmod(0o755)


# -- commands --------------------------------------------------------------------------------------------------------


def run(capsys, *words):
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_commands(made, capsys, truth):
    code, out, err = run(capsys, "check", made)
    assert (code, err) == (0, "")
    assert out == f"{made}: 110 documents with {nf.check(made).passages:,} passages: nothing is wrong.\n"
    assert run(capsys, "repair", made)[:2] == (0, f"{made}: 110 documents; nothing was wrong.\n")
    database = made / "documents.sqlite"
    flip(database, at(database, b"word7 of batch 3") + 2)
    (made / "lexical" / "marker.json").write_text("{")
    code, out, err = run(capsys, "check", made)
    assert (code, err) == (6, "")
    assert f"{database}: a document is not what was written (its checksum differs): 'd3-7'\n" in out
    assert out.endswith("1 problems; see `nearfield repair`.\n")
    code, out, err = run(capsys, "check", made, "--json")
    assert (code, json.loads(out)) == (6, nf.check(made).to_dict())
    code, out, err = run(capsys, "repair", made, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["lost"] == {"d3-7": "is not what was written (its checksum differs)"}
    assert json.loads(out)["documents"] == 109
    flip(vec(made, 0), 20)
    code, out, err = run(capsys, "repair", made)
    assert "Made anew: vectors/" in out
    assert out.endswith(f"{made}: 109 documents; nothing is lost.\n")
    assert run(capsys, "check", made)[0] == 0
    assert run(capsys, "check", made / "none")[0] == 3
