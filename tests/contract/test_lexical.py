"""Lexical search of a collection that changes: held against plain BM25, with the limits of memory made small."""

import json
import math
import random
import shutil
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest

from nearfield.documents import Document
from nearfield.engine.local import LocalEngine, store
from nearfield.engine.local import lexical as keeping
from nearfield.engine.local.lexical import LexicalKeeper
from nearfield.engine.local.sources import OneState
from nearfield.engine.protocol import Record, Settings
from nearfield.errors import CorruptCollection, NearfieldError
from nearfield.lexical import bm25 as bm25_module
from nearfield.lexical import tail as tails
from nearfield.lexical.folders import IndexFolders

WORDS = [f"w{i}" for i in range(40)]
QUERIES = ["w3", "w1 w7", "w0 w5 w20", "w39 w2", "w11 w11"]


def text_of(source):
    return " ".join(source.choices(WORDS, [1 / (i + 1) for i in range(len(WORDS))], k=source.randint(3, 30)))


class Model:
    """An engine, and the texts that it should have."""

    def __init__(self, root):
        self.root = root
        self.engine = LocalEngine(root, Settings("model"))
        self.texts = {}
        self.by_key = [""]  # every text that was ever added, by its key

    def put(self, texts):
        vector = np.array([[1.0, 0.0]], np.float32)
        records = [Record(Document(text, doc_id=name), [(0, len(text))], vector) for name, text in texts.items()]
        self.engine.write(records, replace=True)
        self.engine._indexes._words.wait()
        self.by_key += texts.values()
        self.texts.update(texts)

    def remove(self, names):
        self.engine.delete(names)
        self.engine._indexes._words.wait()
        for name in names:
            del self.texts[name]

    def reopen(self):
        self.engine.close()
        self.engine = LocalEngine(self.root)

    def search(self, query, k=10**6):
        with self.engine.view() as view:
            return found(view, query, k)

    def answers(self):
        return {query: self.search(query) for query in QUERIES}

    @property
    def keeper(self):
        return self.engine._indexes.lexical

    @property
    def folders(self):
        return IndexFolders(self.root / "lexical")

    def step(self):
        """Take one step of building the index anew, if it is rotten."""
        with self.engine.view() as view:
            return self.keeper._step_if_rotten(view._state)

    def call(self, method):
        with self.engine.view() as view:
            return getattr(self.keeper, method)(view._state, view._connection)


def found(view, query, k=10**6):
    (ranking,) = view.lexical([query], k)
    return dict(zip(view.doc_ids(ranking.keys), ranking.scores.tolist(), strict=True))


def bm25(query, texts, counted, average):
    """Scores of `texts`, by the formula, with N and n counted over `counted`; no text is longer than 40 terms."""
    scores = {}
    for term in query.split():
        n = sum(term in text.split() for text in counted)
        weight = math.log(1 + (len(counted) - n + 0.5) / (n + 0.5))
        for name, text in texts.items():
            f = text.split().count(term)
            if f:
                norm = 1.2 * (0.25 + 0.75 * len(text.split()) / average)
                scores[name] = scores.get(name, 0.0) + weight * 2.2 * f / (f + norm)
    return scores


def mean_length(texts):
    return sum(len(text.split()) for text in texts) / len(texts)


def plain(query, texts):
    counted = list(texts.values())
    return bm25(query, texts, counted, mean_length(counted)) if texts else {}


def near(scores):
    return {name: pytest.approx(score, rel=3e-6, abs=1e-6) for name, score in scores.items()}


def folder_names(model):
    return sorted(path.name for path in (model.root / "lexical").iterdir() if path.is_dir())


@pytest.fixture
def source():
    return random.Random(7)


@pytest.fixture
def model(tmp_path, request):
    if "small" in request.fixturenames:
        request.getfixturevalue("small")  # before the engine is made
    made = Model(tmp_path / "a.nf")
    yield made
    made.engine.close()


