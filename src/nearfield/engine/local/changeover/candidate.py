"""The collection as it would be with the new vectors, for comparing before the switch."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nearfield.engine.local.changeover.progress import Progress
from nearfield.engine.local.columns import Columns
from nearfield.engine.local.database import keys_of, stored
from nearfield.engine.local.lexical import LexicalKeeper
from nearfield.engine.local.state import State
from nearfield.engine.local.view import LocalView
from nearfield.engine.protocol import Keys, Settings, Span, Stored
from nearfield.filters import Condition
from nearfield.lexical.bm25 import BM25


class CandidateView(LocalView):
    """One committed state, of which those documents are there that have new vectors, with these.

    Args:
        connection: In a read transaction.
        state: That it sees.
        columns: Of that state.
        keeper: Searches its words.
        progress: The new vectors.
        settings: Those that the collection is to have.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        state: State,
        columns: Columns,
        keeper: LexicalKeeper,
        progress: Progress,
        settings: Settings,
    ) -> None:
        places = progress.places()
        slots = state.slots(places.keys)
        there = slots >= 0
        there[there] = state.live[slots[there]]
        self._slots = slots[there]
        self._sums = places.sums[there]
        self._truth = state
        self._progress = progress
        counts = places.counts[there]
        candidate = replace(
            state,
            keys=places.keys[there],
            live=np.ones(len(self._slots), np.bool_),
            firsts=places.firsts[there],
            counts=counts,
            live_rows=int(counts.sum()),
            blocks=progress.blocks(settings.dimension or 0),
            lineage=object(),
            fingerprint=settings.fingerprint,
        )
        super().__init__(connection, candidate, columns, keeper)

    def read(self, keys: Keys) -> list[Stored]:
        """Return the stored document of each key, split as the new encoder needs it."""
        others = self._progress.spans(keys.tolist())
        documents = stored(self._connection, keys.tolist())
        return [
            replace(document, spans=_spans(others[document.key], document), encoded=True)
            if document.key in others
            else replace(document, encoded=True)
            for document in documents
        ]

    def _vector_sums(self, keys: Keys) -> NDArray[np.int64]:
        return self._sums[self._state.slots(keys)]

    def _index(self) -> BM25:
        return self._lexical_keeper.index(self._truth, self._connection)

    def _allowed(self, where: Condition | None, exclude: Sequence[str]) -> NDArray[np.bool_]:
        mask = self._truth.live if where is None else self._columns.mask(where, self._truth, self._connection)
        mask = mask[self._slots]
        if exclude:
            keys = np.array(list(keys_of(self._connection, list(exclude)).values()), dtype=np.int64)
            mask = mask & ~np.isin(self._state.keys, keys)
        return mask


def _spans(text: str | None, document: Stored) -> list[Span]:
    if text is None:
        return [(0, len(document.text))]
    return [(start, end) for start, end in json.loads(text)]
