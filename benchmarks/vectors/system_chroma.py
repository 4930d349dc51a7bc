"""Chroma, persistent, with its default HNSW settings but ef; with text and metadata."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from chromadb.config import Settings
from system import Base, Source


class Measured(Base):
    """max_neighbors 16 and ef_construction 100, its defaults."""

    settings = (10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 100, 128, 160, 200, 256, 384, 512, 800)

    def __init__(self, source: Source, folder: Path) -> None:
        super().__init__(source, folder)

    def _client(self) -> Any:
        return chromadb.PersistentClient(str(self.folder), settings=Settings(anonymized_telemetry=False))

    def build(self) -> dict[str, Any]:
        """Store and index all documents."""
        began = time.perf_counter()
        documents, vectors = self.source.documents(), self.source.vectors()
        reading = time.perf_counter() - began
        client = self._client()
        collection = client.create_collection(
            "titles", configuration={"hnsw": {"space": "ip"}}, embedding_function=None
        )
        batch = client.get_max_batch_size()
        for begin in range(0, len(documents), batch):
            rows = documents[begin : begin + batch]
            collection.add(
                ids=[str(begin + i) for i in range(len(rows))],
                embeddings=vectors[begin : begin + batch],
                documents=[row["text"] for row in rows],
                metadatas=[{"label": row["label"], "year": row["year"], "r": row["r"]} for row in rows],
            )
        return {"reading": reading}

    def configure(self, setting: Any) -> None:  # ef counts after reopening only
        """Store a setting that counts after reopening."""
        self._client().get_collection("titles", embedding_function=None).modify(
            configuration={"hnsw": {"ef_search": setting, "num_threads": 1}}
        )

    def open(self, setting: Any) -> None:
        """Open what `build` left."""
        self._collection = self._client().get_collection("titles", embedding_function=None)
        ef = self._collection.configuration["hnsw"]["ef_search"]
        if ef != setting:
            raise RuntimeError(f"ef_search is {ef}, and not {setting}")

    def prepare(self, where: Any) -> Any:
        """Return a condition as it is searched with."""
        if not where:
            return None
        parts = [{field: {word: value}} for field, condition in where.items() for word, value in condition.items()]
        return parts[0] if len(parts) == 1 else {"$and": parts}

    def search(self, query: np.ndarray, k: int, prepared: Any) -> Any:
        """Return an answer."""
        return self._collection.query(
            query_embeddings=query, n_results=k, where=prepared, include=["documents", "metadatas", "distances"]
        )

    def rows(self, answer: Any) -> list[int]:
        """Return the rows in an answer."""
        return [int(doc_id) for doc_id in answer["ids"][0]]

    def about(self) -> str:
        """Return version and settings."""
        return f"chromadb {chromadb.__version__}, {self._collection.configuration['hnsw']}"