@pytest.fixture
def small(monkeypatch):
    """Limits that some hundred documents reach; the clock makes nothing due."""
    monkeypatch.setattr(keeping, "PAUSE_SECONDS", 1e9)
    monkeypatch.setattr(keeping, "TAIL", 40)
    monkeypatch.setattr(keeping, "LAG", 200)
    monkeypatch.setattr(keeping, "STEP", 50)
    monkeypatch.setattr(keeping, "DEAD_LEAST", 20)


# -- values ------------------------------------------------------------------------------------------------------------


def test_a_small_collection_has_the_scores_of_plain_bm25_whatever_its_history(model, source):
    for step in range(60):
        names = [f"d{source.randrange(30)}" for _ in range(source.randint(1, 6))]
        if step % 3 == 2:
            model.remove([name for name in set(names) if name in model.texts])
        else:
            model.put({name: text_of(source) for name in names})
        if step % 7 == 6:
            model.reopen()
        for query in QUERIES:
            assert model.search(query) == near(plain(query, model.texts)), step


def test_closing_and_reopening_changes_no_score(model, source):
    model.put({f"d{i}": text_of(source) for i in range(120)})
    model.put({f"d{i}": text_of(source) for i in range(0, 50, 3)})
    model.remove([f"d{i}" for i in range(60, 80)])
    before = model.answers()
    assert folder_names(model) == [] if (model.root / "lexical").exists() else True
    model.reopen()
    assert model.folders.marker().documents == 100  # the dead are not in it
    after = model.answers()
    assert after.keys() == before.keys()
    for query in QUERIES:
        assert after[query] == near(before[query])
        assert list(after[query]) == list(before[query])  # the same ranking


def test_scores_over_index_and_memory_have_one_set_of_statistics(model, source, small, monkeypatch):
    monkeypatch.setattr(bm25_module, "COUNTED", 1000)
    model.put({f"d{i}": text_of(source) for i in range(300)})
    model.reopen()
    for step in range(9):
        model.put({f"d{source.randrange(320)}": text_of(source) for _ in range(4)})
        if step % 4 == 3:
            model.remove([source.choice(sorted(model.texts))])
        check_against_its_statistics(model)
    assert model.folders.marker().documents == 300  # nothing was indexed meanwhile


def test_terms_are_counted_once_while_nothing_is_written(model, source, small, monkeypatch):
    model.put({f"d{i}": text_of(source) for i in range(300)})
    model.reopen()
    model.remove([f"d{i}" for i in range(30)])
    monkeypatch.setattr(bm25_module, "COUNTED", 1000)
    monkeypatch.setattr(bm25_module, "MOST_KEPT", 2)
    run, limits = bm25_module._Indexed._run, []

    def note(self, query, limit):
        limits.append(limit)
        return run(self, query, limit)

    monkeypatch.setattr(bm25_module._Indexed, "_run", note)
    query = next(query for query in QUERIES if len(set(query.split())) == 2)
    first = model.search(query, k=10)
    assert len(limits) == 3  # two terms, and the search
    assert limits[2] == 30  # 10 and an eighth and 16, of which a tenth may be deleted
    assert model.search(query, k=10) == first
    assert len(limits) == 4
    model.remove(["d30"])
    model.search(query, k=10)
    assert len(limits) == 7


def check_against_its_statistics(model):
    folders = model.folders
    marker = folders.marker()
    indexed = [model.by_key[key] for key in folders.open(marker).keys()]  # noqa: SIM118 - an index is no dict
    for query in QUERIES:
        # The mean length is all that is left of the history.
        expected = bm25(query, model.texts, list(model.texts.values()), mean_length(indexed))
        assert model.search(query) == near(expected)


