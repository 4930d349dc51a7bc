"""Vector search of a collection that changes: held against the exact scan, with an index built from few vectors."""

import multiprocessing
import threading
import time
from itertools import product

import numpy as np
import pytest

import nearfield as nf
from indexing import clustered, unit
from migrating import Words
from nearfield.documents import Document
from nearfield.engine.local import LocalEngine, neighbours, pace
from nearfield.engine.protocol import Record, Settings
from nearfield.errors import CorruptCollection, InvalidInput
from nearfield.filters import parse
from nearfield.index import folder, kinds, nearest, tuning
from nearfield.index.ann import Effort, Interrupted
from nearfield.index.tuning import Point, Tuning

DIMENSION = 8
COLOURS = ["red", "blue", "green"]
CONDITIONS = [None, {"colour": "red"}, {"n": {"$lt": 10}}, {"n": {"$gte": 0}}, {"colour": "none"}, {"n": 7}]


def everything(ann, read, live, target, asked=None):
    """Return efforts that look at all vectors, as `tune` does not: the index then is as exact as a scan."""
    effort = Effort(ann.reaches()[-1], ann.count)
    chosen = {k: Point(k, effort, 1.0, 1.0, 1.0, 1.0, 1.0) for k in tuning.SAMPLE}
    return Tuning(target, 1, chosen, dict.fromkeys(tuning.SAMPLE, ann.count) if ann.selects else {}, [])


def some_slow(quick, *names_and_values):
    """Return parameter sets for all combinations, of which only some run among the quick tests."""
    return [
        values if values in quick else pytest.param(*values, marks=pytest.mark.slow)
        for values in product(*names_and_values)
    ]


IS_DUE = neighbours.NeighbourKeeper.is_due


