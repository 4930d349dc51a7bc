"""`nearfield similar`."""

from __future__ import annotations

from typing import Annotated

import typer

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import print_hits


def command(
    path: options.Path,
    doc_id: Annotated[str, typer.Argument(metavar="DOC_ID", help="The document to compare with.")],
    k: options.K = 10,
    where: options.WhereText = None,
    diversity: options.Diversity = 0.0,
    as_json: options.Json = False,
) -> None:
    """Find the documents nearest to a document, without itself.

    With --json: a list of hits, as search gives.
    """
    condition = options.parse_where(where)
    with existing(path) as collection:
        hits = collection.similar(doc_id, k=k, where=condition, diversity=diversity)
    print_hits(hits, as_json)
