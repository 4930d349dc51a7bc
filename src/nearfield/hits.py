"""`Hit` and `Hits`: what every question to a collection answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, overload

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


Late = tuple[str, str, dict[str, JSON], Passage, Explanation | None]
"""What comes with a hit's document: its text, title and metadata, the passage, and the explanation."""


class Unread(Protocol):
    """The hits of an answer whose documents are read when somebody looks at one."""

    def read(self) -> Sequence[Late]:
        """Return what each hit lacks; it is the same at a later call."""
        ...


class _Hit:
    """What a hit has beside its fields until its document is looked at."""

    __slots__ = ("_place", "_unread")

    _place: int
    _unread: Unread | None


_LATE = ("text", "title", "metadata", "passage", "explanation")
"""Fields of a hit that come with its document, in the order of `Late`."""


@dataclass(frozen=True, slots=True)
class Hit(_Hit):
    """One document with its score, higher is better.

    The hits of a search by a vector have their doc_ids and scores at once; the documents of all hits are read when one
    is first looked at, and show what the search has seen, or raise. Before this collection deletes or replaces
    documents, migrates or is closed, they are read.

    Args:
        doc_id: The document's id.
        score: Cosine in [-1, 1] for semantic search and recommendation, BM25 (≥ 0) for lexical search, and for hybrid
            search the fused score, which compares the hits of one search only.
        text: The whole text of the document.
        title: Its title; "" if it has none.
        metadata: Its metadata.
        passage: The part that matched.
        explanation: How the score came about, if `explain=True` was asked for.

    Raises:
        NotFound: when the document is looked at: another process, or another opening of the collection, has deleted or
            replaced a document of these hits since the search.
        Conflict: likewise: it has migrated the collection to another encoder.
    """

    doc_id: str
    score: float
    text: str
    title: str
    metadata: dict[str, JSON]
    passage: Passage
    explanation: Explanation | None = None

    if not TYPE_CHECKING:  # for which every name would be a field

        def __getattr__(self, name: str) -> Any:
            """Return a field that is still empty: read the document first."""
            if name not in _LATE:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            unread = self._unread
            if unread is not None:  # else another thread has filled the fields since
                for fill, value in zip(_fill_late, unread.read()[self._place], strict=True):
                    fill(self, value)
                _set_unread(self, None)
            return object.__getattribute__(self, name)

    def to_dict(self) -> dict[str, Any]:
        """Return the hit as a dict that `json.dumps` takes; `explanation` only if there is one."""
        from dataclasses import asdict

        fields = asdict(self)
        if self.explanation is None:
            del fields["explanation"]
        return fields


_new = Hit.__new__
_set_doc_id = Hit.__dict__["doc_id"].__set__
_set_score = Hit.__dict__["score"].__set__
_set_place = _Hit.__dict__["_place"].__set__
_set_unread = _Hit.__dict__["_unread"].__set__
_fill_late = [Hit.__dict__[name].__set__ for name in _LATE]


def _unread_hits(unread: Unread, doc_ids: Sequence[str], scores: Sequence[float]) -> list[Hit]:
    hits = []
    # Slots filled one by one: `__init__` takes twice as long.
    for place, (doc_id, score) in enumerate(zip(doc_ids, scores, strict=True)):
        hit = _new(Hit)
        _set_doc_id(hit, doc_id)
        _set_score(hit, score)
        _set_place(hit, place)
        _set_unread(hit, unread)
        hits.append(hit)
    return hits


class Hits(Sequence[Hit]):
    """A ranked list of hits, best first; equal scores are in the order of their doc_ids.

    With `diversity`, hits are in the order in which they were chosen.

    >>> Hits([Hit("2", 0.65, "Learn Python. Then more.", "", {}, Passage("Learn Python.", 0, 13))])
    Hits(1):
      1. 0.6500  2  Learn Python.
    """

    __slots__ = ("_doc_ids", "_hits", "_scores", "_unread")

    _hits: list[Hit] | None
    _doc_ids: list[str]
    _scores: list[float]
    _unread: Unread

    def __init__(self, hits: Iterable[Hit] = ()) -> None:
        self._hits = list(hits)

    @classmethod
    def unread(cls, unread: Unread, doc_ids: list[str], scores: list[float]) -> Hits:
        """Return hits whose documents are read when they are looked at.

        Each hit is made when it is first asked for, which whoever wants doc_ids and scores only never does.
        """
        hits = cls.__new__(cls)
        hits._hits = None
        hits._doc_ids, hits._scores, hits._unread = doc_ids, scores, unread
        return hits

    @property
    def hits(self) -> list[Hit]:
        """The hits as a list."""
        if self._hits is None:
            made = _unread_hits(self._unread, self._doc_ids, self._scores)
            self._hits = self._hits or made  # another thread may have made them meanwhile
        return self._hits

    def __len__(self) -> int:
        return len(self._doc_ids if self._hits is None else self._hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __eq__(self, other: object) -> bool:
        return self.hits == other.hits if isinstance(other, Hits) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[Hits], tuple[list[Hit]]]:
        return Hits, (self.hits,)

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
        return list(self._doc_ids) if self._hits is None else [hit.doc_id for hit in self._hits]

    @property
    def scores(self) -> list[float]:
        """The hits' scores, in the hits' order."""
        return list(self._scores) if self._hits is None else [hit.score for hit in self._hits]

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
