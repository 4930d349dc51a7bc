"""The systems that can be measured, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the table.

    Args:
        name: To select it by.
        label: In the table.
        needs: The package without which it can't be measured.
        stored: Systems with the same word share what one of them has built.
        module: Where its class is.
        options: Of the class.
        matches: The system whose recall without a filter its setting must reach; "": the wanted recall.
    """

    name: str
    label: str
    needs: str
    stored: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    matches: str = ""

    @property
    def own(self) -> bool:
        """Whether it runs in this Python, and not in the peers'."""
        return self.needs == "nearfield"


def entries(opening: dict[str, Any]) -> list[Entry]:
    """Return all systems in the order of the table; `opening` is what nearfield.open is told."""
    own = {"opening": opening}
    return [
        Entry("nearfield", "nearfield, ids and scores", "nearfield", "nearfield", "system_nearfield", own),
        Entry(
            "nearfield-read",
            "nearfield, text and metadata",
            "nearfield",
            "nearfield",
            "system_nearfield",
            {**own, "read": True},
        ),
        Entry("faiss-hnsw", "FAISS HNSW32 + bitmap, ids", "faiss", "faiss-40", "system_faiss", {"construction": 40}),
        Entry(
            "faiss-hnsw-same",
            "FAISS HNSW32, nearfield's recall",
            "faiss",
            "faiss-40",
            "system_faiss",
            {"construction": 40},
            matches="nearfield",
        ),
        Entry(
            "faiss-hnsw-200", "FAISS HNSW32 efC 200, ids", "faiss", "faiss-200", "system_faiss", {"construction": 200}
        ),
        Entry("faiss-flat", "FAISS flat + bitmap, ids", "faiss", "faiss-flat", "system_faiss", {"construction": None}),
        Entry("qdrant", "Qdrant Edge", "qdrant_edge", "qdrant", "system_qdrant"),
        Entry("qdrant-acorn", "Qdrant Edge, ACORN", "qdrant_edge", "qdrant", "system_qdrant", {"acorn": True}),
        Entry("lancedb", "LanceDB HNSW-SQ", "lancedb", "lancedb", "system_lancedb"),
        Entry("chroma", "Chroma", "chromadb", "chroma", "system_chroma"),
        Entry("txtai", "txtai", "txtai", "txtai", "system_txtai"),
        Entry("txtai-wide", "txtai, 15/share candidates", "txtai", "txtai", "system_txtai", {"wide": True}),
        Entry("usearch-f32", "usearch f32, ids", "usearch", "usearch-f32", "system_usearch", {"dtype": "f32"}),
        Entry("usearch-bf16", "usearch bf16, ids", "usearch", "usearch-bf16", "system_usearch", {"dtype": "bf16"}),
        Entry("hnswlib", "hnswlib, ids", "hnswlib", "hnswlib", "system_hnswlib"),
    ]


def chosen(every: Sequence[Entry], patterns: Sequence[str]) -> list[Entry]:
    """Return the systems that match, in their order.

    Raises:
        SystemExit: a pattern matches none.
    """
    for pattern in patterns:
        if not any(fnmatch(entry.name, pattern) for entry in every):
            raise SystemExit(f"no system is named {pattern!r}; there are {', '.join(entry.name for entry in every)}")
    return [entry for entry in every if any(fnmatch(entry.name, pattern) for pattern in patterns)]
