"""Documents that `durability.py` makes for itself: the same for the same seed, on every machine.

Vectors are unit vectors in clusters, as texts of some hundred topics have. Words are syllables put together; how often
each occurs follows Zipf's law, with a few words that belong to the cluster, so that lexical search has rare words and
frequent ones to deal with. Needs NumPy alone, so that peers can use it in an environment of their own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

BLOCK = 1_000
"""Documents that are made together, from a random generator of their own; any block can be made without the others."""

DIMENSION = 384
CLUSTERS = 600
SPREAD = 0.9
"""Length of what a vector adds to its cluster's centre: two of a cluster have a cosine of about 0.55."""

WORDS = 40_000
OWN_WORDS = 60
ONSETS = ("b", "c", "ch", "d", "f", "g", "h", "l", "m", "n", "p", "pl", "r", "s", "st", "t", "tr", "v")
VOWELS = ("a", "e", "i", "o", "u", "ea")
ENDS = ("", "l", "n", "r", "s", "t")
CATEGORIES = ("art", "biology", "chemistry", "economics", "history", "law", "medicine", "music", "physics", "sport")
FIRST_YEAR, LAST_YEAR = 2000, 2024
QUERIES_FROM = 10**9
"""Position from which queries are made: no collection is as large."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents, column by column.

    Args:
        doc_ids: Decimal numbers.
        texts: 8 to 24 words each.
        metadata: {"year": int, "category": str} each.
        vectors: float32 `(n, DIMENSION)`, of unit length.
    """

    doc_ids: list[str]
    texts: list[str]
    metadata: list[dict[str, int | str]]
    vectors: np.ndarray

    @property
    def documents(self) -> list[dict[str, int | str]]:
        """What nearfield's `add` takes, a dict a document."""
        rows = zip(self.doc_ids, self.texts, self.metadata, strict=True)
        return [{"doc_id": doc_id, "text": text, **fields} for doc_id, text, fields in rows]


class Corpus:
    """An endless row of documents; their doc_ids are their positions.

    Args:
        seed: The same seed gives the same documents.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._centres = unit(np.random.default_rng([seed, 1]).standard_normal((CLUSTERS, DIMENSION)))

    def batch(self, start: int, n: int) -> Batch:
        """Return documents `start` to `start + n`."""
        first, last = start // BLOCK, -(-(start + n) // BLOCK)
        blocks = [self._block(number) for number in range(first, last)]
        cut = slice(start - first * BLOCK, start - first * BLOCK + n)
        return Batch(
            [str(i) for i in range(start, start + n)],
            [text for block in blocks for text in block.texts][cut],
            [fields for block in blocks for fields in block.metadata][cut],
            np.concatenate([block.vectors for block in blocks])[cut],
        )

    def batches(self, start: int, n: int, size: int) -> Iterator[Batch]:
        """Yield `n` documents from position `start` on, `size` at a time."""
        for position in range(start, start + n, size):
            yield self.batch(position, min(size, start + n - position))

    def query_vectors(self, n: int) -> np.ndarray:
        """Return float32 `(n, DIMENSION)`: vectors such as documents have, that no document has."""
        return np.concatenate([self._vectors(QUERIES_FROM + i)[1] for i in range(-(-n // BLOCK))])[:n]

    def query_texts(self, n: int) -> list[str]:
        """Return texts of three to five words, some of them frequent and some rare."""
        rng = np.random.default_rng([self._seed, 2])
        texts = self.batch(QUERIES_FROM * BLOCK, n).texts
        return [" ".join(rng.choice(text.split(), int(rng.integers(3, 6)), replace=False)) for text in texts]

    def _block(self, number: int) -> Batch:
        clusters, vectors = self._vectors(number)
        rng = np.random.default_rng([self._seed, 4, number])
        years = rng.integers(FIRST_YEAR, LAST_YEAR + 1, BLOCK).tolist()
        metadata = [
            {"year": year, "category": CATEGORIES[cluster % len(CATEGORIES)]}
            for year, cluster in zip(years, clusters.tolist(), strict=True)
        ]
        return Batch([], self._texts(rng, clusters), metadata, vectors)

    def _vectors(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self._seed, 3, number])
        clusters = rng.integers(0, CLUSTERS, BLOCK)
        noise = rng.standard_normal((BLOCK, DIMENSION), dtype=np.float32)
        return clusters, unit(self._centres[clusters] + SPREAD / DIMENSION**0.5 * noise)

    def _texts(self, rng: np.random.Generator, clusters: np.ndarray) -> list[str]:
        lengths = rng.integers(8, 25, BLOCK)
        ends = np.cumsum(lengths)
        spans = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
        drawn = np.searchsorted(self._shares, rng.random(int(ends[-1])))
        # Every fifth word is one of the cluster's own, which lie anywhere among the rarer ones.
        own = np.arange(0, int(ends[-1]), 5)
        whose = np.repeat(clusters, lengths)[own]
        drawn[own] = 500 + (whose * 7919 + rng.integers(0, OWN_WORDS, len(own))) % (WORDS - 500)
        words = [self._words[i] for i in drawn.tolist()]
        return [" ".join(words[start:end]) for start, end in spans]

    @cached_property
    def _words(self) -> list[str]:
        draw = random.Random(self._seed).choice
        found: dict[str, None] = {}
        for syllables, enough in ((1, 60), (2, 3_000), (3, 20_000), (4, WORDS)):
            while len(found) < enough:
                found["".join(draw(ONSETS) + draw(VOWELS) for _ in range(syllables)) + draw(ENDS)] = None
        return list(found)

    @cached_property
    def _shares(self) -> np.ndarray:
        weights = 1 / (np.arange(WORDS) + 2.7)  # Zipf's law, with Mandelbrot's shift
        shares: np.ndarray = np.cumsum(weights) / weights.sum()
        return shares


class BruteForce:
    """The best `k` of all that it is shown, by the inner product in double precision.

    Args:
        queries: float32 `(q, d)`, of unit length.
        k: How many to keep for each query.
    """

    def __init__(self, queries: np.ndarray, k: int = 10) -> None:
        self._queries = queries.astype(np.float64)
        self._k = k
        self._scores = np.empty((len(queries), 0))
        self._doc_ids = np.empty((len(queries), 0), dtype=object)

    def show(self, doc_ids: list[str], vectors: np.ndarray) -> None:
        """Consider further documents."""
        if not doc_ids:
            return
        new = np.broadcast_to(np.array(doc_ids, dtype=object), (len(self._queries), len(doc_ids)))
        scores = np.hstack([self._scores, self._queries @ vectors.astype(np.float64).T])
        best = np.argsort(-scores, axis=1)[:, : self._k]
        self._scores = np.take_along_axis(scores, best, axis=1)
        self._doc_ids = np.take_along_axis(np.hstack([self._doc_ids, new]), best, axis=1)

    def recall(self, found: list[list[str]]) -> float:
        """Return the share of the best that was found, 1.0 if there is nothing to find."""
        shares = [
            len(set(best) & set(given)) / len(best)
            for best, given in zip(self._doc_ids.tolist(), found, strict=True)
            if best
        ]
        return float(np.mean(shares)) if shares else 1.0


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors with unit length, float32."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
