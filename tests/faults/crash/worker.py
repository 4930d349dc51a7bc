"""Does the operations of a plan on a collection, and tells of each that was acknowledged."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import nearfield as nf
from crash import small, watch
from crash.encoder import WordEncoder
from crash.model import CONDITIONS, Operation
from nearfield.errors import Conflict

SNAPSHOT = "snapshot.nf"
"""The folder beside a collection that its snapshots go to."""


def work(folder: Path, operations: Sequence[Operation], acknowledged: Callable[[int], None]) -> None:
    """Do operations.

    Args:
        folder: Of the collection, made if there is none.
        operations: What to do.
        acknowledged: Called with how many operations have returned, first with 0, when the collection is open.
    """
    col = nf.open(folder, encoder=WordEncoder())
    acknowledged(0)
    for done, operation in enumerate(operations, start=1):
        if operation["do"] == "reopen":
            col.close()
            col = nf.open(folder, encoder=WordEncoder())
        else:
            perform(col, operation, folder.with_name(SNAPSHOT))
        acknowledged(done)
    col.close()


def perform(col: nf.Collection, operation: Operation, snapshot: Path) -> None:
    """Do one operation; snapshots go to one folder."""
    match operation["do"]:
        case "add":
            vectors = operation.get("vectors")
            col.add(operation["documents"], vectors=None if vectors is None else np.array(vectors, np.float32))
        case "upsert":
            col.upsert(operation["documents"])
        case "delete":
            col.delete(operation["doc_ids"])
        case "delete where":
            col.delete(where=CONDITIONS[operation["where"]].where)
        case "search":
            col.search(operation["query"], mode="lexical")
        case "compact":
            col.compact()
        case "ingest":
            col.ingest(operation["documents"], batch_size=operation["batch_size"], source=operation["source"])
        case "snapshot":
            take_snapshot(col, snapshot)
        case unknown:
            raise ValueError(f"no such operation: {unknown!r}")


def take_snapshot(col: nf.Collection, target: Path) -> None:
    """Bring a snapshot up to date, or, if it is too old for that, make it anew."""
    try:
        col.snapshot(target)
    except Conflict as error:
        assert "too long ago" in str(error), error
        shutil.rmtree(target)
        col.snapshot(target)


if __name__ == "__main__":
    small.make_small()
    work(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), lambda done: watch.mark(str(done)))