@pytest.fixture(autouse=True)
def low(monkeypatch):
    monkeypatch.setattr(kinds, "AUTO_ROWS", 100)
    monkeypatch.setattr(kinds, "LEAST_ROWS", 50)
    monkeypatch.setattr(kinds, "ROWS_PER_LIST", 5)
    monkeypatch.setattr(neighbours, "NEW_LEAST", 20)
    monkeypatch.setattr(neighbours, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(neighbours, "REST_SECONDS", 0.0)
    monkeypatch.setattr(neighbours.NeighbourKeeper, "is_due", lambda *_, **__: False)  # nothing begins by itself
    monkeypatch.setattr(nearest, "SCANNED", 5)
    monkeypatch.setattr(nearest, "SCANNED_SHARE", 0.0)


@pytest.fixture
def exactly(monkeypatch):
    monkeypatch.setattr(neighbours, "tune", everything)


class Model:
    """An engine, and the vectors and metadata that it should have."""

    def __init__(self, root, index="IVF4,Flat", seed=0, recall=0.95, passages=3, dimension=DIMENSION):
        self.root = root
        self.engine = LocalEngine(root, Settings("model", index, recall))
        self.rng = np.random.default_rng(seed)
        self.passages = passages
        self.dimension = dimension
        self.vectors = {}
        self.metadata = {}

    def put(self, names, vectors=None):
        records = []
        for place, name in enumerate(names):
            count = int(self.rng.integers(1, self.passages + 1)) if vectors is None else 1
            own = unit(self.rng.standard_normal((count, self.dimension))) if vectors is None else vectors[[place]]
            if vectors is None and self.vectors and self.rng.random() < 0.2:  # a duplicate
                own = self.vectors[sorted(self.vectors)[0]].copy()
            metadata = {"n": int(self.rng.integers(0, 20)), "colour": COLOURS[int(self.rng.integers(0, 3))]}
            text = "x" * len(own)
            records.append(
                Record(Document(text, doc_id=name, metadata=metadata), [(i, i + 1) for i in range(len(own))], own)
            )
            self.vectors[name], self.metadata[name] = own, metadata
        self.engine.write(records, replace=True)

    def remove(self, names):
        self.engine.delete(names)
        for name in names:
            del self.vectors[name], self.metadata[name]

    @property
    def keeper(self):
        return self.engine._indexes.neighbours

    def build(self):
        self.keeper.renew(self.engine._indexes.state())

    def follow(self, stop=lambda: False):
        self.keeper.follow(self.engine._indexes.state(), stop)

    def reopen(self):
        self.engine.close()
        self.engine = LocalEngine(self.root)

    def allowed(self, where, exclude=()):
        holds = {
            None: lambda _: True,
            "colour": lambda m: m["colour"] == where["colour"],
            "n": lambda m: m["n"] == where["n"] if isinstance(where["n"], int) else _compares(m["n"], where["n"]),
        }[None if where is None else next(iter(where))]
        return [name for name in self.vectors if name not in exclude and holds(self.metadata[name])]

    def expected(self, query, k, where=None, exclude=()):
        exact = {
            name: float(np.clip((self.vectors[name].astype(np.float64) @ query.astype(np.float64)).max(), -1, 1))
            for name in self.allowed(where, exclude)
        }
        return sorted(exact.items(), key=lambda pair: (-pair[1], pair[0]))[:k]

    def search(self, queries, k, where=None, exclude=(), engine=None):
        with (engine or self.engine).view() as view:
            rankings = view.semantic(queries, k, None if where is None else parse(where), exclude)
            return [(list(zip(view.doc_ids(one.keys), one.scores.tolist(), strict=True)), one.plan) for one in rankings]

    def queries(self, count=3):
        queries = unit(self.rng.standard_normal((count, self.dimension)))
        if self.vectors:
            queries[0] = self.vectors[sorted(self.vectors)[0]][0]
        return queries

    def check(self, k=7, exact=True, engine=None):
        """Compare all answers with the model's; of equal scores at the end, any will do."""
        queries = self.queries()
        for where in CONDITIONS:
            for exclude in ((), tuple(sorted(self.vectors)[:2])):
                for query, (found, plan) in zip(queries, self.search(queries, k, where, exclude, engine), strict=True):
                    expected = self.expected(query, len(self.vectors), where, exclude)
                    scores = dict(expected)
                    told = (where, exclude, plan)
                    assert len(found) == min(k, len(expected)), told
                    assert len({name for name, _ in found}) == len(found), told
                    for name, score in found:  # none that is gone, and no wrong score
                        assert score == pytest.approx(scores[name], abs=1e-12), told
                    if exact:
                        best = [score for _, score in expected[:k]]
                        np.testing.assert_allclose([score for _, score in found], best, atol=1e-12, err_msg=str(told))


def _compares(value, condition):
    return value < condition["$lt"] if "$lt" in condition else value >= condition["$gte"]


def names(start, count):
    return [f"d{number}" for number in range(start, start + count)]


@pytest.fixture
def model(tmp_path):
    made = Model(tmp_path / "col.nf")
    yield made
    made.engine.close()


# -- living ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "seed"), some_slow([("IVF4,Flat", 1), ("HNSW8", 0)], ["IVF4,Flat", "Flat", "HNSW8"], range(4))
)
def test_histories_answer_as_a_scan_does(tmp_path, index, seed, exactly):
    model = Model(tmp_path / "col.nf", index, seed, passages=1 + seed % 3)
    exact = index != "HNSW8"
    model.put(names(0, 120))
    model.build()
    other = LocalEngine(tmp_path / "col.nf")
    for step in range(25):
        match int(model.rng.integers(0, 9)):
            case 0 | 1:
                model.put(names(200 + 30 * step, int(model.rng.integers(1, 30))))
            case 2:
                model.put(model.rng.choice(sorted(model.vectors), 5, replace=False).tolist())
            case 3 | 4:
                count = min(len(model.vectors) - 1, int(model.rng.integers(1, 25)))
                model.remove(model.rng.choice(sorted(model.vectors), count, replace=False).tolist())
            case 5 | 6:
                model.follow()
            case 7:
                model.engine.compact()
            case 8:
                model.reopen()
        model.check(exact=exact)
        model.check(k=1000, engine=other)
    assert model.engine.check().problems == []
    other.close()
    model.engine.close()


