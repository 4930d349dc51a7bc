"""txtai, as `durability_system.py` drives it: its default SQLite + Faiss, with vectors from outside.

txtai keeps on disk what `save()` wrote. For much at once it is given all documents in one `index()` and one `save()`;
where a batch must last before the next is begun, each batch is followed by a `save()`, with SQLite in WAL mode
(`sqlite.wal`, the safest that its documentation offers).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from durability_data import Batch
from txtai import Embeddings

NAME = f"txtai {version('txtai')}"
SETTINGS = "content, Faiss, sqlite.wal; save() after the bulk, or after each batch"


class System:
    """An index."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._coming: deque[np.ndarray] = deque()

        def transform(texts: list[str]) -> np.ndarray:
            # txtai asks for vectors in the order in which it was given texts.
            return np.stack([self._coming.popleft() for _ in texts])

        settings = {"method": "external", "transform": transform, "content": True, "sqlite": {"wal": True}}
        self._embeddings = Embeddings(settings)
        if self._embeddings.exists(self._folder):
            self._embeddings.load(self._folder, config=settings)

    def prepare(self, batch: Batch) -> Any:
        """Return a batch as `upsert` takes it, and its vectors."""
        rows = zip(batch.doc_ids, batch.texts, batch.metadata, strict=True)
        return [{"id": doc_id, "text": text, **fields} for doc_id, text, fields in rows], batch.vectors

    def bulk(self, batches: Iterable[Any]) -> None:
        """Add much, and leave it persisted."""
        prepared = list(batches)
        for _, vectors in prepared:
            self._coming.extend(vectors)
        self._embeddings.index(itertools.chain.from_iterable(documents for documents, _ in prepared))
        self._embeddings.save(self._folder)

    def add(self, batch: Any) -> None:
        """Add a batch, durably when it returns."""
        documents, vectors = batch
        self._coming.extend(vectors)
        self._embeddings.upsert(documents)
        self._embeddings.save(self._folder)

    def search(self, vector: np.ndarray, k: int) -> list[str]:
        """Return the ids nearest to a vector."""
        self._coming.append(vector)
        return [found["id"] for found in self._embeddings.search("query", k)]

    def doc_ids(self) -> list[str]:
        """Return every id."""
        count = self._embeddings.count()
        return [row["id"] for row in self._embeddings.search("SELECT id FROM txtai", count)]
