"""What every engine must fulfil: `check_engine` raises AssertionError otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from nearfield.documents import Document
from nearfield.encode.protocol import Vectors
from nearfield.engine.migration import Migration
from nearfield.engine.protocol import Bookmark, Engine, Ranking, Record, Stored, View
from nearfield.errors import Conflict
from nearfield.filters import Condition, parse

Viewed: TypeAlias = Engine | Migration

_DIMENSION = 8
_WORDS = ("red", "green", "blue", "apple", "pear", "sky", "sand", "stone")
_CONDITIONS: tuple[dict[str, Any], ...] = (
    {},
    {"colour": "red"},
    {"number": {"$gte": 10, "$lt": 20}},
    {"number": {"$in": [3, 4, 5, 99]}},
    {"tags": {"$contains": "even"}},
    {"$or": [{"colour": "green"}, {"number": {"$not": {"$gt": 5}}}]},
    {"missing": {"$exists": True}},
)


def check_engine(make: Callable[[], Engine], reopen: Callable[[Engine], Engine] | None = None) -> None:
    """Return None if an engine fulfils what `nearfield.engine.protocol.Engine` promises.

    Compares values: every search, filter and reading is held against a brute-force answer over a model of the same
    documents, after additions, replacements and deletions.

    Args:
        make: Returns a new, empty engine.
        reopen: Closes an engine and returns one on the same data; None for an engine that keeps nothing.

    Raises:
        AssertionError: the engine breaks the contract; says where.
    """
    engine = make()
    model: dict[str, Record] = {}
    _check_view(engine, model, "an empty engine")
    _write(engine, model, [_record(f"d{i}", i, passages=1 + i % 3) for i in range(30)], replace=False)
    _check_view(engine, model, "after the first batch")
    _check_numbers(engine, model)
    _write(engine, model, [_record(f"d{i}", i + 100, passages=1 + i % 2) for i in range(5, 12)], replace=True)
    _check_view(engine, model, "after replacing")
    _check_refusal(engine, model)
    _check_deletion(engine, model)
    _check_old_view(engine, model)
    _check_conditional_deletion(engine, model)
    _check_bookmarks(engine, model)
    _check_origin(engine, model)
    engine.compact()
    _check_view(engine, model, "after compact")
    if reopen is not None:
        engine = reopen(engine)
        _check_view(engine, model, "after reopening")
        kept = engine.bookmark("a source")
        assert kept == Bookmark("a source", 2, "digest 2"), f"a bookmark must be there after reopening, is {kept}"
    if engine.capabilities.tuning:
        _check_tuning(engine, model)
    if engine.capabilities.migration:
        _check_migration(engine, model)
        if reopen is not None:
            engine = reopen(engine)
            _check_view(engine, model, "after a migration and reopening")
    engine.close()
    engine.close()


def _record(doc_id: str | None, seed: int, passages: int) -> Record:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((passages, _DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = [_WORDS[i] for i in rng.integers(0, len(_WORDS), 6 * passages)]
    sentences = [" ".join(words[6 * i : 6 * i + 6]) for i in range(passages)]
    text = " ".join(sentences)
    ends = np.cumsum([len(sentence) + 1 for sentence in sentences])
    spans = [(int(end) - len(sentence) - 1, int(end) - 1) for end, sentence in zip(ends, sentences, strict=True)]
    metadata = {"number": seed, "colour": words[0], "tags": ["even"] if seed % 2 == 0 else []}
    return Record(Document(text, doc_id, f"Title {seed}", metadata), spans, vectors.astype(np.float32))  # type: ignore[arg-type]


def _write(engine: Engine, model: dict[str, Record], records: list[Record], *, replace: bool) -> None:
    doc_ids = engine.write(records, replace=replace, fingerprint="check")
    assert doc_ids == [record.document.doc_id for record in records], "write must return the batch's doc_ids in order"
    for record in records:
        model.pop(str(record.document.doc_id), None)
        model[str(record.document.doc_id)] = record


def _check_view(engine: Viewed, model: dict[str, Record], when: str) -> None:
    with engine.view() as view:
        assert len(view) == len(model), f"{when}: len must be {len(model)}, is {len(view)}"
        for where in _CONDITIONS:
            condition = parse(where)
            matching = _matching(model, condition)
            keys = view.keys(condition)
            assert view.doc_ids(keys) == matching, f"{when}: keys({where}) must be {matching}, is {view.doc_ids(keys)}"
            _check_searches(view, {name: model[name] for name in matching}, condition, f"{when}, where={where}")
        _check_reading(view, model, when)


def _matching(model: dict[str, Record], condition: Condition | None) -> list[str]:
    return [name for name, record in model.items() if condition is None or condition.matches(record.document.metadata)]


def _check_searches(view: View, allowed: dict[str, Record], condition: Condition | None, when: str) -> None:
    queries = np.concatenate([_record(None, 7, 1).vectors, _record(None, 400, 2).vectors])
    for k in (1, 4, 1000):
        for exclude in ((), ("d3", "d8", "unknown")):
            left = {name: record for name, record in allowed.items() if name not in exclude}
            for query, ranking in zip(queries, view.semantic(queries, k, condition, exclude), strict=True):
                expected = {name: _cosine(record, query) for name, record in left.items()}
                _check_ranking(view, ranking, expected, k, f"{when}: semantic, k={k}, exclude={exclude}")
            (words,) = view.lexical(["sky apples"], k, condition, exclude)
            sharing = {name for name, record in left.items() if {"sky", "apple"} & set(record.document.text.split())}
            found = view.doc_ids(words.keys)
            assert set(found) <= sharing, f"{when}: lexical finds {set(found) - sharing}, which share no term"
            assert len(found) == min(k, len(sharing)), f"{when}: lexical must find {min(k, len(sharing))}"
            assert (np.diff(words.scores) <= 0).all(), f"{when}: lexical scores must fall"


def _cosine(record: Record, query: Vectors) -> float:
    return float((record.vectors.astype(np.float64) @ query.astype(np.float64)).max())


def _check_ranking(view: View, ranking: Ranking, expected: dict[str, float], k: int, when: str) -> None:
    best = sorted(expected, key=lambda name: (-expected[name], name))[:k]
    found = view.doc_ids(ranking.keys)
    assert found == best, f"{when}: must find {best}, finds {found}"
    worst = max((abs(score - expected[name]) for name, score in zip(found, ranking.scores, strict=True)), default=0.0)
    assert worst < 1e-5, f"{when}: a score is off by {worst}"
    assert ranking.plan, f"{when}: the plan must say how the documents were found"


def _check_reading(view: View, model: dict[str, Record], when: str) -> None:
    names = [*sorted(model, reverse=True), "unknown"]
    found = view.find(names)
    assert found[-1] is None, f"{when}: find must give None for an unknown doc_id"
    keys = np.array(found[:-1], dtype=np.int64)
    for name, stored in zip(names, view.read(keys), strict=False):
        record = model[name]
        kept = (stored.doc_id, stored.title, stored.text, stored.metadata, stored.spans)
        document = record.document
        given = (name, document.title, document.text, document.metadata, record.spans)
        assert kept == given, f"{when}: {name} was stored as {given} and is read as {kept}"
    vectors = view.passage_vectors(keys)
    assert all(np.array_equal(kept, model[name].vectors) for name, kept in zip(names, vectors, strict=False)), (
        f"{when}: passage_vectors must be those that were written, in the order of the keys"
    )
    if len(keys):
        means = np.array([model[name].vectors.mean(axis=0) for name in names[:-1]])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        whole = view.document_vectors(keys)
        assert np.allclose(whole, means, atol=1e-5), f"{when}: document_vectors must be means of unit length"
    overlap = view.term_overlap("apples and sky", ["sky", "apple sky", "stone"])
    assert overlap == [1, 2, 0], f"{when}: term_overlap must be [1, 2, 0], is {overlap}"


def _check_numbers(engine: Engine, model: dict[str, Record]) -> None:
    records = [_record("0", 200, 1), _record(None, 201, 1), _record(None, 202, 2)]
    doc_ids = engine.write(records, replace=False, fingerprint="check")
    assert doc_ids == ["0", "1", "2"], f"documents without a doc_id must get the next free numbers, got {doc_ids}"
    for doc_id, record in zip(doc_ids, records, strict=True):
        document = record.document
        named = Document(document.text, doc_id, document.title, document.metadata)
        model[doc_id] = Record(named, record.spans, record.vectors)


def _check_refusal(engine: Engine, model: dict[str, Record]) -> None:
    for batch, fingerprint in (
        ([_record("new", 300, 1), _record("d3", 301, 1)], "check"),
        ([_record("new", 300, 1)], "another"),
    ):
        try:
            engine.write(batch, replace=False, fingerprint=fingerprint)
        except Conflict:
            _check_view(engine, model, "after a refused batch")
        else:
            raise AssertionError("write must raise Conflict for an existing doc_id, and for another fingerprint")


def _check_deletion(engine: Engine, model: dict[str, Record]) -> None:
    with engine.view() as view:
        before = view.generation
    gone = ["d0", "d7", "2", "unknown"]
    count = engine.delete(gone)
    assert count == 3, f"delete must return how many there were, 3, returned {count}"
    for name in gone[:3]:
        del model[name]
    _check_view(engine, model, "after deleting")
    with engine.view() as view:
        assert view.generation > before, "a write must raise the generation"


def _check_old_view(engine: Engine, model: dict[str, Record]) -> None:
    with engine.view() as view:
        names = view.doc_ids(view.keys())
        engine.delete(["d1"])
        assert view.doc_ids(view.keys()) == names, "a view must keep its state while others write"
        assert len(view.read(view.keys())) == len(names), "a view must read documents deleted after it was made"
    del model["d1"]
    _check_view(engine, model, "after a deletion beside an open view")


def _check_conditional_deletion(engine: Engine, model: dict[str, Record]) -> None:
    condition = parse({"number": {"$in": [3, 4, 999]}})
    assert condition is not None
    gone = _matching(model, condition)
    count = engine.delete(condition)
    assert count == len(gone), f"delete must return how many matched, {len(gone)}, returned {count}"
    for name in gone:
        del model[name]
    _check_view(engine, model, "after deleting by a condition")


def _check_bookmarks(engine: Engine, model: dict[str, Record]) -> None:
    assert engine.bookmark("a source") is None, "a source that was never ingested has no bookmark"
    for position in (1, 2):
        mark = Bookmark("a source", position, f"digest {position}")
        record = _record(f"marked {position}", 500 + position, 1)
        engine.write([record], replace=False, fingerprint="check", bookmark=mark)
        model[f"marked {position}"] = record
        assert engine.bookmark("a source") == mark, "write must store its bookmark"
    try:
        engine.write([record], replace=False, fingerprint="check", bookmark=Bookmark("a source", 3))
    except Conflict:
        assert engine.bookmark("a source") == mark, "a refused batch must leave the bookmark as it was"
    engine.write([], replace=False, bookmark=Bookmark("another", 7))
    engine.remove_bookmark("another")
    engine.remove_bookmark("unknown")
    assert engine.bookmark("another") is None, "remove_bookmark must remove it"
    _check_view(engine, model, "after bookmarks")


def _check_origin(engine: Engine, model: dict[str, Record]) -> None:
    record = _record("given", 600, 1)
    engine.write([record], replace=False)
    model["given"] = record
    with engine.view() as view:
        keys = [key for key in view.find(["given", "d2"]) if key is not None]
        origins = [stored.encoded for stored in view.read(np.array(keys, dtype=np.int64))]
    assert origins == [False, True], f"encoded must tell that a batch came with a fingerprint, is {origins}"


def _check_tuning(engine: Engine, model: dict[str, Record]) -> None:
    """Have the index measured, with queries and without; searches must answer as before."""
    target = engine.settings.recall
    for asked in (None, _record(None, 900, 3).vectors):
        tuning = engine.tune(asked)
        _check_view(engine, model, "after tuning")
        told = engine.stats().index
        if tuning is None:
            assert told["recall"] == 1.0, f"what was never measured must be an exact scan, with recall {told['recall']}"
            continue
        assert tuning.target == target, f"the target must be the collection's, {target}, is {tuning.target}"
        worst = min((point.recall for point in tuning.chosen.values()), default=1.0)
        assert worst >= target, f"a chosen effort must keep the target {target}, finds {worst}"
        times = [point.milliseconds for point in tuning.curve]
        assert times == sorted(times), f"the curve must rise in time, is {times}"
        recalls = [point.recall for point in tuning.curve]
        assert recalls == sorted(recalls), f"the curve must rise in recall, is {recalls}"
    with engine.view() as view:
        generation = view.generation
    engine.tune(build=False)
    with engine.view() as view:
        assert view.generation == generation, "tuning must not write to the collection"


def _check_migration(engine: Engine, model: dict[str, Record]) -> None:
    """Give the collection other vectors, while it is written to; the model has them afterwards."""
    assert engine.give_up_migration() is False, "without a migration there is none to give up"
    settings = replace(engine.settings, encoder="other", fingerprint="other", identity=None)
    migration = engine.migration(settings)
    count = len(model)
    assert len(migration.pending()) == count, f"at first, all {count} documents must be pending"
    assert migration.given() == 1, f"one document has a given vector, given() says {migration.given()}"
    remade = _remake(migration, model, count // 2)
    _check_view(migration, remade, "half of a migration")
    _check_view(engine, model, "beside half of a migration")
    migration.close()
    migration = engine.migration(settings)
    pending = len(migration.pending())
    assert pending == count - count // 2, f"a migration must go on where it was, {pending} of {count} are pending"
    gone = next(iter(remade))
    engine.delete([gone])
    del model[gone], remade[gone]
    replaced = next(iter(remade))
    _write(engine, model, [_record(replaced, 701, 2)], replace=True)
    del remade[replaced]
    _check_view(migration, remade, "after a deletion and a replacement beside a migration")
    remade |= _remake(migration, model, 3)
    with engine.view() as view:
        generation = view.generation
    last: dict[str, Record] = {}
    migration.switch(lambda documents: _remade(documents, model, last))
    assert last and not set(last) & set(remade), (
        "switch must have those documents encoded that are pending, and no others"
    )
    migration.close()
    for name in model:
        model[name] = remade.get(name) or last[name]
    _check_view(engine, model, "after a migration")
    with engine.view() as view:
        assert view.generation > generation, "a switch must raise the generation"
        assert view.fingerprint == "other", f"the fingerprint must be the new one, is {view.fingerprint}"
        assert all(stored.encoded for stored in view.read(view.keys())), "all documents must be the encoder's then"
    assert engine.settings.fingerprint == "other", "the settings must be the new ones after a switch"
    assert engine.give_up_migration() is False, "a switch must leave no migration to give up"


def _remake(migration: Migration, model: dict[str, Record], count: int) -> dict[str, Record]:
    """Store new vectors of the next pending documents, and return their records."""
    made: dict[str, Record] = {}
    documents = migration.read(migration.pending()[:count])
    migration.store(documents, _remade(documents, model, made))
    return made


def _remade(documents: Sequence[Stored], model: dict[str, Record], made: dict[str, Record]) -> list[Record]:
    """Return records of the same documents with other passages and vectors, and note them."""
    records = []
    for document in documents:
        text, seed = document.text, 800 + document.key
        half = len(text) // 2
        spans = [(0, half), (half, len(text))] if document.key % 2 else [(0, len(text))]
        vectors = _record(None, seed, len(spans)).vectors
        records.append(Record(model[document.doc_id].document, spans, vectors))
        made[document.doc_id] = records[-1]
    return records
