"""Old against new, before the switch: measures of judged queries, or how many of the best hits stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from nearfield.encode.protocol import Encoder, Vectors
from nearfield.encode.whole import encode_queries
from nearfield.engine.migration import Migration
from nearfield.engine.protocol import Engine, Keys, Readable, Settings, View
from nearfield.errors import InvalidInput
from nearfield.evaluate.search import evaluate_search
from nearfield.hits import Hits
from nearfield.migrate.report import Comparison
from nearfield.search import SearchOptions, search_batch

SAMPLE = 100
"""Documents whose neighbours are compared."""

DEPTH = 10
"""Hits that are compared."""

SEED = 0


class _Side:
    """A collection as an evaluation needs it: with the old vectors, or with the new ones."""

    def __init__(self, engine: Readable, encoder: Callable[[], Encoder]) -> None:
        self._engine = engine
        self._encoder = encoder

    def search(self, queries: list[str], k: int, **options: Any) -> Any:
        """Return the hits of each query."""
        return search_batch(self._engine, self._encoder, queries, SearchOptions(k=k, **options))

    def __contains__(self, doc_id: object) -> bool:
        with self._engine.view() as view:
            return view.find([str(doc_id)])[0] is not None


class _Nothing:
    """A collection without documents."""

    def search(self, queries: list[str], k: int) -> list[Hits]:  # noqa: ARG002
        """Return no hits for each query."""
        return [Hits() for _ in queries]

    def __contains__(self, doc_id: object) -> bool:
        return False


def check_judged(queries: Any, qrels: Any, measures: Sequence[str]) -> None:
    """Raise what `judged` would raise for these queries, judgements and measures, before hours of encoding."""
    evaluate_search(_Nothing(), queries, qrels, measures, {})


class _Candidate:
    """The collection with the new vectors, as a search needs it."""

    def __init__(self, migration: Migration) -> None:
        self._migration = migration

    @property
    def settings(self) -> Settings:
        """What the collection is to have."""
        return self._migration.settings

    def view(self) -> AbstractContextManager[View]:
        """Return a context in which it can be read."""
        return self._migration.view()


def judged(
    engine: Engine,
    migration: Migration,
    old: Callable[[], Encoder],
    new: Encoder,
    queries: Mapping[str, str] | str | Path,
    qrels: Mapping[str, Any] | str | Path,
    measures: Sequence[str],
) -> Comparison:
    """Return the measures of hybrid search with the old and with the new vectors, as `Collection.evaluate` has them."""
    sides = _Side(engine, old), _Side(_Candidate(migration), lambda: new)
    before, after = (evaluate_search(side, queries, qrels, measures, {}) for side in sides)
    return Comparison("judgements", before.queries, old=before, new=after)


def asked(
    engine: Engine, migration: Migration, old: Callable[[], Encoder], new: Encoder, texts: Sequence[str]
) -> Comparison | None:
    """Return how many of the best hits of some queries are the same; None if there are fewer than two documents."""
    with engine.view() as before, migration.view() as after:
        k = min(DEPTH, len(before), len(after))
        if k < 2:
            return None
        one = _names(before, encode_queries(texts, old()), k)
        other = _names(after, encode_queries(texts, new), k)
    return Comparison("queries", len(texts), k, _overlap(one, other, k))


def neighbours(engine: Engine, migration: Migration) -> Comparison | None:
    """Return how many of the nearest neighbours of some documents are the same; None if there are fewer than two.

    No query is encoded, so that the old encoder isn't needed; documents with given vectors can be compared too.
    """
    with engine.view() as before, migration.view() as after:
        keys = after.keys()
        chosen = np.sort(np.random.default_rng(SEED).permutation(len(keys))[:SAMPLE])
        names = after.doc_ids(keys[chosen])
        there = [(name, key) for name, key in zip(names, before.find(names), strict=True) if key is not None]
        k = min(DEPTH, len(before) - 1, len(keys) - 1)
        if k < 1 or not there:
            return None
        names = [name for name, _ in there]
        one = _neighbours(before, names, np.array([key for _, key in there], np.int64), k)
        other = _neighbours(after, names, np.array(after.find(names), np.int64), k)
    return Comparison("documents", len(names), k, _overlap(one, other, k))


def _neighbours(view: View, names: Sequence[str], keys: Keys, k: int) -> list[list[str]]:
    found = _names(view, view.document_vectors(keys), k + 1)
    return [[hit for hit in hits if hit != name][:k] for name, hits in zip(names, found, strict=True)]


def _names(view: View, queries: Vectors, k: int) -> list[list[str]]:
    return [view.doc_ids(ranking.keys) for ranking in view.semantic(queries, k)]


def _overlap(one: Sequence[Sequence[str]], other: Sequence[Sequence[str]], k: int) -> float:
    shares = [len(set(a) & set(b)) / k for a, b in zip(one, other, strict=True)]
    return float(np.mean(shares))


def query_texts(queries: object) -> list[str]:
    """Return the texts of queries: a list of them, a mapping from ids, or a BEIR or TREC file.

    Raises:
        InvalidInput: they are none, or there is none.
    """
    from nearfield.evaluate.forms import as_queries

    given: Any = queries
    if isinstance(queries, list | tuple):
        given = {str(number): text for number, text in enumerate(queries)}
    texts = list(as_queries(given).values())
    if not texts or not all(text.strip() for text in texts):
        raise InvalidInput("queries must be texts with at least one visible character each, and at least one of them")
    return texts
