"""The names of measures: what users write, and the ir-measures object that it means."""

from __future__ import annotations

import re
from typing import Any

from nearfield.errors import InvalidInput

DEFAULT_MEASURES = ("nDCG@10", "R@100", "MRR", "MAP")

# Every measure here is a mean over queries and comes from trec_eval's own code or from ir-measures' Python,
# so that no further program (perl, for ERR) has to be installed.
_FAMILIES = {
    "nDCG": ("ndcg", "ndcg_cut"),
    "R": ("r", "recall"),
    "RR": ("rr", "mrr", "recip_rank"),
    "AP": ("ap", "map", "map_cut"),
    "P": ("p", "precision"),
    "Success": ("success", "hit", "hits", "hitrate", "hit_rate"),
    "Rprec": ("rprec",),
    "Bpref": ("bpref",),
    "IPrec": ("iprec",),
    "infAP": ("infap",),
    "Judged": ("judged",),
}
_NAMES = {alias: name for name, aliases in _FAMILIES.items() for alias in aliases}
_FORM = re.compile(r"([A-Za-z_]+?)\s*(\(.*\))?\s*(?:[@_]\s*([0-9.]+))?")
_EXAMPLES = "nDCG@10, R@100, MRR, MRR@10, MAP, P@5, Success@5, Rprec, Bpref, Judged@10"


def parse_measure(name: str) -> Any:
    """Return the ir-measures measure that a name means; spelling and case are forgiving, meaning is not.

    `MRR` is RR, `MAP` is AP, `recall@100` and trec_eval's `recall_100` are R@100; ir-measures' own notation,
    such as `AP(rel=2)`, is taken as it is.

    Raises:
        InvalidInput: the name is no known measure, needs a cutoff (`P` → `P@10`), or its cutoff is below 1.

    >>> parse_measure("mrr@10"), parse_measure("recall_100"), parse_measure("AP(rel=2)")
    (RR@10, R@100, AP(rel=2))
    """
    import ir_measures

    if not isinstance(name, str):
        raise InvalidInput(f"a measure must be a name such as {_EXAMPLES}; got {name!r}")
    form = _FORM.fullmatch(name.strip())
    family = _NAMES.get(form[1].lower()) if form else None
    if form is None or family is None:
        raise InvalidInput(f"unknown measure {name!r}; known ones are, for example: {_EXAMPLES}")
    options, cutoff = form[2] or "", f"@{form[3]}" if form[3] else ""
    try:
        measure = ir_measures.parse_measure(f"{family}{options}{cutoff}")
        supported = ir_measures.DefaultPipeline.supports(measure)
    except (ValueError, TypeError, KeyError, AssertionError) as error:
        raise InvalidInput(
            f"measure {name!r} can't be taken: {error}; write it like one of these: {_EXAMPLES}"
        ) from error
    if not supported or ("cutoff" in measure.params and measure.params["cutoff"] < 1):
        raise InvalidInput(f"measure {name!r} can't be computed; its cutoff must be at least 1. Examples: {_EXAMPLES}")
    return measure
