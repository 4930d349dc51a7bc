"""Whatever happens to a collection, it holds what a dict holds: all operations, in any order, killed at any step.

A longer run: NEARFIELD_HISTORIES=1000 scripts/test tests/property/test_collection_history.py
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tempfile
import traceback
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import nearfield as nf
from nearfield.encode.passages import passage_input, split_many
from nearfield.engine.local import (
    blocks,
    check_derived,
    compaction,
    database,
    inspection,
    lexical,
    saved,
    segments,
    states,
    upkeep,
)
from nearfield.filters import parse
from nearfield.stages import stage

HISTORIES = int(os.environ.get("NEARFIELD_HISTORIES", "60"))
DIMENSION = 16
SMALL: list[tuple[Any, dict[str, float]]] = [
    (segments, {"SLOT": 8}),
    (compaction, {"STEP_ROWS": 6, "LEAST_DEAD": 0, "STEP_PAGES": 1}),
    (upkeep, {"LEAST_UNSAVED": 4, "KEPT_GENERATIONS": 2}),
    (blocks, {"COPIED": 5}),
    (states, {"LEAST_DEAD_SLOTS": 4}),
    (saved, {"MOST_FIELDS": 3}),
    (database, {"VARIABLES": 4}),
    (inspection, {"AT_ONCE": 4}),
    (check_derived, {"AT_ONCE": 4}),
    (lexical, {"TAIL": 4, "TAIL_TERMS": 60, "LAG": 3, "PAUSE_SECONDS": 0.0, "STEP": 5, "DEAD_LEAST": 2}),
]
"""Limits under which everything that takes thousands of documents happens within ten."""

CONDITIONS = [
    ({}, lambda m: True),
    ({"color": "red"}, lambda m: m.get("color") == "red"),
    ({"n": {"$lt": 3}}, lambda m: "n" in m and m["n"] < 3),
    ({"$or": [{"color": "blue"}, {"deep.n": 1}]}, lambda m: m.get("color") == "blue" or m.get("deep") == {"n": 1}),
    ({"extra": {"$exists": False}}, lambda m: "extra" not in m),
]
"""Each `where`, and the same in Python."""

READING = {"encode", "search", "read"}
"""Stages in which nothing is written."""

WORDS = ["river", "stone", "cloud", "winter", "garden", "copper", "island", "violin"]
names = st.sampled_from([*"abcdefghij", "0", "1", "2", "5"])
sentences = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
metadata = st.fixed_dictionaries(
    {"n": st.integers(0, 5)},
    optional={
        "color": st.sampled_from(["red", "blue", None]),
        "deep": st.fixed_dictionaries({"n": st.integers(0, 2)}),
        "extra": st.booleans(),
    },
)
documents = st.fixed_dictionaries(
    {
        "doc_id": st.none() | names,
        "title": st.sampled_from(["", "", *WORDS]),
        "text": st.lists(sentences, min_size=1, max_size=4).map(". ".join),
        "metadata": metadata,
    }
)
batches = st.lists(documents, min_size=1, max_size=7, unique_by=lambda d: d["doc_id"] or object())


@dataclass(frozen=True)
class Entry:
    """A document; `given`: the seed of its vector, if that is not the encoder's."""

    title: str
    text: str
    metadata: str
    given: int | None = None


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