def test_it_is_built_and_extended_beside_writes_and_searches_by_itself(model, exactly, monkeypatch):
    monkeypatch.setattr(neighbours.NeighbourKeeper, "is_due", IS_DUE)
    monkeypatch.setattr(pace, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(pace, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(neighbours, "BUSY_LEAST", 10)
    model.put(names(0, 150))
    model.engine._indexes._vectors.wait()
    first = model.keeper._folder.marker()
    assert first.rows == sum(map(len, model.vectors.values()))
    model.check()
    model.put(names(300, 40))
    model.check()  # a search finds that much is new
    model.engine._indexes._vectors.wait()
    model.check()
    model.engine._indexes._vectors.wait()
    assert model.keeper._folder.marker().generation > first.generation
    assert model.engine.stats().index["scanned"] == 0
    model.remove(names(0, 5))
    model.reopen()
    model.check()


def test_a_writer_that_never_pauses_is_followed_after_a_while(model, exactly, monkeypatch):
    monkeypatch.setattr(neighbours.NeighbourKeeper, "is_due", IS_DUE)
    model.put(names(0, 150))
    assert model.keeper._folder.marker().rows == 0  # it may be the beginning of many more
    model.keeper._pace._patient_until = time.monotonic()
    model.put(names(300, 5))
    model.engine._indexes._vectors.wait()
    first = model.keeper._folder.marker()
    assert first.rows == sum(map(len, model.vectors.values()))
    model.put(names(400, 40))
    model.engine._indexes._vectors.wait()
    assert model.keeper._folder.marker() == first
    assert model.keeper._pace._patient_until > time.monotonic() + pace.STEADY_SECONDS / 2
    model.keeper._pace._patient_until = time.monotonic()
    model.put(names(500, 1))
    model.engine._indexes._vectors.wait()
    assert model.keeper._folder.marker().rows == sum(map(len, model.vectors.values()))
    model.check()


def test_searches_go_by_the_index_and_say_so(model, exactly):
    model.passages = 1
    model.put(names(0, 200))
    model.build()
    plans = {plan for _, plan in model.search(model.queries(), 7)}
    assert plans == {"IVF4,Flat: the nearest 4 of 4 lists, 200 candidates rescored"}
    model.put(names(300, 3))
    (_, plan), *_ = model.search(model.queries(), 7)
    assert plan.endswith("; exact scan of 3 new documents")
    (_, plan), *_ = model.search(model.queries(), 7, {"colour": "red"})
    red = sum(one["colour"] == "red" for one in model.metadata.values())
    assert plan.startswith(f"IVF4,Flat: all 4 of 4 lists that hold one of the {red} allowed documents")
    few = len(model.allowed({"colour": "none"}))
    (_, plan), *_ = model.search(model.queries(), 7, {"colour": "none"})
    assert plan == f"exact scan of {few} documents"


def test_a_filter_that_allows_new_documents_only_finds_them(model, exactly):
    model.put(names(0, 200))
    model.build()
    for name in model.vectors:
        model.metadata[name] |= {"n": 0}
    fresh = names(1000, 15)
    vectors = unit(np.random.default_rng(1).standard_normal((15, DIMENSION)))
    records = [
        Record(Document("x", doc_id=name, metadata={"n": 50}), [(0, 1)], vectors[[place]])
        for place, name in enumerate(fresh)
    ]
    model.engine.write(records, replace=True)
    for found, _ in model.search(vectors[:3], 20, {"n": 50}):
        assert {name for name, _ in found} == set(fresh)


@pytest.mark.parametrize("step", ["building", "extending"])
def test_writes_beside_a_build_are_seen_at_once(model, step, exactly, monkeypatch):
    model.put(names(0, 150))
    if step == "extending":
        model.build()
        model.put(names(300, 60))
    asked = []

    def stop():
        """Write in the middle of the work, and go on with it."""
        if not asked:
            asked.append(1)
            assert model.engine.stats().index["building"] == step
            model.put(names(500, 10))
            model.put(names(0, 3))  # replaced
            model.remove(names(10, 20))
            model.check()
        return False

    model.follow(stop)
    assert asked
    model.check()
    marker = model.keeper._folder.marker()
    assert marker.generation < model.engine._indexes.state().generation
    model.put(names(700, 40))
    model.follow()
    model.check()


def test_work_that_is_given_up_changes_nothing_and_begins_again(model, exactly, monkeypatch):
    model.put(names(0, 150))
    model.follow(lambda: True)
    assert model.engine.stats().index["kind"] == "exact"
    assert list((model.root / "index").iterdir() if (model.root / "index").exists() else []) == []
    model.check()
    answers = iter([False, True])  # when it has learned, before the vectors are in
    model.follow(lambda: next(answers))
    assert model.keeper._folder.marker() == folder.NONE
    model.follow()
    assert model.engine.stats().index["kind"] == "IVF4,Flat"
    model.check()


def test_an_index_that_was_extended_beside_deleted_vectors_is_tuned_by_the_living(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "SAMPLE", {10: 200, 100: 40, 1000: 10})
    model = Model(tmp_path / "col.nf", "IVF8,Flat", passages=1)
    vectors, _ = clustered(900, DIMENSION)
    vectors[::7] = vectors[0]  # ties, for which vectors are read
    model.put(names(0, 800), vectors[:800])
    model.build()
    model.remove(names(0, 150))
    real = neighbours.tune

    def checked(ann, give, live, target, asked=None):
        dead = np.setdiff1d(np.arange(ann.count), live)
        assert len(dead) == 150

        def only_living(some):
            assert not np.isin(some, dead).any()
            return give(some)

        return real(ann, only_living, live, target, asked)

    monkeypatch.setattr(neighbours, "tune", checked)
    model.put(names(1000, 100), vectors[800:])
    model.follow()
    marker = model.keeper._folder.marker()
    assert (marker.rows, marker.learned) == (900, 800)
    model.check(exact=False)
    model.engine.close()


def test_an_index_is_measured_again_when_it_has_grown_or_somebody_asks(tmp_path, monkeypatch):
    measured = []

    def counted(ann, *rest):
        measured.append(ann.count)
        return everything(ann, *rest)

    monkeypatch.setattr(neighbours, "tune", counted)
    model = Model(tmp_path / "col.nf", passages=1)
    vectors, _ = clustered(1_200, DIMENSION)
    asked = vectors[:3]
    model.put(names(0, 1_000), vectors[:1_000])
    model.keeper.renew(model.engine._indexes.state(), asked)
    for start, indexed, known in (
        (1_000, 1_030, [1_000]),
        (1_030, 1_060, [1_000, 1_060]),
        (1_060, 1_090, [1_000, 1_060]),
    ):
        model.put(names(start, 30), vectors[start : start + 30])
        model.follow()
        marker = model.keeper._folder.marker()
        assert (marker.rows, marker.tuned, measured) == (indexed, known[-1], known)
        np.testing.assert_array_equal(model.keeper._folder.load(marker).asked, asked)
        model.check()
    model.build()
    assert measured == [1_000, 1_060, 1_090]
    model.put(names(1_090, 20), vectors[1_090:1_110])  # not more than are scanned
    model.follow()
    assert model.keeper._folder.marker().rows == 1_090
    model.engine.close()


def test_a_doc_id_of_an_older_view_is_told_after_it_was_deleted(model, exactly):
    model.put(names(0, 150))
    state = model.engine._indexes.state()
    query = model.vectors["d3"][:1]
    with model.engine.view() as view:
        thread = threading.Thread(target=lambda: (model.remove(["d3"]), model.keeper.follow(state, lambda: False)))
        thread.start()
        thread.join()
        assert model.keeper._folder.marker().generation == view.generation
        (ranking,) = view.semantic(query, 3)
        assert view.doc_ids(ranking.keys)[0] == "d3"
    ((found, _),) = model.search(query, 3)
    assert "d3" not in dict(found)


def _write_elsewhere(root):
    engine = LocalEngine(root)
    vector = unit(np.ones((1, DIMENSION)))
    engine.write([Record(Document("x", doc_id="elsewhere", metadata={"n": 1}), [(0, 1)], vector)], replace=True)
    engine.delete(["d0"])
    engine.close()


def test_what_another_process_writes_is_seen_at_once(model, exactly):
    model.put(names(0, 150))
    model.build()
    model.engine.close()
    model.engine = LocalEngine(model.root)
    query = unit(np.ones((1, DIMENSION)))
    model.search(query, 3)
    process = multiprocessing.get_context("spawn").Process(target=_write_elsewhere, args=(model.root,))
    process.start()
    process.join()
    assert process.exitcode == 0
    ((found, _),) = model.search(query, 200)
    assert found[0] == ("elsewhere", pytest.approx(1.0, abs=1e-6))
    assert "d0" not in dict(found)


@pytest.mark.slow
def test_many_threads_search_while_one_writes_and_indexes_are_swapped(model, exactly):
    model.put(names(0, 150), unit(np.random.default_rng(2).standard_normal((150, DIMENSION))))
    model.build()
    fixed = {name: model.vectors[name] for name in names(0, 20)}
    queries = np.concatenate([rows[:1] for rows in fixed.values()])
    failures, ended = [], threading.Event()

    def ask():
        while not ended.is_set():
            try:
                for query, name in zip(queries[:5], fixed, strict=False):
                    for where in (None, {"n": {"$gte": 0}}):
                        ((found, _),) = model.search(query[np.newaxis], 30, where)
                        assert dict(found)[name] == pytest.approx(1.0, abs=1e-6)
                        assert len(found) == 30
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for step in range(6):
        model.put(names(1000 + 50 * step, 40), unit(np.random.default_rng(step).standard_normal((40, DIMENSION))))
        model.follow()
        model.remove(names(1000 + 50 * step, 30))
        if step % 2:
            model.build()
    ended.set()
    for thread in threads:
        thread.join()
    assert failures == []
    model.check()


# -- kinds and bad cases -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index",),
    some_slow([("auto",), ("hnsw",)], ["auto", "hnsw", "ivf-fastscan", "rabitq", "PCA4,IVF4,SQ8", "IVF4,RQ2x4", "lsh"]),
)
def test_k_of_any_size(tmp_path, index, monkeypatch):
    monkeypatch.setattr(tuning, "SAMPLE", {10: 200, 100: 40, 1000: 10})
    model = Model(tmp_path / "col.nf", index, passages=1)
    vectors, _ = clustered(600, DIMENSION)
    model.put(names(0, 600), vectors)
    model.build()
    for k in (1, 11, 101, 5000):
        model.check(k, exact=False)
    queries = model.queries(20)
    for where in (None, {"colour": "red"}):
        together = model.search(queries, 10, where)
        assert [model.search(query[np.newaxis], 10, where)[0][0] for query in queries] == [one for one, _ in together]
    model.engine.close()


@pytest.mark.parametrize(
    ("dimension", "index"), some_slow([(1, "auto"), (7, "hnsw")], [1, 2, 3, 7, 4096], ["auto", "hnsw"])
)
def test_every_dimension(tmp_path, dimension, index, monkeypatch):
    monkeypatch.setattr(tuning, "SAMPLE", {10: 50, 100: 20, 1000: 5})
    model = Model(tmp_path / "col.nf", index, passages=1, dimension=dimension)
    model.put(names(0, 150))
    model.build()
    assert model.keeper._folder.marker().rows == 150
    model.check(exact=False)
    model.engine.close()


@pytest.mark.parametrize(
    ("case", "index"),
    some_slow(
        [("equal", "auto"), ("zero", "auto"), ("duplicates", "hnsw")],
        ["equal", "zero", "some zero", "duplicates", "two"],
        ["auto", "ivf-fastscan", "hnsw", "rabitq", "lsh"],
    ),
)
def test_vectors_that_are_hardly_different(tmp_path, case, index, monkeypatch):
    monkeypatch.setattr(tuning, "SAMPLE", {10: 100, 100: 20, 1000: 5})
    vectors = unit(np.random.default_rng(0).standard_normal((600, DIMENSION)))
    if case == "equal":
        vectors[:] = vectors[0]
    elif case == "zero":
        vectors[:] = 0
    elif case == "some zero":
        vectors[::2] = 0
    elif case == "duplicates":
        vectors[:] = vectors[np.arange(600) // 150]
    else:
        vectors[:] = vectors[[0, 1]][np.arange(600) % 2]
    model = Model(tmp_path / "col.nf", index, passages=1)
    model.put(names(0, 600), vectors)
    model.build()
    model.check(exact=case in ("equal", "zero"))
    model.remove(names(0, 594))  # 99 %
    model.check(k=4)
    model.check(k=5, exact=True)
    model.engine.close()


def test_one_document_and_none(model):
    model.put(["one"])
    model.build()
    model.check()
    model.remove(["one"])
    model.build()
    model.check()
    assert model.engine.stats().index["kind"] == "exact"


def test_most_documents_deleted_and_the_index_built_anew(model, exactly):
    model.put(names(0, 300))
    model.build()
    model.remove(names(0, 240))
    model.check()
    model.follow()
    assert model.engine.stats().index["dead"] == 0
    model.check()
    model.remove(names(240, 55))
    model.follow()  # too few for an index
    assert model.engine.stats().index["kind"] == "exact"
    model.check()


def test_documents_with_many_passages(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "SAMPLE", {10: 200, 100: 40, 1000: 10})
    model = Model(tmp_path / "col.nf", "ivf-sq8", passages=1)
    vectors, _ = clustered(400, DIMENSION)
    model.put(names(0, 400), vectors)
    near = unit(vectors[0] + 0.05 * np.random.default_rng(1).standard_normal((300, DIMENSION)))
    long = Document("x" * 300, doc_id="long", metadata={"n": 3, "colour": "red"})
    model.engine.write([Record(long, [(i, i + 1) for i in range(300)], near)], replace=True)
    model.vectors["long"], model.metadata["long"] = near, long.metadata
    model.build()
    for where in (None, {"n": {"$gte": 0}}):
        ((found, plan),) = model.search(vectors[:1], 10, where)
        expected = model.expected(vectors[0], 10)
        assert [name for name, _ in found] == [name for name, _ in expected], plan
    model.check(exact=False)
    model.engine.close()


def test_documents_with_several_passages_need_no_scan(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "SAMPLE", {10: 200, 100: 40, 1000: 10})
    model = Model(tmp_path / "col.nf", "ivf-sq8", passages=4)
    model.put(names(0, 600))
    model.build()
    plans = [plan for _, plan in model.search(model.queries(30)[1:], 5)]
    assert "scan" not in plans[0], plans[0]
    model.remove(names(0, 60))
    plans = [plan for _, plan in model.search(model.queries(30)[1:], 5)]
    assert "scan" not in plans[0], plans[0]
    model.engine.close()


def test_what_is_excluded_never_comes_back(model, exactly, monkeypatch):
    model.put(names(0, 200))
    model.build()
    query = model.queries()
    for many in (1, 3, 50, 199):
        excluded = names(0, many)
        for where in (None, {"n": {"$gte": 0}}):
            for found, _ in model.search(query, 5, where, excluded):
                assert not {name for name, _ in found} & set(excluded)
                assert len(found) == min(5, 200 - many)


def test_a_query_that_is_not_a_number_is_refused(tmp_path):
    vectors, _ = clustered(200, DIMENSION)
    with nf.open(tmp_path / "col.nf", encoder=Words(1, DIMENSION), index="IVF4,Flat") as col:
        col.add([{"doc_id": f"d{i}", "text": "x"} for i in range(200)], vectors=vectors)
        for bad in (np.nan, np.inf):
            with pytest.raises(InvalidInput, match=r"finite|NaN"):
                col.search(np.full(DIMENSION, bad, np.float32), 3, mode="semantic")


def test_a_budget_of_memory(tmp_path):
    vectors, _ = clustered(200, 32)
    for memory, wanted in ((10, ""), (10**6, "IVF4,PQ8x4fs")):
        with nf.open(tmp_path / f"{memory}.nf", encoder=Words(1, 32), memory=memory) as col:
            col.add([{"doc_id": f"d{i}", "text": "x"} for i in range(200)], vectors=vectors)
            assert col.stats().index["wanted"] == wanted
            if not wanted:
                assert "10 bytes can't hold 200 vectors" in col.stats().index["reason"]


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index",), some_slow([("PQ2x12",)], ["PQ2x12", "IVF4,LSQ2x4fs"]))
def test_a_kind_that_cannot_be_built_or_searched_leaves_the_scan_and_is_told(tmp_path, index):
    model = Model(tmp_path / "col.nf", index)
    model.put(names(0, 150))
    with pytest.raises(nf.NearfieldError, match="FAISS can't"):
        model.follow()
    assert "FAISS can't" in model.engine.stats().index["failure"]
    model.check()
    model.reopen()
    model.check()
    model.engine.close()


def damaged(model, name, how):
    root = model.root / "index"
    file = root / name if name == "marker.json" else next(root.glob(f"0*/{name}"))
    if how == "missing":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[:-5])
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("name", "how"),
    some_slow(
        [("index.faiss", "flipped"), ("keys.npy", "missing"), ("marker.json", "truncated")],
        ["index.faiss", "keys.npy", "names.npy", "marker.json"],
        ["missing", "truncated", "flipped"],
    ),
)
def test_damage_is_told_named_and_mended(model, name, how, exactly):
    model.put(names(0, 150))
    model.build()
    model.engine.close()
    file = damaged(model, name, how)
    model.engine = LocalEngine(model.root)
    query = model.queries(1)
    if (name, how) == ("marker.json", "missing"):
        model.check()  # as if it had never been built
        assert model.engine.check().problems == []
    else:
        with pytest.raises(CorruptCollection, match=r"nearfield repair.*lets it be built again"):
            model.search(query, 3)
        assert [problem.file for problem in model.engine.check().problems] == [str(file)]
        model.engine.close()
        assert "index/" in nf.repair(model.root, Words(1, DIMENSION)).rebuilt
        model.engine = LocalEngine(model.root)
    model.check()
    model.build()
    model.check()
    assert model.engine.stats().index["kind"] == "IVF4,Flat"


