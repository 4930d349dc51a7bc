"""What tests of the vectors' index share: vectors that lie in clusters, indexes of them, and what is true of these."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nearfield.index.ann import build
from nearfield.index.exact import best_documents
from nearfield.index.folder import approximate
from nearfield.index.names import Names
from nearfield.index.nearest import Approximate, Documents, Nearest
from nearfield.index.rows import Rows
from nearfield.index.tuning import tune

QUICK_SAMPLE = {10: 400, 100: 100, 1000: 20}
"""In the place of `tuning.SAMPLE`, where tests need no narrow interval."""


def unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def clustered(count: int, dimension: int = 16, clusters: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors, and the cluster of each; of the same seed, all numbers of them lie in the same clusters."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.standard_normal((clusters, dimension)))
    own = rng.integers(0, clusters, count)
    noise = rng.standard_normal((count, dimension)) / np.sqrt(dimension)
    return unit(centres[own] + noise), own


def rows_of(vectors: np.ndarray, counts: np.ndarray | None = None) -> Rows:
    """Return rows in one block; `counts`: how many of them each document has."""
    counts = np.ones(len(vectors), np.int64) if counts is None else counts
    return Rows([vectors], np.zeros(1, np.int64), np.cumsum(counts) - counts, counts)


def approximated(rows: Rows, factory: str, target: float = 0.95, live: np.ndarray | None = None) -> Approximate:
    """Return a tuned index of some documents, or all, whose keys are their slots."""
    slots = np.arange(len(rows.counts)) if live is None else np.flatnonzero(live)
    places, keys = rows.of(slots), np.repeat(slots, rows.counts[slots])
    dimension = rows.blocks[0].shape[1]
    ann = build(factory, dimension, len(places), lambda some: rows.gather(places[some]))
    tuning = tune(ann, lambda some: rows.gather(places[some]), np.arange(len(places)), target)
    return approximate(ann, keys, tuning, factory, Names(slots, np.array([f"d{slot}" for slot in slots], np.bytes_)))


def searcher(found: Approximate, rows: Rows, live: np.ndarray | None = None, first_new: int | None = None) -> Nearest:
    """Return what searches documents whose keys are their slots."""
    live = np.ones(len(rows.counts), np.bool_) if live is None else live
    return Nearest(found, found.keys, Documents(rows, live, len(rows.counts) if first_new is None else first_new))


def answer(scored: tuple[np.ndarray, np.ndarray], k: int) -> list[tuple[int, float]]:
    """Return the k best as pairs of document and score; equal scores by document."""
    pairs = zip(scored[0].tolist(), scored[1].tolist(), strict=True)
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:k]


def truth(rows: Rows, queries: np.ndarray, k: int, allowed: Iterable[int]) -> list[list[tuple[int, float]]]:
    """Return the k best of some documents for each query, by the exact scan."""
    documents = np.array(sorted(allowed), np.int64)
    return [answer(scored, k) for scored in best_documents(rows, queries, k, documents)]


def share(found: list[list[tuple[int, float]]], true: list[list[tuple[int, float]]]) -> float:
    """Return the mean share of the true answers that were found: of equal scores any will do."""
    shares = []
    for mine, best in zip(found, true, strict=True):
        least = min((score for _, score in best), default=0.0)
        shares.append(min(len(best), sum(score >= least - 1e-7 for _, score in mine)) / max(len(best), 1))
    return float(np.mean(shares))
