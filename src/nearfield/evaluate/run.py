"""One run against one set of judgements."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from nearfield.errors import InvalidInput
from nearfield.evaluate.forms import as_qrels, as_run
from nearfield.evaluate.measures import DEFAULT_MEASURES, parse_measure
from nearfield.evaluate.report import Report, make_report
from nearfield.evaluate.runfile import ranking


def evaluate_run(
    run: Mapping[str, Mapping[str, float]] | str | os.PathLike[str],
    qrels: Mapping[str, Any] | str | os.PathLike[str],
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    unknown_documents: int = 0,
    unknown_queries: int = 0,
) -> Report:
    """Return how well a run answers judged queries: measures for every query, their means and 95 % intervals.

    `run` is `{query_id: {doc_id: score}}` (higher is better) and `qrels` what `as_qrels` takes; both may be
    paths. Values lie between 0 and 1, higher is better. A measure keeps the name it was asked by; asked
    twice, it is there once. nDCG takes a grade as its gain and log2 of the rank as its discount (Järvelin and
    Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, TOIS 2002), as trec_eval does; the other
    measures count grade ≥ 1 as relevant.

    - Equal scores rank by falling doc_id, as in trec_eval, for every measure.
    - A judged query without hits counts as 0; it never leaves the mean.
    - A judged query without any relevant document (only grades 0) counts as 0, as in trec_eval.
    - A query without judgements is left out of the mean and named in `Report.queries_without_judgements`.

    `unknown_documents` and `unknown_queries` are for a caller that knows the collection: how many judged
    documents it doesn't hold, and how many judged queries have no text. They change no value; the report
    shows them, because both lower every value without the system's fault.

    Raises:
        InvalidInput: an unknown measure, a malformed run or qrels, or a run none of whose queries has
            judgements.

    >>> report = evaluate_run({"q1": {"a": 0.9, "b": 0.4}}, {"q1": ["b"], "q2": ["c"]}, ["MRR", "R@10"])
    >>> report.mean
    {'MRR': 0.25, 'R@10': 0.5}
    """
    names = list(dict.fromkeys([measures] if isinstance(measures, str) else measures))
    if not names:
        raise InvalidInput("measures must name at least one measure, for example ['nDCG@10']; got none")
    parsed = {name: parse_measure(name) for name in names}
    found, judged = as_run(run), as_qrels(qrels)
    if found and not judged.keys() & found.keys():
        raise InvalidInput(
            f"no query of the run has judgements: the run has {min(found)!r}, the qrels {min(judged)!r}; use "
            "the same query ids in both"
        )
    return make_report(
        _values(found, judged, parsed),
        names,
        found,
        judged,
        unknown_documents=unknown_documents,
        unknown_queries=unknown_queries,
    )


def _values(
    run: Mapping[str, Mapping[str, float]],
    qrels: Mapping[str, Mapping[str, int]],
    measures: Mapping[str, Any],
) -> dict[str, dict[str, float]]:
    import ir_measures

    # The programs behind ir-measures break ties differently (trec_eval by falling, MS MARCO's by rising
    # doc_id) and trec_eval reads scores as 32-bit floats; falling whole numbers mean one order to all of
    # them.
    ordered = {
        query_id: {doc_id: float(-place) for place, doc_id in enumerate(ranking(hits))}
        for query_id, hits in run.items()
        if hits and query_id in qrels
    }
    values = {query_id: dict.fromkeys(measures, 0.0) for query_id in sorted(qrels)}
    names: dict[Any, list[str]] = {}
    for name, measure in measures.items():
        names.setdefault(measure, []).append(name)
    judged = {query_id: dict(grades) for query_id, grades in qrels.items()}
    for metric in ir_measures.iter_calc(list(names), judged, ordered):
        for name in names[metric.measure]:
            values[metric.query_id][name] = float(metric.value)
    return values
