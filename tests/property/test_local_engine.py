"""The local engine against a dict, brute force and `Condition.matches`, on random documents and conditions."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearfield.documents import Document
from nearfield.engine.local import LocalEngine
from nearfield.engine.protocol import Record, Settings
from nearfield.errors import InvalidInput
from nearfield.filters import parse

DIMENSION = 6
FIELDS = ["a", "b", "a.b", "c.d", 'odd"field']

numbers = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, 1.0, 2**53 + 1]))
scalars = st.one_of(st.none(), st.booleans(), numbers, st.sampled_from(["", "x", "xy", "1"]))
values = st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(st.sampled_from("bd"), scalars, max_size=2))
metadata = st.dictionaries(st.sampled_from(["a", "b", "a.b", "c", 'odd"field']), values, max_size=4)

ordered = st.one_of(st.integers(-3, 3), st.just(1.5), st.sampled_from(["", "x"]))
operators = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), values),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ordered),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(scalars, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
    st.tuples(st.just("$contains"), scalars),
)
tests = st.tuples(st.sampled_from(FIELDS), operators).map(lambda pair: {pair[0]: {pair[1][0]: pair[1][1]}})
conditions = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$or": parts}),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=4,
)
thorough = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("engines")


def fresh(folder):
    return LocalEngine(folder / f"{len(list(folder.iterdir()))}.nf", Settings("none"))


def record(doc_id, text, fields, vectors):
    spans = [(i, i + 1) for i in range(len(vectors))]
    return Record(Document(text, doc_id=doc_id, metadata=fields), spans, np.asarray(vectors, np.float32))


def unit(rng, rows):
    vectors = rng.standard_normal((rows, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.slow
@thorough
@given(st.lists(metadata, min_size=1, max_size=12), conditions, st.integers(0, 11))
def test_columns_mean_what_matches_says(folder, documents, where, deleted):
    engine = fresh(folder)
    rng = np.random.default_rng(0)
    # In two batches, so that columns are extended, with a deletion between.
    half = len(documents) // 2
    names = [str(i) for i in range(len(documents))]
    records = [record(name, "text", fields, unit(rng, 1)) for name, fields in zip(names, documents, strict=True)]
    condition = parse(where)

    def check(alive):
        try:
            expected = [name for name in alive if condition.matches(documents[int(name)])]
        except InvalidInput:
            with engine.view() as view, pytest.raises(InvalidInput, match="can't compare"):
                view.keys(condition)
        else:
            with engine.view() as view:
                assert view.doc_ids(view.keys(condition)) == expected

    engine.write(records[: half + 1], replace=False)
    check(names[: half + 1])
    engine.write(records[half + 1 :], replace=False) if records[half + 1 :] else None
    gone = str(deleted)
    engine.delete([gone])
    check([name for name in names if name != gone])
    engine.close()


@pytest.mark.slow
@pytest.mark.slow
@thorough
@given(st.data())
def test_searches_equal_brute_force_after_any_history(folder, data):
    engine = fresh(folder)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    model = {}
    for _ in range(data.draw(st.integers(1, 4))):
        names = data.draw(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=6, unique=True))
        batch = [record(name, "some text", {"n": ord(name) % 3}, unit(rng, rng.integers(1, 4))) for name in names]
        engine.write(batch, replace=True)
        model |= {r.document.doc_id: r for r in batch}
        for name in data.draw(st.lists(st.sampled_from("abcdefghij"), max_size=3, unique=True)):
            assert engine.delete([name]) == (name in model)
            model.pop(name, None)
    query, k = unit(rng, 1), data.draw(st.integers(1, 12))
    where = data.draw(st.sampled_from([{}, {"n": 1}, {"n": {"$lt": 2}}, {"n": 9}]))
    excluded = data.draw(st.lists(st.sampled_from("abcz"), max_size=2, unique=True))
    condition = parse(where)
    expected = {
        name: float((r.vectors.astype(float) @ query[0].astype(float)).max())
        for name, r in model.items()
        if (condition is None or condition.matches(r.document.metadata)) and name not in excluded
    }
    best = sorted(expected, key=lambda name: (-expected[name], name))[:k]
    for opened in (engine, LocalEngine(engine._layout.root)):
        with opened.view() as view:
            (ranking,) = view.semantic(query, k, condition, excluded)
            assert view.doc_ids(ranking.keys) == best
            np.testing.assert_allclose(ranking.scores, [expected[name] for name in best], atol=1e-6)
            (words,) = view.lexical(["text"], k, condition, excluded)
            assert sorted(view.doc_ids(words.keys)) == sorted(expected)[:k]
            assert len(view) == len(model)
            assert sorted(view.doc_ids(view.keys())) == sorted(model)
        opened.close()