@dataclass(frozen=True)
class Model:
    """What a collection should hold, in the order of addition, and the next number it gives."""

    entries: dict[str, Entry] = field(default_factory=dict)
    number: int = 0

    def matching(self, condition: int) -> list[str]:
        holds = CONDITIONS[condition][1]
        return [name for name, entry in self.entries.items() if holds(json.loads(entry.metadata))]

    def without(self, doc_ids: list[str]) -> Model:
        return replace(self, entries={name: entry for name, entry in self.entries.items() if name not in doc_ids})

    def written(self, batch: list[dict[str, Any]], given: list[int] | None) -> Model:
        """Return the model after an upsert: what is the same in all stays where it is."""
        entries, number = dict(self.entries), self.number
        taken = {*entries, *(document["doc_id"] for document in batch)}
        for place, document in enumerate(batch):
            name = document["doc_id"]
            if name is None:
                while str(number) in taken:
                    number += 1
                name, number = str(number), number + 1
            seed = None if given is None else given[place]
            entry = Entry(document["title"], document["text"], json.dumps(document["metadata"]), seed)
            if seed is None and entries.get(name) == entry:
                continue
            entries.pop(name, None)
            entries[name] = entry
        return Model(entries, number)


@dataclass(frozen=True)
class Operation:
    """What is to be done to a collection."""

    do: str
    batch: list[dict[str, Any]] = field(default_factory=list)
    given: list[int] | None = None
    doc_ids: list[str] = field(default_factory=list)
    condition: int = 0
    size: int = 3
    source: str | None = None
    replacing: bool = False

    def outcomes(self, model: Model) -> tuple[list[Model], type[Exception] | None]:
        """Return what may be there after each commit, and the error that it ends with."""
        if self.do in ("add", "upsert", "ingest"):
            return self._written(model)
        if self.do == "delete":
            known = all(name in model.entries for name in self.doc_ids)
            return ([model.without(self.doc_ids)], None) if known else ([model], nf.NotFound)
        if self.do == "delete where":
            return [model.without(model.matching(self.condition))], None
        return [model], None

    def _written(self, model: Model) -> tuple[list[Model], type[Exception] | None]:
        size = self.size if self.do == "ingest" else len(self.batch)
        replacing = self.do == "upsert" or (self.do == "ingest" and self.replacing)
        found = [model]
        for start in range(0, len(self.batch), size):
            part = self.batch[start : start + size]
            if not replacing and any(document["doc_id"] in found[-1].entries for document in part):
                return found, nf.Conflict
            given = self.given and self.given[start : start + size]
            found.append(found[-1].written(part, given))
        return found[1:], None

    def perform(self, col: nf.Collection, snapshot: Path) -> Any:
        vectors = None if self.given is None else np.stack([vector(seed) for seed in self.given])
        match self.do:
            case "add":
                return col.add(self.batch, vectors=vectors)
            case "upsert":
                return col.upsert(self.batch, vectors=vectors)
            case "ingest":
                return col.ingest(
                    self.batch, vectors=vectors, batch_size=self.size, source=self.source, replace=self.replacing
                )
            case "delete":
                return col.delete(self.doc_ids)
            case "delete where":
                return col.delete(where=CONDITIONS[self.condition][0])
            case "snapshot":
                return col.snapshot(snapshot)
            case "compact":
                return col.compact()
        raise ValueError(self.do)


@st.composite
def writes(draw: st.DrawFn) -> Operation:
    do = draw(st.sampled_from(["add", "upsert", "upsert", "ingest"]))
    batch = draw(batches)
    given = None
    if draw(st.integers(0, 3)) == 0:
        given = [draw(st.integers(0, 9)) for _ in batch]
    return Operation(do, batch, given, size=draw(st.integers(1, 4)), replacing=draw(st.booleans()))


deletions = st.one_of(
    st.lists(names, min_size=1, max_size=5, unique=True).map(lambda chosen: Operation("delete", doc_ids=chosen)),
    st.integers(1, len(CONDITIONS) - 1).map(lambda condition: Operation("delete where", condition=condition)),
)
others = st.sampled_from([Operation("compact"), Operation("snapshot")])
edges = st.integers(1, 8) | st.integers(1, 50)
likenesses = st.lists(st.sampled_from(["new", "same", "metadata"]), min_size=7, max_size=7)


