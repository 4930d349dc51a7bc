"""`nearfield delete`."""

from __future__ import annotations

from typing import Annotated

import typer

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import print_json


def command(
    path: options.Path,
    doc_ids: Annotated[list[str] | None, typer.Argument(metavar="DOC_ID", help="The documents to delete.")] = None,
    where: options.WhereText = None,
    as_json: options.Json = False,
) -> None:
    """Delete documents, by their doc_ids or by a condition on their metadata.

    All of them or none: an unknown doc_id is an error, and nothing is deleted.

    With --json: an object with deleted (how many there were) and documents (how many are left).
    """
    condition = options.parse_where(where)
    with existing(path) as collection:
        deleted = collection.delete(doc_ids or None, where=condition)
        left = len(collection)
    if as_json:
        print_json({"deleted": deleted, "documents": left})
    else:
        typer.echo(f"Deleted {deleted:,} documents; {left:,} are left.")
