"""The Engine seam: where a collection lives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearfield.documents import JSON, Document
from nearfield.encode.protocol import Vectors
from nearfield.engine.reports import Health, Snapshot
from nearfield.filters import Condition

if TYPE_CHECKING:
    from nearfield.engine.migration import Migration
    from nearfield.index.tuning import Tuning

Span: TypeAlias = tuple[int, int]
"""The characters `[start, end)` of a document's text."""

Keys: TypeAlias = NDArray[np.int64]
"""An engine's own numbers for documents; they mean something within one view only."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do; asked before use, never found out by catching an exception."""

    lexical: bool
    atomic_batches: bool
    migration: bool = False
    tuning: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What is fixed when a collection is created, and what its first vectors fix.

    Args:
        encoder: Name or folder of the encoder.
        index: Kind of index.
        recall: Share of the true neighbours that a search must find, in (0, 1].
        memory: Bytes that an index may take that "auto" chooses; None: as many as the best one needs.
        dimension: Length of the vectors; None until there are any.
        fingerprint: Of the encoder that made the vectors; None as long as only given vectors are stored.
        identity: What is known of that encoder, as `nearfield.encode.identity` has it; None while nothing is.
    """

    encoder: str
    index: str = "auto"
    recall: float = 0.95
    dimension: int | None = None
    fingerprint: str | None = None
    identity: dict[str, Any] | None = field(default=None, hash=False, repr=False)
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A document as an engine stores it: `vectors` has a row of unit length (or zero) for each span of its text."""

    document: Document
    spans: list[Span]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Bookmark:
    """How far a long ingestion has come; stored with the batch that it speaks of, so that it is never wrong.

    Args:
        source: Name of what is read.
        position: How many documents of it are stored or were passed over.
        digest: Of these documents, as the one who ingests them makes it.
    """

    source: str
    position: int
    digest: str = ""


@dataclass(slots=True)  # not frozen, like `nearfield.search.present.Found`
class Stored:
    """A document as an engine returns it; `encoded` tells that its vectors are the encoder's, and not given ones."""

    key: int
    doc_id: str
    title: str
    text: str
    metadata: dict[str, JSON]
    spans: list[Span]
    encoded: bool


@dataclass(slots=True)  # not frozen, like `nearfield.search.present.Found`
class Ranking:
    """What one leg of a search found, best first; equal scores are in the order of the doc_ids.

    Args:
        keys: int64 `(n,)`.
        scores: float64 `(n,)`, higher is better.
        plan: How the engine found them, in words.
    """

    keys: Keys
    scores: NDArray[np.float64]
    plan: str

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts and sizes of a collection.

    Args:
        documents: Documents that can be found.
        passages: Their passages, each with a vector.
        dead_passages: Passages of deleted and replaced documents that still take space.
        dimension: Length of the vectors; None while there are none.
        bytes: Bytes on disk by part.
        dead_bytes: Of these, what deleted and replaced documents still take.
        index: How vectors are searched; see below.
        encoder: Name of the encoder.
        generation: Number of committed writes.
        format: Version of the files' format.
        path: Where the collection lies.
        migration: What is under way: the name of the other `encoder`, and for how many documents of the `total` its
            vectors are `done`; None: no migration was begun.

    Entries of `index`:

    - "asked": the kind that the collection was made with; "wanted": FAISS's factory string of what would be built now,
      "" for an exact scan; "kind": that of the index that searches use, or "exact"; "reason": why, in words.
    - "recall_target": share of the true nearest that searches must find; "recall": the share that they find, measured
      for 10 hits, and 1 for an exact scan; "recall_interval": its 95 % interval, [low, high].
    - "indexed": vectors in the index, "dead": those among them whose documents are gone, "scanned": vectors that it
      lacks, which are compared one by one, and "pending": those among them that are about to be added.
    - "building": what is done to the index by this process, such as "tuning"; "" for nothing. "failure": why that
      failed the last time, or "".
    - If there is an index, "memory_bytes": its size. If searches use it, "recall_queries": how many queries its recall
      was measured with, and its effort for 10 hits: "reach" (lists or queue), "candidates" (vectors that are compared
      in full) and "milliseconds" (median time of a query in one thread).
    """

    documents: int
    passages: int
    dead_passages: int
    dimension: int | None
    bytes: dict[str, int]
    dead_bytes: int
    index: dict[str, Any]
    encoder: str
    generation: int
    format: int
    path: str = field(default="")
    migration: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a dict that `json.dumps` takes."""
        return asdict(self)