def test_any_history_finds_what_shares_a_term_near_plain_bm25(model, source, small, monkeypatch):
    monkeypatch.setattr(keeping, "PAUSE_SECONDS", 0.0)
    model.put({f"d{i}": text_of(source) for i in range(150)})
    for step in range(80):
        if step % 5 == 4:
            model.remove(source.sample(sorted(model.texts), 8))
        else:
            model.put({f"d{source.randrange(200)}": text_of(source) for _ in range(source.choice([1, 3, 25]))})
        if step % 20 == 19:
            model.reopen()
        for query in QUERIES[:3]:
            expected = plain(query, model.texts)
            scores = model.search(query)
            assert scores.keys() == expected.keys(), step
            apart = max(abs(scores[name] - score) for name, score in expected.items())
            assert apart < 0.1 * max(expected.values()), step
        marker = model.folders.marker()
        assert not marker.folder or marker.documents <= 2 * len(model.texts) + 50
    assert model.call("verify") == []
    model.call("compact")
    for query in QUERIES:
        assert model.search(query) == near(plain(query, model.texts))


def test_equal_documents_tie_wherever_they_lie(model, source, small):
    model.put({f"d{i}": text_of(source) for i in range(100)})
    model.put({"twin b": "w3 w5 w9 w30"})
    model.reopen()
    model.put({"twin a": "w3 w5 w9 w30"})
    scores = model.search("w30 w5")
    assert scores["twin a"] == scores["twin b"]
    assert list(scores).index("twin a") == list(scores).index("twin b") - 1


def test_the_index_is_brought_up_to_date_when_the_mean_length_moves(model, small):
    model.put({f"d{i}": "w1 w2 w3" for i in range(100)})
    model.reopen()
    model.put({f"e{i}": "w1 " + "w9 " * 30 for i in range(20)})
    assert model.search("w1") == near(plain("w1", model.texts))
    assert model.folders.marker().documents == 120


# -- what is searched in memory ----------------------------------------------------------------------------------------


def test_each_document_is_analysed_once(model, source, small, monkeypatch):
    model.put({f"d{i}": text_of(source) for i in range(100)})
    model.reopen()
    analysed = []
    terms = tails.terms
    monkeypatch.setattr(tails, "terms", lambda text: analysed.append(text) or terms(text))
    for i in range(30):
        model.put({f"e{i}": f"{text_of(source)} new{i}"})
        assert model.search(f"new{i}").keys() == {f"e{i}"}
    assert len(analysed) == 30
    assert model.folders.marker().documents == 100


def test_a_small_collection_makes_no_index_until_it_is_closed(model, source):
    for i in range(50):
        model.put({f"d{i}": text_of(source)})
        model.search("w1")
    assert not (model.root / "lexical").exists()
    model.reopen()
    assert model.folders.marker().documents == 50


def test_more_documents_than_memory_takes_are_indexed_by_who_needs_them(model, source, small):
    model.put({f"d{i}": text_of(source) for i in range(41)})
    model.search("w1")
    assert model.folders.marker().documents == 41
    model.put({f"e{i}": text_of(source) for i in range(40)})
    model.search("w1")
    assert model.folders.marker().documents == 41
    model.put({"one more": "w1"})
    model.search("w1")
    assert model.folders.marker().documents == 82


def test_long_documents_are_indexed_rather_than_held_in_memory(model, monkeypatch):
    monkeypatch.setattr(keeping, "TAIL_TERMS", 1000)
    model.put({f"d{i}": "w1 " * 30 + "w2" for i in range(40)})
    assert len(model.search("w2")) == 40
    assert model.folders.marker().documents == 40
    model.put({"short": "w2 w3"})
    assert len(model.search("w2")) == 41
    assert model.folders.marker().documents == 40


def test_a_document_that_is_replaced_again_and_again_does_not_fill_memory(model, source, small):
    model.put({f"d{i}": text_of(source) for i in range(100)})
    model.reopen()
    for i in range(200):
        model.put({"d0": f"w1 version{i}"})
        assert model.search(f"version{i}").keys() == {"d0"}
        assert i == 0 or model.search(f"version{i - 1}") == {}
    assert len(model.keeper._tail) <= 4 * 40 + 1


# -- several states ----------------------------------------------------------------------------------------------------


