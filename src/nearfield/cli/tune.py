"""`nearfield tune`."""

from __future__ import annotations

from typing import Annotated

import typer

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import print_json


def command(
    path: options.Path,
    queries: Annotated[
        str | None,
        typer.Option("--queries", metavar="FILE", help="Suit what users ask as well: BEIR JSON lines, or TREC."),
    ] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="FILE", help="Draw the curve, recall against time (.png or .svg).")
    ] = None,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Build and measure nothing; show what was measured before.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Bring the index of the vectors up to date, and show what each share of recall costs.

    That happens by itself too, while documents are added and at the end of the command that added them. The chosen
    effort is the cheapest that surely keeps the recall target that the collection was made with.

    With --json: an object with kind ("exact": every search scans all vectors), reason, recall_target, recall, interval
    (95 %), queries (how many it was measured with), chosen and curve: points of reach, candidates, recall, low, high
    and milliseconds, for 10 hits.
    """
    with existing(path, encoding=queries is not None) as collection:
        tuned = collection.tune(queries, build=not no_build)
    if plot is not None:
        tuned.plot(plot)
    if as_json:
        print_json(tuned.to_dict())
    else:
        typer.echo(str(tuned))