class View(Protocol):
    """One committed state of a collection; writes that come later are not in it."""

    @property
    def generation(self) -> int:
        """Number of the state: it grows with every committed write."""
        ...

    @property
    def fingerprint(self) -> str | None:
        """Of the encoder that made the vectors of this state; None if all were given.

        It changes when the collection gets the vectors of another encoder: those of a query must be of the same one.
        """
        ...

    @property
    def dimension(self) -> int | None:
        """Length of this state's vectors; None if there are none."""
        ...

    def __len__(self) -> int:
        """Number of documents."""
        ...

    def keys(self, where: Condition | None = None) -> Keys:
        """Return the keys of the documents that match, in the order of addition."""
        ...

    def find(self, doc_ids: Sequence[str]) -> list[int | None]:
        """Return the key of each doc_id; None for one that is not in the collection."""
        ...

    def doc_ids(self, keys: Keys) -> list[str]:
        """Return the doc_id of each key."""
        ...

    def read(self, keys: Keys) -> list[Stored]:
        """Return the stored document of each key."""
        ...

    def passage_vectors(self, keys: Keys) -> list[Vectors]:
        """Return each document's vectors, float32 `(passages, d)`, in the order of its spans."""
        ...

    def document_vectors(self, keys: Keys) -> Vectors:
        """Return a vector for each document, float32 `(len(keys), d)`: the mean of its passages', at unit length."""
        ...

    def semantic(
        self, queries: Vectors, k: int, where: Condition | None = None, exclude: Sequence[str] = ()
    ) -> list[Ranking]:
        """Return, for each row of `queries` (unit length), the k documents with the highest cosine of any passage.

        `where` and `exclude` (doc_ids) are part of the search: k documents come back whenever k are allowed.
        """
        ...

    def lexical(
        self, queries: Sequence[str], k: int, where: Condition | None = None, exclude: Sequence[str] = ()
    ) -> list[Ranking]:
        """Return, for each query, the k documents with the highest BM25 score; only those that share a term."""
        ...

    def term_overlap(self, query: str, texts: Sequence[str]) -> list[int]:
        """Return how many of the query's distinct terms each text has, by the analysis that `lexical` uses."""
        ...


class Readable(Protocol):
    """An engine, as far as a search needs it."""

    @property
    def settings(self) -> Settings:
        """What is fixed for this collection."""
        ...

    def view(self) -> AbstractContextManager[View]:
        """Return a context in which the newest committed state can be read; safe to use from several threads."""
        ...


class Engine(Protocol):
    """Writes, reads and queries documents with vectors; every engine passes `nearfield.testing.check_engine`."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""
        ...

    @property
    def location(self) -> str:
        """Where the collection lives: a path or a URL."""
        ...

    @property
    def settings(self) -> Settings:
        """What is fixed for this collection."""
        ...

    def view(self) -> AbstractContextManager[View]:
        """Return a context in which the newest committed state can be read; safe to use from several threads."""
        ...

    def write(
        self,
        records: Sequence[Record],
        *,
        replace: bool,
        fingerprint: str | None = None,
        identity: dict[str, Any] | None = None,
        bookmark: Bookmark | None = None,
    ) -> list[str]:
        """Store a batch, all or nothing, and return its doc_ids; a document without one is numbered.

        When it returns, the batch is on disk and every later view has it. The first batch fixes the dimension, and the
        first with a `fingerprint` (of the encoder that made its vectors) fixes that; the first with an `identity` of
        that encoder as well fixes this. A `bookmark` takes the place of the one with the same source in the same step,
        also if there are no records.

        Raises:
            Conflict: a doc_id exists and `replace` is false, or the fingerprint or the dimension is another than the
                fixed one; nothing was stored.
            Locked: another process is writing.
        """
        ...

    def delete(self, which: Iterable[str] | Condition) -> int:
        """Delete documents, by doc_ids or by a condition on the newest state, and return how many there were.

        Unknown doc_ids are passed over.

        Raises:
            Locked: another process is writing.
        """
        ...

    def bookmark(self, source: str) -> Bookmark | None:
        """Return how far the ingestion of a source has come; None if there is no bookmark."""
        ...

    def remove_bookmark(self, source: str) -> None:
        """Forget how far the ingestion of a source has come; doing so without a bookmark is fine."""
        ...

    def migration(self, settings: Settings) -> Migration:
        """Begin to make vectors of another encoder, or go on with that; for engines whose capabilities name it.

        Args:
            settings: The encoder's name, fingerprint, identity and dimension, as the collection is to have them.

        Raises:
            Conflict: a migration to another encoder was begun.
            Locked: another process or thread has the migration.
        """
        ...

    def give_up_migration(self) -> bool:
        """Remove what a migration has made, and return whether there was one.

        Raises:
            Locked: another process or thread has the migration.
        """
        ...

    def tune(self, asked: Vectors | None = None, *, build: bool = True) -> Tuning | None:
        """Return what the index was measured to do, None if there is none; for engines whose capabilities name it.

        Args:
            asked: float32 `(q, d)`, of unit length or zero: queries of users, which the efforts shall suit as well. The
                index is then built and measured anew.
            build: Build and measure it now, if it lacks a document, holds a deleted one, or isn't the one that would be
                built now. False: only tell; `asked` must be None.

        Raises:
            Locked: another process is building the index.
        """
        ...

    def compact(self) -> None:
        """Free the space of deleted and replaced documents now, on disk and in memory.

        Raises:
            Locked: another process is writing.
        """
        ...

    def check(self) -> Health:
        """Return what a look through all that is stored finds; damage is reported, and not raised."""
        ...

    def snapshot(self, path: str | Path) -> Snapshot:
        """Copy the newest committed state to a folder, or bring an older snapshot there up to date.

        Raises:
            InvalidInput: there is something else at the path.
            Conflict: there is another collection's snapshot, or one that was written to since.
            CorruptCollection: what is stored is damaged; the older snapshot is as it was.
        """
        ...

    def stats(self) -> Stats:
        """Return counts and sizes."""
        ...

    def close(self) -> None:
        """Release files and locks; calling it again does nothing."""
        ...
