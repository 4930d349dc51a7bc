"""`Hit` and `Hits`: what every question to a collection answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from nearfield.documents import JSON
from nearfield.extras import load_extra

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Passage:
    """The part of a document that matched: its text, and the characters `[start, end)` of the document's text."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Leg:
    """How one leg of a search (semantic or lexical) saw a hit.

    Args:
        score: The leg's own score: cosine or BM25, higher is better. None: the leg did not find the document.
        rank: 1 for the best document of this leg; None: not among those the leg was asked for.
        contribution: What the leg added to the hit's score.
    """

    score: float | None
    rank: int | None
    contribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a hit got its score.

    Args:
        mode: "semantic", "lexical" or "hybrid".
        fusion: How the legs were fused, in words and numbers; "none" for a single leg.
        legs: Each leg by name. The contributions add up to the hit's score.
        plan: How the engine answered each leg: an exact scan, the rows that `where` allows, and so on.
    """

    mode: str
    fusion: str
    legs: dict[str, Leg]
    plan: dict[str, str]


@dataclass(frozen=True, slots=True)
class Hit:
    """One document with its score, higher is better.

    Args:
        doc_id: The document's id.
        score: Cosine in [-1, 1] for semantic search and recommendation, BM25 (≥ 0) for lexical search, and for hybrid
            search the fused score, which compares the hits of one search only.
        text: The whole text of the document.
        title: Its title; "" if it has none.
        metadata: Its metadata.
        passage: The part that matched.
        explanation: How the score came about, if `explain=True` was asked for.
    """

    doc_id: str
    score: float
    text: str
    title: str
    metadata: dict[str, JSON]
    passage: Passage
    explanation: Explanation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the hit as a dict that `json.dumps` takes; `explanation` only if there is one."""
        from dataclasses import asdict

        fields = asdict(self)
        if self.explanation is None:
            del fields["explanation"]
        return fields


@dataclass(frozen=True, slots=True, eq=True, repr=False)
class Hits(Sequence[Hit]):
    """A ranked list of hits, best first; equal scores are in the order of their doc_ids.

    With `diversity`, hits are in the order in which they were chosen.

    >>> Hits([Hit("2", 0.65, "Learn Python. Then more.", "", {}, Passage("Learn Python.", 0, 13))])
    Hits(1):
      1. 0.6500  2  Learn Python.
    """

    hits: list[Hit] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Hits: ...
    def __getitem__(self, index: int | slice) -> Hit | Hits:
        return Hits(self.hits[index]) if isinstance(index, slice) else self.hits[index]

    def __repr__(self) -> str:
        rows = [f"  {rank}. {hit.score:.4f}  {hit.doc_id}  {_line(hit)}" for rank, hit in enumerate(self, 1)]
        return "\n".join([f"Hits({len(self)}):", *rows])

    @property
    def doc_ids(self) -> list[str]:
        """The hits' doc_ids, best first."""
        return [hit.doc_id for hit in self]

    @property
    def scores(self) -> list[float]:
        """The hits' scores, in the hits' order."""
        return [hit.score for hit in self]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return each hit as a dict that `json.dumps` takes."""
        return [hit.to_dict() for hit in self]

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with a row for each hit: doc_id, score, title, text, passage, and a column for each field
        of the metadata (prefixed with `metadata.`).

        Raises:
            MissingDependency: pandas is not installed.
        """
        pandas = load_extra("pandas", "frames", "to_pandas")
        columns = ["doc_id", "score", "title", "text", "passage"]
        rows = [
            {
                **{name: getattr(hit, name) for name in columns[:-1]},
                "passage": hit.passage.text,
                **{f"metadata.{name}": value for name, value in hit.metadata.items()},
            }
            for hit in self
        ]
        frame: pd.DataFrame = pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=columns)
        return frame


def _line(hit: Hit, width: int = 80) -> str:
    line = " ".join((hit.title or hit.passage.text).split())
    return line if len(line) <= width else line[: width - 1] + "…"
