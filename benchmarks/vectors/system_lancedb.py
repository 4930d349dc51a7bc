"""LanceDB: IVF_HNSW_SQ with one partition, indexed columns, the filter before the search; with text and metadata."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import conditions
import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import Bitmap, BTree, HnswSq
from system import Base, Source

COLUMNS = ["id", "text", "label", "year", "r", "_distance"]


class Measured(Base):
    """m 20 and ef_construction 300, its defaults; a setting is ef and the refine factor."""

    settings = (
        *((ef, None) for ef in (15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 160, 200)),
        *((ef, 2) for ef in (100, 120, 160, 200, 300, 400, 600)),
        *((ef, 5) for ef in (400, 600, 800)),
    )

    def __init__(self, source: Source, folder: Path) -> None:
        super().__init__(source, folder)

    def build(self) -> dict[str, Any]:
        """Store and index all documents."""
        began = time.perf_counter()
        documents, vectors = self.source.documents(), self.source.vectors()
        reading = time.perf_counter() - began
        flat = pa.array(vectors.reshape(-1))
        columns = {"id": range(len(documents)), "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])}
        columns |= {field: [document[field] for document in documents] for field in ("text", "label", "year", "r")}
        table = lancedb.connect(self.folder).create_table("titles", pa.table(columns))
        table.create_index("vector", config=HnswSq(distance_type="dot", num_partitions=1))
        for field, config in {"label": Bitmap(), "year": BTree(), "r": BTree()}.items():
            table.create_index(field, config=config)
        return {"reading": reading}

    def open(self, setting: Any) -> None:
        """Open what `build` left."""
        self._ef, self._refine = setting
        self._table = lancedb.connect(self.folder).open_table("titles")

    def prepare(self, where: Any) -> Any:
        """Return a condition as it is searched with."""
        return conditions.sql(where) if where else None

    def search(self, query: np.ndarray, k: int, prepared: Any) -> Any:
        """Return an answer."""
        search = self._table.search(query).distance_type("dot").nprobes(1).ef(self._ef).limit(k).select(COLUMNS)
        if self._refine is not None:
            search = search.refine_factor(self._refine)
        if prepared is not None:
            search = search.where(prepared, prefilter=True)
        return search.to_arrow().to_pylist()

    def rows(self, answer: Any) -> list[int]:
        """Return the rows in an answer."""
        return [row["id"] for row in answer]

    def about(self) -> str:
        """Return version and settings."""
        indices = ", ".join(f"{index.index_type} on {index.columns[0]}" for index in self._table.list_indices())
        return f"lancedb {lancedb.__version__}, {indices}, ef {self._ef}, refine_factor {self._refine}"
