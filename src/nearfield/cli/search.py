"""`nearfield search`."""

from __future__ import annotations

from typing import Annotated

import typer

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import print_hits


def command(
    path: options.Path,
    query: Annotated[list[str], typer.Argument(metavar="QUERY", help="What to look for; words are joined.")],
    k: options.K = 10,
    mode: options.Mode = "hybrid",
    where: options.WhereText = None,
    semantic_weight: options.SemanticWeight = None,
    fusion: options.Fusion = "standardised",
    diversity: options.Diversity = 0.0,
    explain: Annotated[bool, typer.Option("--explain", help="Say how each hit got its score.")] = False,
    as_json: options.Json = False,
) -> None:
    """Find the documents that match a query best.

    With --json: a list of hits, best first, each with doc_id, score, text, title, metadata and passage.
    """
    condition = options.parse_where(where)
    with existing(path, encoding=mode != "lexical") as collection:
        hits = collection.search(
            " ".join(query),
            k=k,
            mode=mode,
            where=condition,
            semantic_weight=semantic_weight,
            fusion=fusion,
            diversity=diversity,
            explain=explain,
        )
    print_hits(hits, as_json)