class Expected:
    """What searches must answer, by brute force."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self._known: dict[Entry, tuple[list[tuple[int, int]], np.ndarray]] = {}

    def passages(self, entry: Entry) -> tuple[list[tuple[int, int]], np.ndarray]:
        if entry not in self._known:
            if entry.given is not None:
                spans, rows = [(0, len(entry.text))], vector(entry.given)[np.newaxis]
            else:
                (spans,) = split_many([entry.text], self._encoder, titles=[entry.title])
                texts = [passage_input(entry.title, entry.text[start:end]) for start, end in spans]
                rows = self._encoder.encode_documents(texts)
            norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
            self._known[entry] = spans, rows / np.where(norms > 0, norms, 1)
        return self._known[entry]

    def query(self, text: str) -> np.ndarray:
        (asked,) = self._encoder.encode_queries([text]).astype(np.float64)
        return asked / (np.linalg.norm(asked) or 1)

    def cosines(self, model: Model, query: str, condition: int) -> dict[str, float]:
        asked = self.query(query)
        chosen = model.matching(condition)
        return {name: float((self.passages(model.entries[name])[1] @ asked).max()) for name in chosen}

    @staticmethod
    def sharing(model: Model, query: str, condition: int) -> list[str]:
        entries = {name: model.entries[name] for name in model.matching(condition)}
        return sorted(
            n for n, e in entries.items() if set(query.split()) & set(re.findall(r"\w+", e.title + " " + e.text))
        )


def matches(view: Any, model: Model, expected: Expected) -> str:
    """Return "" if a view has the contents of a model, else what differs."""
    keys = view.keys()
    if view.doc_ids(keys) != list(model.entries):
        return f"documents {view.doc_ids(keys)}, and not {list(model.entries)}"
    for stored, rows, entry in zip(view.read(keys), view.passage_vectors(keys), model.entries.values(), strict=True):
        spans, vectors = expected.passages(entry)
        if (stored.title, stored.text, json.dumps(stored.metadata)) != (entry.title, entry.text, entry.metadata):
            return f"{stored} is not {entry}"
        if stored.encoded == (entry.given is not None) or stored.spans != spans:
            return f"{stored} has other passages than {entry}"
        if rows.shape != vectors.shape or not np.allclose(rows, vectors, rtol=0, atol=1e-6):
            return f"{stored} has other vectors"
    for number, (where, _) in enumerate(CONDITIONS):
        if view.doc_ids(view.keys(parse(where))) != model.matching(number):
            return f"{view.doc_ids(view.keys(parse(where)))} match {where}, and not {model.matching(number)}"
    return ""


def check_ranking(found: list[tuple[str, float]], truth: dict[str, float], k: int) -> None:
    """Compare the k best with all scores; equal ones may lie in any order of rounding."""
    assert len({name for name, _ in found}) == len(found)
    scores = [score for _, score in found]
    np.testing.assert_allclose(scores, sorted(truth.values(), reverse=True)[:k], rtol=0, atol=1e-5)
    np.testing.assert_allclose(scores, [truth[name] for name, _ in found], rtol=0, atol=1e-5)
    assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))


def in_child(work: Any, at: int) -> tuple[list[str], int]:
    """Fork a child that kills itself at the n-th edge of a step of writing; return what it told, and its status."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            signal.alarm(60)
            kill_at(at, lambda word: os.write(writing, f"{word}\n".encode()))
            work(lambda word: os.write(writing, f"{word}\n".encode()))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as told:
        words = told.read().splitlines()
    return words, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_at(at: int, tell: Any) -> None:
    count = 0

    def watched(edge: str, original: Any) -> Any:
        def method(self: stage, *arguments: Any) -> None:
            nonlocal count
            if self._name not in READING:
                count += 1
                if count == at:
                    tell(f"killed at the {edge} of {self._name!r}")
                    os.kill(os.getpid(), signal.SIGKILL)
            original(self, *arguments)

        return method

    stage.__enter__ = watched("beginning", stage.__enter__)  # type: ignore[method-assign]
    stage.__exit__ = watched("end", stage.__exit__)  # type: ignore[method-assign]


