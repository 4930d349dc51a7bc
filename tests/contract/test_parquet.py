"""Export and import as Parquet: what other tools read, and what comes back."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nearfield as nf
from nearfield import parquet
from nearfield.cli import main
from nearfield.parquet import exports, importing, layout, writing

LONG = "Learn Python. Then 😀 learn clustering. And last of all, recommend films to people whom you know. " * 3
METADATA = [
    {
        "year": 2024,
        "rating": 1.0,
        "open": True,
        "none": None,
        "tags": ["a", 1, 1.0, True, None, {"x": []}],
        "": "empty",
    },
    {"year": 2023.0, "rating": 1, "open": False, "größe": '機械 😀 \u2028 \\ "quoted"\n', "deep": {"a": {"b.c": {}}}},
    {},
    {"year": "2024", "big": 2**1000, "small": 5e-324, "large": 1.7976931348623157e308, "third": 1 / 3, "zero": -0.0},
]


class Encoder:
    """Numbers from the characters of a text; a passage holds eight words."""

    name = "characters"
    dimension = 24
    max_tokens: int | None = 16

    def __init__(self, fingerprint: str = "characters-1") -> None:
        self.fingerprint = fingerprint
        self.encoded = 0

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def encode_documents(self, texts):
        self.encoded += len(texts)
        return np.array([[np.sin(1 + i * sum(map(ord, text))) for i in range(24)] for text in texts], np.float32)

    encode_queries = encode_documents


def fill(collection: nf.Collection) -> None:
    texts = ["Learn Python.", LONG, "", "Recommend films."]
    collection.add(
        [nf.Document(text, f"d{i}", "A title" if i != 1 else "", METADATA[i]) for i, text in enumerate(texts)]
    )
    vectors = np.array([[3.0] + [0.0] * 22 + [4.0], [0.0] * 24], np.float32)
    collection.add([nf.Document("given", "g/0 \u00e9"), nf.Document("zero", "g1", "", {"year": 7})], vectors=vectors)
    collection.add(nf.Document("Learn Rust.", "d7"))
    collection.delete("d0")
    collection.upsert(nf.Document("Learn Python.", "d0", "A title", METADATA[0]))


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A folder with a collection and its export, which tests copy."""
    folder = tmp_path_factory.mktemp("origin")
    with nf.open(folder / "made.nf", encoder=Encoder(), recall=0.9) as collection:
        fill(collection)
        assert collection.export_parquet(folder / "made.parquet") == 7
    return folder


@pytest.fixture
def made(origin, tmp_path):
    shutil.copytree(origin / "made.nf", tmp_path / "made.nf")
    with nf.open(tmp_path / "made.nf", encoder=Encoder()) as collection:
        yield collection


@pytest.fixture
def file(origin, tmp_path):
    return Path(shutil.copy(origin / "made.parquet", tmp_path))


def contents(collection: nf.Collection):
    """Return all that a collection stores, in order, so that == compares it: vectors as bytes, metadata with types."""
    with collection._engine.view() as view:
        keys = view.keys()
        stored = view.read(keys)
        vectors = [(part.shape, part.tobytes()) for part in view.passage_vectors(keys)]
    return [
        (one.doc_id, one.title, one.text, repr(one.metadata), one.spans, one.encoded, vector)
        for one, vector in zip(stored, vectors, strict=True)
    ]


def as_stored(row: exports.Row):
    """Return a row of an export as `contents` does."""
    document, vectors = row.record.document, row.record.vectors
    named = (document.doc_id, document.title, document.text, repr(document.metadata))
    return (*named, row.record.spans, row.encoded, (vectors.shape, vectors.tobytes()))


def rewritten(file: Path, change) -> Path:
    """Write an export anew with another table, its description kept."""
    table = pq.read_table(file)
    target = file.with_name("changed.parquet")
    pq.write_table(change(table), target, row_group_size=3)
    return target


def with_column(name: str, values, kind=None):
    def change(table):
        at = table.schema.names.index(name)
        kept = kind or pa.array([], table.schema.field(name).type).type
        return table.set_column(at, pa.field(name, kept), pa.array(values(table[name].to_pylist()), kept))

    return change


