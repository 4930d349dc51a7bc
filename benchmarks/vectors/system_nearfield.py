"""nearfield, by its public interface: ids and scores, or text and metadata of all hits as well."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from system import Base, Source

import nearfield as nf

BATCH = 20_000
PATIENCE = 4 * 3600.0
"""Seconds to wait for the index, before and after closing."""


class Measured(Base):
    """A collection with vectors given."""

    def __init__(self, source: Source, folder: Path, *, opening: dict[str, Any], read: bool = False) -> None:
        super().__init__(source, folder)
        self._opening, self._read = opening, read

    def build(self) -> dict[str, Any]:
        """Store and index all documents."""
        began = time.perf_counter()
        documents, vectors = self.source.documents(), self.source.vectors()
        reading = time.perf_counter() - began
        with nf.open(self.folder, **self._opening) as col:
            for begin in range(0, len(documents), BATCH):
                batch = [{"doc_id": begin + i, **row} for i, row in enumerate(documents[begin : begin + BATCH])]
                col.add(batch, vectors=vectors[begin : begin + BATCH])
            added = time.perf_counter()
            wait_for_index(col)
        with nf.open(self.folder, create=False) as col:  # closing may have begun it
            stats = wait_for_index(col)
        return {
            "reading": reading,
            "adding": added - began - reading,
            "indexing": time.perf_counter() - added,
            "stats": stats,
        }

    def open(self, _: Any) -> None:
        """Open what `build` left."""
        self._col = nf.open(self.folder, create=False)

    def prepare(self, where: Any) -> Any:
        """Return a condition as it is searched with."""
        return where or None

    def search(self, query: np.ndarray, k: int, prepared: Any) -> Any:
        """Return an answer."""
        hits = self._col.search(query, k=k, mode="semantic", where=prepared)
        if self._read:
            return [(hit.doc_id, hit.score, hit.text, hit.metadata) for hit in hits]
        return hits.doc_ids, hits.scores

    def rows(self, answer: Any) -> list[int]:
        """Return the rows in an answer."""
        return [int(doc_id) for doc_id in ([hit[0] for hit in answer] if self._read else answer[0])]

    def plan(self, query: np.ndarray, k: int, prepared: Any) -> str:
        """Return how the engine says that it answers."""
        if self._read:
            return ""
        hits = self._col.search(query, k=k, mode="semantic", where=prepared, explain=True)
        explanation = hits[0].explanation if len(hits) else None
        return "; ".join(explanation.plan.values()) if explanation else ""

    def about(self) -> str:
        """Return version and settings."""
        index = self._col.stats().index
        return f"nearfield {nf.__version__}, {self._opening}: {index}"


def wait_for_index(col: nf.Collection) -> dict[str, Any]:
    """Return what the collection says of its index, as soon as no document is pending or the patience is at an end."""
    began = time.perf_counter()
    while (index := col.stats().index).get("pending") and time.perf_counter() - began < PATIENCE:
        time.sleep(0.1)
    return dict(index)
