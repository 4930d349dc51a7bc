"""Migrating a collection to another encoder: values, the comparison before the switch, and what may go wrong."""

import json
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import nearfield as nf
from forking import fork
from migrating import QUESTIONS, Words, assert_is, document, model, passages, unit
from nearfield.engine.local import upkeep
from nearfield.engine.local.changeover import switch
from nearfield.errors import Conflict, InvalidInput, Locked, NearfieldError

pytestmark = pytest.mark.slow

FOLDERS = Path(__file__).parent.parent / "formats" / "golden_vectors" / "models"


@pytest.fixture
def old():
    return Words(1)


@pytest.fixture
def new():
    return Words(2, dimension=24, max_tokens=20)


@pytest.fixture
def documents():
    return model(range(60))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "col.nf"


@pytest.fixture
def col(path, old, documents):
    with nf.open(path, encoder=old) as collection:
        collection.add(documents.values())
        yield collection


def reopened(path, encoder):
    return nf.open(path, encoder=encoder, create=False)


# -- the whole way -----------------------------------------------------------------------------------------------------


def test_a_migrated_collection_is_what_a_new_one_would_be(col, path, documents, new):
    shown = []
    generation = col.generation
    report = col.migrate(new, progress=lambda done, total: shown.append((done, total)))
    assert (report.old_encoder, report.new_encoder) == ("words 1", "words 2")
    assert (report.documents, report.encoded, report.switched) == (60, 60, True)
    assert shown[0] == (0, 60) and shown[-1] == (60, 60) and shown == sorted(shown)
    assert col.generation == generation + 1
    assert_is(col, documents, new)
    assert (col.stats().dimension, col.stats().migration) == (24, None)
    assert not (path / "migration").exists()
    assert sum(file.suffix == ".vec" for file in (path / "vectors").iterdir()) == 1
    col.add([document(100)])
    col.upsert([document(7, version=1)])
    col.delete("d3")
    documents |= model([100]) | model([7], version=1)
    del documents["d3"]
    assert_is(col, documents, new)
    with reopened(path, new) as again:
        assert_is(again, documents, new)
        assert again._engine.settings.identity["name"] == "words 2"


def test_the_old_encoder_is_refused_afterwards(col, path, old, new):
    col.migrate(new)
    with pytest.raises(Conflict, match="made with encoder='words 2'"):
        reopened(path, old)


def test_it_stops_before_the_switch_and_goes_on_without_encoding(col, path, documents, old, new):
    report = col.migrate(new, switch=False)
    assert (report.documents, report.encoded, report.switched) == (60, 60, False)
    assert col.stats().migration == {"encoder": "words 2", "done": 60, "total": 60}
    assert_is(col, documents, old)
    col.close()
    new.texts.clear()
    with reopened(path, old) as again:
        assert_is(again, documents, old)
        report = again.migrate(new)
        assert (report.encoded, report.switched, new.texts) == (0, True, [])
        assert_is(again, documents, new)


def test_a_function_decides_on_the_switch(col, documents, old, new):
    seen = []
    report = col.migrate(new, switch=lambda report: bool(seen.append(report)))
    assert seen == [report] and not report.switched
    assert_is(col, documents, old)
    assert col.migrate(new, switch=lambda report: report.comparison.overlap < 1).switched
    assert_is(col, documents, new)


def test_only_what_is_new_is_encoded_later(col, documents, new):
    col.migrate(new, switch=False)
    col.delete(["d0", "d1"])
    col.upsert([document(5, version=1), document(6, version=1)])
    col.add([document(70)])
    new.texts.clear()
    report = col.migrate(new)
    assert report.encoded == 3
    assert {text.split("t")[-1].split()[0] for text in new.texts} <= {"5v1", "6v1", "70v0"} or len(new.texts) >= 3
    documents = {name: one for name, one in documents.items() if name not in ("d0", "d1", "d5", "d6")}
    assert_is(col, documents | model([5, 6], version=1) | model([70]), new)


def test_there_and_back_again(col, documents, old, new):
    for encoder in (new, old, new):
        assert col.migrate(encoder).switched
        assert_is(col, documents, encoder)
    col.compact()
    assert_is(col, documents, new)


def test_the_encoder_that_it_has_is_nothing_to_do(col, documents, old):
    old.texts.clear()
    report = col.migrate(Words(1))
    assert (report.already, report.switched, report.encoded, old.texts) == (True, False, 0, [])
    assert str(report) == "The vectors are those of 'words 1' already."
    assert_is(col, documents, old)


