"""nearfield, as `durability_system.py` drives it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from durability_data import Batch

import nearfield as nf

NAME = f"nearfield {nf.__version__}"
SETTINGS = "as it comes; add() is durable"


class System:
    """A collection."""

    def __init__(self, folder: Path) -> None:
        self._collection = nf.open(folder)

    def prepare(self, batch: Batch) -> Any:
        """Return a batch as `add` takes it."""
        return batch.documents, batch.vectors

    def bulk(self, batches: Iterable[Any]) -> None:
        """Add much, and leave it persisted."""
        for batch in batches:
            self.add(batch)
        self._collection.close()

    def add(self, batch: Any) -> None:
        """Add a batch, durably when it returns."""
        documents, vectors = batch
        self._collection.add(documents, vectors=vectors)

    def search(self, vector: np.ndarray, k: int) -> list[str]:
        """Return the doc_ids nearest to a vector."""
        return self._collection.search(vector, k, mode="semantic").doc_ids

    def doc_ids(self) -> list[str]:
        """Return every doc_id."""
        return self._collection.doc_ids()
