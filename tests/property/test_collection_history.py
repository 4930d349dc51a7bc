"""Whatever happens to a collection, it holds what a dict holds: all operations, in any order, killed at any step.

A longer run: NEARFIELD_HISTORIES=1000 scripts/test tests/property/test_collection_history.py
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import nearfield as nf
from nearfield.engine.local import blocks, compaction, database, lexical, saved, segments, states, upkeep
from nearfield.engine.local.care import check_derived, inspection
from nearfield.filters import parse

sys.path.insert(0, str(Path(__file__).parent))

from histories import (
    CONDITIONS,
    DIMENSION,
    MOMENTS,
    WORDS,
    Entry,
    Expected,
    Model,
    Operation,
    check_ranking,
    deletions,
    in_child,
    likenesses,
    matches,
    others,
    sentences,
    writes,
)

moments = st.integers(0, len(MOMENTS) - 1)
HISTORIES = int(os.environ.get("NEARFIELD_HISTORIES", "40"))
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
        self.generation, self.sources, self.kills, self.forked = 0, 0, 0, False
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

    @rule(operation=writes(), likeness=likenesses, moment=moments)
    def kill_a_write(self, operation: Operation, likeness: list[str], moment: int) -> None:
        self.kill(self.alike(operation, likeness), moment)

    @rule(operation=deletions | others, moment=moments)
    def kill_a_change(self, operation: Operation, moment: int) -> None:
        self.kill(operation, moment)

    def kill(self, operation: Operation, moment: int) -> None:
        if operation.do == "ingest":
            self.sources += 1
            operation = replace(operation, source=f"source {self.sources}")
        if operation.do == "snapshot" and self.forked:
            shutil.rmtree(self.snapshot)
            self.copied, self.forked = None, False
        self.let_go()
        self.col.close()
        # Others each time, since what is drawn for a history is often the same.
        self.kills += 29
        step, edge, occurrence = MOMENTS[(moment + self.kills) % len(MOMENTS)]
        told, status = in_child(lambda tell: self.work(operation, tell, more=bool(step)), (step, edge, occurrence))
        assert status in (0, -signal.SIGKILL)
        event(told[-1] if told else "ended")
        self.col = nf.open(self.path, encoder=self.encoder)
        after, _ = operation.outcomes(self.model)
        allowed = [after[-1]] if "done" in told else [self.model, *after]
        start, self.model = self.model, self.identify(self.col, allowed)
        if operation.do == "snapshot":
            self.identify_snapshot("done" in told)
        if operation.do == "ingest" and "done" not in told:
            self.finish(operation, start)
        assert self.col.check().problems == []

    def work(self, operation: Operation, tell: Any, *, more: bool) -> None:
        """Do an operation, in a child, and then perhaps what changes no document."""
        with nf.open(self.path, encoder=self.encoder) as col:
            _, error = operation.outcomes(self.model)
            try:
                operation.perform(col, self.snapshot)
            except (nf.Conflict, nf.NotFound) as refusal:
                if error is None or not isinstance(refusal, error):
                    raise
            tell("done")
            if more:
                col.compact()

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

    @rule()
    def reopen(self) -> None:
        """Readers, and a view that is held, go on."""
        self.col.close()
        self.col = nf.open(self.path, encoder=self.encoder)

    @rule(derived=st.sampled_from([[], ["lexical"], ["columns"], ["lexical", "columns"]]))
    def reopen_all(self, derived: list[str]) -> None:
        """What is derived may be removed while nobody has the collection open."""
        self.close()
        for name in derived:
            shutil.rmtree(self.path / name, ignore_errors=True)
        self.open()

    @precondition(lambda self: self.older is None)
    @rule()
    def reopen_the_reader(self) -> None:
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
        self.col.close()
        shutil.rmtree(self.folder / "backup", ignore_errors=True)
        shutil.copytree(self.path, self.folder / "backup", ignore=shutil.ignore_patterns("lexical", "columns"))
        self.saved = self.model
        self.col = nf.open(self.path, encoder=self.encoder)

    @precondition(lambda self: self.saved is not None)
    @rule()
    def put_the_backup_back(self) -> None:
        """What is derived stays, and speaks of a future that did not happen."""
        self.close()
        shutil.rmtree(self.path / "vectors")
        for file in self.path.glob("documents.sqlite*"):
            file.unlink()
        shutil.copytree(self.folder / "backup", self.path, dirs_exist_ok=True)
        self.model, self.forked, self.generation = self.saved, self.copied is not None, 0
        self.open()

    @rule()
    def hold_a_view(self) -> None:
        self.let_go()
        self.older = self.held.enter_context(self.reader._engine.view()), self.model

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
