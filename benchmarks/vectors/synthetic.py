"""Clustered vectors of any number, made batch by batch, the same for the same seed.

A mixture on the sphere, after what sentence encoders give: topics at random directions; centres around a topic; around
a centre, noise whose variance falls as 1 / i along the i-th of some rotated directions, so that neighbours differ in
few of them. Sizes of clusters follow a power law (rank ** -0.8). With 5,000,000 vectors there are 20,000 centres in 200
topics; each has at least some tens of vectors, and 99 % of the ten nearest neighbours are in the query's cluster. At
50,000 the local intrinsic dimension (Levina and Bickel 2004, 50 neighbours) is 23, as it is of arXiv's titles, and HNSW
needs the same efSearch for the same recall.
Documents have a field `r` (a random integer below 10,000) and a field `side` (0 or 1 by topic): a query from the one
side that allows the other is adversarial.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

DIMENSION = 384
BATCH = 20_000
PER_CENTRE, PER_TOPIC = 250, 100
CENTRES_SPREAD, SPREAD = 0.8, 0.9
POWER = 0.8
PARTS = 10_000
QUERIES_PART = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Some vectors in the order of their rows.

    Args:
        begin: Row of the first.
        vectors: float32 `(n, 384)`, unit length.
        cluster: int64 `(n,)`.
        side: int64 `(n,)`, 0 or 1.
        r: int64 `(n,)`, below 10,000.
    """

    begin: int
    vectors: np.ndarray
    cluster: np.ndarray
    side: np.ndarray
    r: np.ndarray

    def documents(self) -> list[dict[str, Any]]:
        """Return a document for each row."""
        columns = zip(self.cluster.tolist(), self.side.tolist(), self.r.tolist(), strict=True)
        return [
            {"doc_id": i, "text": f"Document {i} of cluster {cluster}", "cluster": cluster, "side": side, "r": r}
            for i, (cluster, side, r) in enumerate(columns, self.begin)
        ]


class Mixture:
    """The mixture that `count` vectors come from."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.count, self._seed = count, seed
        rng = np.random.default_rng(seed)
        centres = max(1, count // PER_CENTRE)
        self._topic = rng.integers(0, max(2, centres // PER_TOPIC), centres)
        topics = _unit(rng.standard_normal((int(self._topic.max()) + 1, DIMENSION)))
        offsets = rng.standard_normal((centres, DIMENSION)) * (CENTRES_SPREAD / DIMENSION**0.5)
        self._centres = _unit(topics[self._topic] + offsets)
        weights = rng.permutation(np.arange(1, centres + 1)) ** -POWER
        self._weights = np.cumsum(weights / weights.sum())
        scales = np.arange(1, DIMENSION + 1) ** -0.5
        rotation, _ = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))
        self._noise = ((SPREAD / np.linalg.norm(scales)) * scales[:, None] * rotation.T).astype(np.float32)

    def batches(self) -> Iterator[Batch]:
        """Yield all vectors."""
        for part, begin in enumerate(range(0, self.count, BATCH)):
            yield self._batch(part, begin, min(BATCH, self.count - begin))

    def queries(self, n: int) -> Batch:
        """Return vectors of the same mixture that are not among the others."""
        return self._batch(QUERIES_PART, 0, n)

    def _batch(self, part: int, begin: int, n: int) -> Batch:
        rng = np.random.default_rng([self._seed, part])
        cluster = np.searchsorted(self._weights, rng.random(n)).clip(max=len(self._centres) - 1)
        noise = rng.standard_normal((n, DIMENSION), dtype=np.float32) @ self._noise
        vectors = _unit(self._centres[cluster] + noise)
        return Batch(begin, vectors, cluster, self._topic[cluster] % 2, rng.integers(0, PARTS, n))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
