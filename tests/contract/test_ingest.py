"""Ingestion: unchanged texts are not encoded again, streams of any length, and going on after being cut off."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections import Counter
from itertools import count, islice

import numpy as np
import pytest

import nearfield as nf
from forking import fork
from nearfield.encode.probing import DOCUMENTS, QUERIES
from nearfield.engine.local.store import LocalEngine
from nearfield.ingest import Ingested

WORDS = ["apple", "Äpfel", "林檎", "تفاح", "🍎", "яблоко", "mela", "ﬁg"]


def documents(number, *, named=True):
    """Documents in many scripts; every third has a title."""
    for n in range(number):
        word = WORDS[n % len(WORDS)]
        document = {"text": f"{word} number {n}", "title": word if n % 3 == 0 else "", "n": n, "half": n / 2}
        yield {"id": f"{word}/{n}", **document} if named else document


def vectors_of(number, dimension=8, seed=0):
    return np.random.default_rng(seed).standard_normal((number, dimension)).astype(np.float32)


def contents(col):
    """Everything that is stored, in the order of addition."""
    with col._engine.view() as view:
        keys = view.keys()
        return [
            (one.doc_id, one.title, one.text, repr(one.metadata), one.spans, one.encoded, rows.tobytes())
            for one, rows in zip(view.read(keys), view.passage_vectors(keys), strict=True)
        ]


def bookmarks(path):
    with sqlite3.connect(path / "documents.sqlite") as connection:
        return dict(connection.execute("SELECT source, position FROM bookmarks"))


# -- upsert encodes what has changed, and no more ---------------------------------------------------------------------


def test_unchanged_documents_are_neither_encoded_nor_written(col, encoder):
    ids = col.add(documents(1200))
    before, generation, stored = encoder.encoded, col.generation, contents(col)
    assert col.upsert(documents(1200)) == ids
    assert (encoder.encoded, col.generation) == (before, generation)
    assert contents(col) == stored
    assert col.stats().dead_passages == 0


def test_only_changed_texts_are_encoded_and_doc_ids_come_in_order(col, encoder):
    col.add([{"id": name, "text": f"text {name}", "year": 1} for name in "abcd"])
    with col._engine.view() as view:
        (vector,) = view.passage_vectors(view.keys()[1:2])
    before = encoder.encoded
    batch = [
        {"id": "new", "text": "text new"},
        {"id": "c", "text": "text changed", "year": 1},
        {"id": "b", "text": "text b", "year": 2},
        {"text": "without a name"},
        {"id": "a", "text": "text a", "year": 1},
        {"id": "d", "text": "text d", "title": "a title", "year": 1},
    ]
    assert col.upsert(batch) == ["new", "c", "b", "0", "a", "d"]
    assert encoder.encoded == before + 4
    assert col.get("b").metadata == {"year": 2}
    assert [doc.text for doc in col.get(["a", "b", "c", "d"])] == ["text a", "text b", "text changed", "text d"]
    # "a" was not written, so that it is still the first.
    assert col.doc_ids() == ["a", "new", "c", "b", "0", "d"]
    with col._engine.view() as view:
        (kept,) = view.passage_vectors(np.array(view.find(["b"])))
    assert kept.tobytes() == vector.tobytes()
    assert col.search("text changed", mode="semantic", k=1).doc_ids == ["c"]


def test_long_documents_keep_their_passages_when_metadata_change(tmp_path, encoder):
    encoder.max_tokens = 16
    text = " ".join(f"Sentence {n} speaks of {WORDS[n % 8]}." for n in range(40))
    with nf.open(tmp_path / "a.nf", encoder=encoder) as col:
        col.add({"id": "long", "text": text, "n": 1})
        ((*same, metadata, spans, encoded, rows),) = contents(col)
        assert len(spans) > 5
        before = encoder.encoded
        col.upsert({"id": "long", "text": text, "n": 2})
        assert encoder.encoded == before
        assert contents(col) == [(*same, metadata.replace("1", "2"), spans, encoded, rows)]


@pytest.mark.parametrize(
    ("old", "new"),
    [(1, 1.0), (1, True), (0, False), (1.0, True), ([1], [1.0]), ({"a": 0}, {"a": False}), ("1", 1), (0.0, -0.0)],
)
def test_values_of_another_type_are_a_change(col, old, new):
    col.add({"id": "a", "text": "x", "value": old})
    for value in (new, old):
        col.upsert({"id": "a", "text": "x", "value": value})
        assert repr(col.get("a").metadata) == repr({"value": value})


def test_given_vectors_are_not_kept_for_a_text(col, encoder):
    col.add("the encoder's own")
    col.add({"id": "a", "text": "apple pie"}, vectors=np.eye(1, 64, dtype=np.float32))
    for _ in range(2):
        col.upsert({"id": "a", "text": "apple pie"})
        assert encoder.encoded == 2
    assert col.search("apple pie", mode="semantic")[0].score == pytest.approx(1)
    generation = col.generation
    col.upsert({"id": "a", "text": "apple pie"}, vectors=np.eye(1, 64, dtype=np.float32))
    assert col.generation == generation + 1
    assert contents(col)[1][-1] == np.eye(1, 64, dtype=np.float32).tobytes()


def test_another_encoder_is_refused_even_if_nothing_has_changed(tmp_path, encoder):
    with nf.open(tmp_path / "a.nf", encoder=encoder) as col:
        col.add({"id": "a", "text": "apple"})
    encoder.fingerprint = "another"
    with pytest.raises(nf.Conflict, match="another encoder"), nf.open(tmp_path / "a.nf", encoder=encoder) as col:
        col.upsert({"id": "a", "text": "apple"})


def test_another_encoder_may_have_come_first(tmp_path, encoder):
    other = type(encoder)()
    other.fingerprint = "another"
    with nf.open(tmp_path / "a.nf", encoder=encoder) as col:
        assert col.encoder is encoder
        with nf.open(tmp_path / "a.nf", encoder=other) as first:
            first.add({"id": "a", "text": "apple"})
        with pytest.raises(nf.Conflict, match="another encoder"):
            col.upsert({"id": "a", "text": "apple"})


class Interfering:
    """An encoder during whose first work somebody else writes."""

    def __init__(self, encoder, interfere):
        self._encoder, self._interfere = encoder, interfere

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def encode_documents(self, texts):
        if not set(texts) <= {*DOCUMENTS, *QUERIES}:  # which a collection compares the encoder by
            interfere, self._interfere = self._interfere, lambda: None
            interfere()
        return self._encoder.encode_documents(texts)


@pytest.mark.parametrize(
    "other", [{"id": "a", "text": "other text"}, {"id": "a", "text": "same text", "n": 2}, None], ids=repr
)
def test_the_last_of_two_writers_wins(col, encoder, other):
    col.add([{"id": "a", "text": "same text", "n": 1}, {"id": "b", "text": "old"}])

    def interfere():
        col.delete("a") if other is None else col.upsert(other)

    col._encoder = Interfering(encoder, interfere)
    assert col.upsert([{"id": "a", "text": "same text", "n": 1}, {"id": "b", "text": "new"}]) == ["a", "b"]
    assert [(doc.text, doc.metadata) for doc in col.get(["a", "b"])] == [("same text", {"n": 1}), ("new", {})]
    assert col.search("same text", mode="semantic")[0].score == pytest.approx(1)
    assert len(col) == 2


def test_vectors_fit_the_texts_that_several_threads_upsert(col, encoder):
    failures = []

    def work(seed):
        random = np.random.default_rng(seed)
        try:
            for _ in range(12):
                drawn = random.integers(0, 3, (6, 2)).tolist()
                col.upsert([{"id": n, "text": WORDS[word], "n": m} for n, (word, m) in enumerate(drawn)])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(col.doc_ids()) == list("012345")
    with col._engine.view() as view:
        keys = view.keys()
        texts = [one.text for one in view.read(keys)]
        assert np.array_equal(view.document_vectors(keys), encoder.encode_documents(texts))


# -- streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 100, None])
@pytest.mark.parametrize("named", [True, False])
def test_a_stream_ends_as_one_batch_would(col, encoder, tmp_path, size, named):
    assert col.ingest(documents(50, named=named), batch_size=size) == Ingested(50, 0, 0)
    assert col.generation == -(-50 // (size or 50))
    with nf.open(tmp_path / "whole.nf", encoder=encoder) as whole:
        whole.add(documents(50, named=named))
        assert contents(col) == contents(whole)


def test_whatever_add_takes_can_be_ingested(col):
    pandas = pytest.importorskip("pandas")
    seen = []
    frame = pandas.DataFrame(list(documents(5)))
    assert col.ingest(frame, batch_size=2, progress=lambda *told: seen.append(told)) == Ingested(5, 0, 0)
    assert [doc.metadata["n"] for doc in col] == [0, 1, 2, 3, 4]
    assert seen[-1] == (5, 5)
    assert sorted(seen) == seen
    assert col.ingest("one text") == Ingested(1, 0, 0)
    assert col.ingest(nf.Document("a document", 7)) == Ingested(1, 0, 0)
    assert col.ingest([]) == Ingested(0, 0, 0)
    assert len(col) == 7
    with pytest.raises(nf.InvalidInput, match="documents must be"):
        col.ingest(5)


def test_replacing_streams_pass_over_unchanged_documents(col, encoder):
    col.add(documents(10))
    before = encoder.encoded
    changed = [{**one, "n": -1} if one["n"] % 2 else one for one in documents(12)]
    assert col.ingest(changed, replace=True, batch_size=5) == Ingested(7, 5, 0)
    assert encoder.encoded == before + 2
    assert {doc.doc_id: doc.metadata["n"] for doc in col} == {one["id"]: one["n"] for one in changed}


def test_a_stream_is_read_no_further_than_its_batch(col):
    total, size = 20_000, 500
    read = Counter()

    def endless():
        for n in count():
            read["documents"] += 1
            yield {"id": n, "text": f"tiny {n}"}

    def rows():
        for n in count():
            read["rows"] += 1
            yield [1.0, n]

    ahead = []

    def stop(done, total_known):
        assert total_known is None
        ahead.append((read["documents"] - done, read["rows"] - done))
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        col.ingest(endless(), vectors=rows(), batch_size=size, progress=stop)
    assert len(col) == total
    assert len(ahead) == total // size
    assert set(ahead) == {(0, 0)}


def test_long_texts_make_small_batches(col, monkeypatch):
    monkeypatch.setattr("nearfield.ingest.stream.CHARACTERS", 100)
    col.ingest([{"text": "word " * 6, "title": "ten letter"}] * 10)
    assert col.generation == 4  # of three documents, and the last one
    col.ingest(["word " * 1000] * 2)
    assert col.generation == 6


def broken(kind, at):
    for n, document in enumerate(documents(20)):
        if n == at:
            if kind == "raises":
                raise ZeroDivisionError("the source is broken")
            yield {"raw": 1} if kind == "malformed" else {**document, "id": WORDS[0] + "/0"}
        yield document


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("malformed", nf.InvalidInput, r"document 11: a dict must have.* \(8 documents before it are stored\)"),
        ("twice", nf.Conflict, r"'apple/0' exists already.*upsert.*unchanged.* \(8 documents before it are stored\)"),
        ("raises", ZeroDivisionError, "the source is broken"),
    ],
)
def test_an_error_in_the_third_batch_leaves_two(col, kind, error, message):
    with pytest.raises(error, match=message) as caught:
        col.ingest(broken(kind, 11), batch_size=4)
    assert [doc.metadata["n"] for doc in col] == list(range(8))
    notes = ["The ingestion ended (8 documents before it are stored)."] if kind == "raises" else []
    assert getattr(caught.value, "__notes__", []) == notes


def test_an_error_at_once_says_nothing_of_stored_documents(col):
    with pytest.raises(nf.InvalidInput) as caught:
        col.ingest([5])
    assert "stored" not in str(caught.value)


def test_doc_ids_may_come_again_in_a_replacing_stream(tmp_path, encoder):
    random = np.random.default_rng(1)
    for case in range(8):
        pairs = [("abc"[i], f"text {n}") for i, n in random.integers(0, 3, (12, 2))]
        with nf.open(tmp_path / f"{case}.nf", encoder=encoder) as col:
            size = int(random.integers(1, 6))
            done = col.ingest([{"id": name, "text": text} for name, text in pairs], replace=True, batch_size=size)
            assert {doc.doc_id: doc.text for doc in col} == dict(pairs)
            assert done.written + done.unchanged == len(pairs)
            assert done.written == col.stats().documents + col.stats().dead_passages


# -- given vectors ----------------------------------------------------------------------------------------------------


def in_every_form(vectors, tmp_path):
    np.save(tmp_path / "vectors.npy", vectors)
    return [
        vectors,
        np.load(tmp_path / "vectors.npy", mmap_mode="r"),
        vectors.tolist(),
        iter(vectors),
        (row.tolist() for row in vectors),
    ]


@pytest.mark.parametrize("form", range(5))
def test_vectors_are_taken_in_step(col, encoder, tmp_path, form):
    vectors = vectors_of(25)
    assert col.ingest(documents(25), vectors=in_every_form(vectors, tmp_path)[form], batch_size=4) == Ingested(25, 0, 0)
    assert encoder.encoded == 0
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    with col._engine.view() as view:
        assert np.allclose(view.document_vectors(view.keys()), expected, atol=1e-6)
    assert {one[-2] for one in contents(col)} == {False}


@pytest.mark.parametrize("form", range(5))
@pytest.mark.parametrize(("rows", "message"), [(9, "9 rows and more documents"), (11, "10 documents and more rows")])
def test_neither_documents_nor_vectors_may_be_longer(col, tmp_path, form, rows, message):
    vectors = in_every_form(vectors_of(rows), tmp_path)[form]
    with pytest.raises(nf.InvalidInput, match=message):
        col.ingest(documents(10), vectors=vectors, batch_size=4)
    assert len(col) == 8  # the last batch is not stored
    if form < 3:
        with pytest.raises(nf.InvalidInput, match=f"got {rows} rows and 10 documents"):
            col.ingest([f"text {n}" for n in range(10)], vectors=vectors, batch_size=4)
        assert len(col) == 8


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (7, "vectors must be an array"),
        ("text", "vectors must be an array"),
        (iter([[1.0, 2.0], [1.0]]), "vectors must be rows of one length"),
        (iter([[1.0, float("nan")], [1.0, 2.0]]), "must be finite; row 0"),
        (np.array(["a", "b"]), "float32 array"),
        (iter([1.0, 2.0]), "float32 array of shape"),
    ],
)
def test_vectors_that_are_none(col, vectors, message):
    with pytest.raises(nf.InvalidInput, match=message):
        col.ingest(iter(["a", "b"]), vectors=vectors)
    assert len(col) == 0


# -- going on after being cut off --------------------------------------------------------------------------------------


def killed(work, at, *, before):
    """Do work in a child that is killed at one of its writes, and return whether it lived to do so many."""

    def doomed():
        _kill_at(at, before)
        work()

    status = fork(doomed)
    assert status in (-signal.SIGKILL, 0)
    return status != 0


def _kill_at(at, before):
    written = count(1)

    def dying(method):
        def call(*words, **options):
            dies = next(written) == at
            if dies and before:
                os.kill(os.getpid(), signal.SIGKILL)
            done = method(*words, **options)
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return call

    LocalEngine.write = dying(LocalEngine.write)
    LocalEngine.remove_bookmark = dying(LocalEngine.remove_bookmark)


@pytest.mark.parametrize(
    ("named", "given_vectors"),
    [
        (False, False),
        pytest.param(True, False, marks=pytest.mark.slow),
        pytest.param(False, True, marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_write_it_goes_on(tmp_path, encoder, named, given_vectors):
    size, total = 4, 10

    def ingest(path):
        vectors = vectors_of(total, 64) if given_vectors else None
        with nf.open(path, encoder=encoder) as col:
            return col.ingest(
                documents(total, named=named), batch_size=size, source="Äpfel\n", vectors=vectors
            ), contents(col)

    done, expected = ingest(tmp_path / "whole.nf")
    assert (done, bookmarks(tmp_path / "whole.nf")) == (Ingested(total, 0, 0), {})
    resumed = []
    for at in range(1, 99):
        for before in (True, False):
            path = tmp_path / f"{at}{before}.nf"
            with nf.open(path, encoder=encoder):
                pass
            if not killed(lambda path=path: ingest(path), at, before=before):
                assert at == 5  # three batches, and one bookmark to remove
                assert set(resumed) == {0, 4, 8, 10}
                return
            with nf.open(path, encoder=encoder, create=False) as col:
                there = len(col)
            if bookmarks(path).get("Äpfel\n") is None and there == total:
                continue  # it was complete, but for tidying up
            encoded = encoder.encoded
            done, found = ingest(path)
            assert (done, found) == (Ingested(total - there, 0, there), expected)
            assert encoder.encoded - encoded == (0 if given_vectors else total - there)
            assert bookmarks(path) == {}
            resumed.append(there)


@pytest.mark.parametrize("batches", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3))])
def test_killed_before_its_next_batch_again_and_again(tmp_path, encoder, batches):
    path = tmp_path / "a.nf"

    def ingest():
        with nf.open(path, encoder=encoder) as col:
            return col.ingest(documents(10, named=False), batch_size=2, source="s")

    with nf.open(path, encoder=encoder):
        pass
    assert killed(ingest, batches, before=False)
    for _ in range(3):
        assert killed(ingest, 1, before=True)
    assert ingest() == Ingested(10 - 2 * batches, 0, 2 * batches)


def cut_off(col, number, documents, size=4, **options):
    """Ingest, and fail at a document."""

    def failing():
        yield from islice(documents, number)
        raise OSError("the network is down")

    with pytest.raises(OSError, match="network"):
        col.ingest(failing(), source="s", batch_size=size, **options)
    return len(col)


def test_the_batches_of_the_second_run_may_be_of_another_size(col, encoder, tmp_path):
    assert cut_off(col, 19, documents(30, named=False), 6) == 18
    before = encoder.encoded
    assert col.ingest(documents(30, named=False), source="s", batch_size=5) == Ingested(12, 0, 18)
    assert encoder.encoded == before + 12
    with nf.open(tmp_path / "whole.nf", encoder=encoder) as whole:
        whole.add(documents(30, named=False))
        assert contents(col) == contents(whole)
    # It has ended properly, so that the next one is another.
    assert col.ingest(documents(3, named=False), source="s") == Ingested(3, 0, 0)


def test_it_can_be_cut_off_several_times(col):
    assert [cut_off(col, n, documents(40, named=False)) for n in (9, 11, 13, 27, 30)] == [8, 8, 12, 24, 28]
    assert col.ingest(documents(40, named=False), source="s") == Ingested(12, 0, 28)
    assert [doc.metadata["n"] for doc in col] == list(range(40))


def test_sources_are_apart(col):
    cut_off(col, 9, documents(12))
    assert col.ingest(["a", "b"], source="s2") == Ingested(2, 0, 0)
    assert col.ingest(["c"]) == Ingested(1, 0, 0)
    assert col.ingest(documents(12), source="s") == Ingested(4, 0, 8)


def test_documents_behind_the_stored_ones_may_change(col):
    cut_off(col, 9, documents(12, named=False))
    mended = [*documents(8, named=False), "mended", "and", "more"]
    assert col.ingest(mended, source="s") == Ingested(3, 0, 8)
    assert [doc.text for doc in col][-3:] == ["mended", "and", "more"]


@pytest.mark.parametrize("change", ["text", "type", "order", "fewer", "doc_id"])
def test_changed_documents_are_not_passed_over(col, change):
    cut_off(col, 9, documents(12, named=False))
    given = list(documents(12, named=False))
    if change == "text":
        given[3]["text"] += "."
    elif change == "type":
        given[0]["n"] = False
    elif change == "order":
        given[6], given[7] = given[7], given[6]
    elif change == "fewer":
        given = given[:7]
    else:
        given[7]["id"] = "seven"
    stored = contents(col)
    for documents_again in (given, iter(given)):
        for replace in (False, True):
            with pytest.raises(nf.Conflict, match=r"stored the first 8 documents of 's'.*changed since.*--restart"):
                col.ingest(documents_again, source="s", replace=replace)
    assert contents(col) == stored
    # The way back is open, and so is the other one.
    with pytest.raises(nf.InvalidInput, match="document 9: expected"):
        col.ingest([*documents(9, named=False), 5], source="s", batch_size=1)
    assert len(col) == 9
    assert col.ingest(given, source="s", restart=True) == Ingested(len(given), 0, 0)
    assert len(col) == 9 + len(given)


def test_changed_documents_with_doc_ids_are_replaced(col, encoder):
    cut_off(col, 9, documents(12))
    given = list(documents(12))
    given[3]["text"] = "changed"
    with pytest.raises(nf.Conflict, match="changed since"):
        col.ingest(given, source="s")  # not replacing
    with pytest.raises(nf.Conflict, match="changed since"):
        col.ingest(iter(given), source="s", replace=True)  # can't be read once more
    before = encoder.encoded
    assert col.ingest(given, source="s", replace=True, batch_size=5) == Ingested(5, 7, 0)
    assert encoder.encoded == before + 5
    assert {doc.doc_id: doc.text for doc in col} == {one["id"]: one["text"] for one in given}


def test_changed_vectors_are_not_passed_over(col):
    vectors = vectors_of(12)
    cut_off(col, 9, documents(12), vectors=iter(vectors))
    other = vectors.copy()
    other[7, 0] += 1
    with pytest.raises(nf.Conflict, match="changed since"):
        col.ingest(documents(12), vectors=other, source="s")
    assert col.ingest(documents(12), vectors=vectors, source="s") == Ingested(4, 0, 8)
    with col._engine.view() as view:
        found = view.document_vectors(view.keys())
    assert np.allclose(found, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an int of at least 1"),
        ({"batch_size": 2.0}, "batch_size must be an int"),
        ({"source": " "}, "source must be a name"),
        ({"source": 5}, "source must be a str"),
        ({"source": "a\ud800"}, "source holds a lone surrogate"),
        ({"restart": True}, "restart is for a source"),
    ],
)
def test_options_that_are_none(col, options, message):
    with pytest.raises(nf.InvalidInput, match=message):
        col.ingest(["a"], **options)
    assert len(col) == 0
