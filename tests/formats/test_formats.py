"""Collections of every format version, as they were written then, open today; and the page that describes the files."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import sqlite3
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfield as nf
from forking import fork
from nearfield.engine.local import layout, migration
from nearfield.stages import stage

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
VERSIONS = sorted(folder.name for folder in HERE.glob("v[0-9]*"))


def load(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Counting = load(ROOT / "scripts" / "make_frozen_collection.py").Counting


def expected_of(version: str) -> dict[str, Any]:
    return json.loads((HERE / version / "expected.json").read_text(encoding="utf-8"))


def copy_of(version: str, target: Path) -> Path:
    shutil.copytree(HERE / version / "collection", target)
    return target


@pytest.fixture(params=VERSIONS)
def frozen(request, tmp_path):
    """A copy of a frozen collection, and what must be found in it."""
    return copy_of(request.param, tmp_path / "col.nf"), expected_of(request.param)


def assert_holds(col: nf.Collection, expected: dict[str, Any]) -> None:
    assert [[d.doc_id, d.title, d.text, d.metadata] for d in col] == expected["documents"]
    assert len(col) == len(expected["documents"])
    assert col.stats().passages == expected["passages"]
    for query, ranking in expected["semantic"].items():
        hits = col.search(query, k=len(ranking), mode="semantic")
        assert [hit.doc_id for hit in hits] == [name for name, _ in ranking]
        np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in ranking], rtol=0, atol=1e-6)
    for query, names in expected["lexical"].items():
        assert sorted(col.search(query, k=99, mode="lexical").doc_ids) == names
    assert sorted(col.doc_ids(where={"year": {"$gte": 2004}})) == expected["recent"]
    assert sorted(col.search("cats", k=99, where={"year": {"$gte": 2004}}).doc_ids) == expected["recent"]
    if "nested" in expected:
        assert sorted(col.doc_ids(where={"nested.even": True})) == expected["nested"]


def test_the_present_format_is_frozen():
    assert f"v{layout.VERSION}" in VERSIONS
    assert "v1" in VERSIONS


def test_a_frozen_collection_is_read(frozen):
    folder, expected = frozen
    for _ in range(2):
        with nf.open(folder, encoder=Counting(), create=False) as col:
            assert_holds(col, expected)
            assert col.stats().format == layout.VERSION
            assert col.check().problems == []
        assert nf.check(folder).problems == []


def test_a_frozen_collection_is_written_to(frozen):
    folder, expected = frozen
    old = {file: file.read_bytes() for file in (folder / "vectors").iterdir()}
    with nf.open(folder, encoder=Counting()) as col:
        col.add({"doc_id": "new", "text": "a zebra", "year": 1900})
        col.upsert({"doc_id": "doc 3", "text": "changed"})
        col.delete(["doc 4", "given"])
    # Rows are appended to the newest segment, unless it is of version 1.
    sizes = [file.stat().st_size - len(content) for file, content in old.items()]
    assert sum(sizes) == (0 if b"\1\0\0\0" in old[min(old)][:12] else 2 * 64)
    wanted = [d for d in expected["documents"] if d[0] not in ("doc 3", "doc 4", "given")]
    wanted += [["new", "", "a zebra", {"year": 1900}], ["doc 3", "", "changed", {}]]
    for compacting in (False, True):
        with nf.open(folder, encoder=Counting()) as col:
            if compacting:
                assert col.compact().dead_passages == 0
            assert [[d.doc_id, d.title, d.text, d.metadata] for d in col] == wanted
            assert col.search("zebra", mode="lexical").doc_ids == ["new"]
            assert col.search("a zebra", k=1, mode="semantic").doc_ids == ["new"]
            assert col.search("changed", k=1, mode="semantic").doc_ids == ["doc 3"]
            for query, ranking in expected["semantic"].items():
                scores = {hit.doc_id: hit.score for hit in col.search(query, k=99, mode="semantic")}
                for name, score in ranking:
                    assert name in ("doc 3", "doc 4", "given") or scores[name] == pytest.approx(score, abs=1e-6)
        assert nf.check(folder).problems == []


def test_unchanged_documents_of_version_2_are_not_encoded_again(tmp_path):
    """What an upsert needs to know is kept in the files; version 1 did not keep it."""
    folder, expected = copy_of("v2", tmp_path / "col.nf"), expected_of("v2")
    documents = [
        {"doc_id": doc_id, "title": title, "text": text, "metadata": metadata}
        for doc_id, title, text, metadata in expected["documents"]
        if doc_id != "given"
    ]

    class Refusing(Counting):
        def encode_documents(self, texts: list[str]) -> np.ndarray:
            raise AssertionError(f"{len(texts)} texts were encoded")

    with nf.open(folder, encoder=Refusing()) as col:
        generation = col.generation
        col.upsert(documents)
        assert col.generation == generation


def test_an_ingestion_that_was_cut_off_goes_on(tmp_path):
    made = load(ROOT / "scripts" / "make_frozen_collection.py")
    with nf.open(copy_of("v2", tmp_path / "col.nf"), encoder=Counting()) as col:
        done = col.ingest(made.documents(range(50, 60)), batch_size=2, source="a list that was cut off")
        assert (done.resumed, done.written) == (4, 6)
        assert "doc 51" not in col  # it was stored, and deleted since
        assert col.get("doc 59").text == made.text(59)


def with_sum(content: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON file's content with its checksum, as docs/formats.md defines it."""
    others = {name: value for name, value in content.items() if name != "crc32"}
    return {**others, "crc32": zlib.crc32(json.dumps(others, sort_keys=True).encode())}


