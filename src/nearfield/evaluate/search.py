"""How well a collection's search answers judged queries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from nearfield import checks
from nearfield.errors import InvalidInput
from nearfield.evaluate.forms import as_qrels, as_queries
from nearfield.evaluate.report import Report
from nearfield.evaluate.run import evaluate_run

QUERIES_AT_ONCE = 64
LEAST_DEPTH = 100
DEPTH_WITHOUT_CUTOFF = 1000
"""How many hits measures such as MAP look at, as trec_eval is commonly run."""

OPTIONS = ("k", "mode", "where", "semantic_weight", "fusion", "diversity")


class Searchable(Protocol):
    """A collection, as far as an evaluation needs it."""

    @property
    def search(self) -> Callable[..., Any]:
        """Called with a list of queries, k and options: returns the Hits of each query."""
        ...

    def __contains__(self, doc_id: object) -> bool: ...


def evaluate_search(
    collection: Searchable,
    queries: Mapping[Any, str] | str | Path,
    qrels: Mapping[Any, Any] | str | Path,
    measures: Sequence[str],
    options: Mapping[str, Any],
) -> Report:
    """Return the report of a collection's own search; `Collection.evaluate` describes it.

    Hits count in the order in which users get them. Judged queries without a text, and judged documents that the
    collection does not hold, lower the values, and the report says how many there are.

    Raises:
        InvalidInput: an unknown option or measure, a malformed file, or no query with both a text and judgements.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise InvalidInput(f"unknown option {unknown[0]!r} of evaluate; there are {', '.join(OPTIONS)}")
    judged, texts = as_qrels(qrels), as_queries(queries)
    asked = {query_id: texts[query_id] for query_id in judged if query_id in texts}
    if not asked:
        raise InvalidInput("no query has both a text and judgements; use the same query ids in both")
    names = [measures] if isinstance(measures, str) else list(measures)
    k = checks.count(options["k"], "k") if options.get("k") is not None else _depth(names)
    search_options = {name: value for name, value in options.items() if name != "k"}
    run = dict(_search(collection, asked, k, search_options))
    documents = {doc_id for grades in judged.values() for doc_id in grades}
    return evaluate_run(
        run,
        judged,
        names,
        unknown_documents=sum(doc_id not in collection for doc_id in documents),
        unknown_queries=len(judged) - len(asked),
    )


def _depth(measures: Sequence[str]) -> int:
    cutoffs = [re.search(r"@(\d+)$", str(name)) for name in measures]
    return max([LEAST_DEPTH, *(int(cutoff[1]) if cutoff else DEPTH_WITHOUT_CUTOFF for cutoff in cutoffs)])


def _search(
    collection: Searchable, queries: Mapping[str, str], k: int, options: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, float]]]:
    ids = list(queries)
    for start in range(0, len(ids), QUERIES_AT_ONCE):
        part = ids[start : start + QUERIES_AT_ONCE]
        for query_id, hits in zip(
            part, collection.search([queries[query_id] for query_id in part], k, **options), strict=True
        ):
            # Ranks instead of scores: with diversity, hits are not in the order of their scores.
            yield query_id, {hit.doc_id: 1.0 / rank for rank, hit in enumerate(hits, 1)}