def test_only_searches_by_vectors_need_an_index_that_is_whole(model, exactly):
    model.put(names(0, 150))
    model.build()
    model.engine.close()
    damaged(model, "marker.json", "truncated")
    model.engine = LocalEngine(model.root)
    with model.engine.view() as view:
        assert len(view) == 150
        (words,) = view.lexical(["document"], 3)
        assert len(view.doc_ids(words.keys)) == len(words)
        assert view.doc_ids(view.keys()[:2]) == list(model.vectors)[:2]
    assert model.keeper._joined is None  # nor load it, which takes longer than the search
    told = model.engine.stats().index
    assert told["kind"] == "exact"
    assert "nearfield repair" in told["failure"]
    with model.engine.view() as view, pytest.raises(CorruptCollection, match=r"marker\.json can't be read"):
        view.semantic(model.queries(1), 3)


def test_a_damaged_file_is_not_extended_to_one_that_looks_whole(model, exactly):
    model.put(names(0, 150))
    model.build()
    model.check()  # it is loaded
    damaged(model, "index.faiss", "flipped")
    model.put(names(300, 60))
    marker = model.keeper._folder.marker()
    with pytest.raises(nf.NearfieldError, match=r"is not what was written.*nearfield repair"):
        model.follow()
    assert model.keeper._folder.marker() == marker


