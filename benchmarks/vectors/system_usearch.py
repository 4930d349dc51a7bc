"""usearch: its Python interface has no filter, so more is fetched and what isn't allowed is left out."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import usearch
from system import Base, Source
from usearch.index import Index

MOST = 20_000
"""Neighbours that are fetched at most for the sake of a filter."""


class Measured(Base):
    """An index of float32 or bfloat16 vectors; its other defaults."""

    settings = (10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 200, 256, 384, 512, 800)

    def __init__(self, source: Source, folder: Path, *, dtype: str) -> None:
        super().__init__(source, folder)
        self._dtype = dtype

    def build(self) -> dict[str, Any]:
        """Store and index all documents."""
        began = time.perf_counter()
        vectors = self.source.vectors()
        reading = time.perf_counter() - began
        index = Index(ndim=vectors.shape[1], metric="ip", dtype=self._dtype)
        index.add(np.arange(len(vectors)), vectors)
        self.folder.mkdir(parents=True)
        index.save(str(self.folder / "index.usearch"))
        return {"reading": reading}

    def open(self, setting: Any) -> None:
        """Open what `build` left."""
        self._index = Index.restore(str(self.folder / "index.usearch"))
        self._index.expansion_search = setting

    def prepare(self, where: Any) -> Any:
        """Return a condition as it is searched with."""
        if not where:
            return None
        mask = self.source.mask(where)
        return mask, math.ceil(15 / max(float(mask.mean()), 1e-9))

    def search(self, query: np.ndarray, k: int, prepared: Any) -> Any:
        """Return an answer."""
        if prepared is None:
            return self._index.search(query, k, threads=1).keys
        mask, fetched = prepared
        most = min(MOST, len(mask))
        while True:
            keys = self._index.search(query, min(fetched, most), threads=1).keys
            kept = keys[mask[keys]][:k]
            if len(kept) == k or fetched >= most:
                return kept
            fetched *= 4

    def rows(self, answer: Any) -> list[int]:
        """Return the rows in an answer."""
        return answer.tolist()

    def about(self) -> str:
        """Return version and settings."""
        search = self._index.expansion_search
        return (
            f"usearch {usearch.__version__}, {self._index.dtype}, connectivity {self._index.connectivity}, expansion "
            f"{self._index.expansion_add} and {search}; fetches 15 / share, four times more until {MOST:,} if needed"
        )
