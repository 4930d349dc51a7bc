"""A collection's contents as a dict, what can be done to a collection, and what it must answer then."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

import nearfield as nf
from forking import Tell, fork_telling
from nearfield.encode.passages import passage_input, split_many
from nearfield.filters import parse
from nearfield.stages import stage

DIMENSION = 16
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
STEPS = [
    "append vectors", "sync vectors", "commit", "update lexical", "swap lexical", "move rows", "drop segment", "vacuum",
    "save columns", "swap columns", "snapshot vectors", "snapshot documents",
]  # fmt: skip
"""Names of steps of writing; `move rows`, `drop segment` and `vacuum` are compaction's."""

MOMENTS = list(product(["", *STEPS], ["beginning", "end"], [1, 2, 3, 5]))
"""When to kill: the n-th time that a process is at the edge of a step, or of any step."""

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


def in_child(work: Any, moment: tuple[str, str, int]) -> tuple[list[str], int]:
    """Fork a child that does some work, or kills itself at a moment of it; return what it told, and its status."""

    def doomed(tell: Tell) -> None:
        kill_at(*moment, tell)
        work(tell)

    status, words = fork_telling(doomed)
    return words, status


def kill_at(name: str, edge: str, at: int, tell: Any) -> None:
    """Make this process kill itself the n-th time that it is at an edge of a step; "" stands for any step."""
    count = 0

    def watched(here: str, original: Any) -> Any:
        def method(self: stage, *arguments: Any) -> None:
            nonlocal count
            if self._name not in READING and name in ("", self._name) and edge == here:
                count += 1
                if count == at:
                    tell(f"killed at the {here} of {self._name!r}")
                    os.kill(os.getpid(), signal.SIGKILL)
            original(self, *arguments)

        return method

    stage.__enter__ = watched("beginning", stage.__enter__)  # type: ignore[method-assign]
    stage.__exit__ = watched("end", stage.__exit__)  # type: ignore[method-assign]
