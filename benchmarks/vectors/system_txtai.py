"""txtai: FAISS IVF as it chooses it, content in SQLite with indexed columns, one SQL query; with text and metadata."""

from __future__ import annotations

import json
import math
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import conditions
import numpy as np
from system import Base, Source
from txtai import Embeddings

SELECT = "SELECT id, text, label, year, r, score FROM txtai WHERE similar(:vector{candidates})"


class Measured(Base):
    """The default number of candidates (10 × k with a filter), or 15 / share of what the filter allows if `wide`."""

    settings = (1, 2, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 160, 256, 512)

    def __init__(self, source: Source, folder: Path, *, wide: bool = False) -> None:
        super().__init__(source, folder)
        self._wide = wide

    def build(self) -> dict[str, Any]:
        """Store and index all documents."""
        began = time.perf_counter()
        documents, vectors = self.source.documents(), self.source.vectors()
        reading = time.perf_counter() - began
        rows = iter(vectors)
        config = {
            "method": "external",
            "transform": lambda texts: np.array([next(rows) for _ in texts]),  # they come in order
            "content": True,
            "expressions": [{"name": name, "index": True} for name in ("label", "year", "r")],
        }
        embeddings = Embeddings(config)
        embeddings.index((i, document, None) for i, document in enumerate(documents))
        embeddings.config.pop("transform")
        embeddings.save(str(self.folder))
        return {"reading": reading, "components": embeddings.config.get("build", {})}

    def configure(self, setting: Any) -> None:
        """Store a setting that counts after reopening."""
        path = self.folder / "config.json"
        if not path.exists():
            raise RuntimeError(f"txtai left no config.json: {list(self.folder.iterdir())}")
        config = json.loads(path.read_text())
        config["faiss"] = {"nprobe": setting}
        path.write_text(json.dumps(config))

    def open(self, _: Any) -> None:
        """Open what `build` left."""
        self._embeddings = Embeddings()
        self._embeddings.load(str(self.folder))

    def prepare(self, where: Any) -> Any:
        """Return a condition as it is searched with."""
        if not where:
            return SELECT.format(candidates="")
        candidates = ""
        if self._wide:
            mask = self.source.mask(where)
            candidates = f", {min(len(mask), math.ceil(15 / max(float(mask.mean()), 1e-9)))}"
        return f"{SELECT.format(candidates=candidates)} AND {conditions.sql(where)}"

    def search(self, query: np.ndarray, k: int, prepared: Any) -> Any:
        """Return an answer."""
        return self._embeddings.search(prepared, limit=k, parameters={"vector": query})

    def rows(self, answer: Any) -> list[int]:
        """Return the rows in an answer."""
        return [int(row["id"]) for row in answer]

    def about(self) -> str:
        """Return version and settings."""
        config = self._embeddings.config
        return f"txtai {version('txtai')}, {config.get('build')}, faiss {config.get('faiss')}"