@pytest.mark.parametrize("summed", [False, True])
def test_a_newer_format_is_refused_and_left_alone(frozen, summed):
    folder, _ = frozen
    manifest = {"format": "nearfield", "version": 3, "id": "0" * 32, "new": 1}
    (folder / "manifest.json").write_text(json.dumps(with_sum(manifest) if summed else manifest))
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(nf.IncompatibleFormat, match="version 3"):
        nf.open(folder, encoder=Counting())
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


# -- migration ---------------------------------------------------------------------------------------------------------


def kill_before(beginning: str) -> None:
    """Kill this process when the migration is about to execute a statement."""
    original = migration.Database.writer

    def watched(self: Any) -> sqlite3.Connection:
        connection = original(self)
        connection.set_trace_callback(lambda sql: sql.strip().startswith(beginning) and kill())
        return connection

    migration.Database.writer = watched


def kill_within_vacuum() -> None:
    original = migration.Database.writer

    def watched(self: Any) -> sqlite3.Connection:
        connection = original(self)
        connection.set_trace_callback(lambda sql: sql == "VACUUM" and connection.set_progress_handler(kill, 300))
        return connection

    migration.Database.writer = watched


def kill_at_stage(edge: str) -> None:
    method = {"before": "__enter__", "after": "__exit__"}[edge]
    setattr(stage, method, lambda self, *_: self._name == "write manifest" and kill())


def kill_before_the_swap() -> None:
    Path.replace = lambda self, target: kill()


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


KILLS = {
    "before the first change": lambda: kill_before("ALTER TABLE"),
    "before a new table": lambda: kill_before("CREATE TABLE"),
    "before a checksum": lambda: kill_before("UPDATE documents"),
    "before the identity": lambda: kill_before("UPDATE state"),
    "before the version": lambda: kill_before("PRAGMA user_version = "),
    "before the commit": lambda: kill_before("COMMIT"),
    "after the commit": lambda: kill_before("PRAGMA auto_vacuum"),
    "before the vacuum": lambda: kill_before("VACUUM"),
    "within the vacuum": kill_within_vacuum,
    "after the vacuum": lambda: kill_before("SELECT identity"),
    "before the manifest": lambda: kill_at_stage("before"),
    "before the manifest's swap": kill_before_the_swap,
    "after the manifest": lambda: kill_at_stage("after"),
}


@pytest.mark.parametrize("moment", KILLS)
def test_a_migration_that_was_killed_is_done_by_the_next_opening(tmp_path, moment):
    folder = copy_of("v1", tmp_path / "col.nf")

    def work() -> None:
        KILLS[moment]()
        nf.open(folder, encoder=Counting())

    assert fork(work) == -signal.SIGKILL
    written = json.loads((folder / "manifest.json").read_text())["version"]
    assert written == (layout.VERSION if moment == "after the manifest" else 1)
    with nf.open(folder, encoder=Counting()) as col:
        assert_holds(col, expected_of("v1"))
        col.add({"doc_id": "new", "text": "a zebra"})
    assert json.loads((folder / "manifest.json").read_text())["version"] == layout.VERSION
    assert nf.check(folder).problems == []


