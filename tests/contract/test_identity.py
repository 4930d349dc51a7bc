"""A collection and another encoder: what is refused, when, and in which words; what passes for the same encoder."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import nearfield as nf
from nearfield.encode import load_encoder
from nearfield.encode.models import find_model
from nearfield.encode.probing import DOCUMENTS, QUERIES

TEXTS = [f"red apple number {n}" for n in range(5)]
PROBED = {*DOCUMENTS, *QUERIES}


class Api:
    """Two methods, as of somebody's client; `model` decides what they compute."""

    def __init__(self, model="m1", dimension=32):
        self.model, self._dimension, self.texts = model, dimension, []

    def encode_documents(self, texts):
        self.texts += texts
        seeds = [[ord(letter) for letter in self.model + word] for text in texts for word in [text.lower()]]
        return [np.random.default_rng(seed).standard_normal(self._dimension).tolist() for seed in seeds]

    encode_queries = encode_documents


def made(folder, encoder, **options):
    with nf.open(folder, encoder=encoder, **options) as col:
        col.add(TEXTS)
    return folder


def stored_identity(folder):
    with sqlite3.connect(folder / "documents.sqlite") as connection:
        (value,) = connection.execute("SELECT value FROM settings WHERE name = 'identity'").fetchone()
    connection.close()
    return json.loads(value)


def rewrite(folder, name, value):
    with sqlite3.connect(folder / "documents.sqlite") as connection:
        connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))
    connection.close()


