"""Conditions of the filters: the part of `where` that the cases use, and what it allows.

A condition is `{field: {"$in": [...]}}` or `{field: {"$gte": low, "$lte": high}}`; several fields must all match. Every
system states it in its own words; those that take a mask get it from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Where = Mapping[str, Mapping[str, Any]]


def mask(where: Where, columns: Mapping[str, np.ndarray], labels: Sequence[str]) -> np.ndarray:
    """Return which documents are allowed, bool `(n,)`."""
    allowed = np.ones(len(columns["r"]), dtype=bool)
    for field, condition in where.items():
        if "$in" in condition:
            # A table by code: isin takes ten times as long.
            kept = set(condition["$in"])
            table = np.array([label in kept for label in labels])
            allowed &= table[columns[field]]
        else:
            allowed &= (columns[field] >= condition["$gte"]) & (columns[field] <= condition["$lte"])
    return allowed


def sql(where: Where, name: str = "{}") -> str:
    """Return the condition in SQL; `name` makes the name of a column."""
    parts = []
    for field, condition in where.items():
        column = name.format(field)
        if "$in" in condition:
            parts.append(f"{column} IN ({', '.join(repr(label) for label in condition['$in'])})")
        else:
            parts.append(f"{column} >= {condition['$gte']} AND {column} <= {condition['$lte']}")
    return " AND ".join(parts)
