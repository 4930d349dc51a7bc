"""hnswlib: its filter is a Python function that is called for each document that the search meets."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
from system import Base, Source


class Measured(Base):
    """M 16 and ef_construction 200, as in its examples."""

    settings = (10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 200, 256, 384, 512, 800)

    def __init__(self, source: Source, folder: Path) -> None:
        super().__init__(source, folder)

    def build(self) -> dict[str, Any]:
        """Store and index all documents."""
        began = time.perf_counter()
        vectors = self.source.vectors()
        reading = time.perf_counter() - began
        index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        index.init_index(max_elements=len(vectors), M=16, ef_construction=200)
        index.add_items(vectors)
        self.folder.mkdir(parents=True)
        index.save_index(str(self.folder / "index.hnsw"))
        return {"reading": reading, "dimension": vectors.shape[1]}

    def open(self, setting: Any) -> None:
        """Open what `build` left."""
        dimension = np.load(self.source.folder / "queries.npy", mmap_mode="r").shape[1]
        self._index = hnswlib.Index(space="ip", dim=dimension)
        self._index.load_index(str(self.folder / "index.hnsw"))
        self._index.set_ef(setting)
        self._index.set_num_threads(1)

    def prepare(self, where: Any) -> Any:
        """Return a condition as it is searched with."""
        if not where:
            return None
        mask = self.source.mask(where)
        return bytes(mask).__getitem__, int(mask.sum())

    def search(self, query: np.ndarray, k: int, prepared: Any) -> Any:
        """Return an answer."""
        if prepared is None:
            return self._index.knn_query(query, k, num_threads=1)[0][0]
        allowed, count = prepared
        k = min(k, count)
        while k:
            try:
                return self._index.knn_query(query, k, num_threads=1, filter=allowed)[0][0]
            except RuntimeError:  # it found fewer than k, and says no more
                k //= 2
        return []

    def rows(self, answer: Any) -> list[int]:
        """Return the rows in an answer."""
        return [int(row) for row in answer]

    def about(self) -> str:
        """Return version and settings."""
        return f"hnswlib {version('hnswlib')}, M 16, ef_construction 200, ef {self._index.ef}"