def described(**changes):
    """Change what a file says of itself, with its checksum unless that is changed too."""

    def change(table):
        fields = json.loads(table.schema.metadata[b"nearfield"]) | changes
        if "crc32" not in changes:
            del fields["crc32"]
            fields["crc32"] = zlib.crc32(json.dumps(fields, sort_keys=True).encode())
        return table.replace_schema_metadata({"nearfield": json.dumps(fields)})

    return change


# -- what other tools read ------------------------------------------------------------------------------------------


def test_pandas_reads_every_document_and_the_exact_vectors(made, file):
    frame = pd.read_parquet(file)
    assert list(frame.columns) == ["doc_id", "title", "text", "metadata", "spans", "vectors", "encoded"]
    assert list(frame.doc_id) == ["d1", "d2", "d3", "g/0 é", "g1", "d7", "d0"]
    assert list(frame.text) == [made.get(doc_id).text for doc_id in frame.doc_id]
    assert list(frame.title) == [made.get(doc_id).title for doc_id in frame.doc_id]
    assert json.loads(frame.metadata[6]) == METADATA[0]
    assert "größe" in frame.metadata[0]
    assert list(frame.encoded) == [True, True, True, False, False, True, True]
    passages = frame.explode(["spans", "vectors"])
    texts = [row.text[row.spans["start"] : row.spans["end"]] for row in passages.itertuples()]
    assert len(texts) > 8
    assert texts[0].startswith("Learn Python. Then 😀")
    assert " ".join(texts[:-6]) == LONG.strip()
    found = np.stack(passages.vectors.to_list())
    with made._engine.view() as view:
        expected = np.concatenate(view.passage_vectors(view.keys()))
    assert found.dtype == np.float32
    assert found.tobytes() == expected.tobytes()
    assert found[-4].tolist() == [np.float32(0.6), *[0.0] * 22, np.float32(0.8)]