def model(folder, **prompts):
    """A copy of the default model, with prompts of its own."""
    shutil.copytree(find_model("all-MiniLM-L6-v2"), folder)
    if prompts:
        (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    return folder


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "a.nf"


# -- what is stored ---------------------------------------------------------------------------------------------------


def test_the_first_encoded_batch_stores_the_identity(folder, encoder):
    with nf.open(folder, encoder=encoder) as col:
        col.add(["given"], vectors=np.ones((1, 64), np.float32))
        assert stored_identity(folder) is None
        col.add(TEXTS)
        identity = stored_identity(folder)
        assert (identity["name"], identity["fingerprint"], identity["dimension"]) == ("hashing", "hashing-64", 64)
        assert col._engine.settings.identity == identity
        assert col.check().ok


def test_an_older_collection_gets_it_with_the_next_batch(folder, encoder):
    made(folder, encoder)
    with sqlite3.connect(folder / "documents.sqlite") as connection:
        connection.execute("DELETE FROM settings WHERE name = 'identity'")
    connection.close()
    with nf.open(folder, encoder=encoder) as col:
        assert col._engine.settings.identity is None
        assert len(col.search("apple")) == 5
        assert col.check().ok
        col.add("one more")
        assert col._engine.settings.identity["fingerprint"] == "hashing-64"
    assert stored_identity(folder)["name"] == "hashing"
    assert nf.check(folder).ok


@pytest.mark.parametrize(
    "damaged", [5, {"fingerprint": "another"}, {}, {"fingerprint": "hashing-64", "probe": {"version": 1}}], ids=repr
)
def test_check_finds_a_damaged_identity_and_repair_drops_it(folder, encoder, damaged):
    made(folder, encoder)
    rewrite(folder, "identity", damaged)
    health = nf.check(folder)
    assert not health.ok
    assert "identity" in str(health.problems[0]) or "probe" in str(health.problems[0])
    repaired = nf.repair(folder, encoder)
    assert (repaired.documents, repaired.lost) == (5, {})
    assert any("'identity'" in line for line in repaired.rebuilt)
    assert nf.check(folder).ok
    with nf.open(folder, encoder=encoder) as col:
        assert col._engine.settings.identity is None
        assert len(col.search("apple")) == 5


def test_an_export_takes_it_along(folder, tmp_path):
    pytest.importorskip("pyarrow")
    with nf.open(made(folder, Api()), encoder=Api()) as col:
        col.export_parquet(tmp_path / "a.parquet")
    with nf.open(tmp_path / "b.nf", encoder=Api()) as col:
        col.import_parquet(tmp_path / "a.parquet")
    assert stored_identity(tmp_path / "b.nf") == stored_identity(folder)


# -- another encoder --------------------------------------------------------------------------------------------------

USES = {
    "search": lambda col: col.search("apple"),
    "semantic": lambda col: col.search(["apple"], mode="semantic"),
    "add": lambda col: col.add("new"),
    "upsert": lambda col: col.upsert({"doc_id": "0", "text": TEXTS[0]}),
    "ingest": lambda col: col.ingest(["new"]),
    "recommend": lambda col: col.recommend(query="apple"),
    "assign": lambda col: col.cluster(2).assign(["apple"]),
    "evaluate": lambda col: col.evaluate({"q": "apple"}, {"q": {"0": 1}}),
}


@pytest.mark.parametrize("use", USES)
def test_an_object_of_the_same_class_that_computes_something_else_is_found_out(folder, use):
    made(folder, Api("m1"))
    other = Api("m2")
    with nf.open(folder, encoder=other) as col:
        generation = col.generation
        with pytest.raises(nf.Conflict, match=r"another encoder than the encoder 'Api', though both .*\(cosine -?0\."):
            USES[use](col)
        assert set(other.texts) <= PROBED | {"a"}  # no text of the user was encoded
        assert (len(col), col.generation) == (5, generation)
        assert len(col.similar("0")) == 4  # needs no encoder


def test_the_same_object_is_the_same_encoder(folder):
    made(folder, Api())
    again = Api()
    with nf.open(folder, encoder=again) as col:
        assert col.search(TEXTS[3], mode="semantic")[0].doc_id == "3"
        col.upsert({"doc_id": "3", "text": TEXTS[3]})
        col.search("apple")
    probed = [text for text in again.texts if text in PROBED]
    assert len(probed) == len(PROBED)  # once


@pytest.mark.parametrize("use", ["search", "upsert"])
def test_other_prompts_are_named(folder, tmp_path, use):
    made(folder, model(tmp_path / "one"))
    shutil.rmtree(tmp_path / "one")
    model(tmp_path / "one", query="query: ")
    with (
        nf.open(folder) as col,
        pytest.raises(
            nf.Conflict,
            match=r"prompts.query: the collection has '', the encoder 'query: '; "
            r"files: config_sentence_transformers.json differs",
        ),
    ):
        USES[use](col)


def test_another_pooling_and_dimension_are_named(folder, tmp_path):
    made(folder, model(tmp_path / "one"))
    pooling = tmp_path / "one" / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode": "cls", "embedding_dimension": 384}))
    with (
        nf.open(folder) as col,
        pytest.raises(nf.Conflict, match=r"pooling: the collection has 'mean', the encoder 'cls'.*of documents differ"),
    ):
        col.search("apple")


def test_an_objects_fingerprint_is_compared_when_it_is_opened(folder, encoder):
    made(folder, encoder)
    other = type(encoder)(64)
    other.fingerprint, other.identity = "hashing-64-v2", {"revision": "v2"}
    with pytest.raises(nf.Conflict, match=r"revision: the collection has None, the encoder 'v2'.*migrate"):
        nf.open(folder, encoder=other)
    assert encoder.encoded == 5


def test_repair_refuses_it_too(folder):
    made(folder, Api("m1"))
    segment = next((folder / "vectors").glob("*.vec"))
    segment.unlink()
    repaired = nf.repair(folder, Api("m2"))
    assert len(repaired.lost) == 5
    assert all("another encoder" in reason for reason in repaired.lost.values())


def test_two_processes_that_begin_with_other_models(folder):
    with nf.open(folder, encoder=Api("m1")) as first, nf.open(folder, encoder=Api("m2")) as second:
        assert first.encoder is not None
        assert second.encoder is not None
        first.add("red")
        with pytest.raises(nf.Conflict, match="though both"):
            second.add("blue")
        assert len(second) == 1


# -- the same encoder by another name ---------------------------------------------------------------------------------


def test_the_same_model_by_another_path_is_the_same(folder, tmp_path):
    one, two = model(tmp_path / "one"), model(tmp_path / "two")
    made(folder, one)
    for given in (two, str(two), "all-MiniLM-L6-v2", load_encoder(two), load_encoder("all-MiniLM-L6-v2")):
        with nf.open(folder, encoder=given) as col:
            assert col.search(TEXTS[2], mode="semantic")[0].doc_id == "2"
            assert col.stats().encoder == str(one)


def test_a_name_that_was_moved_works_before_the_first_document(folder, tmp_path):
    nf.open(folder, encoder="all-MiniLM-L6-v2").close()
    with nf.open(folder, encoder=model(tmp_path / "one")) as col:
        col.add(TEXTS)
    with nf.open(folder) as col:
        assert col.search(TEXTS[2], mode="semantic")[0].doc_id == "2"


def test_another_model_by_another_name_is_refused_when_it_is_opened(folder, tmp_path):
    made(folder, "all-MiniLM-L6-v2")
    other = model(tmp_path / "other", document="passage: ")
    with pytest.raises(
        nf.Conflict,
        match=r"made with encoder='all-MiniLM-L6-v2', and encoder='.*other' was given \(name: .*"
        r"prompts.document: the collection has '', the encoder 'passage: '.*leave it out",
    ):
        nf.open(folder, encoder=other)


def test_another_object_by_another_name_is_not_asked_for_a_vector(folder):
    made(folder, Api("m1"))
    other = Api("m2")
    other.name = "other"
    with pytest.raises(nf.Conflict, match=r"made with encoder='Api', and encoder='other' was given \(name: "):
        nf.open(folder, encoder=other)
    # Its dimension is part of the fingerprint, and had to be asked for.
    assert set(other.texts) <= {"a"}


def test_a_name_that_is_not_here_is_refused(folder):
    made(folder, "all-MiniLM-L6-v2")
    with pytest.raises(nf.Conflict, match="made with encoder='all-MiniLM-L6-v2', and encoder='nobody/model' was given"):
        nf.open(folder, encoder="nobody/model")


# -- the cache of a collection ----------------------------------------------------------------------------------------


def test_collections_share_a_cache(tmp_path, encoder):
    other = type(encoder)()
    with nf.open(tmp_path / "a.nf", encoder=encoder, cache=tmp_path / "cache") as col:
        assert col.cache_stats is None
        col.add(TEXTS)
        assert (col.cache_stats.hits, col.cache_stats.misses, col.cache_stats.entries) == (0, 5, 5)
    with nf.open(tmp_path / "b.nf", encoder=other, cache=str(tmp_path / "cache")) as col:
        col.add([*TEXTS, "new"])
        assert other.encoded == 1
        assert (col.cache_stats.hits, col.cache_stats.misses) == (5, 1)
        assert col.search(TEXTS[3], mode="semantic")[0].score == pytest.approx(1)
    with nf.open(tmp_path / "b.nf", encoder=other) as col:
        col.search("apple")
        assert col.cache_stats is None


def test_a_cache_does_not_hide_another_encoder(tmp_path):
    with nf.open(tmp_path / "a.nf", encoder=Api("m1"), cache=tmp_path / "cache") as col:
        col.add([*TEXTS, *DOCUMENTS])
        col.search(list(QUERIES))
    with (
        nf.open(tmp_path / "a.nf", encoder=Api("m2"), cache=tmp_path / "cache") as col,
        pytest.raises(nf.Conflict, match="another encoder"),
    ):
        col.search("apple")


@pytest.mark.parametrize("cache", [None, 1, ["a"]], ids=repr)
def test_what_is_no_cache_is_refused(folder, cache):
    with pytest.raises(nf.InvalidInput, match="cache must be True, False, or a folder"):
        nf.open(folder, cache=cache)
    assert not folder.exists()


def test_the_command_line_and_the_metrics_have_it(tmp_path, monkeypatch, encoder, capsys):
    from nearfield.cli import main
    from nearfield.serve import create_app

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setattr("nearfield.encode.load_encoder", lambda *_: encoder)
    monkeypatch.setattr("nearfield.opening.DEFAULT_ENCODER", encoder.name)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    for name in ("a.nf", "b.nf"):
        assert main(["add", str(tmp_path / name), str(tmp_path / "rows.jsonl"), "--vector-cache"]) == 0
    assert encoder.encoded == 5
    assert Path(tmp_path / "caches" / "nearfield" / "vectors").is_dir()
    testclient = pytest.importorskip("fastapi.testclient")
    with nf.open(tmp_path / "a.nf", cache=True) as col:
        client = testclient.TestClient(create_app(col))
        assert "nearfield_vector_cache" not in client.get("/metrics").text
        client.get("/search/", params={"q": "apple"})
        figures = client.get("/metrics").text
    assert "nearfield_vector_cache_hits_total 0.0" in figures
    assert "nearfield_vector_cache_misses_total 1.0" in figures
    assert "nearfield_vector_cache_entries 6.0" in figures


def test_a_state_that_was_saved_knows_its_encoder(folder, encoder, monkeypatch):
    monkeypatch.setattr("nearfield.engine.local.upkeep.LEAST_UNSAVED", 1)
    made(folder, encoder)
    with nf.open(folder, encoder=encoder) as col:  # from what the first process left of its memory
        with col._engine.view() as view:
            assert view.fingerprint == "hashing-64"
        col.upsert([{"doc_id": str(n), "text": text} for n, text in enumerate(TEXTS)])
    assert encoder.encoded == 5
