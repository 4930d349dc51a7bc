"""Two rankings of the same documents made into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearfield.index.keys import distinct

RECIPROCAL_RANK_CONSTANT = 60
"""As in Cormack, Clarke & Büttcher 2009, who found results insensitive to it."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One ranking, and how much it counts.

    Args:
        keys: int64 `(n,)`, best first.
        scores: float64 `(n,)`, falling.
        weight: Share of this leg in the fused score.
        unlisted: How many documents that could have been listed scored 0 instead (BM25 lists only documents that share
            a term with the query).
    """

    keys: NDArray[np.int64]
    scores: NDArray[np.float64]
    weight: float
    unlisted: int = 0


@dataclass(frozen=True, slots=True)
class Fused:
    """The documents of all legs.

    Args:
        keys: int64 `(n,)`, rising.
        scores: float64 `(n,)`.
        contributions: float64 `(legs, n)`; they add up to the scores.
    """

    keys: NDArray[np.int64]
    scores: NDArray[np.float64]
    contributions: NDArray[np.float64]


def standardised(legs: Sequence[Leg]) -> Fused:
    """Return the weighted sum of each leg's standardised scores.

    A leg's scores are taken less their mean and over their standard deviation, so that legs with other units compare
    (Renda & Straccia 2003, "Web metasearch: rank vs. score based rank aggregation methods", z-score normalisation). A
    document that a leg does not list counts as that leg's lowest. A leg whose scores are all equal contributes 0.

    >>> semantic = Leg(np.array([1, 2]), np.array([0.9, 0.5]), weight=0.5)
    >>> lexical = Leg(np.array([2, 3]), np.array([7.0, 3.0]), weight=0.5)
    >>> standardised([semantic, lexical]).contributions.round(6)
    array([[ 0.5, -0.5, -0.5],
           [-0.5,  0.5, -0.5]])
    """
    return _fuse(legs, [_standardise(leg) for leg in legs])


def reciprocal_rank(legs: Sequence[Leg]) -> Fused:
    """Return the weighted sum of reciprocal ranks, 2 · weight / (60 + rank).

    With two legs of weight 0.5 that is reciprocal rank fusion (Cormack, Clarke & Büttcher 2009). Equal scores of a leg
    have different ranks, in the leg's order.
    """
    values = []
    for leg in legs:
        ranks = np.arange(1, len(leg.keys) + 1)
        values.append((2 * leg.weight / (RECIPROCAL_RANK_CONSTANT + ranks), 0.0))
    return _fuse(legs, values)


def _standardise(leg: Leg) -> tuple[NDArray[np.float64], float]:
    """Return the leg's weighted standardised scores, and what a document that it does not list gets."""
    scores = np.concatenate((leg.scores, np.zeros(leg.unlisted)))
    deviation = scores.std() if len(scores) else 0.0
    # Less than this is rounding, not a difference.
    if deviation < 1e-9:
        return np.zeros(len(leg.scores)), 0.0
    values = leg.weight * (scores - scores.mean()) / deviation
    return values[: len(leg.scores)], float(values.min())


def _fuse(legs: Sequence[Leg], values: Sequence[tuple[NDArray[np.float64], float]]) -> Fused:
    keys = distinct(np.sort(np.concatenate([leg.keys for leg in legs])))
    contributions = np.empty((len(legs), len(keys)))
    for row, leg, (listed, unlisted) in zip(contributions, legs, values, strict=True):
        row[:] = unlisted
        row[np.searchsorted(keys, leg.keys)] = listed
    return Fused(keys, contributions.sum(axis=0), contributions)