def test_the_file_says_what_it_is(file):
    found = pq.ParquetFile(file)
    described = json.loads(found.schema_arrow.metadata[b"nearfield"])
    assert described["identity"]["fingerprint"] == described["fingerprint"]
    del described["identity"]
    assert described | {"crc32": 0} == {
        "format": "nearfield documents",
        "version": 1,
        "encoder": "characters",
        "fingerprint": "characters-1",
        "dimension": 24,
        "index": "auto",
        "recall": 0.9,
        "nearfield": nf.__version__,
        "crc32": 0,
    }
    assert not any(field.nullable for field in found.schema_arrow)
    assert found.schema_arrow.field("vectors").type.value_type.list_size == 24
    columns = [found.metadata.row_group(0).column(i) for i in range(found.metadata.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    assert "BYTE_STREAM_SPLIT" in next(c for c in columns if c.path_in_schema == layout.VALUES_OF_VECTORS).encodings


def test_a_condition_chooses_documents(made, tmp_path):
    assert made.export_parquet(tmp_path / "some.parquet", where={"year": {"$in": [2023, 7]}}) == 2
    assert pd.read_parquet(tmp_path / "some.parquet").doc_id.to_list() == ["d1", "g1"]
    assert made.export_parquet(str(tmp_path / "none.parquet"), where={"year": 1}) == 0
    assert len(pd.read_parquet(tmp_path / "none.parquet")) == 0
    with pytest.raises(nf.InvalidInput, match=r"\$near"):
        made.export_parquet(tmp_path / "bad.parquet", where={"year": {"$near": 1}})
    assert not (tmp_path / "bad.parquet").exists()


# -- round trips ----------------------------------------------------------------------------------------------------


def test_everything_comes_back_and_nothing_is_encoded(made, file, tmp_path):
    encoder = Encoder()
    with nf.open(tmp_path / "back.nf", encoder=encoder) as back:
        assert back.import_parquet(file) == 7
        assert contents(back) == contents(made)
        assert encoder.encoded == 0
        assert back._engine.settings == replace(made._engine.settings, recall=0.95)
        for mode in ("semantic", "lexical", "hybrid"):
            assert back.search("learn clustering", mode=mode) == made.search("learn clustering", mode=mode)
        back.add("numbered")
        assert back.doc_ids()[-1] == "0"


def test_small_row_groups_and_batches_change_nothing(made, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "READ_AT_ONCE", 2)
    monkeypatch.setattr(writing, "GROUP_BYTES", 1)
    monkeypatch.setattr(exports, "READ_AT_ONCE", 3)
    monkeypatch.setattr(importing, "BATCH", 2)
    steps: list[tuple[int, int]] = []
    made.export_parquet(tmp_path / "a.parquet", progress=lambda *step: steps.append(step))
    assert steps == [(2, 7), (4, 7), (6, 7), (7, 7)]
    groups = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [2, 2, 2, 1]
    with nf.open(tmp_path / "back.nf", encoder=Encoder()) as back:
        steps.clear()
        assert back.import_parquet(tmp_path / "a.parquet", progress=lambda *step: steps.append(step)) == 7
        # A batch is of one kind: d1 d2 | d3 | g0 g1 | d7 d0
        assert steps == [(2, 7), (3, 7), (5, 7), (7, 7)]
        assert contents(back) == contents(made)


def test_batches_are_bounded_in_bytes(made, file, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "BATCH_BYTES", 1)
    steps: list[int] = []
    with nf.open(tmp_path / "back.nf", encoder=Encoder()) as back:
        back.import_parquet(file, progress=lambda done, _: steps.append(done))
    assert steps == [1, 2, 3, 4, 5, 6, 7]


def test_neither_way_holds_the_file_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "GROUP_BYTES", 1 << 20)
    monkeypatch.setattr(exports, "BUFFER", 1 << 16)
    monkeypatch.setattr(exports, "READ_AT_ONCE", 64)
    texts = random.Random(0)
    documents = [nf.Document("text", i, metadata={"bulk": texts.randbytes(4000).hex()}) for i in range(2000)]
    before, peaks = pa.total_allocated_bytes(), [0, 0]

    def watch(way: int) -> None:
        peaks[way] = max(peaks[way], pa.total_allocated_bytes() - before)

    with nf.open(tmp_path / "a.nf", encoder=Encoder()) as collection:
        collection.add(documents, vectors=np.ones((2000, 24), np.float32))
        collection.export_parquet(tmp_path / "a.parquet", progress=lambda *_: watch(0))
    with parquet.open_export(tmp_path / "a.parquet") as source:
        for row in source.rows():
            assert row.record.document.metadata == documents[int(str(row.record.document.doc_id))].metadata
            watch(1)
    size = (tmp_path / "a.parquet").stat().st_size
    assert size > 8_000_000
    assert max(peaks) < 0.7 * size, peaks


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NAMES = st.text("ab.$ é機\u2028", max_size=4) | TEXTS
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**1000), 2**1000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    with nf.open(tmp_path_factory.mktemp("scratch") / "a.nf", encoder=Encoder()) as collection:
        yield collection


@settings(max_examples=20, deadline=None)
@given(st.lists(st.dictionaries(NAMES, JSON), min_size=1, max_size=8))
def test_any_metadata_comes_back_with_its_types(scratch, dicts):
    file = Path(scratch._engine.location).with_name("a.parquet")
    documents = [nf.Document("text", i, metadata=fields) for i, fields in enumerate(dicts)]
    scratch.add(documents, vectors=np.eye(24, dtype=np.float32)[: len(dicts)])
    try:
        scratch.export_parquet(file)
        scratch.delete(scratch.doc_ids())
        scratch.import_parquet(file)
        # repr tells 1 from 1.0 from True, and keeps the order of the keys
        assert [repr(document.metadata) for document in scratch] == [repr(fields) for fields in dicts]
    finally:
        scratch.delete(scratch.doc_ids())


