"""What an evaluation found: values per query, their means and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.extras import load_extra

_RESAMPLES = 10_000
_SEED = 0
_SHOWN = 5


@dataclass(frozen=True)
class Report:
    """How well a run answered judged queries; `print(report)` shows a table.

    Attributes:
        per_query: `{query_id: {measure: value}}`, every judged query in ascending order of id.
        mean: `{measure: mean over the judged queries}`, higher is better.
        interval: `{measure: (low, high)}`, the 95 % interval of the mean: percentiles of 10,000 bootstrap
            samples of the queries with a fixed seed (Efron, Bootstrap Methods, Annals of Statistics 1979;
            Sakai, Evaluating Evaluation Metrics Based on the Bootstrap, SIGIR 2006). It tells how much the
            mean depends on which queries were judged. Below some 25 queries it is too narrow; with one query
            both ends are its value.
        queries: how many judged queries the means are over.
        queries_without_hits: judged, and the run has nothing for them: each counts as 0.
        queries_without_relevant: judged, and no document is relevant to them: each counts as 0.
        queries_without_judgements: in the run only: left out.
        unknown_documents: how many judged documents the collection doesn't hold.
        unknown_queries: how many judged queries have no text.
    """

    per_query: dict[str, dict[str, float]]
    mean: dict[str, float]
    interval: dict[str, tuple[float, float]]
    queries_without_hits: tuple[str, ...] = ()
    queries_without_relevant: tuple[str, ...] = ()
    queries_without_judgements: tuple[str, ...] = ()
    unknown_documents: int = 0
    unknown_queries: int = 0

    @property
    def queries(self) -> int:
        """How many judged queries the means are over."""
        return len(self.per_query)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists, strings and numbers, ready for JSON."""
        return {
            "queries": self.queries,
            "mean": dict(self.mean),
            "interval": {measure: list(ends) for measure, ends in self.interval.items()},
            "per_query": {query_id: dict(values) for query_id, values in self.per_query.items()},
            "queries_without_hits": list(self.queries_without_hits),
            "queries_without_relevant": list(self.queries_without_relevant),
            "queries_without_judgements": list(self.queries_without_judgements),
            "unknown_documents": self.unknown_documents,
            "unknown_queries": self.unknown_queries,
        }

    def to_pandas(self) -> Any:
        """Return a DataFrame with a row for each judged query (index `query_id`), a column for each measure.

        Raises:
            MissingDependency: pandas is not installed.
        """
        pandas = load_extra("pandas", "frames", "to_pandas")
        frame = pandas.DataFrame(list(self.per_query.values()), index=list(self.per_query), columns=list(self.mean))
        return frame.rename_axis("query_id")

    def __str__(self) -> str:
        width = max(len(measure) for measure in [*self.mean, "measure"])
        rows = [f"{_count(self.queries, 'judged query')}", f"{'measure':<{width}}   mean   95 % interval"]
        for measure, mean in self.mean.items():
            low, high = self.interval[measure]
            rows.append(f"{measure:<{width}}  {mean:.4f}  {low:.4f} – {high:.4f}")
        return "\n".join(rows + self._notes())

    def _notes(self) -> list[str]:
        named = [
            (self.queries_without_hits, "without hits, counted as 0"),
            (self.queries_without_relevant, "without any relevant document, counted as 0"),
            (self.queries_without_judgements, "without judgements, left out"),
        ]
        notes = []
        for ids, what in named:
            if ids:
                shown = ", ".join(ids[:_SHOWN]) + (", …" if len(ids) > _SHOWN else "")
                notes.append(f"{_count(len(ids), 'query')} {what}: {shown}")
        if self.unknown_queries:
            notes.append(f"{_count(self.unknown_queries, 'judged query')} without a text")
        if self.unknown_documents:
            notes.append(f"{_count(self.unknown_documents, 'judged document')} not in the collection")
        return notes


def make_report(
    per_query: dict[str, dict[str, float]],
    measures: Sequence[str],
    run: Mapping[str, Mapping[str, float]],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    unknown_documents: int,
    unknown_queries: int,
) -> Report:
    """Return the report for values per query, with means, intervals and the queries that need a word."""
    table = np.array([[values[measure] for measure in measures] for values in per_query.values()])
    low, high = bootstrap_interval(table)
    return Report(
        per_query=per_query,
        mean={measure: float(value) for measure, value in zip(measures, table.mean(axis=0), strict=True)},
        interval={measure: (float(low[i]), float(high[i])) for i, measure in enumerate(measures)},
        queries_without_hits=tuple(query_id for query_id in per_query if not run.get(query_id)),
        queries_without_relevant=tuple(query_id for query_id in per_query if not any(qrels[query_id].values())),
        queries_without_judgements=tuple(sorted(run.keys() - qrels.keys())),
        unknown_documents=unknown_documents,
        unknown_queries=unknown_queries,
    )


def bootstrap_interval(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 2.5 % and 97.5 % percentiles of resampled column means, float64 `(measures,)` each.

    `table` is float64 `(queries, measures)`, with at least one row.

    >>> low, high = bootstrap_interval(np.array([[0.0], [1.0], [1.0], [0.0]]))
    >>> float(low[0]), float(high[0])
    (0.0, 1.0)
    """
    generator = np.random.default_rng(_SEED)
    rows = len(table)
    # How often each query is drawn is all that a mean needs; blocks bound the memory to about 16 MB.
    block = max(1, 2_000_000 // rows)
    chances = np.full(rows, 1 / rows)
    means = [
        generator.multinomial(rows, chances, size=min(block, _RESAMPLES - start)) @ table / rows
        for start in range(0, _RESAMPLES, block)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return low, high


def _count(number: int, noun: str) -> str:
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun.removesuffix('y')}{'ies' if noun.endswith('y') else 's'}"
