"""Qdrant Edge, with payload: filters on indexed fields, which it links in the graph, and ACORN if asked for."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge
from system import Base, Source

BATCH = 5_000
ONE_SEGMENT = 100_000_000
"""Kilobytes that a segment may have: one thread searches one segment fastest."""


class Measured(Base):
    """One segment, m 16 and ef_construct 100, full scan below 10,000 kB: the defaults of its documentation."""

    settings = (10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 200, 256, 384, 512, 800)

    def __init__(self, source: Source, folder: Path, *, acorn: bool = False) -> None:
        super().__init__(source, folder)
        self._acorn = acorn

    def build(self) -> dict[str, Any]:
        """Store and index all documents."""
        began = time.perf_counter()
        documents, vectors = self.source.documents(), self.source.vectors()
        reading = time.perf_counter() - began
        self.folder.mkdir(parents=True)
        shard = edge.EdgeShard.create(str(self.folder), _config(vectors.shape[1]))
        whole = edge.IntegerIndexParams(lookup=True, range=True)
        for field, index in {"label": edge.KeywordIndexParams(), "year": whole, "r": whole}.items():
            shard.update(edge.UpdateOperation.create_field_index(field, index))
        for begin in range(0, len(documents), BATCH):
            rows = vectors[begin : begin + BATCH].tolist()
            batch = zip(range(begin, begin + len(rows)), rows, documents[begin : begin + BATCH], strict=True)
            points = [edge.Point(id=i, vector=vector, payload=document) for i, vector, document in batch]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
        info = shard.info()
        shard.close()
        return {"reading": reading, "segments": info.segments_count, "indexed": info.indexed_vectors_count}

    def open(self, setting: Any) -> None:
        """Open what `build` left."""
        dimension = np.load(self.source.folder / "queries.npy", mmap_mode="r").shape[1]
        self._shard = edge.EdgeShard.load(str(self.folder), _config(dimension))
        acorn = edge.AcornSearchParams(enable=True, max_selectivity=1.0) if self._acorn else None
        self._ef, self._params = setting, edge.SearchParams(hnsw_ef=setting, acorn=acorn)

    def prepare(self, where: Any) -> Any:
        """Return a condition as it is searched with."""
        if not where:
            return None
        return edge.Filter(must=[_condition(field, condition) for field, condition in where.items()])

    def search(self, query: np.ndarray, k: int, prepared: Any) -> Any:
        """Return an answer."""
        nearest = edge.Query.Nearest(query.tolist())
        request = edge.SearchRequest(nearest, k, filter=prepared, params=self._params, with_payload=True)
        return [(point.id, point.score, point.payload) for point in self._shard.search(request)]

    def rows(self, answer: Any) -> list[int]:
        """Return the rows in an answer."""
        return [point[0] for point in answer]

    def close(self) -> None:
        """Release what `open` took."""
        self._shard.close()

    def about(self) -> str:
        """Return version and settings."""
        info = self._shard.info()
        acorn = ", ACORN for every filter" if self._acorn else ""
        return (
            f"qdrant-edge-py {version('qdrant-edge-py')}, m 16, ef_construct 100, hnsw_ef {self._ef}{acorn}; segments "
            f"{info.segments_count}, indexed vectors {info.indexed_vectors_count}; with payload"
        )


def _config(dimension: int) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors={"": edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Dot)},
        max_search_threads=1,
        hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10_000),
        optimizers=edge.EdgeOptimizersConfig(
            default_segment_number=1, max_segment_size=ONE_SEGMENT, indexing_threshold=1_000
        ),
    )


def _condition(field: str, condition: dict[str, Any]) -> edge.FieldCondition:
    if "$in" in condition:
        return edge.FieldCondition(field, match=edge.MatchAny(condition["$in"]))
    return edge.FieldCondition(field, range=edge.RangeFloat(gte=condition["$gte"], lte=condition["$lte"]))