class History(RuleBasedStateMachine):
    """One collection, a reader beside it, perhaps an older view, and a snapshot."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(dir=memory))
        self.encoder = encoder
        self.expected = Expected(type(encoder)(DIMENSION, 8))
        self.path = self.folder / "0.nf"
        self.snapshot = self.folder / "snapshot.nf"
        self.model, self.copied, self.saved = Model(), None, None
        self.generation, self.sources, self.forked = 0, 0, False
        self.held, self.older = ExitStack(), None
        self.open()

    def open(self) -> None:
        self.col = nf.open(self.path, encoder=self.encoder)
        self.reader = nf.open(self.path, encoder=self.encoder)

    def close(self) -> None:
        self.let_go()
        self.col.close()
        self.reader.close()

    def let_go(self) -> None:
        self.held.close()
        self.older = None

    def teardown(self) -> None:
        try:
            self.close()
            assert nf.check(self.path).problems == []
        finally:
            shutil.rmtree(self.folder)

    # -- what happens --------------------------------------------------------------------------------------------------

    @rule(operation=writes(), likeness=likenesses)
    def write(self, operation: Operation, likeness: list[str]) -> None:
        self.operate(self.alike(operation, likeness))

    @rule(operation=deletions | others)
    def change(self, operation: Operation) -> None:
        self.operate(operation)

    def operate(self, operation: Operation) -> None:
        after, error = operation.outcomes(self.model)
        encoded = self.encoder.encoded
        if error is not None:
            with pytest.raises(error):
                operation.perform(self.col, self.snapshot)
        else:
            self.perform(operation)
        if operation.do == "upsert":
            assert self.encoder.encoded - encoded == self.to_encode(operation)
        self.model = after[-1]
        if operation.do == "snapshot":
            self.copied, self.forked = self.model, False
        if operation.do == "compact":
            assert self.col.stats().dead_passages == 0

    def perform(self, operation: Operation) -> None:
        try:
            operation.perform(self.col, self.snapshot)
        except nf.Conflict:
            # Only a snapshot of a future that a backup has undone is refused.
            assert operation.do == "snapshot" and self.forked
            shutil.rmtree(self.snapshot)
            operation.perform(self.col, self.snapshot)

    def to_encode(self, operation: Operation) -> int:
        """Return how many passages an upsert must encode: not those of texts that are stored with their vectors."""
        count = 0
        for document in operation.batch if operation.given is None else []:
            new = Entry(document["title"], document["text"], "")
            old = self.model.entries.get(document["doc_id"])
            known = old is not None and (old.title, old.text, old.given) == (new.title, new.text, None)
            count += 0 if known else len(self.expected.passages(new)[0])
        return count

    def alike(self, operation: Operation, likeness: list[str]) -> Operation:
        """Return an operation some of whose documents are stored already, but perhaps for their metadata."""
        if operation.do == "add":
            return operation
        batch = []
        for document, how in zip(operation.batch, likeness, strict=False):
            old = self.model.entries.get(document["doc_id"])
            if old is not None and how != "new":
                document = {**document, "title": old.title, "text": old.text}  # noqa: PLW2901
                if how == "same":
                    document["metadata"] = json.loads(old.metadata)
            batch.append(document)
        return replace(operation, batch=batch)

    @rule(operation=writes(), likeness=likenesses, at=edges)
    def kill_a_write(self, operation: Operation, likeness: list[str], at: int) -> None:
        self.kill(self.alike(operation, likeness), at)

    @rule(operation=deletions | others, at=edges)
    def kill_a_change(self, operation: Operation, at: int) -> None:
        self.kill(operation, at)

    def kill(self, operation: Operation, at: int) -> None:
        if operation.do == "ingest":
            self.sources += 1
            operation = replace(operation, source=f"source {self.sources}")
        if operation.do == "snapshot" and self.forked:
            shutil.rmtree(self.snapshot)
            self.copied, self.forked = None, False
        self.let_go()
        self.col.close()
        told, status = in_child(lambda tell: self.work(operation, tell), at)
        assert status in (0, -signal.SIGKILL)
        event(told[-1])
        self.col = nf.open(self.path, encoder=self.encoder)
        after, _ = operation.outcomes(self.model)
        allowed = [after[-1]] if "done" in told else [self.model, *after]
        start, self.model = self.model, self.identify(self.col, allowed)
        if operation.do == "snapshot":
            self.identify_snapshot("done" in told)
        if operation.do == "ingest" and "done" not in told:
            self.finish(operation, start)
        assert self.col.check().problems == []

    def work(self, operation: Operation, tell: Any) -> None:
        """Do an operation, in a child."""
        with nf.open(self.path, encoder=self.encoder) as col:
            _, error = operation.outcomes(self.model)
            try:
                operation.perform(col, self.snapshot)
            except (nf.Conflict, nf.NotFound) as refusal:
                if error is None or not isinstance(refusal, error):
                    raise
            tell("done")

    def identify(self, col: nf.Collection, allowed: list[Model]) -> Model:
        with col._engine.view() as view:
            differences = [matches(view, model, self.expected) for model in allowed]
        assert "" in differences, differences
        return allowed[differences.index("")]

    def identify_snapshot(self, made: bool) -> None:
        """Find out what a snapshot holds that was perhaps cut off."""
        if not (self.snapshot / "manifest.json").exists():
            assert self.copied is None and not made
            return
        allowed = [self.model] if made or self.copied is None else [self.copied, self.model]
        self.copied = self.restored(lambda col: self.identify(col, allowed))

    def restored(self, look: Any) -> Any:
        target = self.folder / "restored.nf"
        nf.restore(self.snapshot, target)
        try:
            assert nf.check(target).problems == []
            with nf.open(target, encoder=self.encoder) as col:
                return look(col)
        finally:
            shutil.rmtree(target)

    def finish(self, operation: Operation, start: Model) -> None:
        """Go on with an ingestion that was cut off."""
        after, error = operation.outcomes(start)
        # Without a bookmark, all was done, or nothing.
        if error is None and self.col._engine.bookmark(operation.source) is not None:
            done = operation.perform(self.col, self.snapshot)
            whole = [i for i, model in enumerate([start, *after]) if model == self.model]
            assert done.resumed in [min(i * operation.size, len(operation.batch)) for i in whole]
            assert done.written + done.unchanged + done.resumed == len(operation.batch)
            self.model = self.identify(self.col, [after[-1]])

    @rule(derived=st.sampled_from([[], ["lexical"], ["columns"], ["lexical", "columns"]]))
    def reopen(self, derived: list[str]) -> None:
        """What is derived may be removed while nobody has the collection open."""
        self.close()
        for name in derived:
            shutil.rmtree(self.path / name, ignore_errors=True)
        self.open()

    @rule()
    def reopen_the_reader(self) -> None:
        self.let_go()
        self.reader.close()
        self.reader = nf.open(self.path, encoder=self.encoder)

    @precondition(lambda self: self.copied is not None)
    @rule(move=st.booleans())
    def restore(self, move: bool) -> None:
        """A snapshot is what it was made of; and the collection may go on from it."""
        self.restored(lambda col: self.identify(col, [self.copied]))
        if move:
            self.close()
            self.path = self.folder / f"{int(self.path.stem) + 1}.nf"
            nf.restore(self.snapshot, self.path)
            self.model, self.saved, self.forked, self.generation = self.copied, None, False, 0
            self.open()

    @rule()
    def back_up(self) -> None:
        self.close()
        shutil.rmtree(self.folder / "backup", ignore_errors=True)
        shutil.copytree(self.path, self.folder / "backup", ignore=shutil.ignore_patterns("lexical", "columns"))
        self.saved = self.model
        self.open()

    @precondition(lambda self: self.saved is not None)
    @rule()
    def put_the_backup_back(self) -> None:
        """What is derived stays, and speaks of a future that did not happen."""
        self.close()
        shutil.rmtree(self.path / "vectors")
        shutil.copytree(self.folder / "backup", self.path, dirs_exist_ok=True)
        self.model, self.forked, self.generation = self.saved, self.copied is not None, 0
        self.open()

    @rule(by_reader=st.booleans())
    def hold_a_view(self, by_reader: bool) -> None:
        self.let_go()
        view = self.held.enter_context((self.reader if by_reader else self.col)._engine.view())
        self.older = view, self.model

    # -- what must hold ------------------------------------------------------------------------------------------------

    @invariant()
    def readers_agree(self) -> None:
        for col in (self.col, self.reader):
            self.identify(col, [self.model])
            assert len(col) == len(self.model.entries)
        assert self.col.generation == self.reader.generation >= self.generation
        self.generation = self.col.generation
        passages = sum(len(self.expected.passages(entry)[0]) for entry in self.model.entries.values())
        assert (self.col.stats().documents, self.col.stats().passages) == (len(self.model.entries), passages)

    @rule(query=sentences, k=st.integers(1, 20), condition=st.integers(0, len(CONDITIONS) - 1))
    def search(self, query: str, k: int, condition: int) -> None:
        where = CONDITIONS[condition][0]
        allowed = self.model.matching(condition)
        truth = self.expected.cosines(self.model, query, condition)
        sharing = self.expected.sharing(self.model, query, condition)
        for col in (self.reader, self.col):
            near = col.search(query, k=k, mode="semantic", where=where)
            check_ranking([(hit.doc_id, hit.score) for hit in near], truth, k)
            words = col.search(query, k=len(allowed) + 1, mode="lexical", where=where)
            assert sorted(words.doc_ids) == sharing
            assert [hit.score for hit in words] == sorted((hit.score for hit in words), reverse=True)
            assert col.search(query, k=k, mode="lexical", where=where).doc_ids == words.doc_ids[:k]
            both = col.search(query, k=k, where=where).doc_ids
            assert len(both) == len(set(both)) == min(k, len(allowed))
            assert set(both) <= set(allowed)

    @precondition(lambda self: self.older is not None)
    @invariant()
    def an_older_view_goes_on_as_it_began(self) -> None:
        view, model = self.older
        assert matches(view, model, self.expected) == ""
        query, condition = WORDS[self.generation % len(WORDS)], self.generation % len(CONDITIONS)
        where = parse(CONDITIONS[condition][0])
        if model.entries:
            (near,) = view.semantic(self.expected.query(query)[np.newaxis].astype(np.float32), 5, where)
            ranked = zip(view.doc_ids(near.keys), near.scores.tolist(), strict=True)
            check_ranking(list(ranked), self.expected.cosines(model, query, condition), 5)
        (words,) = view.lexical([query], len(model.entries) + 1, where)
        assert sorted(view.doc_ids(words.keys)) == self.expected.sharing(model, query, condition)

    @rule()
    def check(self) -> None:
        assert self.col.check().problems == []


def run(monkeypatch: pytest.MonkeyPatch, encoder: Any, examples: int, steps: int, *, same: bool) -> None:
    for module, limits in SMALL:
        for name, value in limits.items():
            monkeypatch.setattr(module, name, value)
    run_state_machine_as_test(
        lambda: History(type(encoder)(DIMENSION, 8)),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=same,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_short_histories(monkeypatch, encoder):
    run(monkeypatch, encoder, 8, 15, same=True)


@pytest.mark.slow
def test_histories(monkeypatch, encoder):
    run(monkeypatch, encoder, HISTORIES, 40, same=False)
