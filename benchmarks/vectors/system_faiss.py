"""Raw FAISS: HNSW or flat, with a bitmap of the allowed rows that is made once for each filter; ids and scores only."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from system import Base, Source


class Measured(Base):
    """IndexHNSWFlat with 32 links, or IndexFlatIP if `construction` is None."""

    def __init__(self, source: Source, folder: Path, *, construction: int | None) -> None:
        super().__init__(source, folder)
        self._construction = construction
        if construction is not None:
            self.settings = (*range(10, 64, 2), *range(64, 128, 8), 128, 160, 200, 256, 384, 512, 800)

    def build(self) -> dict[str, Any]:
        """Store and index all documents."""
        began = time.perf_counter()
        vectors = self.source.vectors()
        reading = time.perf_counter() - began
        if self._construction is None:
            index = faiss.IndexFlatIP(vectors.shape[1])
        else:
            index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = self._construction
        index.add(vectors)
        self.folder.mkdir(parents=True)
        faiss.write_index(index, str(self.folder / "index.faiss"))
        return {"reading": reading}

    def open(self, setting: Any) -> None:
        """Open what `build` left."""
        self._ef = setting
        self._index = faiss.read_index(str(self.folder / "index.faiss"))

    def prepare(self, where: Any) -> Any:
        """Return a condition as it is searched with."""
        if where:
            # Both are kept alive by the parameters that are returned with them.
            bits = np.packbits(self.source.mask(where), bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
        else:
            bits = selector = None
        if self._construction is None:
            return faiss.SearchParameters(sel=selector), selector, bits
        return faiss.SearchParametersHNSW(efSearch=self._ef, sel=selector), selector, bits

    def search(self, query: np.ndarray, k: int, prepared: Any) -> Any:
        """Return an answer."""
        return self._index.search(query[None], k, params=prepared[0])

    def rows(self, answer: Any) -> list[int]:
        """Return the rows in an answer."""
        return [row for row in answer[1][0].tolist() if row >= 0]

    def about(self) -> str:
        """Return version and settings."""
        kind = "flat" if self._construction is None else f"HNSW32, efConstruction {self._construction}"
        return f"faiss-cpu {faiss.__version__}, {kind}, IDSelectorBitmap kept for each filter"
