"""What an engine tells of the files of a collection: checks, snapshots, repairs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


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
