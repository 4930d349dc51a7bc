"""The Engine seam: where a collection lives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearfield.documents import JSON, Document
from nearfield.encode.protocol import Vectors
from nearfield.filters import Condition

Span: TypeAlias = tuple[int, int]
"""The characters `[start, end)` of a document's text."""

Keys: TypeAlias = NDArray[np.int64]
"""An engine's own numbers for documents; they mean something within one view only."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do; asked before use, never found out by catching an exception."""

    lexical: bool
    atomic_batches: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """What is fixed when a collection is created, and what its first vectors fix.

    Args:
        encoder: Name or folder of the encoder.
        index: Kind of index.
        recall: Share of the true neighbours that a search must find, in (0, 1].
        dimension: Length of the vectors; None until there are any.
        fingerprint: Of the encoder that made the vectors; None as long as only given vectors are stored.
    """

    encoder: str
    index: str = "auto"
    recall: float = 0.95
    dimension: int | None = None
    fingerprint: str | None = None


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


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as an engine returns it; `encoded` tells that its vectors are the encoder's, and not given ones."""

    key: int
    doc_id: str
    title: str
    text: str
    metadata: dict[str, JSON]
    spans: list[Span]
    encoded: bool


@dataclass(frozen=True, slots=True)
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
        index: How vectors are searched: the kind, the recall that was asked for, and that which it has.
        encoder: Name of the encoder.
        generation: Number of committed writes.
        format: Version of the files' format.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a dict that `json.dumps` takes."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file of a collection.

    Args:
        file: Its path.
        what: In words.
        doc_ids: Of the documents that it concerns, as far as they are known.
    """

    file: str
    what: str
    doc_ids: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line, with the first few doc_ids."""
        if not self.doc_ids:
            return f"{self.file}: {self.what}"
        named = ", ".join(map(repr, self.doc_ids[:5]))
        more = f" and {len(self.doc_ids) - 5} more" if len(self.doc_ids) > 5 else ""
        return f"{self.file}: {self.what}: {named}{more}"


@dataclass(frozen=True, slots=True)
class Health:
    """What a check of every file of a collection found.

    Args:
        path: The collection.
        documents: Documents that were looked at.
        passages: Their passages.
        generation: Number of the state that was looked at; -1 if it could not be read.
        problems: What is wrong; empty for a whole collection.
        notes: What is worth knowing and harms nothing.
    """

    path: str
    documents: int
    passages: int
    generation: int
    problems: list[Problem]
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as a dict that `json.dumps` takes."""
        return {"ok": self.ok, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a snapshot, or a collection that was restored from one, holds.

    Args:
        path: Its folder.
        documents: Its documents.
        passages: Their passages.
        generation: Number of the state.
        copied_bytes: Bytes of vectors and documents that were written.
        kept_bytes: Bytes of vectors that were there already.
    """

    path: str
    documents: int
    passages: int
    generation: int
    copied_bytes: int
    kept_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a dict that `json.dumps` takes."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did.

    Args:
        path: The collection.
        documents: Documents that it has now.
        rebuilt: What was made anew, in words; empty if nothing was wrong.
        lost: The documents that could not be kept: doc_id (or "key N" where not even that could be read) and reason.
        remains: The folder with what was replaced or lost, as it was found; "" if there is none.
        complete: Whether `lost` names all; False if the database was so damaged that more may be lost.
    """

    path: str
    documents: int
    rebuilt: list[str]
    lost: dict[str, str]
    remains: str = ""
    complete: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return what was done as a dict that `json.dumps` takes."""
        return asdict(self)


class View(Protocol):
    """One committed state of a collection; writes that come later are not in it."""

    @property
    def generation(self) -> int:
        """Number of the state: it grows with every committed write."""
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
        bookmark: Bookmark | None = None,
    ) -> list[str]:
        """Store a batch, all or nothing, and return its doc_ids; a document without one is numbered.

        When it returns, the batch is on disk and every later view has it. The first batch fixes the dimension, and the
        first with a `fingerprint` (of the encoder that made its vectors) fixes that. A `bookmark` takes the place of
        the one with the same source in the same step, also if there are no records.

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