def test_an_older_view_finds_what_it_had_after_all_that_came_later(model, source, small, monkeypatch):
    monkeypatch.setattr(bm25_module, "COUNTED", 1000)
    model.put({f"d{i}": text_of(source) for i in range(100)})
    model.reopen()
    model.put({f"e{i}": text_of(source) for i in range(20)})
    texts = dict(model.texts)
    before = model.answers()
    with model.engine.view() as untouched, model.engine.view() as old:
        assert found(old, "w3") == before["w3"]
        changes = [
            lambda: model.remove(["e0", "e1", "d0"]),
            lambda: model.put({"e2": "w3", "f0": "w3 w3"}),
            lambda: model.put({f"g{i}": text_of(source) for i in range(60)}),  # indexed by the next search
            lambda: model.remove([f"d{i}" for i in range(1, 60)]),
            lambda: [model.step() for _ in range(9)],  # built anew, without those
            lambda: model.call("compact"),
        ]
        for change in changes:
            change()
            model.search("w3")
            for view in (old, untouched):
                for query in QUERIES:
                    expected = bm25(query, texts, list(texts.values()), model.folders.marker().average)
                    assert found(view, query) == near(expected)
    assert model.search("w3").keys() == plain("w3", model.texts).keys()


def test_an_older_view_does_not_take_the_index_back(model, source, small):
    model.put({f"d{i}": text_of(source) for i in range(30)})
    model.call("settle")
    with model.engine.view() as old:
        model.remove(["d1", "d2"])
        model.call("settle")
        marker = model.folders.marker()
        assert marker.documents == 28
        model.keeper._update(old._state, OneState(old._state, old._connection))
        assert model.folders.marker() == marker


def test_a_document_that_came_and_went_between_two_searches_is_in_the_view_that_had_it(model, source, small):
    model.put({f"d{i}": text_of(source) for i in range(100)})
    model.search("w3")
    model.put({"short lived": "w3 gone"})
    with model.engine.view() as old:
        model.remove(["short lived"])
        model.put({"next": "w3"})
        assert model.search("gone") == {}
        assert found(old, "gone").keys() == {"short lived"}
        assert "next" not in found(old, "w3")
        model.call("settle")
        model.put({f"f{i}": "w3" for i in range(60)})
        assert model.search("gone") == {}
        assert found(old, "gone").keys() == {"short lived"}


@pytest.mark.slow
def test_threads_that_search_while_one_writes_see_whole_batches(model, source, small, monkeypatch):
    monkeypatch.setattr(keeping, "PAUSE_SECONDS", 0.0)
    model.put({f"d{i}": text_of(source) for i in range(100)})
    errors, done = [], threading.Event()

    def read():
        try:
            while not done.is_set():
                with model.engine.view() as view:
                    for _ in range(2):
                        versions = [name.split("/")[1] for name in found(view, "together")]
                        if len(versions) not in (0, 5) or len(set(versions)) > 1:
                            errors.append(versions)
        except Exception as error:  # a thread's error must reach the test
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for version in range(25):
        old = [name for name in model.texts if "/" in name]
        model.put({f"{i}/{version}": "together w1" for i in range(5)} if not old else {})
        if old:
            model.remove(old)
        model.put({f"n{version}-{i}": text_of(source) for i in range(15)})
    done.set()
    for reader in readers:
        reader.join()
    assert errors == []


def test_another_process_sees_what_is_only_in_the_writers_memory(model, source):
    model.put({f"d{i}": text_of(source) for i in range(100)})
    model.search("w3")
    script = (
        "import sys; from pathlib import Path; from nearfield.engine.local import LocalEngine\n"
        "engine = LocalEngine(Path(sys.argv[1]))\n"
        "with engine.view() as view:\n"
        "    (ranking,) = view.lexical(['w3'], 1000)\n"
        "    print(dict(zip(view.doc_ids(ranking.keys), ranking.scores.tolist())))\n"
        "engine.close()\n"
    )
    printed = subprocess.run([sys.executable, "-c", script, model.root], capture_output=True, text=True, check=True)
    assert eval(printed.stdout) == model.search("w3")


