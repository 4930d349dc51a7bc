"""What a collection should hold, as a dict, and what operations do to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crash.encoder import WordEncoder
from nearfield import ingest
from nearfield.documents import Document, read_documents

Operation = Mapping[str, Any]
"""{"do": its name, …}: plain values only, so that it can be sent to another process as JSON."""


@dataclass(frozen=True)
class Entry:
    """A document, its passages, and their vectors: float32 `(passages, 16)`."""

    document: Document
    spans: list[tuple[int, int]]
    vectors: np.ndarray

    def same(self, other: Entry) -> bool:
        return (
            self.document == other.document
            and self.spans == other.spans
            and np.array_equal(self.vectors, other.vectors)
        )


@dataclass(frozen=True)
class Model:
    """Contents of a collection, in the order of addition, and the next number it gives to a document."""

    entries: dict[str, Entry] = field(default_factory=dict)
    next_number: int = 0

    def same(self, entries: dict[str, Entry]) -> bool:
        """Return whether a collection has these contents, in this order."""
        return list(self.entries) == list(entries) and all(
            entry.same(entries[doc_id]) for doc_id, entry in self.entries.items()
        )

    def matching(self, where: Condition) -> list[str]:
        """Return the doc_ids of the documents that a condition allows."""
        return [name for name, entry in self.entries.items() if where.holds(entry.document.metadata)]


@dataclass(frozen=True)
class Condition:
    """A `where`, and the same in Python."""

    where: dict[str, Any] | None
    holds: Callable[[dict[str, Any]], bool]


CONDITIONS = {
    "all": Condition(None, lambda metadata: True),
    "red": Condition({"color": "red"}, lambda metadata: metadata["color"] == "red"),
    "early": Condition({"year": {"$lt": 2010}}, lambda metadata: metadata["year"] < 2010),
    "late blue": Condition(
        {"color": "blue", "year": {"$gte": 2020}},
        lambda metadata: metadata["color"] == "blue" and metadata["year"] >= 2020,
    ),
}


def after(model: Model, operation: Operation) -> list[Model]:
    """Return the state after each commit of an operation; most have one, and those that change no document none."""
    match operation["do"]:
        case "add" | "upsert":
            return [_with(model, operation["documents"], operation.get("vectors"))]
        case "ingest":
            states, size = [model], operation["batch_size"]
            for start in range(0, len(operation["documents"]), size):
                states.append(_with(states[-1], operation["documents"][start : start + size], None))
            return states[1:]
        case "delete":
            return [_without(model, operation["doc_ids"])]
        case "delete where":
            return [_without(model, model.matching(CONDITIONS[operation["where"]]))]
        case _:
            return []


def _with(model: Model, documents: list[dict[str, Any]], vectors: list[list[float]] | None) -> Model:
    batch = read_documents(documents)
    if vectors is None:
        records = ingest.encode(batch, WordEncoder())
    else:
        records = ingest.attach(batch, np.array(vectors, np.float32), WordEncoder.dimension)
    entries, number = dict(model.entries), model.next_number
    taken = {*entries, *(document.doc_id for document in batch)}
    for record in records:
        doc_id = record.document.doc_id
        if doc_id is None:
            while str(number) in taken:
                number += 1
            doc_id, number = str(number), number + 1
        entries.pop(doc_id, None)
        document = Document(record.document.text, doc_id, record.document.title, record.document.metadata)
        entries[doc_id] = Entry(document, record.spans, record.vectors)
    return Model(entries, number)


def _without(model: Model, doc_ids: list[str]) -> Model:
    return Model({name: entry for name, entry in model.entries.items() if name not in doc_ids}, model.next_number)


def outcomes(start: Model, operations: Sequence[Operation], done: int) -> list[Model]:
    """Return the contents that may be there once `done` operations have returned, and one more may have run."""
    model = start
    for operation in operations[:done]:
        model = [model, *after(model, operation)][-1]
    under_way = operations[done : done + 1]
    return [model, *(state for operation in under_way for state in after(model, operation))]


def vectors_are_given(entry: Entry) -> bool:
    """Return whether a document's vectors are others than the encoder's."""
    (record,) = ingest.encode([entry.document], WordEncoder())
    return not np.array_equal(record.vectors, entry.vectors)


def snapshot_outcomes(
    start: Model, snapshot: Model | None, operations: Sequence[Operation], done: int
) -> list[Model | None]:
    """Return what a snapshot may hold, as `outcomes` does for the collection; None: there may be none.

    Args:
        start: What the collection held before the operations.
        snapshot: What its snapshot held, if there was one.
        operations: All of them.
        done: How many have returned.
    """
    model = start
    for operation in operations[:done]:
        model = [model, *after(model, operation)][-1]
        snapshot = model if operation["do"] == "snapshot" else snapshot
    making = any(operation["do"] == "snapshot" for operation in operations[done : done + 1])
    return [model, snapshot, None] if making else [snapshot]
