"""One process writes and six readers in three others look on; each answer is compared with what was written.

What is written follows from a number, the tick. Every second write replaces the document "clock", which names the tick,
in the same batch; between two of these comes one that changes how many documents there are. So an answer that holds the
clock says what else it must hold, and a batch of which a part is seen, or of another state, is found out.

A longer run: NEARFIELD_STRESS=60 scripts/test -s tests/faults/test_stress.py
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crash import small
from crash.encoder import WordEncoder
from crash.judge import contents, judge
from crash.model import CONDITIONS, Entry, Model, Operation, after
from crash.plan import COLORS, WORDS

import nearfield as nf

SECONDS = float(os.environ.get("NEARFIELD_STRESS", "8"))
LONGEST_WAIT = 10.0
"""Seconds that no reader may wait: less than any timeout, and much more than a reader needs on a busy machine."""

MOST = 900
"""Documents above which groups are deleted."""

LIMITS = {
    "segments": {"SLOT": 256},
    "compaction": {"LEAST_DEAD": 32, "STEP_ROWS": 128, "STEP_PAGES": 16},
    "upkeep": {"LEAST_UNSAVED": 100, "KEPT_GENERATIONS": 20},
    "states": {"LEAST_DEAD_SLOTS": 200},
    "lexical": {"TAIL": 200, "TAIL_TERMS": 2000, "LAG": 300, "PAUSE_SECONDS": 0.1, "STEP": 200, "DEAD_LEAST": 100},
}
PERMANENT = 30


class Plan:
    """The operations, and what the collection holds after each: the same in every process."""

    KEPT = 400

    def __init__(self) -> None:
        self.tick = 0
        self.model = Model()
        self._groups: dict[int, int] = {}
        self._states: OrderedDict[tuple[int, int], Model] = OrderedDict()
        self._lock = threading.Lock()

    def next(self) -> Operation:
        """Return the next operation, and count it as done."""
        chance = random.Random(self.tick)
        operation = self._counting(chance) if self.tick % 2 else self._replacing(chance)
        (self.model,) = after(self.model, operation)
        self._states[self.tick - self.tick % 2, len(self.model.entries)] = self.model
        if len(self._states) > self.KEPT:
            self._states.popitem(last=False)
        self.tick += 1
        return operation

    def at(self, tick: int, count: int) -> Model:
        """Return what a state holds that has a tick and so many documents."""
        with self._lock:
            while self.tick <= tick + 1:
                self.next()
            assert (tick, count) in self._states, f"no state has {count} documents at the tick {tick}"
            return self._states[tick, count]

    def _replacing(self, chance: random.Random) -> Operation:
        """Replace the clock and some groups; the first operation adds what stays for good."""
        documents = [{"doc_id": "clock", "text": f"tick {self.tick}", "metadata": self._metadata(chance, -1)}]
        if not self.tick:
            documents += [self._document(chance, "permanent", i) for i in range(PERMANENT)]
        for group in chance.sample(sorted(self._groups), min(len(self._groups), chance.choice((0, 1, 1, 3)))):
            documents += [self._document(chance, group, i) for i in range(self._groups[group])]
        chance.shuffle(documents)
        return {"do": "upsert", "documents": documents}

    def _counting(self, chance: random.Random) -> Operation:
        """Add a group or delete one."""
        if len(self.model.entries) > MOST or (self._groups and chance.random() < 0.3):
            group = chance.choice(sorted(self._groups))
            doc_ids = [f"{group}-{i}" for i in range(self._groups.pop(group))]
            return {"do": "delete", "doc_ids": doc_ids, "group": group if chance.random() < 0.5 else None}
        self._groups[self.tick] = chance.choice((1, 2, 5, 30, 150))
        documents = [self._document(chance, self.tick, i) for i in range(self._groups[self.tick])]
        return {"do": "add", "documents": documents}

    def _document(self, chance: random.Random, group: int | str, number: int) -> dict[str, Any]:
        text = ". ".join(" ".join(chance.sample(WORDS, 4)) for _ in range(chance.choice((1, 2, 8))))
        return {"doc_id": f"{group}-{number}", "text": text, "metadata": self._metadata(chance, group)}

    def _metadata(self, chance: random.Random, group: int | str) -> dict[str, Any]:
        return {"color": chance.choice(COLORS), "year": chance.randint(2000, 2026), "group": group, "tick": self.tick}


def write(folder: Path) -> None:
    """Write until killed."""
    plan = Plan()
    with nf.open(folder, encoder=WordEncoder()) as col:
        while True:
            operation = plan.next()
            match operation["do"]:
                case "add":
                    col.add(operation["documents"])
                case "upsert":
                    col.upsert(operation["documents"])
                case "delete" if operation["group"] is None:
                    col.delete(operation["doc_ids"])
                case "delete":
                    deleted = col.delete(where={"group": operation["group"]})
                    assert deleted == len(operation["doc_ids"])
            if plan.tick % 15 == 0:
                col.compact()


class Reader:
    """One thread that asks, and judges each answer."""

    def __init__(self, col: nf.Collection, plan: Plan, seed: int) -> None:
        self.col = col
        self._plan = plan
        self._chance = random.Random(seed)
        self._tick = self._generation = -1
        self.longest: dict[str, float] = defaultdict(float)
        self.asked: Counter[str] = Counter()

    def read(self) -> None:
        question = self._chance.choice([self.iterate, self.search, self.filter, self.get, self.count, self.look])
        question()

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.longest[name] = max(self.longest[name], time.monotonic() - began)
        self.asked[name] += 1

    def _state(self, clock: dict[str, Any], count: int) -> Model:
        assert clock["tick"] >= self._tick, "an older state than before"
        self._tick = clock["tick"]
        return self._plan.at(self._tick, count)

    def iterate(self) -> None:
        with self._timed("iterate"):
            found = list(self.col)
        (clock,) = (document for document in found if document.doc_id == "clock")
        model = self._state(clock.metadata, len(found))
        assert found == [entry.document for entry in model.entries.values()]

    def search(self) -> None:
        """Ask for all documents in a mode; the lexical one finds the clock by its word."""
        mode = self._chance.choice(["semantic", "hybrid", "lexical"])
        words = self._chance.sample(WORDS, 2)
        with self._timed(mode):
            hits = self.col.search(" ".join(["tick", *words]), k=10 * MOST, mode=mode)
        (clock,) = (hit.metadata for hit in hits if hit.doc_id == "clock")
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        if mode != "lexical":
            model = self._state(clock, len(hits))
            assert sorted(hits.doc_ids) == sorted(model.entries)
            return
        # How many documents there were is not known: it is one of two states.
        assert clock["tick"] >= self._tick, "an older state than before"
        self._tick = clock["tick"]
        asked = {"tick", *words}
        assert sorted(hits.doc_ids) in [
            sorted(name for name, entry in model.entries.items() if asked & words_of(entry))
            for model in self._plan_at_tick(self._tick)
        ]

    def _plan_at_tick(self, tick: int) -> list[Model]:
        with self._plan._lock:
            while self._plan.tick <= tick + 1:
                self._plan.next()
            return [model for (known, _), model in self._plan._states.items() if known == tick]

    def filter(self) -> None:
        """Every hit matches, and there are as many as must be."""
        name = self._chance.choice(sorted(CONDITIONS))
        mode = self._chance.choice(["semantic", "hybrid", "lexical"])
        query = " ".join(self._chance.sample(WORDS, 3))
        with self._timed(f"filtered {mode}"):
            hits = self.col.search(query, k=7, mode=mode, where=CONDITIONS[name].where)
        assert all(CONDITIONS[name].holds(hit.metadata) for hit in hits)
        assert len(hits) == 7 or name != "all" or mode == "lexical"
        hits = self.col.search(query, k=7, mode="semantic", where={"group": "permanent"})
        assert len(hits) == 7
        assert all(hit.metadata["group"] == "permanent" for hit in hits)

    def get(self) -> None:
        name = f"permanent-{self._chance.randrange(PERMANENT)}"
        with self._timed("get"):
            clock, other = self.col.get(["clock", name])
        assert clock.metadata["tick"] >= self._tick
        assert clock.text == f"tick {clock.metadata['tick']}"
        self._tick = clock.metadata["tick"]
        assert (other.doc_id, other.metadata["group"], other.metadata["tick"]) == (name, "permanent", 0)

    def count(self) -> None:
        with self._timed("count"):
            generation, count = self.col.generation, len(self.col)
        assert generation >= self._generation
        self._generation = generation
        assert PERMANENT < count < 2 * MOST
        # A group is there as a whole, or not at all.
        groups = Counter(name.split("-")[0] for name in self.col.doc_ids(where={"year": {"$lt": 3000}}))
        assert groups.pop("permanent") == PERMANENT
        assert set(groups.values()) <= {1, 2, 5, 30, 150}

    def look(self) -> None:
        """Hold one state for a while, and compare everything with it."""
        with ExitStack() as stack:
            with self._timed("view"):
                view = stack.enter_context(self.col._engine.view())
            (key,) = view.find(["clock"])
            (clock,) = view.read(np.array([key]))
            model = self._state(clock.metadata, len(view))
            for _ in range(2):
                self._compare(view, model)
                time.sleep(self._chance.random() / 10)

    def _compare(self, view: Any, model: Model) -> None:
        keys = view.keys()
        assert view.doc_ids(keys) == list(model.entries)
        for rows, entry in zip(view.passage_vectors(keys), model.entries.values(), strict=True):
            assert np.array_equal(rows, entry.vectors)
        condition = CONDITIONS[self._chance.choice(sorted(CONDITIONS))]
        allowed = model.matching(condition)
        where = nf.filters.parse(condition.where)
        assert view.doc_ids(view.keys(where)) == allowed
        (query,) = np.random.default_rng(self._chance.randrange(1000)).standard_normal((1, WordEncoder.dimension))
        query = (query / np.linalg.norm(query)).astype(np.float32)
        (near,) = view.semantic(query[np.newaxis], 9, where)
        truth = {name: float((model.entries[name].vectors.astype(float) @ query).max()) for name in allowed}
        np.testing.assert_allclose(near.scores, sorted(truth.values(), reverse=True)[:9], atol=1e-6)
        found = [truth[name] for name in view.doc_ids(near.keys)]
        np.testing.assert_allclose(near.scores, found, atol=1e-6)
        word = self._chance.choice(WORDS)
        (words,) = view.lexical([word], 10 * MOST, where)
        has = [name for name in allowed if word in words_of(model.entries[name])]
        assert sorted(view.doc_ids(words.keys)) == sorted(has)


def words_of(entry: Entry) -> set[str]:
    return set(entry.document.text.replace(".", "").split())


def read(folder: Path, seed: int, until: float, report: Path) -> None:
    """Read in two threads, with one collection for both, one for each, or a new one now and then."""
    plan, failures = Plan(), []
    shared = nf.open(folder, encoder=WordEncoder(), create=False)
    manner = seed % 3

    def work(number: int) -> Reader:
        col = shared if manner == 0 else nf.open(folder, encoder=WordEncoder(), create=False)
        reader = Reader(col, plan, 10 * seed + number)
        readers.append(reader)
        try:
            while time.time() < until:
                reader.read()
                if manner == 2 and random.random() < 0.02:
                    reader.col.close()
                    reader.col = nf.open(folder, encoder=WordEncoder(), create=False)
        except BaseException:
            failures.append(traceback.format_exc())

    readers: list[Reader] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [{"longest": dict(r.longest), "asked": dict(r.asked), "tick": r._tick} for r in readers]
    report.write_text(json.dumps({"failures": failures, "readers": told}))


def forked(work: Callable[..., None], *arguments: Any) -> int:
    """Return the process id of a child that does some work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of others don't matter to the child
        pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work(*arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def refused(folder: Path, writer: int) -> None:
    """A second writer is told who is writing; reading goes on."""
    with nf.open(folder, encoder=WordEncoder()) as col:
        with pytest.raises(nf.Locked, match=rf"process {writer}\b"):
            col.delete("clock")
        assert "clock" in col


@pytest.mark.slow
def test_six_readers_see_what_one_writer_wrote(disk, monkeypatch, record_property):
    small.make_small(monkeypatch.setattr, LIMITS)
    folder = disk / "col.nf"
    writer = forked(write, folder)
    children = {writer}
    try:
        wait_for_clock(folder)
        until = time.time() + SECONDS
        reports = [disk / f"{seed}.json" for seed in range(3)]
        readers = [forked(read, folder, seed, until, report) for seed, report in enumerate(reports)]
        children.update(readers)
        while time.time() < until - 0.5:
            refused(folder, writer)
            time.sleep(0.3)
        os.kill(writer, signal.SIGKILL)
        children.remove(writer)
        assert os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]) == -signal.SIGKILL, "the writer failed"
        for reader in readers:
            children.remove(reader)
            assert os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1]) == 0
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    judge_reports([json.loads(report.read_text()) for report in reports], record_property)
    judge_rest(folder)