def test_another_model_under_the_same_fingerprint_is_refused(col):
    liar = Words(2)
    liar.fingerprint = "words-1-16"
    with pytest.raises(Conflict, match="another encoder"):
        col.migrate(liar)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_small_collections(tmp_path, old, new, count):
    with nf.open(tmp_path / "small.nf", encoder=old) as col:
        col.add(model(range(count)).values())
        report = col.migrate(new)
        assert (report.documents, report.switched) == (count, True)
        assert (report.comparison is None) == (count < 2)
        assert_is(col, model(range(count)), new)
        col.add([document(9)])
        assert_is(col, model([*range(count), 9]), new)


def test_columns_that_were_saved_before_are_not_used(col, path, documents, new, monkeypatch):
    monkeypatch.setattr(upkeep, "LEAST_UNSAVED", 0)
    col.compact()
    saved = json.loads((path / "columns" / "marker.json").read_text())
    assert saved["documents"] == 60
    col.migrate(new)
    with reopened(path, new) as again:
        assert_is(again, documents, new)
    col.compact()
    assert json.loads((path / "columns" / "marker.json").read_text())["generation"] > saved["generation"]
    with reopened(path, new) as again:
        assert_is(again, documents, new)


def test_several_segments_get_numbers_that_were_never_used(tmp_path, old, new, monkeypatch):
    monkeypatch.setattr("nearfield.engine.local.segments.SLOT", 16)
    documents = model(range(40))
    with nf.open(tmp_path / "col.nf", encoder=old) as col:
        col.add(documents.values())
        before = {file.name for file in (tmp_path / "col.nf" / "vectors").iterdir()}
        col.migrate(new)
        after = {file.name for file in (tmp_path / "col.nf" / "vectors").iterdir()}
        assert len(after) > 3 and min(after) > max(before)
        assert_is(col, documents, new)
        col.delete([f"d{number}" for number in range(30)])
        col.compact()
        assert_is(col, model(range(30, 40)), new)


def test_without_links_the_files_are_copied(col, documents, new, monkeypatch):
    def refuse(*_):
        raise PermissionError("this file system has no links")

    monkeypatch.setattr(switch.os, "link", refuse)
    col.migrate(new)
    assert_is(col, documents, new)


# -- beside readers and writers ----------------------------------------------------------------------------------------


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr("nearfield.migrate.work.ENCODED_TOGETHER", 16)
    monkeypatch.setattr("nearfield.migrate.work.READ_TOGETHER", 16)


@pytest.mark.usefixtures("small_batches")
def test_documents_that_are_written_meanwhile(col, documents, new):
    """Written while others are encoded, batch after batch, by the collection that migrates."""
    changes = iter(
        [
            lambda: col.add([document(80), document(81)]),
            lambda: col.delete(["d2", "d80"]),
            lambda: col.upsert([document(3, version=1)]),
        ]
    )
    new.before = lambda _: next(changes, lambda: None)()
    col.migrate(new)
    documents |= model([81]) | model([3], version=1)
    del documents["d2"]
    assert_is(col, documents, new)


def test_another_process_may_write_until_the_switch(col, path, documents, old, new):
    col.close()  # which gives the writer's lock back
    with reopened(path, old) as reader, reopened(path, old) as writer:
        new.before = lambda _: writer.upsert([document(4, version=1)])
        with pytest.raises(Locked, match="only switches then") as raised:
            reader.migrate(new)
        assert "being written by process" in str(raised.value)
        documents |= model([4], version=1)
        assert_is(reader, documents, old)
        writer.close()
        new.before = lambda _: None
        new.texts.clear()
        assert reader.migrate(new).encoded == 0
        assert new.texts == []
        assert_is(reader, documents, new)


def test_a_writing_thread_beside_it(col, documents, new):
    numbers = iter(range(100, 10_000))
    ended = threading.Event()
    added, errors = [], []

    def write():
        try:
            while not ended.is_set():
                number = next(numbers)
                col.add([document(number)])
                added.append(number)
                if number % 3 == 0:
                    col.delete(f"d{number}")
                    added.pop()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while len(added) < 5:
            pass
        col.migrate(new)
        here = len(added)
        while len(added) < here + 3 and not errors:
            pass
    finally:
        ended.set()
        thread.join()
    assert errors == []
    assert_is(col, documents | model(added), new)


