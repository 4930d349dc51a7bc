"""`nearfield evaluate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import print_json, print_table


def command(
    path: options.Path,
    queries: Annotated[str, typer.Option("--queries", metavar="FILE", help="The queries: BEIR JSON lines, or TREC.")],
    qrels: Annotated[str, typer.Option("--qrels", metavar="FILE", help="The judgements: BEIR TSV, or TREC.")],
    measures: Annotated[
        list[str] | None,
        typer.Option("--measure", metavar="NAME", help="nDCG@10, R@100, MRR, MAP, ...; may be repeated."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "--k", "-k", metavar="N", help="Hits a query. Else the deepest cut-off, at least 100; 1,000 for MRR, MAP."
        ),
    ] = None,
    mode: options.Mode = "hybrid",
    where: options.WhereText = None,
    semantic_weight: options.SemanticWeight = None,
    fusion: options.Fusion = "standardised",
    diversity: options.Diversity = 0.0,
    per_query: Annotated[bool, typer.Option("--per-query", help="Also show each query's values.")] = False,
    as_json: options.Json = False,
) -> None:
    """Measure how well search answers judged queries.

    Measures are nDCG@10, R@100, MRR and MAP unless others are named.

    With --json: an object with queries (how many), mean, interval (95 %), what was left out and, with --per-query,
    per_query.
    """
    from nearfield.evaluate import DEFAULT_MEASURES

    asked: dict[str, Any] = {
        "mode": mode,
        "where": options.parse_where(where),
        "semantic_weight": semantic_weight,
        "fusion": fusion,
        "diversity": diversity,
        "k": k,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    with existing(path, encoding=mode != "lexical") as collection:
        report = collection.evaluate(queries, qrels, measures or DEFAULT_MEASURES, **given)
    if as_json:
        fields = report.to_dict()
        print_json(fields if per_query else {name: value for name, value in fields.items() if name != "per_query"})
        return
    typer.echo(str(report))
    if per_query:
        typer.echo()
        rows = (
            [query_id, *(f"{value:.4f}" for value in values.values())] for query_id, values in report.per_query.items()
        )
        print_table(("query", *report.mean), rows, right=tuple(report.mean))
