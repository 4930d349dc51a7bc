"""What a system must do to be measured, and what it is given.

A system is a class in a module `system_NAME.py`; it is made, built and searched in processes of its own (child.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import conditions
import corpus
import numpy as np

Setting = Any
"""What JSON can hold: efSearch, nprobe and the like."""


@dataclass(slots=True)
class Source:
    """The documents, read when they are asked for, so that a process holds only what it uses."""

    folder: Path
    _columns: dict[str, np.ndarray] = field(default_factory=dict)
    _labels: list[str] = field(default_factory=list)

    def vectors(self) -> np.ndarray:
        """Return float32 `(n, d)`, unit length."""
        return np.load(self.folder / "vectors.npy")

    def documents(self) -> list[dict[str, Any]]:
        """Return text, label, year and r of every row."""
        return corpus.documents(self.folder)

    def mask(self, where: conditions.Where) -> np.ndarray:
        """Return which rows are allowed, bool `(n,)`."""
        if not self._columns:
            self._columns, self._labels = corpus.columns(self.folder), corpus.labels(self.folder)
        return conditions.mask(where, self._columns, self._labels)


class System(Protocol):
    """One system with its options.

    Attributes:
        settings: From the fastest to the most accurate; the first that reaches the recall is taken. [None]: there is
            nothing to choose.
    """

    settings: Sequence[Setting]

    def __init__(self, source: Source, folder: Path, **options: Any) -> None:
        """Keep what it needs; `folder` is where it stores things."""

    def build(self) -> dict[str, Any]:
        """Store and index all documents, close, and return what there is to say: seconds by part, and the like."""

    def configure(self, setting: Setting) -> None:
        """Store a setting that only counts after reopening."""

    def open(self, setting: Setting) -> None:
        """Open what `build` left."""

    def prepare(self, where: Mapping[str, Any]) -> Any:
        """Return a condition as the system keeps it between searches; empty: no filter."""

    def search(self, query: np.ndarray, k: int, prepared: Any) -> Any:
        """Return an answer; this is what is timed."""

    def rows(self, answer: Any) -> list[int]:
        """Return the rows of the documents in an answer; not timed."""

    def close(self) -> None:
        """Release what `open` took."""

    def about(self) -> str:
        """Return name, version and settings, in words."""


class Base:
    """What most systems have in common."""

    settings: Sequence[Setting] = (None,)

    def __init__(self, source: Source, folder: Path) -> None:
        self.source, self.folder = source, folder

    def configure(self, setting: Setting) -> None:
        """Do nothing: settings are given to each search."""

    def close(self) -> None:
        """Do nothing: the process ends."""
