"""Segments, placement, compaction, the saved columns: what the local engine does with space."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nearfield as nf
from nearfield.documents import Document
from nearfield.engine.local import LocalEngine, blocks, compaction, saved, segments, states, upkeep
from nearfield.engine.local.growing import extended
from nearfield.engine.local.segments import Segment, place
from nearfield.engine.protocol import Record, Settings
from nearfield.filters import parse

DIMENSION = 8


@pytest.fixture
def small(monkeypatch):
    """Segments of 64 rows, steps of 16, no least numbers: everything happens at a small size."""
    monkeypatch.setattr(segments, "SLOT", 64)
    monkeypatch.setattr(compaction, "STEP_ROWS", 16)
    monkeypatch.setattr(compaction, "LEAST_DEAD", 0)
    monkeypatch.setattr(upkeep, "LEAST_UNSAVED", 10)
    monkeypatch.setattr(blocks, "COPIED", 20)
    monkeypatch.setattr(states, "LEAST_DEAD_SLOTS", 20)
    monkeypatch.setattr(upkeep, "KEPT_GENERATIONS", 0)


@pytest.fixture
def engine(tmp_path, small):
    engine = LocalEngine(tmp_path / "a.nf", Settings("none"))
    yield engine
    engine.close()


def record(doc_id, rng, passages=1, n=0):
    vectors = rng.standard_normal((passages, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    text = f"text of {doc_id}, part " + "x" * passages
    metadata = {"n": n, "even": n % 2 == 0, "deep": {"n": [n, str(n)]}}
    return Record(Document(text, doc_id=doc_id, metadata=metadata), [(i, i + 1) for i in range(passages)], vectors)


def assert_holds(engine, model):
    """Compare everything that a reader can see with a dict of records."""
    with engine.view() as view:
        keys = view.keys()
        assert view.doc_ids(keys) == list(model)
        for one, vectors, expected in zip(view.read(keys), view.passage_vectors(keys), model.values(), strict=True):
            assert (one.text, one.metadata, one.spans) == (
                expected.document.text, expected.document.metadata, expected.spans
            )  # fmt: skip
            np.testing.assert_array_equal(vectors, expected.vectors)
        for where in ({"even": True}, {"n": {"$lt": 9}}, {"deep.n": {"$contains": "7"}}, {"deep": {"$exists": False}}):
            condition = parse(where)
            allowed = [name for name, r in model.items() if condition.matches(r.document.metadata)]
            assert view.doc_ids(view.keys(condition)) == allowed
            query = np.eye(1, DIMENSION, dtype=np.float32)
            (found,) = view.semantic(query, 5, condition)
            scores = {name: float((model[name].vectors.astype(float) @ query[0]).max()) for name in allowed}
            best = sorted(scores, key=lambda name: (-scores[name], name))[:5]
            assert view.doc_ids(found.keys) == best
    stats = engine.stats()
    assert (stats.documents, stats.passages) == (len(model), sum(len(r.spans) for r in model.values()))
    assert stats.passages + stats.dead_passages == sum(s.rows for s in on_disk(engine))


def on_disk(engine):
    with engine.view() as view:
        return view._state.blocks.segments


def files(engine):
    return sorted(file.name for file in engine._layout.vectors.iterdir())


def churn(engine, rng, model, rounds=40):
    for number in range(rounds):
        names = [str(name) for name in rng.choice(60, rng.integers(1, 20), replace=False)]
        batch = [record(name, rng, int(rng.integers(1, 5)), int(rng.integers(20))) for name in names]
        engine.write(batch, replace=True)
        for one in batch:
            model.pop(one.document.doc_id, None)
        model |= {one.document.doc_id: one for one in batch}
        if number % 3 == 0:
            gone = [str(name) for name in rng.choice(60, 10, replace=False)]
            assert engine.delete(gone) == len([name for name in gone if model.pop(name, None)])
        yield number


def test_any_history_keeps_contents_and_bounds_the_dead(engine):
    rng, model = np.random.default_rng(0), {}
    for _ in churn(engine, rng, model):
        assert_holds(engine, model)
        stats = engine.stats()
        assert stats.dead_passages <= 0.35 * (stats.passages + stats.dead_passages) + 2 * segments.SLOT
    assert len(files(engine)) < 12
    with engine.view() as view:
        assert len(view._state.keys) <= 1.34 * len(model) + 20, "slots of deleted documents stay in memory"
        assert all(len(part.later) <= 20 for part in view._state.blocks.parts), "copies of rows stay in memory"
    engine.compact()
    assert_holds(engine, model)
    assert engine.stats().dead_passages == 0
    again = LocalEngine(engine._layout.root)
    assert_holds(again, model)
    again.close()


def test_other_processes_follow_whatever_they_have_seen(engine):
    """Readers that look at every write, now and then, and only at the end, see what a new one sees."""
    rng, model = np.random.default_rng(1), {}
    readers = {every: LocalEngine(engine._layout.root) for every in (1, 4, 15, 39)}
    for number in churn(engine, rng, model):
        for every, reader in readers.items():
            if number % every == 0:
                assert_holds(reader, model)
    for reader in readers.values():
        reader.close()


def test_an_older_view_goes_on_as_it_began_while_its_segments_are_dropped(engine):
    rng = np.random.default_rng(2)
    old = [record(str(i), rng, 1 + i % 3, i) for i in range(50)]
    engine.write(old, replace=False)
    with engine.view() as view:
        before = files(engine)
        engine.write([record(str(i), rng, 1, 99) for i in range(50)], replace=True)
        engine.compact()
        assert not set(before) & set(files(engine))
        assert view.doc_ids(view.keys(parse({"n": {"$lt": 10}}))) == [str(i) for i in range(10)]
        for vectors, expected in zip(view.passage_vectors(view.keys()), old, strict=True):
            np.testing.assert_array_equal(vectors, expected.vectors)
        assert [one.metadata["n"] for one in view.read(view.keys())] == list(range(50))
    with engine.view() as view:
        assert {one.metadata["n"] for one in view.read(view.keys())} == {99}


def test_an_older_view_has_fields_that_were_read_only_after_a_deletion(engine):
    rng = np.random.default_rng(2)
    engine.write([record(str(i), rng, 1, i % 2) for i in range(6)], replace=False)
    with engine.view() as older:
        engine.delete(["1", "4"])
        engine.write([record("7", rng, 1, 1)], replace=False)
        with engine.view() as newer:
            assert newer.doc_ids(newer.keys(parse({"n": 1}))) == ["3", "5", "7"]
        assert older.doc_ids(older.keys(parse({"n": 1}))) == ["1", "3", "5"]
        assert older.doc_ids(older.keys(parse({"n": {"$exists": True}}))) == list("012345")


def test_values_that_no_document_has_any_more_leave_memory(engine):
    rng = np.random.default_rng(7)
    for round_ in range(8):
        engine.write([record(str(i), rng, 1, 1000 * round_ + i) for i in range(50)], replace=True)
        with engine.view() as view:
            wanted = parse({"n": {"$gte": 1000 * round_ + 40}})
            assert view.doc_ids(view.keys(wanted)) == [str(i) for i in range(40, 50)]
    engine.compact()
    with engine.view() as view:
        assert view.doc_ids(view.keys(parse({"n": 7049}))) == ["49"]
        column = view._columns._columns["n"]
        assert len(column.values) == 51
        assert set(column.codes.tolist()) == set(range(1, 51))
    engine.write([record("new", rng, 1, 7049)], replace=False)
    with engine.view() as view:
        assert view.doc_ids(view.keys(parse({"n": 7049}))) == ["49", "new"]


def test_damage_in_one_segment_does_not_keep_others_from_being_compacted(engine):
    rng = np.random.default_rng(8)
    engine.write([record(str(i), rng) for i in range(320)], replace=False)
    file = engine._layout.vectors / "000000.vec"
    content = bytearray(file.read_bytes())
    content[-1] ^= 4
    file.write_bytes(content)
    with pytest.raises(nf.CorruptCollection, match=r"000000\.vec"):
        engine.delete([str(i) for i in range(0, 320, 2)])
        engine.compact()
    assert "000000.vec" in files(engine)
    assert engine.stats().dead_passages <= segments.SLOT


def test_everything_can_be_deleted_and_the_space_comes_back(engine):
    rng = np.random.default_rng(3)
    engine.write([record(str(i), rng, 2) for i in range(500)], replace=False)
    assert len(files(engine)) > 10
    engine.delete([str(i) for i in range(500)])
    engine.compact()
    assert files(engine) == []
    assert engine.stats().dead_bytes == 0
    assert_holds(engine, {})
    engine.write([record("again", rng, 3)], replace=False)
    assert len(files(engine)) == 1


def test_compaction_refuses_to_move_what_is_damaged(engine):
    rng = np.random.default_rng(4)
    engine.write([record(str(i), rng) for i in range(60)], replace=False)
    file = engine._layout.vectors / "000000.vec"
    content = bytearray(file.read_bytes())
    content[segments.HEADER_BYTES + 40 * DIMENSION * 4 + 1] ^= 4  # a low bit of one number of document 40
    file.write_bytes(content)
    engine.delete([str(i) for i in range(30)])  # succeeds: its compaction is of no concern to the caller
    with pytest.raises(nf.CorruptCollection, match=r"000000\.vec holds vectors that are not what was written"):
        engine.compact()
    assert engine.stats().documents == 30


def test_saved_columns_serve_the_next_opening(engine, tmp_path):
    rng, model = np.random.default_rng(5), {}
    for _ in churn(engine, rng, model, rounds=12):
        pass
    engine.close()
    marker = saved.marker_of(engine._layout.columns)
    assert marker is not None
    assert marker.fields == ["n", "even", "deep", "deep.n"]
    again = LocalEngine(engine._layout.root)
    assert_holds(again, model)
    with again.view() as view:
        # Nothing was read from the tables that was saved: the column began with the saved values.
        assert view._columns._saved is not None
        assert view._columns._columns["n"].codebook.keys() <= {None, *(str(n) for n in range(20))}
    again.write([record("new", rng, 1, 7)], replace=False)
    model["new"] = None
    with again.view() as view:
        sevens = [name for name, r in model.items() if r is None or r.document.metadata["n"] == 7]
        assert view.doc_ids(view.keys(parse({"n": 7}))) == sevens
        assert view.doc_ids(view.keys(parse({"unheard": {"$exists": True}}))) == []
    again.close()


def test_damaged_columns_are_named(engine):
    rng = np.random.default_rng(6)
    engine.write([record(str(i), rng, 1, i) for i in range(100)], replace=False)
    engine.close()
    folder = next(child for child in engine._layout.columns.iterdir() if child.is_dir())
    for name, ask in (("keys.npy", len), ("field-0.npy", lambda view: view.keys(parse({"n": 1})))):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        again = LocalEngine(engine._layout.root)
        with pytest.raises(nf.CorruptCollection, match=name), again.view() as view:
            ask(view)
        again.close()
        assert [file.name for file, _ in saved.verify(engine._layout.columns)] == [name]
        (folder / name).write_bytes(content)
    assert saved.verify(engine._layout.columns) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(1, 150), min_size=1, max_size=9), max_size=9), st.randoms())
def test_placement_never_overlaps_and_keeps_documents_together(batches, random):
    known, next_number = [], 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SLOT", 64)
        for counts in batches:
            batch = counts
            for segment, documents in place(known, np.array(counts), next_number):
                before = next((s.rows for s in known if s.number == segment.number), 0)
                assert segment.rows == before + sum(batch[:documents])
                assert segment.rows <= max(64, batch[0])
                assert segment.first_row % 64 == 0
                batch = batch[documents:]
                known = [s for s in known if s.number != segment.number] + [segment]
                next_number = max(next_number, segment.number + 1)
            assert not batch
            for one, other in itertools.combinations(known, 2):
                assert one.end <= other.first_row or other.end <= one.first_row
            if known and random.random() < 0.3:
                known.remove(random.choice(known))  # dropped: its addresses are free again


def test_a_document_with_more_rows_than_a_slot_gets_a_segment_of_its_own(small):
    (only,) = place([], np.array([200]), 0)
    assert only == (Segment(0, 0, 200), 1)
    assert place([only[0]], np.array([10]), 1) == [(Segment(1, 256, 10), 1)]


def test_a_segment_never_grows_into_the_next_one_whatever_the_size_of_slots():
    known = [Segment(5, 128, 60), Segment(6, 0, 60)]
    assert place(known, np.array([1] * 80), 7) == [
        (Segment(6, 0, 128), 68), (Segment(7, segments.SLOT, 12), 12)
    ]  # fmt: skip


def test_arrays_grow_without_changing_what_others_hold():
    values = np.arange(3)
    first = extended(values, np.arange(3, 5))
    second = extended(first, np.arange(5, 9))
    third = extended(second, np.arange(9, 200))
    assert first.tolist() == list(range(5))
    assert second.tolist() == list(range(9))
    assert third.tolist() == list(range(200))
    assert second.base is first.base
    assert extended(third, np.empty(0, int)) is third