# -- building anew -----------------------------------------------------------------------------------------------------


def rotten(model, source):
    model.put({f"d{i}": text_of(source) for i in range(180)})
    model.reopen()
    model.remove([f"d{i}" for i in range(60)])
    assert model.folders.marker().documents == 180


def test_an_index_with_a_quarter_dead_is_built_anew_in_steps(model, source, small, monkeypatch):
    rotten(model, source)
    first = model.folders.marker()
    monkeypatch.setattr(keeping, "PAUSE_SECONDS", 0.0)
    model.keeper._due = 0.0
    model.engine._indexes._pausing = True  # so that each write takes one step
    for expected in (50, 100):
        model.put({f"new{expected}": "w3"})
        assert model.folders.building().documents == expected
        assert model.folders.marker() == first
        assert model.search("w3").keys() == plain("w3", model.texts).keys()
    model.put({"new": "w3"})
    assert not (model.root / "lexical" / "building.json").exists()
    assert model.folders.marker().documents == len(model.texts) == 123
    assert len(folder_names(model)) == 1
    for query in QUERIES:
        assert model.search(query) == near(plain(query, model.texts))


@pytest.mark.parametrize("change", ["none", "add", "delete", "replace"])
def test_building_goes_on_in_another_process_after_a_kill(model, source, small, change):
    rotten(model, source)
    model.step()
    building = model.folders.building()
    assert (building.documents, building.next_key) == (50, 111)
    shutil.copytree(model.root, model.root.parent / "killed.nf")
    again = Model(model.root.parent / "killed.nf")
    again.texts, again.by_key = dict(model.texts), list(model.by_key)
    if change == "add":
        again.put({f"new{i}": text_of(source) for i in range(10)})
    if change == "delete":
        again.remove([f"d{i}" for i in range(60, 65)])  # already in the folder that is being built
    if change == "replace":
        again.put({f"d{i}": text_of(source) for i in (61, 150)})
    held = 50
    while again.folders.building().folder:
        assert again.folders.building().documents == held
        again.step()
        held += 50
    assert held == 150 or (held == 200 and change == "add")
    dead = {"delete": 5, "replace": 1}.get(change, 0)
    assert again.folders.marker().documents == len(again.texts) + dead
    for query in QUERIES:
        assert again.search(query).keys() == plain(query, again.texts).keys()
    assert again.call("verify") == []
    again.engine.close()


def test_building_that_was_begun_is_finished_even_if_the_share_of_the_dead_falls(model, source, small):
    rotten(model, source)
    model.step()
    model.put({f"more{i}": text_of(source) for i in range(190)})
    model.search("w3")  # indexes them
    assert model.folders.building().folder
    model.engine.settle()
    assert sorted(path.name for path in (model.root / "lexical").iterdir()) == [*folder_names(model), "marker.json"]
    assert model.folders.marker().documents == 310


def test_a_damaged_folder_that_is_being_built_is_begun_anew(model, source, small):
    rotten(model, source)
    model.step()
    folder = model.root / "lexical" / model.folders.building().folder
    (folder / "meta.json").write_text("{}")
    model.reopen()
    for _ in range(4):
        model.step()
    assert model.folders.marker().documents == 120
    assert model.search("w3") == near(plain("w3", model.texts))


def test_compaction_builds_it_anew_at_once(model, source, small):
    rotten(model, source)
    model.step()
    model.call("compact")
    assert model.folders.marker().documents == 120
    assert sorted(path.name for path in (model.root / "lexical").iterdir()) == [*folder_names(model), "marker.json"]
    before = model.folders.marker()
    model.call("compact")
    assert model.folders.marker() == before  # there was nothing to do