def wait_for_clock(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (folder / "manifest.json").exists():
            with nf.open(folder, encoder=WordEncoder(), create=False) as col:
                if "clock" in col:
                    return
        time.sleep(0.05)
    raise AssertionError("the writer did not begin")


def judge_reports(reports: list[dict[str, Any]], record_property: Callable[[str, object], None]) -> None:
    failures = [failure for report in reports for failure in report["failures"]]
    assert not failures, "\n".join(failures)
    readers = [reader for report in reports for reader in report["readers"]]
    assert len(readers) == 6
    asked: Counter[str] = sum((Counter(reader["asked"]) for reader in readers), Counter())
    longest = {name: max(reader["longest"].get(name, 0.0) for reader in readers) for name in asked}
    ticks = max(reader["tick"] for reader in readers)
    told = {"questions": asked.total(), "writes": ticks, **{f"longest {n}, s": round(s, 3) for n, s in longest.items()}}
    for name, value in told.items():
        record_property(name, value)
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    assert max(longest.values()) < LONGEST_WAIT
    assert ticks > 2 * SECONDS, "the writer was held up"
    assert min(sum(reader["asked"].values()) for reader in readers) > SECONDS, "a reader was held up"


def judge_rest(folder: Path) -> None:
    """What the killed writer left is one of the states; its lock holds nobody off."""
    with nf.open(folder, encoder=WordEncoder()) as col:
        found = contents(col)
        with col._engine._database.reading() as connection:
            (dropped,) = connection.execute(
                "SELECT next_segment - (SELECT count(*) FROM segments) FROM state"
            ).fetchone()
    assert dropped > 0, "nothing was compacted"
    plan = Plan()
    judge(folder, [plan.at(found["clock"].document.metadata["tick"], len(found))])