def test_an_empty_collection_comes_back_empty(tmp_path):
    with nf.open(tmp_path / "a.nf", encoder=Encoder()) as empty:
        assert empty.export_parquet(tmp_path / "a.parquet") == 0
        assert pd.read_parquet(tmp_path / "a.parquet").columns.to_list() == list(layout.COLUMNS)
        assert empty.import_parquet(tmp_path / "a.parquet") == 0
        assert len(empty) == 0


def test_other_tools_may_write_the_table_anew(made, file, tmp_path):
    """Row groups, encodings, nullability and the size of offsets are theirs to choose."""

    def change(table):
        kinds = {"title": pa.large_string(), "vectors": pa.large_list(pa.large_list(pa.float32()))}
        kinds["spans"] = pa.large_list(pa.struct([("start", pa.int32()), ("end", pa.uint16())]))
        fields = [pa.field(field.name, kinds.get(field.name, field.type)) for field in table.schema]
        changed = pa.table([pa.array(table[f.name].to_pylist(), f.type) for f in fields], schema=pa.schema(fields))
        return changed.replace_schema_metadata(table.schema.metadata).select(list(reversed(layout.COLUMNS)))

    with nf.open(tmp_path / "back.nf", encoder=Encoder()) as back:
        back.import_parquet(rewritten(file, change))
        assert contents(back) == contents(made)


# -- one state, whole or not at all ---------------------------------------------------------------------------------


def test_an_export_is_one_state_whatever_is_written_meanwhile(made, tmp_path, monkeypatch):
    before = contents(made)
    monkeypatch.setattr(writing, "READ_AT_ONCE", 2)

    def meanwhile(done: int, total: int) -> None:
        assert total == 7
        made.add(nf.Document("later", f"later-{done}"))
        made.upsert(nf.Document("replaced", "d7"))
        if "d0" in made:
            made.delete("d0")

    made.export_parquet(tmp_path / "a.parquet", progress=meanwhile)
    assert "d0" not in made
    with nf.open(tmp_path / "back.nf", encoder=Encoder()) as back:
        back.import_parquet(tmp_path / "a.parquet")
        assert contents(back) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_export_leaves_what_was_there(made, tmp_path, error):
    def interrupted(done: int, total: int) -> None:
        raise error

    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(error):
        made.export_parquet(folder / "a.parquet", progress=interrupted)
    assert list(folder.iterdir()) == []
    made.export_parquet(folder / "a.parquet")
    before = (folder / "a.parquet").read_bytes()
    with pytest.raises(error):
        made.export_parquet(folder / "a.parquet", progress=interrupted)
    assert [path.name for path in folder.iterdir()] == ["a.parquet"]
    assert (folder / "a.parquet").read_bytes() == before


def test_a_full_disk_is_a_clear_error(made, file, monkeypatch):
    before = file.read_bytes()
    made.add(nf.Document("one more", "d8"))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(nf.NearfieldError, match=r"made\.parquet failed: No space left on device; no part of a file"):
        made.export_parquet(file)
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.glob(".*")] == []


def test_a_killed_export_leaves_what_was_there_and_the_next_replaces_it(made, file):
    made.add(nf.Document("one more", "d8"))
    code = (
        "import os, signal, sys, nearfield as nf\n"
        "from pathlib import Path\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "nf.open(sys.argv[1], create=False).export_parquet(sys.argv[2])\n"
    )
    words = [sys.executable, "-c", code, made._engine.location, str(file)]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert len(pd.read_parquet(file)) == 7
    assert made.export_parquet(file) == 8
    assert len(pd.read_parquet(file)) == 8


def test_where_an_export_may_go(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "empty.parquet").touch()
    for target, message in [
        ("", "non-empty path"),
        (7, "non-empty path"),
        ("a\0b", "non-empty path"),
        ("none/a.parquet", f"no folder {tmp_path / 'none'}; make it first"),
        (tmp_path, "something else than a file"),
        ("notes.txt", "not Parquet"),
        ("made.nf/a.parquet", "in the collection's own folder"),
        ("made.nf/documents.sqlite", "in the collection's own folder"),
    ]:
        with pytest.raises(nf.InvalidInput, match=message):
            made.export_parquet(target)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert made.export_parquet("empty.parquet") == 7
    (tmp_path / "link.parquet").symlink_to("empty.parquet")
    assert made.export_parquet("link.parquet", where={"year": 7}) == 1
    assert (tmp_path / "link.parquet").is_symlink()
    assert pd.read_parquet(tmp_path / "empty.parquet").doc_id.to_list() == ["g1"]


