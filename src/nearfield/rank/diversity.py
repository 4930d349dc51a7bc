"""Maximal marginal relevance: hits that are relevant, and unlike each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors


def diversify(relevance: NDArray[np.float64], vectors: Vectors, k: int, diversity: float) -> NDArray[np.intp]:
    """Return the positions of k candidates, in the order in which maximal marginal relevance chooses them.

    Each step takes the candidate with the highest (1 - diversity) · relevance - diversity · (highest cosine with one
    taken before), after Carbonell & Goldstein 1998, with relevance scaled to [0, 1] over the candidates, so that
    `diversity` means the same for every mode of search. The first is always the most relevant; of equals the earlier.

    Args:
        relevance: float64 `(n,)`, higher is better.
        vectors: float32 `(n, d)`, at unit length or zero.
        k: How many; all if there are fewer.
        diversity: In [0, 1]; 0 orders by relevance alone.

    >>> twins_and_other = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    >>> diversify(np.array([0.9, 0.8, 0.5]), twins_and_other, 2, 0.6)
    array([0, 2])
    """
    if not len(relevance):
        return np.empty(0, np.intp)
    spread = relevance.max() - relevance.min()
    scaled = (relevance - relevance.min()) / spread if spread > 0 else np.ones(len(relevance))
    chosen = [int(scaled.argmax())]
    nearest = vectors @ vectors[chosen[0]]
    while len(chosen) < min(k, len(relevance)):
        marginal = (1 - diversity) * scaled - diversity * nearest
        marginal[chosen] = -np.inf
        chosen.append(int(marginal.argmax()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return np.array(chosen, dtype=np.intp)
