"""The requests that the server takes and the answers it gives, as pydantic models: OpenAPI shows them.

JSON has types, so a request in JSON is taken at its word: "3" is no number, and true is none either. Options
that don't exist are refused. A test holds the defaults against `Collection`'s.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from nearfield.documents import check_doc_id
from nearfield.errors import InvalidInput
from nearfield.serve.strict import loads


def _query(value: object) -> object:
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(text, str) for text in value)):
        return value
    raise ValueError("must be a text, or a list of texts")


def _whole(value: object) -> object:
    # pydantic would also take "3.0", " 3" and "3_0".
    if isinstance(value, str):
        if not re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII):
            raise ValueError(f"must be a whole number, got {value[:60]!r}")
        return int(value)
    return value


def _where(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return loads(value)
    except ValueError as error:
        raise ValueError(f'must be a condition in JSON, such as {{"year": 2024}}: {error}') from None


DocId: TypeAlias = Annotated[
    str,
    BeforeValidator(check_doc_id),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer"}]}),
]
Whole: TypeAlias = Annotated[int, BeforeValidator(_whole), Field(ge=1)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
K: TypeAlias = Annotated[int, Field(ge=1, description="How many hits.")]
Where: TypeAlias = Annotated[dict[str, Any] | None, Field(description="A condition on the metadata.")]
WhereText: TypeAlias = Annotated[
    dict[str, Any] | None,
    BeforeValidator(_where),
    WithJsonSchema({"type": "string", "description": "A condition on the metadata, in JSON."}),
]
Diversity: TypeAlias = Annotated[
    float,
    Field(ge=0, le=1, description="0 orders by relevance alone; rising values give hits that differ more."),
]
Mode: TypeAlias = Literal["hybrid", "semantic", "lexical"]
Fusion: TypeAlias = Literal["standardised", "reciprocal"]


class Strict(BaseModel):
    """A request in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class SearchRequest(Strict):
    """What to search for, and how: the arguments of `Collection.search`."""

    query: Annotated[
        str | list[str] | None,
        BeforeValidator(_query),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
        Field(description="A text; or a list of texts, answered by a list of lists of hits."),
    ] = None
    vector: Annotated[
        list[float] | None,
        WithJsonSchema({"type": "array", "items": {"type": "number"}}),
        Field(description='Instead of a query, for mode "semantic".'),
    ] = None
    k: K = 10
    mode: Mode = "hybrid"
    where: Where = None
    semantic_weight: Annotated[Share | None, Field(description="If not given, the fusion's own.")] = None
    fusion: Fusion = "standardised"
    diversity: Diversity = 0.0
    explain: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.query is None) == (self.vector is None):
            raise ValueError("give a query or a vector, one of the two")
        return self


class RecommendRequest(Strict):
    """Tastes or a wish: the arguments of `Collection.recommend`."""

    liked: list[DocId] = []
    disliked: list[DocId] = []
    query: str | None = None
    k: K = 10
    strategy: Literal["average", "best"] = "average"
    where: Where = None
    diversity: Diversity = 0.0


class ClusterRequest(Strict):
    """How to group the documents: the arguments of `Collection.cluster`."""

    n_clusters: Annotated[int | None, Field(ge=1, description="How many; null chooses.")] = None
    method: Literal["kmeans", "ward", "ward-cut", "average"] = "kmeans"
    where: Where = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    labels: Annotated[bool, Field(description="Answer the cluster of every document too.")] = False


class DocumentIn(Strict):
    """A document to be stored; one without a doc_id is numbered."""

    doc_id: DocId | None = None
    text: str = ""
    title: str = ""
    metadata: dict[str, Any] = {}


class PutDocuments(Strict):
    """Documents to be stored as one batch, all or nothing."""

    documents: list[DocumentIn]
    vectors: Annotated[
        list[list[float]] | None,
        Field(description="A vector for each document, stored instead of encoding the texts."),
    ] = None


class PostDocuments(PutDocuments):
    """Documents to be added as one batch, all or nothing."""

    replace: Annotated[bool, Field(description="Replace the documents whose doc_id exists.")] = False


class DeleteRequest(Strict):
    """Documents to be deleted: by their doc_ids, or by a condition."""

    doc_ids: list[DocId] | None = None
    where: Where = None


class Parameters(BaseModel):
    """What stands in an address after the question mark."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Short(Parameters):
    """`k`, which the guide calls top_k."""

    k: Annotated[Whole | None, WithJsonSchema({"type": "integer", "minimum": 1, "default": 10})] = None
    top_k: Annotated[
        Whole | None, WithJsonSchema({"type": "integer", "minimum": 1, "description": "Another name for k."})
    ] = None
    where: WhereText = None
    diversity: Diversity = 0.0

    @property
    def hits(self) -> int:
        """How many hits are asked for."""
        given = {value for value in (self.k, self.top_k) if value is not None}
        if len(given) > 1:
            raise InvalidInput(f"k and top_k are one option, got k={self.k} and top_k={self.top_k}; give one of them")
        return given.pop() if given else 10


class SearchParameters(_Short):
    """A search in one line."""

    q: str
    mode: Mode = "hybrid"
    semantic_weight: Annotated[Share | None, Field(description="If not given, the fusion's own.")] = None
    fusion: Fusion = "standardised"
    explain: bool = False


class RecommendParameters(_Short):
    """A recommendation in one line."""

    item_id: Annotated[DocId, Field(description="doc_id of the document to be near to.")]


class SimilarParameters(Parameters):
    """How many neighbours, and which."""

    k: Whole = 10
    where: WhereText = None
    diversity: Diversity = 0.0


class PassageOut(BaseModel):
    """The part that matched: the characters [start, end) of the document's text."""

    text: str
    start: int
    end: int


class HitOut(BaseModel):
    """One document with its score, higher is better."""

    doc_id: str
    score: float
    text: str
    title: str
    metadata: dict[str, Any]
    passage: PassageOut
    explanation: Annotated[dict[str, Any] | None, Field(description="If it was asked for.")] = None


class DocumentOut(BaseModel):
    """A stored document."""

    doc_id: str
    text: str
    title: str
    metadata: dict[str, Any]


class Stored(BaseModel):
    """The doc_ids of the documents that were stored, in their order."""

    doc_ids: list[str]


class Deleted(BaseModel):
    """How many documents were deleted."""

    deleted: int


class ClusterOut(BaseModel):
    """A group of documents: how many, what sets it apart, and the doc_ids nearest to its centre, with cosines."""

    label: int
    size: int
    terms: list[str]
    representatives: list[str]
    similarities: list[float]


class ClustersOut(BaseModel):
    """The groups, and the group of each document (-1: of none) if it was asked for."""

    method: str
    n_clusters: int
    clusters: list[ClusterOut]
    labels: dict[str, int] | None = None


class Health(BaseModel):
    """The server is alive, and the collection can be read."""

    status: Literal["ok"]
    documents: int
    generation: int


class FailureDetail(BaseModel):
    """What went wrong."""

    type: str
    message: str


class Failure(BaseModel):
    """The answer to a request that failed."""

    error: FailureDetail
