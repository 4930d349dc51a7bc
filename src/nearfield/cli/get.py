"""`nearfield get`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import plain, print_fields, print_json
from nearfield.cli.text import one_line


def command(
    path: options.Path,
    doc_ids: Annotated[list[str], typer.Argument(metavar="DOC_ID", help="The documents, by their doc_ids.")],
    as_json: options.Json = False,
) -> None:
    """Show documents.

    With --json: a list of documents in the order asked for, each with doc_id, text, title and metadata.
    """
    with existing(path) as collection:
        documents = collection.get(doc_ids)
    if as_json:
        print_json([asdict(document) for document in documents])
        return
    for document in documents:
        fields: dict[str, object] = {"doc_id": document.doc_id}
        if document.title:
            fields["title"] = document.title
        fields |= {one_line(name): plain(value) for name, value in document.metadata.items()}
        print_fields({**fields, "text": document.text})