def test_searching_threads_see_one_or_the_other(col, documents, old, new):
    """Every answer is that of the old encoder or of the new one, and none is a mixture."""
    question = QUESTIONS[0]
    expected = [_scores(documents, encoder, question) for encoder in (old, new)]
    ended = threading.Event()
    answers, errors = [], []

    def read():
        try:
            while not ended.is_set():
                answers.append([hit.score for hit in col.search(question, 5, mode="semantic")])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        while len(answers) < 10 and not errors:
            pass
        col.migrate(new)
        here = len(answers)
        while len(answers) < here + 10 and not errors:
            pass
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert errors == []
    for answer in answers:
        assert any(np.allclose(answer, scores, atol=1e-5) for scores in expected)
    assert np.allclose(answers[0], expected[0], atol=1e-5) and np.allclose(answers[-1], expected[1], atol=1e-5)
    assert not np.allclose(expected[0], expected[1], atol=1e-3)


def _scores(documents, encoder, question):
    wanted = unit(encoder.vectors([question]))[0]
    best = [float((rows @ wanted).max()) for _, rows in passages(list(documents.values()), encoder)]
    return sorted(best, reverse=True)[:5]


@pytest.mark.parametrize("ask", ["search", "hybrid", "recommend"])
def test_a_switch_between_encoding_and_searching(col, documents, old, new, ask):
    def migrate(_):
        old.before_queries = lambda _: None
        col.migrate(new)

    old.before_queries = migrate
    question = QUESTIONS[1]
    if ask == "recommend":
        scores = [hit.score for hit in col.recommend(query=question, k=5)]
    else:
        scores = [hit.score for hit in col.search(question, 5, mode="semantic" if ask == "search" else "hybrid")]
    if ask == "hybrid":
        assert scores == [hit.score for hit in col.search(question, 5)]
    else:
        np.testing.assert_allclose(scores, _scores(documents, new, question), atol=1e-5)
    assert col.stats().encoder == "words 2"


@pytest.mark.parametrize("method", ["add", "upsert", "ingest"])
def test_a_switch_between_encoding_and_writing(col, documents, old, new, method):
    def migrate(_):
        old.before = lambda _: None
        col.migrate(new)

    old.before = migrate
    getattr(col, method)([document(90), document(91)])
    assert_is(col, documents | model([90, 91]), new)


def test_given_query_vectors_of_the_old_length_are_refused_after_the_switch(col, new):
    vector = np.ones(16, np.float32)
    assert len(col.search(vector, 3, mode="semantic")) == 3
    col.migrate(new)
    with pytest.raises(InvalidInput, match=r"\(n, 24\)"):
        col.search(vector, 3, mode="semantic")


def test_who_holds_the_old_encoder_as_an_object_is_told(col, path, old, new):
    with reopened(path, old) as other:
        assert len(other.search(QUESTIONS[0], 3)) == 3
        col.migrate(new)
        for ask in (
            lambda: other.search(QUESTIONS[0], 3),
            lambda: other.search(QUESTIONS[0], 3, mode="semantic"),
            lambda: other.recommend(query=QUESTIONS[0]),
            lambda: other.add([document(90)]),
        ):
            with pytest.raises(Conflict, match=r"words 2.*open it with the encoder"):
                ask()
        assert [hit.doc_id for hit in other.search("t7v0", 1, mode="lexical")] == ["d7"]
        assert len(other.similar("d7", 3)) == 3
        assert len(other) == 60


def test_who_has_the_encoder_by_name_goes_on_with_the_new_one(tmp_path):
    first, second = FOLDERS / "mean", FOLDERS / "cls"
    path = tmp_path / "col.nf"
    texts = ["a cat on a mat", "the train to the sea", "bread and butter", "a river in the north"]
    with nf.open(path, encoder=first) as col, nf.open(path, encoder=first) as other, nf.open(path) as third:
        col.add(texts)
        for one in (other, third):
            assert len(one.search("cats", 2, mode="semantic")) == 2
        col.migrate(second)
        with nf.open(tmp_path / "fresh.nf", encoder=second) as fresh:
            fresh.add(texts)
            expected = [(hit.doc_id, hit.score) for hit in fresh.search("cats", 2, mode="semantic")]
            fingerprint = fresh.encoder.fingerprint
        for one in (col, other, third):
            hits = one.search("cats", 2, mode="semantic")
            assert [hit.doc_id for hit in hits] == [doc_id for doc_id, _ in expected]
            np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in expected], atol=1e-3)
            assert one.encoder.fingerprint == fingerprint
        col.close()
        other.add(["something new"])
        assert other.stats().encoder == str(second.resolve())
        assert other.check().problems == []


