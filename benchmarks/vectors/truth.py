"""The exact answers, and how many of them a system found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cases import Case
from conditions import mask
from corpus import Corpus

K = 10
TOGETHER = 50_000
"""Documents that are compared with the queries at once."""

TIED = 1e-5
"""Scores that differ by less are equal: titles repeat, and systems round differently."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """How right the answers to a case are.

    Args:
        recall: Share of the k nearest allowed documents (all that are allowed, if fewer) that were found, on average.
        low: What the recall is at least, with a confidence of 95 % (one-sided, normal).
        filled: Share of the queries that got k documents, or all that are allowed.
        wrong: Documents that were returned and are not allowed.
        queries: That were answered.
    """

    recall: float
    low: float
    filled: float
    wrong: int
    queries: int


class Truth:
    """The score of the k-th allowed document for each query of each case, and how many documents are to be found."""

    def __init__(self, corpus: Corpus, cases: dict[str, Case], path: Path) -> None:
        self._corpus, self._cases = corpus, cases
        if not path.exists():
            np.savez(path, **_answers(corpus, cases))
        with np.load(path) as file:
            self._known = {name: file[name] for name in file.files}

    def judge(self, name: str, found: Sequence[Sequence[int]]) -> Judgement:
        """Return how right the answers to the first queries of a case are, given as rows of documents."""
        case, vectors = self._cases[name], self._corpus.vectors
        allowed = [mask(where, self._corpus.columns, self._corpus.labels) for where in case.filters]
        recalls, filled, wrong = [], [], 0
        for i, rows in enumerate(found):
            query, j = case.asked[i]
            kept = [row for row in dict.fromkeys(rows) if 0 <= row < len(vectors) and allowed[j][row]]
            wrong += len(rows) - len(kept)
            scores = vectors[kept] @ self._corpus.queries[query]
            expected = int(self._known[f"{name}:expected"][i])
            right = int(np.sum(scores >= self._known[f"{name}:score"][i] - TIED))
            recalls.append(min(right, expected) / expected if expected else 1.0)
            filled.append(len(kept) >= expected)
        spread = float(np.std(recalls, ddof=1)) / len(recalls) ** 0.5 if len(recalls) > 1 else 0.0
        recall = float(np.mean(recalls))
        return Judgement(recall, recall - 1.645 * spread, float(np.mean(filled)), wrong, len(found))


def _answers(corpus: Corpus, cases: dict[str, Case]) -> dict[str, np.ndarray]:
    answers = {}
    for name, case in cases.items():
        scores, expected = np.zeros(len(case.asked), np.float32), np.zeros(len(case.asked), np.int64)
        for j, where in enumerate(case.filters):
            places = [i for i, (_, chosen) in enumerate(case.asked) if chosen == j]
            if not places:
                continue
            rows = np.flatnonzero(mask(where, corpus.columns, corpus.labels))
            best = nearest(corpus.vectors, rows, corpus.queries[[case.asked[i][0] for i in places]])
            expected[places] = best.shape[1]
            scores[places] = best[:, -1] if best.shape[1] else 0
        answers |= {f"{name}:score": scores, f"{name}:expected": expected}
    return answers


def nearest(vectors: np.ndarray, rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the k highest scores among some rows, float32 `(queries, min(k, rows))`, highest first."""
    best = np.empty((len(queries), 0), np.float32)
    for begin in range(0, len(rows), TOGETHER):
        best = merge(best, queries @ vectors[rows[begin : begin + TOGETHER]].T)
    return best


def merge(best: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the k highest of both for each query, highest first."""
    both = np.hstack([best, scores])
    if both.shape[1] > K:
        both = np.partition(both, both.shape[1] - K, axis=1)[:, -K:]
    return -np.sort(-both, axis=1)
