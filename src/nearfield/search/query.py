"""Queries: a text, several texts, or a vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from nearfield import checks
from nearfield.documents.document import check_text
from nearfield.encode.protocol import Encoder, Vectors
from nearfield.errors import InvalidInput

Query: TypeAlias = str | list[str] | tuple[str, ...] | Vectors
GetEncoder: TypeAlias = Callable[[], Encoder]
"""Loads the encoder only when it is needed."""


@dataclass(slots=True)  # not frozen, like `Found`
class Queries:
    """Checked queries: texts, or a vector, and whether the caller gave one or a list."""

    texts: list[str]
    vectors: Vectors | None
    single: bool

    def __len__(self) -> int:
        return len(self.texts) if self.vectors is None else len(self.vectors)


def read_queries(query: object, mode: str, dimension: int | None) -> Queries:
    """Return checked queries.

    Raises:
        InvalidInput: a query is neither text nor a vector, is empty, or is a vector and the mode needs words.
    """
    if isinstance(query, np.ndarray):
        if mode != "semantic":
            raise InvalidInput(f"a vector can be searched with mode='semantic' only, got mode={mode!r}")
        single = query.ndim == 1
        matrix = query[np.newaxis] if single else query
        return Queries([], checks.unit_vectors(matrix, None, dimension, "query vectors"), single)
    if isinstance(query, str):
        return Queries([_text(query, "query")], None, single=True)
    if isinstance(query, list | tuple):
        return Queries([_text(text, f"query {row}") for row, text in enumerate(query)], None, single=False)
    raise InvalidInput(f"query must be a str, a list of str, or a float32 vector, got {type(query).__name__}")


def _text(text: object, what: str) -> str:
    checked = check_text(text, what)
    if not checked.strip():
        raise InvalidInput(f"{what} must have at least one visible character, got {checked!r}")
    return checked