def test_who_can_not_load_the_new_encoder_by_its_name_is_told(tmp_path, new):
    with nf.open(tmp_path / "col.nf", encoder=FOLDERS / "mean") as col, nf.open(tmp_path / "col.nf") as other:
        col.add(["one text", "another"])
        assert len(other.search("text", 2, mode="semantic")) == 2
        col.migrate(new)
        with pytest.raises(Conflict, match=r"'words 2', which can't be loaded by that name"):
            other.search("text", 2)


def test_clusters_of_before_take_no_texts_of_afterwards(col, new):
    found = col.cluster(3)
    assert len(found.assign(["rivers and trains"])) == 1
    col.migrate(new)
    with pytest.raises(Conflict, match="cluster it again"):
        found.assign(["rivers and trains"])
    assert len(col.cluster(3).assign(["rivers and trains"])) == 1


def test_a_child_process_leaves_the_migration_to_its_parent(col, documents, old, new):
    statuses = []
    new.before = lambda _: statuses.append(fork(lambda: assert_is(col, documents, old)))
    col.migrate(new)
    assert set(statuses) == {0}
    assert_is(col, documents, new)


# -- the comparison ----------------------------------------------------------------------------------------------------


def _neighbours(documents, encoder, k):
    """Return each document's k nearest ones, by brute force."""
    means = np.array([rows.mean(axis=0) for _, rows in passages(list(documents.values()), encoder)])
    means = unit(means)
    names = list(documents)
    found = {}
    for name, mean in zip(names, means, strict=True):
        scores = {
            other: round(float((rows @ mean).max()), 6)
            for other, (_, rows) in zip(names, passages(list(documents.values()), encoder), strict=True)
            if other != name
        }
        found[name] = set(sorted(scores, key=lambda other: (-scores[other], other))[:k])
    return found


def test_neighbours_that_stay(tmp_path):
    old, new = Words(1, dimension=64), Words(2, dimension=64, max_tokens=20)
    documents = model(range(24))
    with nf.open(tmp_path / "col.nf", encoder=old) as col:
        col.add(documents.values())
        comparison = col.migrate(new, switch=False).comparison
        before, after = _neighbours(documents, old, 10), _neighbours(documents, new, 10)
        expected = np.mean([len(before[name] & after[name]) / 10 for name in documents])
        assert (comparison.basis, comparison.queries, comparison.k) == ("documents", 24, 10)
        assert comparison.overlap == pytest.approx(expected, abs=0.02)  # ties may fall otherwise
        assert 0.2 < comparison.overlap < 0.95


def test_an_encoder_that_means_the_same_has_all_neighbours_in_common(col):
    same = Words(1)
    same.fingerprint, same.name = "words-1-again", "again"
    assert col.migrate(same, switch=False).comparison.overlap == 1.0


def test_hits_of_queries_that_stay(col, documents, old, new):
    comparison = col.migrate(new, queries=QUESTIONS, switch=False).comparison
    expected = []
    for question in QUESTIONS:
        before, after = ({hit.doc_id for hit in hits} for hits in _both(col, documents, old, new, question))
        expected.append(len(before & after) / 10)
    assert (comparison.basis, comparison.queries, comparison.k) == ("queries", 3, 10)
    assert comparison.overlap == pytest.approx(np.mean(expected))
    assert comparison.to_dict() == {"basis": "queries", "queries": 3, "k": 10, "overlap": comparison.overlap}


def _both(col, documents, old, new, question):
    yield col.search(question, 10, mode="semantic")
    with nf.open(Path(col._engine.location).with_name("fresh.nf"), encoder=new) as fresh:
        fresh.upsert(documents.values())
        yield fresh.search(question, 10, mode="semantic")