def test_damaged_vectors_of_version_1_are_not_given_a_good_checksum_by_its_size(tmp_path):
    """Version 1 had no checksums: a segment that is too short is all that can be noticed, and is."""
    folder = copy_of("v1", tmp_path / "col.nf")
    segment = folder / "vectors" / "000000.vec"
    segment.write_bytes(segment.read_bytes()[:-4])
    with pytest.raises(nf.CorruptCollection, match=re.escape(str(segment))):
        nf.open(folder, encoder=Counting())
    assert json.loads((folder / "manifest.json").read_text())["version"] == 1


@pytest.fixture
def public_folder():
    """A folder in which anybody may read: a test's own is closed to others."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def without_rights(folder: Path, work: Callable[[], None]) -> int:
    """Do some work as somebody who may read a folder, and not write it."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)

    def unprivileged() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        assert not os.access(folder, os.W_OK)
        work()

    try:
        return fork(unprivileged)
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_version_1_that_can_not_be_written_is_refused(public_folder):
    folder = copy_of("v1", public_folder / "col.nf")

    def work() -> None:
        with pytest.raises(nf.IncompatibleFormat, match="older format"):
            nf.open(folder, encoder=Counting())

    assert without_rights(folder, work) == 0
    with nf.open(folder, encoder=Counting()) as col:
        assert_holds(col, expected_of("v1"))


def test_the_present_version_is_read_where_nothing_can_be_written(public_folder):
    version = f"v{layout.VERSION}"
    expected = expected_of(version)

    def read(folder: Path) -> None:
        with nf.open(folder, encoder=Counting()) as col:
            assert [d.doc_id for d in col] == [doc_id for doc_id, *_ in expected["documents"]]
            for query, ranking in expected["semantic"].items():
                hits = col.search(query, k=len(ranking), mode="semantic")
                assert hits.doc_ids == [name for name, _ in ranking]

    read(copy_of(version, public_folder / "writable.nf"))  # and imports what the child may have no right to
    folder = copy_of(version, public_folder / "col.nf")
    assert without_rights(folder, lambda: read(folder)) == 0


# -- docs/formats.md ---------------------------------------------------------------------------------------------------


def reader_of_the_page() -> Callable[[Path], Any]:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    lines = [line for line in code.splitlines() if line.strip()]
    imports = [line for line in lines if re.match(r"(import|from) ", line)]
    assert imports == ["import json", "import sqlite3", "from pathlib import Path", "import numpy as np"]
    assert len(lines) <= 20
    names: dict[str, Any] = {}
    exec(code, names)
    return names["read_collection"]


def best(rows: list[Any], query: str, k: int) -> list[tuple[str, float]]:
    (vector,) = Counting().encode_queries([query])
    vector = vector / np.linalg.norm(vector)
    scores = [(doc_id, float((vectors @ vector).max())) for doc_id, _, _, vectors in rows]
    return sorted(scores, key=lambda pair: (-round(pair[1], 6), pair[0]))[:k]


@pytest.mark.parametrize("opened", [False, True])
def test_the_reader_of_the_page_reads_frozen_collections(frozen, opened):
    folder, expected = frozen
    if opened:  # migrated by then, if it is old
        nf.open(folder, encoder=Counting()).close()
    rows = list(reader_of_the_page()(folder))
    assert [[doc_id, text, metadata] for doc_id, text, metadata, _ in rows] == [
        [doc_id, text, metadata] for doc_id, _, text, metadata in expected["documents"]
    ]
    assert sum(len(vectors) for *_, vectors in rows) == expected["passages"]
    for query, ranking in expected["semantic"].items():
        found = dict(best(rows, query, len(rows)))
        np.testing.assert_allclose([found[name] for name, _ in ranking], [s for _, s in ranking], rtol=0, atol=1e-5)
        assert [score for _, score in best(rows, query, len(ranking))] == pytest.approx([s for _, s in ranking])


