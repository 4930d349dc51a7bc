"""What a search is asked for besides the query."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypedDict

from nearfield import checks
from nearfield.filters import Condition, Where, parse

MODES = ("hybrid", "semantic", "lexical")
FUSIONS = ("standardised", "reciprocal")

DEFAULT_WEIGHTS = {"standardised": 0.7, "reciprocal": 0.5}
"""Of the semantic leg: 0.7 is best or near it on the evaluation sets, and 0.5 is plain reciprocal rank fusion."""


class SearchKeywords(TypedDict, total=False):
    """The options of `Collection.search` besides k, by name."""

    mode: str
    where: Where | None
    semantic_weight: float | None
    fusion: str
    diversity: float
    explain: bool


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Checked options of a search; `Collection.search` describes them.

    Raises:
        InvalidInput: one is out of range.
    """

    k: int = 10
    mode: str = "hybrid"
    where: Where | None = None
    semantic_weight: float | None = None
    fusion: str = "standardised"
    diversity: float = 0.0
    explain: bool = False
    condition: Condition | None = field(init=False)

    def __post_init__(self) -> None:
        weight = DEFAULT_WEIGHTS[checks.choice(self.fusion, "fusion", FUSIONS)]
        checks.choice(self.mode, "mode", MODES)
        change = object.__setattr__  # the fields are frozen
        change(self, "k", checks.count(self.k, "k"))
        change(self, "diversity", checks.share(self.diversity, "diversity"))
        change(self, "condition", parse(self.where))
        if self.semantic_weight is not None:
            weight = checks.share(self.semantic_weight, "semantic_weight")
        change(self, "semantic_weight", weight)


_checked_before = lru_cache(maxsize=256, typed=True)(SearchOptions)


def search_options(
    k: int,
    mode: str,
    where: Where | None,
    semantic_weight: float | None,
    fusion: str,
    diversity: float,
    explain: bool,
) -> SearchOptions:
    """Return checked options; those without a condition are kept, as checking is a thirtieth of a search by a vector.

    Raises:
        InvalidInput: one is out of range.
    """
    if where is None:
        with suppress(TypeError):  # unhashable, and so out of range
            return _checked_before(k, mode, None, semantic_weight, fusion, diversity, explain)
    return SearchOptions(k, mode, where, semantic_weight, fusion, diversity, explain)
