"""BM25 over an index and the documents that are not in it yet (Robertson & Zaragoza 2009; k1 = 1.2, b = 0.75).

Both parts are scored with one set of statistics, so that a document's score is the same whichever part it is in: N is
the number of documents in both, and n that of those that have the term. The mean length is the index's, which stands
while documents come; where there is no index, it is that of the documents. Deleted documents count in N and n until
the index is built anew; those in memory do not.

A collection whose documents are all in memory has the scores of plain BM25, with lengths rounded as the index rounds
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearfield.lexical.analysis import query_terms
from nearfield.lexical.folders import OpenIndex, told_damage
from nearfield.lexical.scoring import idf, rounded, saturation
from nearfield.lexical.tail import Selection

if TYPE_CHECKING:
    import tantivy

Found: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Keys and scores, best first or in no order."""

NOTHING: Found = (np.empty(0, np.int64), np.empty(0))


@dataclass(frozen=True, slots=True)
class Allowed:
    """The documents that a search may return.

    Args:
        count: How many there are.
        keys: Gives their keys.
        mask: Tells which of some keys are allowed.
    """

    count: int
    keys: Callable[[], NDArray[np.int64]]
    mask: Callable[[NDArray[np.int64]], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class _Term:
    """A term of a query, with its statistics.

    Args:
        text: The term.
        weight: How often the query has it, times its idf.
        boost: What its idf among the indexed documents alone must be multiplied by; 0 if none of them has it.
        places: Of the recent documents that have it.
        counts: How often each of them has it.
    """

    text: str
    weight: float
    boost: float
    places: NDArray[np.int64]
    counts: NDArray[np.int64]


class BM25:
    """Searches one state's documents.

    Args:
        index: Holds the older of them; None if there is no index.
        recent: The others.
        unindexed: Keys of recent documents that the index may have as well, and does not speak for.
    """

    def __init__(self, index: OpenIndex | None, recent: Selection, unindexed: NDArray[np.int64]) -> None:
        self._index = index
        self._recent = recent
        self._unindexed = unindexed

    def search(self, query: str, k: int, allowed: Allowed) -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
        """Return keys and scores of the k best allowed documents and all that tie with the k-th, and the plan.

        Others may be among them; documents without any of the query's terms never are.
        """
        counts = Counter(query_terms(query))
        if not counts or not allowed.count:
            return *NOTHING, "nothing to search"
        (keys, scores), plan = NOTHING, ""
        with told_damage(self._index.folder) if self._index else nullcontext():
            terms = [self._term(text, count) for text, count in counts.items()]
            if self._index:
                (keys, scores), plan = _Indexed(self._index, terms, allowed, self._unindexed).search(k)
        recent = self._among_recent(terms, k, allowed)
        if self._recent.count:
            plan = f"{plan}, and " * bool(plan) + f"all of {self._recent.count} documents in memory"
        return np.concatenate((keys, recent[0])), np.concatenate((scores, recent[1])), plan

    def _term(self, text: str, count: int) -> _Term:
        places, counts = self._recent.having(text)
        indexed = self._index.searcher.doc_freq("text", text) if self._index else 0
        documents = self._index.marker.documents if self._index else 0
        weight = idf(indexed + len(places), documents + self._recent.count)
        boost = count * weight / idf(indexed, documents) if indexed else 0.0
        return _Term(text, count * weight, boost, places, counts)

    def _among_recent(self, terms: list[_Term], k: int, allowed: Allowed) -> Found:
        lengths, average = self._recent.lengths, self._average()
        scores = np.zeros(len(lengths))
        for term in terms:
            scores[term.places] += term.weight * saturation(term.counts, lengths[term.places], average)
        found = np.flatnonzero(scores)
        found = found[allowed.mask(self._recent.keys[found])]
        keys, scores = self._recent.keys[found], rounded(scores[found])
        if len(keys) <= k:
            return keys, scores
        enough = scores >= np.partition(scores, -k)[-k]
        return keys[enough], scores[enough]

    def _average(self) -> float:
        if self._index:
            return self._index.marker.average or 1.0
        return self._recent.tokens / max(self._recent.count, 1) or 1.0


class _Indexed:
    """One search of the index."""

    def __init__(self, index: OpenIndex, terms: list[_Term], allowed: Allowed, unindexed: NDArray[np.int64]) -> None:
        self._searcher, self._schema = index.searcher, index.schema
        self._terms = [term for term in terms if term.boost]
        self._allowed = allowed
        self._unindexed = unindexed

    def search(self, k: int) -> tuple[Found, str]:
        query = self._query()
        if query is None:
            return NOTHING, "no indexed document has a term of the query"
        total, count = max(self._searcher.num_docs, 1), self._allowed.count
        limit = k + 16 if count >= total else int(2.5 * k * total / count) + 64
        # Measured on 100,000 titles: 4 µs for each key that is asked for, 0.4 µs for each document of a wider search.
        if count < total and 4 * count < 0.4 * min(limit, total) + 500:
            return self._within(query), f"the {count} allowed documents by their keys"
        return self._widening(query, k, limit)

    def _query(self) -> tantivy.Query | None:
        import tantivy

        clauses = []
        for term in self._terms:
            clause = tantivy.Query.term_query(self._schema, "text", term.text, "freq")
            if term.boost != 1:
                clause = tantivy.Query.boost_query(clause, term.boost)
            clauses.append((tantivy.Occur.Should, clause))
        return tantivy.Query.boolean_query(clauses) if clauses else None

    def _within(self, query: tantivy.Query) -> Found:
        import tantivy

        # As alternatives, and not as tantivy's term set, which costs three times as much for a hundred keys.
        keys_allowed = [
            (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "key", key, "basic"))
            for key in self._allowed.keys().tolist()
        ]
        among = tantivy.Query.const_score_query(tantivy.Query.boolean_query(keys_allowed), 0.0)
        both = tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, among)])
        keys, scores = self._run(both, self._allowed.count)
        kept = self._mask(keys)
        return keys[kept], scores[kept]

    def _widening(self, query: tantivy.Query, k: int, limit: int) -> tuple[Found, str]:
        total = max(self._searcher.num_docs, 1)
        while True:
            limit = min(limit, total)
            keys, scores = self._run(query, limit)
            kept = self._mask(keys)
            # The k-th must lie above the last that was looked at, or others may tie with it.
            enough = kept.sum() >= k and scores[kept][k - 1] > scores[-1]
            if enough or len(keys) < limit or limit >= total:
                return (keys[kept], scores[kept]), f"the best {len(keys)} of the index, less those not allowed"
            limit *= 4

    def _mask(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        mask = self._allowed.mask(keys)
        return mask & ~np.isin(keys, self._unindexed) if len(self._unindexed) else mask

    def _run(self, query: tantivy.Query, limit: int) -> Found:
        hits = self._searcher.search(query, limit, count=False).hits
        scores = np.array([score for score, _ in hits], dtype=np.float64)
        keys = np.array(self._searcher.fast_field_values("key", [address for _, address in hits]), dtype=np.int64)
        return keys, rounded(scores)