# -- what does not fit ----------------------------------------------------------------------------------------------


def changed_vector(at: int, change):
    def values(rows):
        rows[at][0] = change(rows[at][0])
        return rows

    return with_column("vectors", values)


def changed_row(name: str, at: int, value, kind=None):
    return with_column(name, lambda rows: [*rows[:at], value, *rows[at + 1 :]], kind)


PLAIN = pa.list_(pa.list_(pa.float32()))
HALF = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64())]))
BAD_ROWS = {
    "another dimension": (
        with_column("vectors", lambda rows: [*rows[:4], [[1.0]], *rows[5:]], PLAIN),
        "row 5: vectors must have the file's 24 dimensions",
    ),
    "not a number": (changed_vector(2, lambda v: [float("nan"), *v[1:]]), "row 3: vectors must be finite"),
    "infinite": (changed_vector(6, lambda v: [*v[:-1], float("-inf")]), "row 7: vectors must be finite"),
    "too long": (changed_vector(0, lambda v: [2 * x for x in v]), "row 1: vectors must have unit length"),
    "slightly short": (changed_vector(5, lambda v: [0.9999 * x for x in v]), "row 6: vectors must have unit length"),
    "a null in a vector": (changed_row("vectors", 1, [[None] * 24], PLAIN), "row 2: vectors must not be null"),
    "a null vector": (changed_row("vectors", 3, [None], PLAIN), "row 4: vectors must not be null"),
    "a missing vector": (changed_row("vectors", 0, [[1.0] + [0.0] * 23]), "row 1: must have a vector for each span"),
    "no passages": (
        lambda t: changed_row("vectors", 4, [])(changed_row("spans", 4, [])(t)),
        "row 5: must have a vector for each span, and at least one",
    ),
    "beyond the text": (
        changed_row("spans", 4, [{"start": 0, "end": 5}]),
        r"row 5: spans must lie within the text of 4 characters, got \[\(0, 5\)\]",
    ),
    "before the text": (changed_row("spans", 4, [{"start": -1, "end": 2}]), "row 5: spans must lie"),
    "end before start": (changed_row("spans", 4, [{"start": 3, "end": 2}]), "row 5: spans must lie"),
    "half a span": (changed_row("spans", 5, [{"start": 0, "end": None}], HALF), "row 6: spans must not be null"),
    "no doc_id": (changed_row("doc_id", 3, None), "row 4: doc_id must not be null"),
    "an empty doc_id": (changed_row("doc_id", 3, ""), "row 4: doc_id must be a non-empty str"),
    "a doc_id twice": (changed_row("doc_id", 6, "d2"), "rows 2 and 7 have the same doc_id 'd2'"),
    "no text": (
        lambda t: changed_row("title", 4, "")(changed_row("text", 4, " ")(t)),
        "row 5: text must have at least one visible",
    ),
    "a NUL": (changed_row("text", 3, "a\0b"), "row 4: text holds a NUL"),
    "metadata no JSON": (
        changed_row("metadata", 2, "{'a': 1}"),
        "row 3: metadata must be a JSON object, got \"{'a': 1}\"",
    ),
    "metadata no object": (changed_row("metadata", 2, "[1]"), "row 3: metadata must be a dict"),
    "metadata not finite": (changed_row("metadata", 2, '{"a": NaN}'), r"row 3: metadata\['a'\] must be a JSON value"),
    "metadata too deep": (changed_row("metadata", 2, '{"a":' * 2000 + "1" + "}" * 2000), "row 3: metadata"),
    "encoded by nothing": (described(fingerprint=None), "row 1: is said to be encoded"),
    "a null": (changed_row("encoded", 1, None), "row 2: encoded must not be null"),
}
BAD_COLUMNS = {
    "a column more": (
        lambda t: t.append_column("topic", [["x"] * len(t)]),
        "must have the columns doc_id, title, .*, got .*, topic",
    ),
    "a column less": (lambda t: t.drop_columns(["spans"]), "must have the columns"),
    "a column twice": (lambda t: t.append_column("text", t["text"]), "must have the columns"),
    "numbers for doc_ids": (
        with_column("doc_id", lambda rows: list(range(len(rows))), pa.int64()),
        "the column doc_id must be string, got integer",
    ),
    "double precision": (
        with_column("vectors", lambda rows: rows, pa.list_(pa.list_(pa.float64()))),
        "the column vectors must be list<list<float32>>, got list<list<double>>",
    ),
    "flat vectors": (
        with_column("vectors", lambda rows: [row[0] for row in rows], pa.list_(pa.float32())),
        "the column vectors must be list<list<float32>>, got list<float32>",
    ),
    "pairs for spans": (
        with_column(
            "spans", lambda rows: [[list(s.values()) for s in r] for r in rows], pa.list_(pa.list_(pa.int64()))
        ),
        "the column spans must be",
    ),
    "no description": (lambda t: t.replace_schema_metadata({}), "no export of a collection; `nearfield add` reads"),
    "another description": (described(format="other"), "damaged: what it says of itself"),
    "a damaged description": (described(encoder="charakters", crc32=1), "damaged: what it says of itself"),
    "no JSON": (lambda t: t.replace_schema_metadata({"nearfield": "{"}), "damaged: what it says of itself"),
    "a list": (lambda t: t.replace_schema_metadata({"nearfield": "[]"}), "damaged: what it says of itself"),
}


