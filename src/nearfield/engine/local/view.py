"""One committed state of a local collection, as the Engine protocol's View."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from nearfield.checks import unit_vectors
from nearfield.encode.protocol import Vectors
from nearfield.engine.local.columns import Columns
from nearfield.engine.local.database import doc_ids_of, keys_of, stored, vector_sums_of
from nearfield.engine.local.lexical import LexicalKeeper
from nearfield.engine.local.neighbours import NeighbourKeeper
from nearfield.engine.local.state import State
from nearfield.engine.local.writing import vector_sums
from nearfield.engine.protocol import Keys, Ranking, Stored
from nearfield.errors import CorruptCollection
from nearfield.filters import Condition
from nearfield.index.exact import GATHER_BELOW, Scored, best_documents
from nearfield.index.nearest import Nearest
from nearfield.lexical.analysis import query_terms, terms
from nearfield.lexical.bm25 import BM25, Allowed
from nearfield.rank.order import best

_NO_SLOTS = np.empty(0, np.int64)


class Viewing:
    """A context that gives a view.

    Args:
        reading: Gives a connection in a read transaction.
        make: Makes a view of that.
    """

    __slots__ = ("_make", "_reading")

    def __init__(
        self, reading: AbstractContextManager[sqlite3.Connection], make: Callable[[sqlite3.Connection], LocalView]
    ) -> None:
        self._reading = reading
        self._make = make

    def __enter__(self) -> LocalView:
        connection = self._reading.__enter__()
        try:
            return self._make(connection)
        except BaseException as error:
            self._reading.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._reading.__exit__(kind, error, trace)


class LocalView:
    """Reads one state; lives as long as the read transaction that it was made in."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        state: State,
        columns: Columns,
        lexical_keeper: LexicalKeeper,
        neighbour_keeper: NeighbourKeeper | None = None,
    ) -> None:
        self._connection = connection
        self._state = state
        self._columns = columns
        self._lexical_keeper = lexical_keeper
        self._neighbour_keeper = neighbour_keeper

    @property
    def generation(self) -> int:
        """Number of the state."""
        return self._state.generation

    @property
    def fingerprint(self) -> str | None:
        """Of the encoder that made the vectors."""
        return self._state.fingerprint

    @property
    def dimension(self) -> int | None:
        """Length of the vectors; None if there are none."""
        return self._state.dimension or None

    def __len__(self) -> int:
        return self._state.count

    def keys(self, where: Condition | None = None) -> Keys:
        """Return the keys of the documents that match, in the order of addition."""
        return self._state.keys[self._allowed(where, ())]

    def find(self, doc_ids: Sequence[str]) -> list[int | None]:
        """Return the key of each doc_id; None for one that is not in the collection."""
        known = keys_of(self._connection, doc_ids)
        return [known.get(doc_id) for doc_id in doc_ids]

    def doc_ids(self, keys: Keys) -> list[str]:
        """Return the doc_id of each key."""
        keeper = self._neighbour_keeper
        names = None if keeper is None else keeper.names(self._state)
        known = None if names is None else names.find(keys)
        return doc_ids_of(self._connection, keys.tolist()) if known is None else known

    def read(self, keys: Keys) -> list[Stored]:
        """Return the stored document of each key."""
        return stored(self._connection, keys.tolist())

    def passage_vectors(self, keys: Keys) -> list[Vectors]:
        """Return each document's vectors, float32 `(passages, d)`, in the order of its spans.

        Raises:
            CorruptCollection: they are not what was written.
        """
        if not len(keys):
            return []
        slots = self._state.slots(keys)
        rows = self._state.rows
        counts = rows.counts[slots]
        vectors = rows.gather(rows.of(slots))
        known = self._vector_sums(keys)
        damaged = np.flatnonzero(known != vector_sums(vectors, counts))
        if len(damaged):
            (doc_id,) = self.doc_ids(keys[damaged[:1]])
            file = self._state.blocks.file_of(int(rows.firsts[slots[damaged[0]]]))
            raise CorruptCollection(
                f"{file}: the vectors of document {doc_id!r} are not what was written; restore them from a snapshot, "
                "or see `nearfield repair`"
            )
        return np.split(vectors, np.cumsum(counts)[:-1])

    def document_vectors(self, keys: Keys) -> Vectors:
        """Return the mean of each document's passage vectors at unit length, float32 `(len(keys), d)`."""
        slots, places = np.unique(self._state.slots(keys), return_inverse=True)
        if not len(slots):
            return np.empty((0, self._state.rows.blocks[0].shape[1] if self._state.rows.blocks else 0), np.float32)
        vectors = self._state.rows.gather(self._state.rows.of(slots))
        counts = self._state.rows.counts[slots]
        if len(vectors) > len(slots):
            starts = np.cumsum(counts) - counts
            vectors = unit_vectors(np.add.reduceat(vectors, starts, axis=0), len(slots), None)
        return vectors[places]

    def semantic(
        self, queries: Vectors, k: int, where: Condition | None = None, exclude: Sequence[str] = ()
    ) -> list[Ranking]:
        """Return, for each query, the k documents with the highest cosine of any passage, by the index or a scan."""
        nearest = self._nearest()
        if nearest is None:
            found, plan = self._scan(queries, k, self._allowed(where, exclude))
        else:
            # What is excluded stays in the mask: masks of equal conditions are one object, by which much is kept.
            mask = None if where is None else self._allowed(where, ())
            found, plan = nearest.search(queries, k, mask, self._slots_of(exclude))
        return [self._ranking(self._state.keys[slots], scores, plan, k) for slots, scores in found]

    def _nearest(self) -> Nearest | None:
        keeper = self._neighbour_keeper
        return None if keeper is None else keeper.nearest(self._state, self._connection)

    def _scan(self, queries: Vectors, k: int, mask: NDArray[np.bool_]) -> tuple[list[Scored], str]:
        allowed = np.flatnonzero(mask)
        narrow = len(allowed) < GATHER_BELOW * len(mask)
        plan = f"exact scan of the {len(allowed)} allowed documents" if narrow else "exact scan of all documents"
        return best_documents(self._state.rows, queries, k, allowed), plan

    def lexical(
        self, queries: Sequence[str], k: int, where: Condition | None = None, exclude: Sequence[str] = ()
    ) -> list[Ranking]:
        """Return, for each query, the k documents with the highest BM25 score; only those that share a term."""
        mask = self._allowed(where, exclude)

        def among(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
            slots = self._state.slots(keys)
            return (slots >= 0) & mask[slots] if len(mask) else np.zeros(len(keys), np.bool_)

        index = self._index()
        allowed = Allowed(int(mask.sum()), lambda: self._state.keys[mask], among)
        return [self._ranking(*index.search(query, k, allowed), k) for query in queries]

    def term_overlap(self, query: str, texts: Sequence[str]) -> list[int]:
        """Return how many of the query's distinct terms each text has."""
        wanted = set(query_terms(query))
        return [len(wanted.intersection(terms(text))) for text in texts]

    def _vector_sums(self, keys: Keys) -> NDArray[np.int64]:
        return np.array(vector_sums_of(self._connection, keys.tolist()), np.int64)

    def _index(self) -> BM25:
        return self._lexical_keeper.index(self._state, self._connection)

    def _allowed(self, where: Condition | None, exclude: Sequence[str]) -> NDArray[np.bool_]:
        mask = self._state.live if where is None else self._columns.mask(where, self._state, self._connection)
        if exclude:
            mask = mask.copy()
            mask[self._slots_of(exclude)] = False
        return mask

    def _slots_of(self, doc_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the slots of those doc_ids that exist, rising."""
        if not doc_ids:
            return _NO_SLOTS
        keys = np.array(list(keys_of(self._connection, list(doc_ids)).values()), dtype=np.int64)
        return np.sort(self._state.slots(keys))

    def _ranking(self, keys: Keys, scores: NDArray[np.float64], plan: str, k: int) -> Ranking:
        order = best(keys, scores, k, self.doc_ids)
        return Ranking(keys[order], scores[order], plan)