def test_measures_of_judged_queries(col, tmp_path, documents, new):
    queries = {"q1": "rivers of asia", "q2": "bread", "q3": "ships and trains"}
    qrels = {"q1": {"d2": 1, "d7": 2}, "q2": {"d4": 1, "d9": 1, "gone": 1}, "q3": {"d1": 1}}
    measures = ["nDCG@10", "R@5"]
    report = col.migrate(new, switch=False, queries=queries, qrels=qrels, measures=measures)
    comparison = report.comparison
    assert (comparison.basis, comparison.queries, comparison.overlap) == ("judgements", 3, None)
    assert comparison.old == col.evaluate(queries, qrels, measures)
    with nf.open(tmp_path / "fresh.nf", encoder=new) as fresh:
        fresh.add(documents.values())
        assert comparison.new == fresh.evaluate(queries, qrels, measures)
    assert comparison.old.mean != comparison.new.mean
    assert comparison.to_dict()["mean"]["R@5"] == {
        "old": comparison.old.mean["R@5"], "new": comparison.new.mean["R@5"],
    }  # fmt: skip
    assert f"{comparison.new.mean['nDCG@10']:.4f}" in str(report)
    assert col.migrate(new, queries=queries, qrels=qrels, measures=measures).switched
    assert col.evaluate(queries, qrels, measures) == comparison.new


def test_no_comparison_if_none_is_wanted(col, new):
    assert col.migrate(new, compare=False).comparison is None


# -- giving up ---------------------------------------------------------------------------------------------------------


def test_giving_up_removes_what_was_made(col, path, documents, old, new):
    assert col.give_up_migration() is False
    col.migrate(new, switch=False)
    assert col.stats().bytes["migration"] > 60 * 24 * 4
    third = Words(3)
    with pytest.raises(Conflict, match=r"'words 2' has made the vectors of 60 documents; finish it, or give it up"):
        col.migrate(third)
    assert col.give_up_migration() is True
    assert not (path / "migration").exists()
    assert (col.stats().migration, "migration" in col.stats().bytes) == (None, False)
    assert_is(col, documents, old)
    assert col.migrate(third).encoded == 60
    assert_is(col, documents, third)


def test_only_one_migrates_at_a_time(col, path, old, new):
    def others(_):
        new.before = lambda _: None
        with reopened(path, old) as other:
            with pytest.raises(Locked, match="migrated by another process or thread"):
                other.migrate(new)
            with pytest.raises(Locked, match="migrated by another process or thread"):
                other.give_up_migration()
            assert other.stats().migration == {"encoder": "words 2", "done": 0, "total": 60}

    new.before = others
    assert col.migrate(new).switched


# -- what may go wrong -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_batches")
def test_an_encoder_that_fails_leaves_all_as_it_was(col, documents, old, new):
    calls = []

    def fail(texts):
        calls.append(texts)
        if len(calls) == 3:
            raise RuntimeError("out of memory")

    new.before = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        col.migrate(new)
    assert_is(col, documents, old)
    assert col.stats().migration == {"encoder": "words 2", "done": 32, "total": 60}
    assert col.migrate(new).encoded == 28
    assert_is(col, documents, new)


@pytest.mark.parametrize("bad", ["nan", "shape", "rows"])
def test_vectors_that_can_not_be_taken(col, documents, old, new, bad):
    vectors = new.vectors
    spoil = {
        "nan": lambda rows: np.full_like(rows, np.nan),
        "shape": lambda rows: rows[:, :-1],
        "rows": lambda rows: rows[:-1],
    }[bad]
    new.encode_documents = lambda texts: spoil(vectors(texts))
    with pytest.raises(InvalidInput, match="vectors"):
        col.migrate(new)
    assert_is(col, documents, old)


def test_wrong_arguments(col, new):
    with pytest.raises(InvalidInput, match="switch must be True, False"):
        col.migrate(new, switch="yes")
    with pytest.raises(InvalidInput, match="qrels judge queries"):
        col.migrate(new, qrels={"q": {"d1": 1}})
    with pytest.raises(InvalidInput, match="unknown measure 'best'"):
        col.migrate(new, queries={"q": "cats"}, qrels={"q": {"d1": 1}}, measures=["best"])
    with pytest.raises(InvalidInput, match="no query has both"):
        col.migrate(new, queries={"q": "cats"}, qrels={"r": {"d1": 1}})
    with pytest.raises(InvalidInput, match="mapping from ids"):
        col.migrate(new, queries=["q"], qrels={"q": {"d1": 1}})
    for queries in (["  "], [], {}):
        with pytest.raises(InvalidInput):
            col.migrate(new, queries=queries)
    with pytest.raises(InvalidInput):
        col.migrate(object())
    assert (col.stats().migration, new.texts) == (None, [])


