"""What a careful script does without a library: SQLite with FTS5 for texts, a file of vectors that NumPy scans.

The vectors of a batch are appended and synced, and then the batch is committed (WAL, synchronous=FULL); rows that no
commit counts are cut off at the next start. It is the peer that every machine has.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from durability_data import DIMENSION, Batch

NAME = f"script: SQLite {sqlite3.sqlite_version} with FTS5, NumPy {np.__version__}"
SETTINGS = "WAL, synchronous=FULL, vectors synced before each commit"


class System:
    """A database beside a file of vectors."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(folder / "documents.sqlite", isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        columns = "row INTEGER PRIMARY KEY, doc_id TEXT UNIQUE, metadata TEXT"
        self._database.execute(f"CREATE TABLE IF NOT EXISTS documents ({columns})")
        self._database.execute("CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5(text)")
        self._file = folder / "vectors.f32"
        self._file.touch()
        os.truncate(self._file, self._rows() * DIMENSION * 4)

    def _rows(self) -> int:
        (rows,) = self._database.execute("SELECT coalesce(max(row), 0) FROM documents").fetchone()
        return int(rows)

    def prepare(self, batch: Batch) -> Any:
        """Return a batch as `add` takes it."""
        return batch

    def bulk(self, batches: Iterable[Any]) -> None:
        """Add much, and leave it persisted."""
        for batch in batches:
            self.add(batch)
        self._database.close()

    def add(self, batch: Batch) -> None:
        """Add a batch, durably when it returns."""
        with self._file.open("ab") as file:
            file.write(batch.vectors.tobytes())
            file.flush()
            os.fsync(file.fileno())
        rows = range(self._rows() + 1, self._rows() + 1 + len(batch.doc_ids))
        stored = zip(rows, batch.doc_ids, map(json.dumps, batch.metadata), strict=True)
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("INSERT INTO documents VALUES (?, ?, ?)", stored)
        self._database.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", zip(rows, batch.texts, strict=True))
        self._database.execute("COMMIT")

    def search(self, vector: np.ndarray, k: int) -> list[str]:
        """Return the doc_ids nearest to a vector."""
        vectors = np.memmap(self._file, np.float32, "r").reshape(-1, DIMENSION)
        scores = vectors @ vector
        best = np.argpartition(-scores, k)[:k] if len(scores) > k else np.arange(len(scores))
        rows = [int(row) + 1 for row in best[np.argsort(-scores[best])]]
        marks = ", ".join("?" * len(rows))
        found = dict(self._database.execute(f"SELECT row, doc_id FROM documents WHERE row IN ({marks})", rows))
        return [found[row] for row in rows]

    def doc_ids(self) -> list[str]:
        """Return every doc_id."""
        return [doc_id for (doc_id,) in self._database.execute("SELECT doc_id FROM documents")]
