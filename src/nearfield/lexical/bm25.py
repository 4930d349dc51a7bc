"""BM25 over an index and the documents that are not in it yet (Robertson & Zaragoza 2009; k1 = 1.2, b = 0.75).

Both parts are scored with one set of statistics, those of the documents that there are: N is their number, and n that
of those that have the term. So a document's score is the same whichever part it is in. Two things are left of a
collection's history. The mean length is the index's, deleted documents included, and stands while documents come;
where there is no index, it is that of the documents. And where deleted documents are in the index, n is estimated for
a term that more than `COUNTED` of its documents have: by the share of the index that is deleted.

A collection whose documents are all in memory, or all in an index without deleted ones, has the scores of plain BM25,
with lengths rounded as the index rounds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearfield.lexical.analysis import query_terms
from nearfield.lexical.folders import OpenIndex, told_damage
from nearfield.lexical.scoring import idf, rounded, scores, weight
from nearfield.lexical.tail import Selection

if TYPE_CHECKING:
    import tantivy

Found: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Keys and scores, best first or in no order."""

COUNTED = 128
"""Documents of an index that are looked at one by one to count those that are not deleted."""

MOST_KEPT = 10_000
"""Terms of which it is kept, while nothing is written, how many documents were counted."""

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
class Held:
    """The documents that a search finds through an index: those of its state, and not the deleted ones.

    Args:
        count: How many there are.
        mask: Tells which of some keys are theirs.
    """

    count: int
    mask: Callable[[NDArray[np.int64]], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class _Term:
    """A term of a query, with its statistics.

    Args:
        text: The term.
        indexed: Whether an indexed document has it.
        boost: What its idf among the indexed documents alone is multiplied by.
        weight: What that gives, times k1 + 1.
        places: Of the recent documents that have it.
        counts: How often each of them has it.
    """

    text: str
    indexed: bool
    boost: float
    weight: np.float32
    places: NDArray[np.int64]
    counts: NDArray[np.int64]


class BM25:
    """Searches one state's documents.

    Args:
        recent: Those in memory.
        index: Has the others; None if there are none.
        held: The others.
    """

    def __init__(self, recent: Selection, index: OpenIndex | None = None, held: Held | None = None) -> None:
        self._recent = recent
        self._index = None if index is None or held is None else _Indexed(index, held)

    def search(self, query: str, k: int, allowed: Allowed) -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
        """Return keys and scores of the k best allowed documents and all that tie with the k-th, and the plan.

        Others may be among them; documents without any of the query's terms never are.
        """
        counts = Counter(query_terms(query))
        if not counts or not allowed.count:
            return *NOTHING, "nothing to search"
        (keys, values), plan = NOTHING, ""
        with told_damage(self._index.folder) if self._index else nullcontext():
            terms = [self._term(text, count) for text, count in counts.items()]
            if self._index:
                (keys, values), plan = self._index.search(terms, k, allowed)
        recent = self._among_recent(terms, k, allowed)
        if self._recent.count:
            plan = f"{plan}, and " * bool(plan) + f"all of {self._recent.count} documents in memory"
        return np.concatenate((keys, recent[0])), np.concatenate((values, recent[1])), plan

    def _term(self, text: str, count: int) -> _Term:
        places, counts = self._recent.having(text)
        if self._index is None:
            base, boost = idf(len(places), self._recent.count), float(count)
            return _Term(text, False, boost, weight(base, boost), places, counts)
        known, alive = self._index.having(text)
        both = idf(alive + len(places), self._index.held.count + self._recent.count)
        base = idf(known, self._index.documents) if known else both
        boost = count * float(both) / float(base)
        return _Term(text, known > 0, boost, weight(base, boost), places, counts)

    def _among_recent(self, terms: list[_Term], k: int, allowed: Allowed) -> Found:
        lengths, average = self._recent.lengths, self._average()
        sums = np.zeros(len(lengths), np.float32)
        for term in terms:
            sums[term.places] += scores(term.weight, term.counts, lengths[term.places], average)
        found = np.flatnonzero(sums)
        found = found[allowed.mask(self._recent.keys[found])]
        keys, values = self._recent.keys[found], rounded(sums[found])
        if len(keys) <= k:
            return keys, values
        enough = values >= np.partition(values, -k)[-k]
        return keys[enough], values[enough]

    def _average(self) -> float:
        if self._index:
            return self._index.average or 1.0
        return self._recent.tokens / max(self._recent.count, 1) or 1.0


class _Indexed:
    """An index, and the documents that are found through it."""

    def __init__(self, index: OpenIndex, held: Held) -> None:
        self.held = held
        self.folder, self.documents, self.average = index.folder, index.marker.documents, index.marker.average
        self._searcher, self._schema = index.searcher, index.schema
        self._alive: dict[str, int] = {}

    def having(self, term: str) -> tuple[int, int]:
        """Return how many documents of the index have a term, and how many of those are not deleted."""
        known = self._searcher.doc_freq("text", term)
        if not known or self.held.count == self.documents:
            return known, known
        if known > COUNTED:
            return known, round(known * self.held.count / self.documents)
        alive = self._alive.get(term)
        if alive is None:
            keys, _ = self._run(self._term_query(term), known)
            alive = int(np.count_nonzero(self.held.mask(keys)))
            if len(self._alive) >= MOST_KEPT:
                self._alive.clear()
            self._alive[term] = alive
        return known, alive

    def search(self, terms: list[_Term], k: int, allowed: Allowed) -> tuple[Found, str]:
        query = self._query(terms)
        if query is None:
            return NOTHING, "no indexed document has a term of the query"
        total = self.documents
        if allowed.count >= self.held.count:  # no filter
            # Short texts tie often: of 200,000 titles, an eighth more is enough for 95 of 100 queries, and 16 for half.
            limit = ceil((k + k // 8 + 16) * total / max(self.held.count, 1))
        else:
            limit = int(2.5 * k * total / allowed.count) + 64
        # Measured on 100,000 titles: 4 µs for each key that is asked for, 0.4 µs for each document of a wider search.
        if allowed.count < total and 4 * allowed.count < 0.4 * min(limit, total) + 500:
            return self._within(query, allowed), f"the {allowed.count} allowed documents by their keys"
        return self._widening(query, k, allowed, limit)

    def _query(self, terms: list[_Term]) -> tantivy.Query | None:
        import tantivy

        clauses = []
        for term in terms:
            if term.indexed:
                clause = self._term_query(term.text)
                boosted = clause if term.boost == 1 else tantivy.Query.boost_query(clause, term.boost)
                clauses.append((tantivy.Occur.Should, boosted))
        return tantivy.Query.boolean_query(clauses) if clauses else None

    def _term_query(self, term: str) -> tantivy.Query:
        import tantivy

        return tantivy.Query.term_query(self._schema, "text", term, "freq")

    def _within(self, query: tantivy.Query, allowed: Allowed) -> Found:
        import tantivy

        # As alternatives, and not as tantivy's term set, which costs three times as much for a hundred keys.
        keys_allowed = [
            (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "key", key, "basic"))
            for key in allowed.keys().tolist()
        ]
        among = tantivy.Query.const_score_query(tantivy.Query.boolean_query(keys_allowed), 0.0)
        both = tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, among)])
        keys, values = self._run(both, allowed.count)
        kept = self._kept(keys, allowed)
        return keys[kept], values[kept]

    def _widening(self, query: tantivy.Query, k: int, allowed: Allowed, limit: int) -> tuple[Found, str]:
        while True:
            limit = min(limit, self.documents)
            keys, values = self._run(query, limit)
            kept = self._kept(keys, allowed)
            # The k-th must lie above the last that was looked at, or others may tie with it.
            enough = kept.sum() >= k and values[kept][k - 1] > values[-1]
            if enough or len(keys) < limit or limit >= self.documents:
                return (keys[kept], values[kept]), f"the best {len(keys)} of the index, less those not allowed"
            limit *= 4

    def _kept(self, keys: NDArray[np.int64], allowed: Allowed) -> NDArray[np.bool_]:
        return allowed.mask(keys) & self.held.mask(keys)

    def _run(self, query: tantivy.Query, limit: int) -> Found:
        hits = self._searcher.search(query, limit, count=False).hits
        values = np.array([score for score, _ in hits], dtype=np.float32)
        keys = np.array(self._searcher.fast_field_values("key", [address for _, address in hits]), dtype=np.int64)
        return keys, rounded(values)
