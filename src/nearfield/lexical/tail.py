"""Documents that are not in the index yet, searchable in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from nearfield.lexical.analysis import terms
from nearfield.lexical.scoring import quantised

_COUNT_BITS = 32


class Tail:
    """Terms of documents by key; documents are only ever added.

    One thread at a time adds, and others may score meanwhile: they see whole documents, because a `Selection` names
    the documents that it speaks of.
    """

    def __init__(self) -> None:
        self._postings: dict[str, list[int]] = {}
        self._order: NDArray[np.intp] = np.empty(0, np.intp)
        self.keys: NDArray[np.int64] = np.empty(0, np.int64)
        self.lengths: NDArray[np.int64] = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def tokens(self) -> int:
        """Number of terms in all documents, repetitions included."""
        return int(self.lengths.sum())

    def add(self, documents: Iterable[tuple[int, str]], limit: int | None = None) -> bool:
        """Analyse documents that the tail does not have, and return whether that was all of them.

        Args:
            documents: Key and text of each.
            limit: Stop once they have more than this many terms, repetitions included; None for no limit.
        """
        analysed: list[tuple[int, Counter[str]]] = []
        tokens = 0
        for key, text in documents:
            if limit is not None and tokens > limit:
                break
            found = terms(text)
            analysed.append((key, Counter(found)))
            tokens += len(found)
        # Only now, so that a source that fails leaves nothing behind.
        for place, (_, counts) in enumerate(analysed, start=len(self.keys)):
            for term, count in counts.items():
                self._postings.setdefault(term, []).append(place << _COUNT_BITS | count)
        lengths = np.array([counts.total() for _, counts in analysed], np.int64)
        self.lengths = np.concatenate((self.lengths, lengths))
        self.keys = np.concatenate((self.keys, np.array([key for key, _ in analysed], np.int64)))
        self._order = np.argsort(self.keys, kind="stable")
        return limit is None or tokens <= limit

    def places(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place of each key's document in `keys` and `lengths`; -1 where the tail does not have it."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        at = np.minimum(np.searchsorted(self.keys, keys, sorter=self._order), len(self.keys) - 1)
        places = self._order[at]
        return np.where(self.keys[places] == keys, places, -1)

    def having(self, term: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places of the documents that have a term, and how often each has it."""
        packed = np.array(self._postings.get(term, ()), dtype=np.int64)
        return packed >> _COUNT_BITS, packed & ((1 << _COUNT_BITS) - 1)


class Selection:
    """Those documents of a tail that one state has.

    Args:
        tail: It has all of them.
        keys: Of the documents, int64 `(n,)`.
    """

    def __init__(self, tail: Tail, keys: NDArray[np.int64]) -> None:
        places = tail.places(keys)
        self._tail = tail
        self._chosen = np.zeros(len(tail), np.bool_)
        self._chosen[places] = True
        self.keys = tail.keys
        self.lengths = quantised(tail.lengths)
        self.tokens = int(tail.lengths[places].sum())
        self.count = len(keys)

    def having(self, term: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places, in `keys` and `lengths`, of the documents that have a term, and how often each has it."""
        places, counts = self._tail.having(term)
        # Others may have added to the tail since.
        chosen = places < len(self._chosen)
        places, counts = places[chosen], counts[chosen]
        chosen = self._chosen[places]
        return places[chosen], counts[chosen]
