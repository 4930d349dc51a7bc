"""One order for all rankings: by falling score, then by doc_id."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Names = Callable[[NDArray[np.int64]], list[str]]
"""Gives the doc_id of each key."""


def best(keys: NDArray[np.int64], scores: NDArray[np.float64], k: int, names: Names) -> NDArray[np.intp]:
    """Return the positions of the k best, best first; equal scores in the order of their doc_ids.

    Args:
        keys: int64 `(n,)`.
        scores: float64 `(n,)`.
        k: How many; all if there are fewer.
        names: Asked only for keys whose scores tie.

    >>> best(np.array([7, 8, 9]), np.array([0.5, 0.9, 0.5]), 2, lambda keys: [str(9 - key) for key in keys])
    array([1, 2])
    """
    falling = -scores
    order = falling.argsort(kind="stable")
    falling = falling[order]
    if k < len(order):
        end = k if falling[k - 1] != falling[k] else falling.searchsorted(falling[k - 1], side="right")
        order, falling = order[:end], falling[:end]
    equal = falling[1:] == falling[:-1]
    if not np.count_nonzero(equal):  # a quarter of the time of `any`
        return order
    tied = np.zeros(len(order), np.bool_)
    tied[1:] = equal
    tied[:-1] |= equal
    doc_ids = names(keys[order[tied]])
    by_name = np.zeros(len(order), np.intp)
    by_name[tied] = _ranks(doc_ids)
    return order[np.lexsort((by_name, falling))][:k]


def _ranks(names: list[str]) -> NDArray[np.intp]:
    """Return the place of each name among all, rising; of equal ones, in their order."""
    ranks = np.empty(len(names), np.intp)
    ranks[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return ranks