def test_given_vectors_are_not_replaced_unasked(tmp_path, new):
    documents = model(range(6))
    with nf.open(tmp_path / "col.nf", encoder=Words(1)) as col:
        col.add(list(documents.values())[:4])
        col.add(list(documents.values())[4:], vectors=np.eye(16, dtype=np.float32)[:2])
        with pytest.raises(Conflict, match=r"2 documents have vectors that were given.*replace_given=True"):
            col.migrate(new)
        assert new.texts == []
        assert col.migrate(new, replace_given=True).switched
        assert_is(col, documents, new)


def test_a_collection_of_given_vectors_gets_an_encoder(tmp_path, new):
    documents = model(range(6))
    with nf.open(tmp_path / "col.nf", encoder=Words(1)) as col:
        col.add(documents.values(), vectors=np.eye(7, dtype=np.float32)[:6])
        report = col.migrate(new, replace_given=True)
        assert report.comparison.basis == "documents"
        assert_is(col, documents, new)


def test_a_given_vector_that_comes_meanwhile(col, documents, old, new):
    def give(_):
        new.before = lambda _: None
        col.add([document(90)], vectors=np.eye(16, dtype=np.float32)[:1])

    new.before = give
    with pytest.raises(Conflict, match="1 documents have vectors that were given"):
        col.migrate(new)
    col.delete("d90")
    assert_is(col, documents, old)
    assert col.migrate(new).encoded == 0


# -- damage ------------------------------------------------------------------------------------------------------------


def _flip(file):
    content = bytearray(file.read_bytes())
    content[64 + 5 * 24 * 4] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_damaged_new_vectors_are_made_again(col, path, documents, new, damage):
    col.migrate(new, switch=False)
    file = path / "migration" / "000000.vec"
    if damage == "flipped":
        _flip(file)
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        file.unlink()
    health = col.check()
    assert health.ok and any("are damaged, and will be made again" in note for note in health.notes)
    report = col.migrate(new)
    assert report.encoded == (1 if damage == "flipped" else 60)
    assert_is(col, documents, new)


def test_damage_that_comes_after_the_last_look(col, path, documents, new):
    report = col.migrate(new, switch=lambda _: not _flip(path / "migration" / "000000.vec"))
    assert (report.switched, report.encoded) == (True, 61)
    assert_is(col, documents, new)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_damaged_record_begins_anew(col, path, documents, new, content):
    col.migrate(new, switch=False)
    (path / "migration" / "progress.sqlite").write_bytes(content)
    assert col.stats().migration is None
    assert col.check().ok
    assert col.migrate(new).encoded == 60
    assert_is(col, documents, new)


def test_tables_that_were_put_back_are_not_given_others_vectors(tmp_path, old, new):
    """The documents of an older backup have keys that other documents had later."""
    path = tmp_path / "col.nf"
    with nf.open(path, encoder=old) as col:
        col.add(model(range(5)).values())
    backup = tmp_path / "backup.sqlite"
    shutil.copyfile(path / "documents.sqlite", backup)
    with nf.open(path, encoder=old) as col:
        col.add(model(range(10, 14)).values())
        col.migrate(new, switch=False)
    for leftover in path.glob("documents.sqlite*"):
        leftover.unlink()
    shutil.copyfile(backup, path / "documents.sqlite")
    with nf.open(path, encoder=old) as col:
        col.add(model(range(20, 24)).values())
        assert col.migrate(new).encoded == 4
        assert_is(col, model([*range(5), *range(20, 24)]), new)


def test_a_snapshot_leaves_the_migration_out(col, path, tmp_path, documents, old, new):
    col.migrate(new, switch=False)
    col.snapshot(tmp_path / "snapshot.nf")
    assert not (tmp_path / "snapshot.nf" / "migration").exists()
    nf.restore(tmp_path / "snapshot.nf", tmp_path / "restored.nf")
    with nf.open(tmp_path / "restored.nf", encoder=old) as restored:
        assert restored.stats().migration is None
        assert_is(restored, documents, old)
    col.migrate(new)
    col.snapshot(tmp_path / "snapshot.nf")
    nf.restore(tmp_path / "snapshot.nf", tmp_path / "later.nf")
    with nf.open(tmp_path / "later.nf", encoder=new) as restored:
        assert_is(restored, documents, new)