def test_a_writer_brings_the_index_up_to_date_once_a_second(model, source, small, monkeypatch):
    model.put({f"d{i}": text_of(source) for i in range(100)})
    model.search("w3")
    now = [1000.0]
    monkeypatch.setattr(keeping.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(keeping, "PAUSE_SECONDS", 1.0)
    model.keeper._due = now[0] + 1.0
    model.put({f"e{i}": text_of(source) for i in range(30)})
    assert model.folders.marker().documents == 100
    now[0] += 1.5
    model.put({"e": "w3"})
    assert model.folders.marker().documents == 131
    model.put({f"f{i}": text_of(source) for i in range(30)})
    assert model.folders.marker().documents == 131
    model.put({f"g{i}": text_of(source) for i in range(180)})  # more than LAG are missing now
    assert model.folders.marker().documents == 341


def test_writers_do_not_wait_for_who_updates_the_index(model, source, small):
    model.put({f"d{i}": text_of(source) for i in range(100)})
    model.keeper._due = 0.0
    with keeping.FileLock(model.root / "lexical.lock"):
        model.put({f"e{i}": text_of(source) for i in range(50)})
    assert not model.folders.marker().folder
    assert model.search("w3").keys() == plain("w3", model.texts).keys()


# -- damage, and indexes of other collections --------------------------------------------------------------------------


def test_a_damaged_index_is_an_error_and_rebuilding_mends_it(model, source, small):
    model.put({f"d{i}": text_of(source) for i in range(100)})
    model.reopen()
    before = model.answers()
    folder = model.root / "lexical" / model.folders.marker().folder
    (file,) = folder.glob("*.idx")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.unlink()  # and not in place: a thread of the open index may have it mapped, and read it while it is cut off
    file.write_bytes(data)
    assert model.call("verify") == [(file, "is not what was written (its checksum differs)")]
    model.reopen()
    with pytest.raises(CorruptCollection, match=f"{file} is not what was written.*nearfield repair"):
        model.search("w3")
    model.call("rebuild")
    assert model.call("verify") == []
    assert model.answers() == before


def test_a_damaged_marker_is_an_error_and_rebuilding_mends_it(model, source, small):
    model.put({f"d{i}": text_of(source) for i in range(100)})
    model.reopen()
    file = model.root / "lexical" / "marker.json"
    file.write_text(file.read_text().replace('"next_key": 101', '"next_key": 111'))
    ((where, what),) = model.call("verify")
    assert where == file
    assert "its checksum differs" in what
    with pytest.raises(CorruptCollection, match=r"checksum differs.*nearfield repair"):
        model.search("w3")
    model.put({"stored": "w3"})  # writing goes on
    model.call("rebuild")
    assert model.call("verify") == []
    assert model.search("w3").keys() == plain("w3", model.texts).keys()


def rewrite_marker(model, **changes):
    file = model.root / "lexical" / "marker.json"
    content = {**json.loads(file.read_text()), **changes}
    del content["crc32"]
    checksum = zlib.crc32(json.dumps(content, sort_keys=True).encode())
    file.write_text(json.dumps({**content, "crc32": checksum}))


@pytest.mark.parametrize(
    ("next_key", "problem"),
    [(150, "19 documents are missing from it"), (100, "31 documents in it were never added")],
)
def test_an_index_that_holds_other_documents_than_it_says_is_found_out(model, source, small, next_key, problem):
    model.put({f"d{i}": text_of(source) for i in range(130)})
    model.reopen()
    model.put({f"e{i}": text_of(source) for i in range(40)})
    rewrite_marker(model, next_key=next_key)
    assert [what for _, what in model.call("verify")] == [problem]


def test_documents_that_are_in_an_index_twice_are_found_out(model, source, small):
    model.put({f"d{i}": text_of(source) for i in range(130)})
    model.reopen()
    folders = model.folders
    marker = folders.marker()
    folders.swap(folders.extend(marker, [(7, "w1"), (8, "w2")], lambda: marker))
    assert [what for _, what in model.call("verify")] == ["2 documents are in it twice"]


def test_verifying_passes_over_the_dead_and_over_what_is_not_indexed_yet(model, source, small):
    model.put({f"d{i}": text_of(source) for i in range(100)})
    model.reopen()
    model.remove(["d5", "d6"])
    model.put({"new": "w1"})
    with model.engine.view() as view:
        assert model.keeper.verify(view._state, view._connection) == []
        model.remove([f"d{i}" for i in range(10, 60)])
        model.call("compact")
        assert model.keeper.verify(view._state, view._connection) == []
    shutil.rmtree(model.root / "lexical")
    assert model.call("verify") == []


def test_an_index_of_another_state_of_the_database_is_not_used(model, source, small):
    model.put({f"d{i}": text_of(source) for i in range(100)})
    model.reopen()
    backup = model.root.parent / "backup"
    model.engine.close()
    shutil.copytree(model.root, backup)
    model.engine = LocalEngine(model.root)
    model.put({f"e{i}": "w3 lost" for i in range(60)})
    model.engine.close()
    index = shutil.move(model.root / "lexical", model.root.parent / "newer index")
    shutil.rmtree(model.root)
    shutil.copytree(backup, model.root)
    shutil.rmtree(model.root / "lexical")
    shutil.move(index, model.root / "lexical")
    model.engine = LocalEngine(model.root)
    for i in range(60):
        del model.texts[f"e{i}"]
    model.put({f"f{i}": text_of(source) for i in range(60)})
    assert model.search("lost") == {}
    assert model.search("w3").keys() == plain("w3", model.texts).keys()
    assert model.call("verify") == []


def test_what_fails_while_the_index_is_written_fails_no_write(model, source, small, monkeypatch):
    def full(self, *arguments):
        raise OSError(28, "No space left on device")

    model.put({f"d{i}": text_of(source) for i in range(100)})
    model.keeper._due = 0.0
    with monkeypatch.context() as patch:
        patch.setattr(IndexFolders, "extend", full)
        model.put({f"e{i}": text_of(source) for i in range(50)})
        with pytest.raises(NearfieldError, match=r"No space left.*mode='semantic'"):
            model.search("w3")
    assert model.search("w3").keys() == plain("w3", model.texts).keys()


def test_a_keeper_is_given_by_every_engine(model):
    assert isinstance(model.keeper, LexicalKeeper)


def test_a_damaged_index_does_not_keep_the_rest_from_being_looked_after(model, source, monkeypatch, caplog):
    model.put({f"d{i}": text_of(source) for i in range(1200)})
    model.reopen()
    marker = model.root / "lexical" / "marker.json"
    marker.write_text(marker.read_text().replace("1", "2", 1))
    for _ in range(4):
        records = [
            Record(Document("w1", doc_id=f"d{i}"), [(0, 2)], np.eye(1, 2, dtype=np.float32)) for i in range(1200)
        ]
        model.engine.write(records, replace=True)
    assert model.engine.stats().dead_passages < 1200
    assert len([record for record in caplog.records if "marker.json" in record.message]) == 1
    (model.root / "columns" / "marker.json").unlink(missing_ok=True)
    model.engine.close()
    assert (model.root / "columns" / "marker.json").exists()
    marker.unlink()


def test_a_writer_that_is_far_ahead_waits_for_one_step(model, source, small, monkeypatch):
    monkeypatch.setattr(keeping, "FAR_BEHIND", 100)
    monkeypatch.setattr(store, "CLOSING_SECONDS", 0.0)
    steps = []
    step = model.engine._indexes._step
    monkeypatch.setattr(model.engine._indexes, "_step", lambda: (steps.append(1) or step()) or True)  # never at an end
    vector = np.eye(1, 2, dtype=np.float32)
    model.engine.write([Record(Document("w1", doc_id=f"d{i}"), [(0, 2)], vector) for i in range(300)], replace=True)
    assert steps
    assert model.folders.marker().documents == 300
    model.texts = {f"d{i}": "w1" for i in range(300)}
    assert not model.engine._indexes._words._thread.is_alive()