@pytest.mark.parametrize("case", [*BAD_ROWS, *BAD_COLUMNS])
def test_a_file_that_does_not_fit_is_refused_whole(file, tmp_path, case):
    change, message = {**BAD_ROWS, **BAD_COLUMNS}[case]
    bad = rewritten(file, change)
    with nf.open(tmp_path / "back.nf", encoder=Encoder()) as back:
        with pytest.raises(nf.InvalidInput, match=message) as caught:
            back.import_parquet(bad)
        assert str(caught.value).startswith(f"{bad}: ")
        assert len(back) == 0
        assert back.generation == 0
    with pytest.raises(nf.InvalidInput, match=message), parquet.open_export(bad) as source:
        parquet.engine_for(tmp_path / "new.nf", source)
    assert main(["import", str(tmp_path / "new.nf"), str(bad)]) == 2
    assert not (tmp_path / "new.nf").exists()


def test_a_newer_format_is_no_damage(file, tmp_path):
    with (
        nf.open(tmp_path / "back.nf") as back,
        pytest.raises(nf.IncompatibleFormat, match=r"version 2, and .* upgrade"),
    ):
        back.import_parquet(rewritten(file, described(version=2)))


def test_a_damaged_file_is_noticed_wherever_the_damage_is(made, file, tmp_path):
    whole = file.read_bytes()
    expected = contents(made)
    damaged = tmp_path / "damaged.parquet"
    noticed = 0
    for at in range(4, len(whole) - 8, max(1, len(whole) // 150)):
        damaged.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            with parquet.open_export(damaged) as source:
                source.check()
                found = [as_stored(row) for row in source.rows()]
                assert source.settings == made._engine.settings
            assert found == expected  # the byte says nothing about them: a statistic, or the name of the writer
        except (nf.InvalidInput, nf.IncompatibleFormat) as error:
            assert str(damaged) in str(error)
            noticed += 1
    assert noticed > 75
    for length in range(0, len(whole), len(whole) // 20):
        damaged.write_bytes(whole[:length])
        with pytest.raises(nf.InvalidInput, match="not a readable Parquet file"), parquet.open_export(damaged):
            pass


def test_what_is_no_export(made, tmp_path):
    (tmp_path / "a.csv").write_text("doc_id,text\n1,one\n")
    pd.DataFrame({"doc_id": ["1"], "text": ["one"], "vector": [[1.0]]}).to_parquet(tmp_path / "frame.parquet")
    for name, message in [
        ("a.csv", "not a readable Parquet file"),
        ("none.parquet", "no file '.*none.parquet'; check the path"),
        ("", "no file"),
        ("frame.parquet", "no export of a collection; `nearfield add` reads the documents"),
    ]:
        with pytest.raises(nf.InvalidInput, match=message):
            made.import_parquet(str(tmp_path / name))
    with pytest.raises(nf.InvalidInput, match="non-empty path, got 3"):
        made.import_parquet(3)
    assert len(made) == 7


# -- encoders, dimensions and existing documents --------------------------------------------------------------------


def test_the_vectors_must_belong_with_those_of_the_collection(file, tmp_path):
    with nf.open(tmp_path / "a.nf", encoder=Encoder("characters-2")) as other:
        # Nothing is encoded yet, but it would be with another encoder.
        with pytest.raises(nf.Conflict, match=r"fingerprint characters-1.*for 'characters' .fingerprint characters-2"):
            other.import_parquet(file)
        other.add("one")
        with pytest.raises(nf.Conflict, match=r"fingerprint characters-1.*for 'characters' .fingerprint characters-2"):
            other.import_parquet(file)
        assert len(other) == 1
    with nf.open(tmp_path / "b.nf", encoder=Encoder()) as narrow:
        narrow.add("one", vectors=np.ones((1, 3), np.float32))
        with pytest.raises(nf.Conflict, match="its vectors have 24 dimensions, and the collection's 3"):
            narrow.import_parquet(file)
        assert len(narrow) == 1


def test_given_vectors_alone_ask_for_no_encoder(tmp_path):
    with nf.open(tmp_path / "a.nf", encoder=Encoder()) as one:
        one.add(["one", "two"], vectors=np.eye(2, dtype=np.float32))
        one.export_parquet(tmp_path / "a.parquet")
        with nf.open(tmp_path / "b.nf", encoder=Encoder("another")) as two:
            assert two.import_parquet(tmp_path / "a.parquet") == 2
            assert two._engine.settings.fingerprint is None
            assert contents(two) == contents(one)


def test_vectors_come_back_where_their_encoder_is_not(made, file, tmp_path):
    assert main(["import", str(tmp_path / "back.nf"), str(file)]) == 0
    with nf.open(tmp_path / "back.nf") as back:
        assert back._engine.settings == made._engine.settings
        assert contents(back) == contents(made)
        assert [hit.doc_id for hit in back.search("films", mode="lexical", k=1)] == ["d3"]
        with pytest.raises(nf.MissingDependency, match="'characters' is no local folder"):
            back.search("films")
    with nf.open(tmp_path / "back.nf", encoder=Encoder()) as back:
        assert back.search("Recommend films.") == made.search("Recommend films.")


def test_a_collection_for_an_encoder_that_is_not_here(file, tmp_path):
    from nearfield.engine.open import open_engine
    from nearfield.engine.protocol import Settings

    for name, error in [("characters", None), ("not-here", nf.MissingDependency)]:
        with nf.Collection(open_engine(tmp_path / f"{name}.nf", Settings(name))) as collection:
            if error is None:
                assert collection.import_parquet(file) == 7
            else:
                with pytest.raises(error, match="'not-here' is no local folder"):
                    collection.import_parquet(file)
                assert len(collection) == 0


def test_documents_that_exist(made, file, tmp_path):
    with nf.open(tmp_path / "back.nf", encoder=Encoder()) as back:
        back.add([nf.Document("mine", "d3"), nf.Document("mine too", "m")])
        with pytest.raises(
            nf.Conflict, match=r"doc_id 'd3' exists already \(1 of the 7 do\); nothing was stored; repl"
        ):
            back.import_parquet(file)
        assert back.doc_ids() == ["d3", "m"]
        assert back.import_parquet(file, replace=True) == 7
        assert back.doc_ids() == ["m", *made.doc_ids()]
        assert contents(back)[1:] == contents(made)


def test_a_failure_in_the_middle_says_how_much_is_stored(made, file, tmp_path, monkeypatch):
    with nf.open(tmp_path / "back.nf", encoder=Encoder()) as back:
        write = back._engine.write

        def failing(records, **options):
            if records[0].document.doc_id == "d7":
                raise nf.NearfieldError("no space left; nothing was changed")
            return write(records, **options)

        monkeypatch.setattr(back._engine, "write", failing)
        with pytest.raises(nf.NearfieldError, match=r"nothing was changed \(5 of the 7 documents are stored\)"):
            back.import_parquet(file)
        assert contents(back) == contents(made)[:5]
        monkeypatch.undo()
        back.import_parquet(file, replace=True)
        assert contents(back) == contents(made)


# -- the command line -----------------------------------------------------------------------------------------------


def run(capsys, *words):
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_commands(made, tmp_path, capsys):
    file, back = tmp_path / "a.parquet", tmp_path / "back.nf"
    code, out, err = run(capsys, "export", tmp_path / "made.nf", file)
    assert (code, err) == (0, "")
    assert out.startswith(f"Exported 7 documents to {file} in ")
    assert out.endswith(f" s ({file.stat().st_size:,} bytes).\n")
    code, out, err = run(
        capsys, "export", tmp_path / "made.nf", file, "--where", '{"year": {"$exists": true}}', "--json"
    )
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert {name: found[name] for name in ("written", "bytes")} == {"written": 4, "bytes": file.stat().st_size}
    assert found["seconds"] >= 0

    code, out, err = run(capsys, "import", back, file, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert {name: found[name] for name in ("written", "documents")} == {"written": 4, "documents": 4}
    code, out, err = run(capsys, "import", back, file)
    assert (code, out) == (4, "")
    assert err.startswith(f"Error: {file}: doc_id 'd1' exists already (4 of the 4 do); nothing was stored")
    code, out, err = run(capsys, "import", back, file, "--replace")
    assert (code, err) == (0, "")
    assert out.startswith("Wrote 4 documents in ")
    assert out.endswith(f"; {back} holds 4.\n")


def test_commands_that_fail_leave_nothing(made, tmp_path, capsys):
    assert run(capsys, "export", tmp_path / "none.nf", tmp_path / "a.parquet")[0] == 3
    assert run(capsys, "export", tmp_path / "made.nf", tmp_path / "none" / "a.parquet")[0] == 2
    assert run(capsys, "import", tmp_path / "new.nf", tmp_path / "none.parquet")[0] == 2
    code, out, err = run(capsys, "import", tmp_path / "new.nf", tmp_path / "made.nf" / "documents.sqlite", "--json")
    assert (code, out, json.loads(err)["error"]["type"]) == (2, "", "InvalidInput")
    assert [path.name for path in tmp_path.iterdir()] == ["made.nf"]


def test_an_interrupted_import_says_what_is_stored(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 2)
    rows = exports.ExportFile.rows
    passes = []

    def interrupted(self):
        passes.append(1)
        for number, row in enumerate(rows(self)):
            if len(passes) == 2 and number == 4:
                raise KeyboardInterrupt
            yield row

    monkeypatch.setattr(exports.ExportFile, "rows", interrupted)
    code, out, err = run(capsys, "import", tmp_path / "back.nf", file)
    assert (code, out) == (130, "")
    assert err == f"Error: interrupted; {tmp_path / 'back.nf'} holds 3 documents, every one of them complete\n"


def test_without_pyarrow_the_message_says_how_to_get_it(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(nf.MissingDependency, match=r"Parquet needs pyarrow: pip install 'nearfield\[frames\]'"):
        made.export_parquet(tmp_path / "a.parquet")
    with pytest.raises(nf.MissingDependency, match=r"nearfield\[frames\]"):
        made.import_parquet(tmp_path / "a.parquet")
