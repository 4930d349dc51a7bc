"""The cases: no filter, and filters that allow 50, 10, 1, 0.1 and 0.01 % of the documents, in four families.

random       a range of a random number
natural      the labels nearest to one that the query has (or that label in some years): the query belongs there
adversarial  labels in random order, without the query's
farthest     the labels whose centroid is farthest from the query's label: the worst of the adversarial filters

Each case has a handful of filters, and the queries are spread over them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from conditions import mask
from corpus import PARTS, Corpus

FAMILIES = ("random", "natural", "adversarial", "farthest")
SHARES = {"50": 0.5, "10": 0.1, "1": 0.01, "0.1": 0.001, "0.01": 0.0001}
NAMES = ["none", *(f"{family}-{share}" for family in FAMILIES for share in SHARES)]
TUNING = "tuning"
"""The case whose queries choose the settings; the others don't have them."""

ENOUGH, MOST = 0.97, 1.05
"""A group of labels is complete when it allows so many times the share, and mustn't allow more than that."""


@dataclass(frozen=True, slots=True)
class Case:
    """Filters and queries.

    Args:
        share: Of the documents, what the filters allow, on average over the queries.
        filters: Conditions; empty: everything.
        asked: Pairs of a query and a filter.
    """

    share: float
    filters: list[dict[str, Any]]
    asked: list[tuple[int, int]]


def named(patterns: Sequence[str]) -> list[str]:
    """Return the names that match, in their order.

    Raises:
        SystemExit: a pattern matches none.
    """
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in NAMES):
            raise SystemExit(f"no case is named {pattern!r}; there are {', '.join(NAMES)}")
    return [name for name in NAMES if any(fnmatch(name, pattern) for pattern in patterns)]


def make(corpus: Corpus, filters: int, seed: int) -> dict[str, Case]:
    """Return all cases by name; the first half of the queries is for tuning."""
    half = len(corpus.queries) // 2
    reported = np.arange(half, len(corpus.queries))
    groups = _Groups(corpus, reported, filters, seed)
    cases = {
        TUNING: Case(1.0, [{}], [(i, 0) for i in range(half)]),
        "none": Case(1.0, [{}], [(int(i), 0) for i in reported]),
    }
    for family in FAMILIES:
        for name, share in SHARES.items():
            found = groups.random(share) if family == "random" else groups.labelled(family, share)
            cases[f"{family}-{name}"] = _measured(corpus, *found)
    return cases


def save(cases: dict[str, Case], path: Path) -> None:
    """Write cases for the other processes."""
    path.write_text(json.dumps({name: asdict(case) for name, case in cases.items()}))


def load(path: Path) -> dict[str, Case]:
    """Return the cases that `save` wrote."""
    return {name: Case(**case) for name, case in json.loads(path.read_text()).items()}


def _measured(corpus: Corpus, filters: list[dict[str, Any]], asked: list[tuple[int, int]]) -> Case:
    shares = [float(mask(where, corpus.columns, corpus.labels).mean()) for where in filters]
    return Case(float(np.mean([shares[j] for _, j in asked])) if asked else 0.0, filters, asked)


class _Groups:
    """Groups of labels, and which queries they suit."""

    def __init__(self, corpus: Corpus, reported: np.ndarray, filters: int, seed: int) -> None:
        self._corpus, self._reported, self._filters = corpus, reported, filters
        self._rng = np.random.default_rng(seed)
        labels, n = corpus.columns["label"], len(corpus.labels)
        self._counts = np.bincount(labels, minlength=n)
        self._similar = _similarities(corpus.vectors, labels, self._counts)
        self._there = np.flatnonzero(self._counts)
        asked = np.where(self._counts > 0, np.bincount(corpus.query_labels[reported], minlength=n), 0)
        self._anchors = np.argsort(-asked, kind="stable")[:filters]

    def random(self, share: float) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
        width = round(share * PARTS)
        begins = np.linspace(0, PARTS - width, self._filters).astype(int).tolist()
        filters = [{"r": {"$gte": begin, "$lte": begin + width - 1}} for begin in begins]
        return filters, [(int(query), i % len(filters)) for i, query in enumerate(self._reported)]

    def labelled(self, family: str, share: float) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
        orders = self._orders(family)
        groups = [self._group(order, share, strict=family != "adversarial") for order in orders]
        filters = [self._condition(group, share) for group in groups]
        asked = []
        for i, query in enumerate(self._reported):
            label = int(self._corpus.query_labels[query])
            belongs = family == "natural"
            suited = [j for j, group in enumerate(groups) if (label in group) == belongs]
            if not suited or not self._counts[label]:
                continue
            if family == "farthest":
                chosen = max(suited, key=lambda j: self._similar[label, self._anchors[j]])
            else:
                chosen = suited[i % len(suited)]
            asked.append((int(query), chosen))
        return filters, asked

    def _orders(self, family: str) -> list[np.ndarray]:
        if family == "adversarial":  # each order and its reverse: every label is outside one of the two
            orders = [self._rng.permutation(self._there) for _ in range((self._filters + 1) // 2)]
            return [order for pair in orders for order in (pair, pair[::-1])][: self._filters]
        sign = -1 if family == "natural" else 1
        orders = [self._there[np.argsort(sign * self._similar[i, self._there])] for i in self._anchors]
        return orders if family == "natural" else [order[order != i] for i, order in zip(self._anchors, orders)]  # noqa: B905

    def _group(self, order: np.ndarray, share: float, *, strict: bool) -> list[int]:
        """Return the first labels in the order that make up the share, passing over those that are too large.

        If `strict`, the first is in the group, and alone if it is too large; so is it if nothing else makes up half.
        """
        wanted = share * len(self._corpus.vectors)
        group, total = [], 0
        if strict and self._counts[order[0]] > MOST * wanted:
            return [int(order[0])]
        for label in order.tolist():
            if total >= ENOUGH * wanted:
                break
            if total + self._counts[label] <= MOST * wanted:
                group.append(label)
                total += self._counts[label]
        return group if total > wanted / 2 else [int(order[0])]

    def _condition(self, group: list[int], share: float) -> dict[str, Any]:
        wanted = share * len(self._corpus.vectors)
        condition: dict[str, Any] = {"label": {"$in": [self._corpus.labels[label] for label in group]}}
        if sum(self._counts[label] for label in group) > MOST * wanted:
            condition["year"] = self._years(np.isin(self._corpus.columns["label"], group), wanted)
        return condition

    def _years(self, rows: np.ndarray, wanted: float) -> dict[str, int]:
        """Return the years in which the number of documents comes nearest to what is wanted, and isn't zero."""
        years, counts = np.unique(self._corpus.columns["year"][rows], return_counts=True)
        sums = np.concatenate([[0], np.cumsum(counts)])
        spans = [(abs(sums[j] - sums[i] - wanted), i, j) for i in range(len(years)) for j in range(i + 1, len(sums))]
        _, begin, end = min(spans)
        return {"$gte": int(years[begin]), "$lte": int(years[end - 1])}


def _similarities(vectors: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    centroids = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(centroids, labels, vectors)
    centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
    return centroids @ centroids.T
