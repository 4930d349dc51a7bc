"""`nearfield recommend`."""

from __future__ import annotations

from typing import Annotated

import typer

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import print_hits


def command(
    path: options.Path,
    liked: Annotated[
        list[str] | None, typer.Option("--liked", metavar="DOC_ID", help="A document to be near to; may be repeated.")
    ] = None,
    disliked: Annotated[
        list[str] | None,
        typer.Option("--disliked", metavar="DOC_ID", help="A document to be far from; may be repeated."),
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", metavar="TEXT", help="A wish in words; counts as one liked document.")
    ] = None,
    k: options.K = 10,
    strategy: Annotated[
        str,
        typer.Option(
            "--strategy",
            metavar="KIND",
            autocompletion=lambda: list(options.STRATEGIES),
            help="average (the mean of the tastes) or best (the nearest of them).",
        ),
    ] = "average",
    where: options.WhereText = None,
    diversity: options.Diversity = 0.0,
    as_json: options.Json = False,
) -> None:
    """Find the documents that fit tastes or a wish, without those that are named.

    With --json: a list of hits, as search gives.
    """
    condition = options.parse_where(where)
    with existing(path, encoding=query is not None) as collection:
        hits = collection.recommend(
            liked=liked or [],
            disliked=disliked or [],
            query=query,
            k=k,
            strategy=strategy,
            where=condition,
            diversity=diversity,
        )
    print_hits(hits, as_json)