def test_the_reader_of_the_page_reads_beside_a_writer(tmp_path):
    read = reader_of_the_page()
    with nf.open(tmp_path / "a.nf", encoder=Counting()) as col:
        assert list(read(tmp_path / "a.nf")) == []
        col.add([{"doc_id": f"d{i}", "text": f"{i} " * (1 + 7 * i), "n": i} for i in range(9)])
        col.delete("d3")
        col.upsert({"doc_id": "d1", "text": "new"}, vectors=np.full((1, 16), 0.5, np.float32))
        rows = {doc_id: (text, metadata, vectors) for doc_id, text, metadata, vectors in read(tmp_path / "a.nf")}
        assert list(rows) == ["d0", "d2", "d4", "d5", "d6", "d7", "d8", "d1"]
        assert rows["d1"][:2] == ("new", {})
        np.testing.assert_array_equal(rows["d1"][2], np.full((1, 16), 0.25, np.float32))
        with col._engine.view() as view:
            for key, name in zip(view.keys(), rows, strict=True):
                (vectors,) = view.passage_vectors(np.array([key]))
                np.testing.assert_array_equal(rows[name][2], vectors)
        assert len(rows["d8"][2]) > 1


def test_sums_and_headers_are_as_the_page_says(frozen):
    folder, _ = frozen
    nf.open(folder, encoder=Counting()).close()
    vectors_of = {doc_id: vectors for doc_id, _, _, vectors in reader_of_the_page()(folder)}
    db = sqlite3.connect(folder / "documents.sqlite")
    rows = db.execute("SELECT * FROM documents JOIN texts USING (key)").fetchall()
    for key, doc_id, _, n_rows, metadata, _, text_sum, vector_sum, title, text, spans in rows:
        content = f"{key}\0{doc_id}\0{title}\0{text}\0{metadata}\0{spans or ''}"
        assert text_sum == zlib.crc32(content.encode())
        assert vector_sum == zlib.crc32(vectors_of[doc_id].astype("<f4").tobytes())
        assert n_rows == len(json.loads(spans or "[0]")) == len(vectors_of[doc_id])
    content = json.loads((folder / "manifest.json").read_text())
    assert content == with_sum(content)
    identity, next_segment = db.execute("SELECT identity, next_segment FROM state").fetchone()
    assert json.loads((folder / "manifest.json").read_text())["id"] == identity
    (user_version,) = db.execute("PRAGMA user_version").fetchone()
    assert user_version == 2
    for number, count in db.execute("SELECT number, rows FROM segments"):
        content = (folder / "vectors" / f"{number:06d}.vec").read_bytes()
        assert (len(content) - 64) % 64 == 0
        assert len(content) >= 64 + count * 64
        assert number < next_segment
        fields = struct.pack("<8sIIQ16s", b"NEARFVEC", 2, 16, number, bytes.fromhex(identity))
        of_1 = struct.pack("<8sII", b"NEARFVEC", 1, 16) + bytes(48)
        assert content[:64] in (fields + struct.pack("<I", zlib.crc32(fields)) + bytes(20), of_1)
    db.close()


def test_what_is_derived_can_be_removed(frozen):
    folder, expected = frozen
    for name in ("lexical", "columns"):
        with nf.open(folder, encoder=Counting()) as col:
            assert_holds(col, expected)
        shutil.rmtree(folder / name, ignore_errors=True)
    with nf.open(folder, encoder=Counting()) as col:
        assert_holds(col, expected)


def test_the_frozen_collection_of_version_2_has_every_kind_of_content(tmp_path):
    folder = copy_of("v2", tmp_path / "col.nf")
    db = sqlite3.connect(folder / "documents.sqlite")
    for table, least in {"segments": 3, "deletions": 5, "moves": 5, "bookmarks": 1, "sessions": 2}.items():
        (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert count >= least, table
    assert {encoded for (encoded,) in db.execute("SELECT encoded FROM documents")} == {0, 1}
    (gaps,) = db.execute("SELECT next_segment - (SELECT count(*) FROM segments) FROM state").fetchone()
    assert gaps > 0
    assert all(first % 2**14 == 0 for (first,) in db.execute("SELECT first_row FROM segments"))
    db.close()
    for marker in (folder / "columns" / "marker.json", folder / "lexical" / "marker.json"):
        content = json.loads(marker.read_text())
        assert content == with_sum(content)
        for name, (size, checksum) in content["files"].items():
            file = (marker.parent / content["folder"] / name).read_bytes()
            assert (len(file), zlib.crc32(file)) == (size, checksum)
    assert expected_of("v2")["dead_passages"] > 0