def test_a_repair_leaves_a_migration_that_goes_on(col, path, documents, old, new):
    col.migrate(new, switch=False)
    col.close()
    content = bytearray((path / "vectors" / "000000.vec").read_bytes())
    content[64 + 3] ^= 64
    (path / "vectors" / "000000.vec").write_bytes(content)
    repaired = nf.repair(path, encoder=old)
    assert repaired.lost == {}
    with reopened(path, old) as again:
        assert_is(again, documents, old)
        assert again.migrate(new).switched
        assert_is(again, documents, new)


def test_a_switch_that_was_cut_off_at_the_end_leaves_a_folder_of_no_use(col, path, documents, old, new, monkeypatch):
    monkeypatch.setattr("nearfield.engine.local.changeover.progress.Progress.remove", lambda self: None)
    col.migrate(new)
    monkeypatch.undo()
    assert (path / "migration" / "progress.sqlite").exists()
    assert col.stats().migration is None
    assert_is(col, documents, new)
    third = Words(3)
    assert col.migrate(third).encoded == 60
    assert_is(col, documents, third)


def test_a_switch_that_would_leave_documents_out_is_refused(col, path, documents, old, new, monkeypatch):
    from nearfield.engine.local.changeover.progress import Progress

    changes = Progress.changes
    monkeypatch.setattr(Progress, "changes", lambda self: list(changes(self))[1:])
    with pytest.raises(nf.CorruptCollection, match="1 documents have no new vectors"):
        col.migrate(new)
    monkeypatch.undo()
    assert_is(col, documents, old)
    assert col.migrate(new).encoded == 0
    assert_is(col, documents, new)


def test_a_folder_that_can_not_be_written(col, path, new, monkeypatch):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nearfield.engine.local.changeover.progress.make_folder", refuse)
    with pytest.raises(NearfieldError, match=r"No space left.*was not changed"):
        col.migrate(new)
    monkeypatch.undo()
    assert col.migrate(new).switched


# -- in the background -------------------------------------------------------------------------------------------------


def test_in_the_background(col, documents, old, new):
    go = threading.Event()
    new.before = lambda _: go.wait(30)
    work = col.migrate(new, background=True)
    assert work.running and work.wait(0.0) is None
    assert_is(col, documents, old)
    go.set()
    report = work.wait(60)
    assert report.switched and not work.running
    assert (work.done, work.total) == (60, 60)
    assert_is(col, documents, new)


@pytest.mark.usefixtures("small_batches")
def test_closing_ends_it_after_a_batch(col, path, documents, old, new):
    begun = threading.Event()
    new.before = lambda _: begun.set()
    work = col.migrate(new, background=True, switch=False)
    begun.wait(30)
    col.close()
    assert not work.running
    done = work.done
    if done < 60:
        with pytest.raises(NearfieldError, match=f"stopped when {done} of 60 documents"):
            work.wait()
    with reopened(path, old) as again:
        assert_is(again, documents, old)
        assert again.migrate(new).encoded == 60 - done
        assert_is(again, documents, new)


def test_two_migrations_at_once(col, documents, old, new):
    """The second is refused, and does not take the first one's place in the collection that both began in."""
    begun, go = threading.Event(), threading.Event()
    new.before = lambda _: (begun.set(), go.wait(30))
    work = col.migrate(new, background=True)
    assert begun.wait(30)
    with pytest.raises(Locked, match="another process or thread"):
        col.migrate(Words(3))
    go.set()
    assert work.wait(60).switched
    assert_is(col, documents, new)


def test_an_error_in_the_background_is_raised_by_wait(col, documents, old, new):
    def fail(_):
        raise RuntimeError("out of memory")

    new.before = fail
    work = col.migrate(new, background=True)
    with pytest.raises(RuntimeError, match="out of memory"):
        work.wait()
    assert_is(col, documents, old)


def test_the_tables_are_those_that_the_formats_page_names(col, path, new):
    col.migrate(new, switch=False)
    page = (Path(__file__).parent.parent.parent / "docs" / "formats.md").read_text()
    with closing(sqlite3.connect(path / "migration" / "progress.sqlite")) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            for _, column, *_ in connection.execute(f"PRAGMA table_info({table})"):
                section = page.split("## A migration")[1].split("\n## ")[0]
                assert f"`{table}`" in section and f"`{column}`" in section
