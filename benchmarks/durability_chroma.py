"""Chroma, as `durability_system.py` drives it: a PersistentClient with given embeddings.

Chroma commits each `add()` to its log in SQLite and writes its HNSW graph after every thousand (`sync_threshold`, its
default); there is no setting that is more durable. It indexes texts by trigrams for `where_document`, without ranking.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from chromadb.config import Settings
from durability_data import Batch

NAME = f"chroma {chromadb.__version__}"
SETTINGS = "PersistentClient, cosine, defaults; add() is durable"


class System:
    """A collection."""

    def __init__(self, folder: Path) -> None:
        self._client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
        self._most = self._client.get_max_batch_size()
        self._collection = self._client.get_or_create_collection(
            "documents", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )

    def prepare(self, batch: Batch) -> Any:
        """Return a batch as `add` takes it: in pieces that are not too many."""
        pieces = [slice(i, i + self._most) for i in range(0, len(batch.doc_ids), self._most)]
        return [(batch.doc_ids[i], batch.vectors[i], batch.metadata[i], batch.texts[i]) for i in pieces]

    def bulk(self, batches: Iterable[Any]) -> None:
        """Add much, and leave it persisted."""
        for batch in batches:
            self.add(batch)

    def add(self, batch: Any) -> None:
        """Add a batch, durably when it returns."""
        for doc_ids, vectors, metadata, texts in batch:
            self._collection.add(ids=doc_ids, embeddings=vectors, metadatas=metadata, documents=texts)

    def search(self, vector: np.ndarray, k: int) -> list[str]:
        """Return the ids nearest to a vector."""
        found: list[str] = self._collection.query(query_embeddings=[vector], n_results=k, include=[])["ids"][0]
        return found

    def doc_ids(self) -> list[str]:
        """Return every id."""
        found: list[str] = self._collection.get(include=[])["ids"]
        return found