def test_an_index_of_another_history_is_not_used(tmp_path, exactly):
    model, other = Model(tmp_path / "col.nf"), Model(tmp_path / "other.nf", seed=5)
    for one in (model, other):
        one.put(names(0, 150))
        one.build()
        one.engine.close()
    for file in (tmp_path / "other.nf" / "index").rglob("*"):
        if file.is_file():
            target = tmp_path / "col.nf" / file.relative_to(tmp_path / "other.nf")
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())
    model.engine = LocalEngine(model.root)
    model.check()
    assert model.engine.stats().index["kind"] == "exact"
    model.follow()
    assert model.engine.stats().index["kind"] == "IVF4,Flat"
    model.check()
    model.engine.close()


def test_an_index_of_another_encoder_is_not_used(tmp_path, exactly):
    documents = [{"doc_id": f"d{i}", "text": f"word{i} word{i % 7} tells"} for i in range(150)]
    old, new = Words(1, DIMENSION), Words(2, 12)
    with nf.open(tmp_path / "col.nf", encoder=old, index="IVF4,Flat") as col:
        col.add(documents)
        col._engine._indexes.neighbours.renew(col._engine._indexes.state())
        assert col.stats().index["kind"] == "IVF4,Flat"
        col.migrate(new)
        assert col.stats().index["kind"] == "exact"
        for question in ("word3 tells", "word5"):
            vectors = unit(new.vectors([one["text"] for one in documents])).astype(np.float64)
            best = np.sort(vectors @ unit(new.vectors([question]))[0])[::-1][:5]
            hits = col.search(question, 5, mode="semantic")
            np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-6)


def test_a_restored_snapshot_is_searched_as_it_was(model, tmp_path, exactly):
    model.put(names(0, 150))
    model.build()
    model.engine.snapshot(tmp_path / "snap.nf")
    before = dict(model.vectors), dict(model.metadata)
    model.remove(names(0, 30))
    model.engine.close()
    nf.restore(tmp_path / "snap.nf", tmp_path / "back.nf")
    model.vectors, model.metadata = before
    model.engine = LocalEngine(tmp_path / "back.nf")
    model.check()
    model.put(names(900, 5))
    model.remove(names(40, 5))
    model.check()
    model.build()
    model.check()


def test_an_interruption_is_no_failure(model, exactly, monkeypatch):
    model.put(names(0, 150))

    def interrupted(*_):
        raise Interrupted("enough")

    monkeypatch.setattr(neighbours, "build", interrupted)
    model.follow()
    assert model.engine.stats().index["failure"] == ""
    assert model.engine.stats().index["building"] == ""
