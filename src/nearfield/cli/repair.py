"""`nearfield repair`."""

from __future__ import annotations

import typer

from nearfield.cli import options
from nearfield.cli.output import print_json
from nearfield.cli.text import one_line


def command(path: options.Path, encoder: options.EncoderName = None, as_json: options.Json = False) -> None:
    """Mend a damaged collection, and say what was made anew, and which documents were lost, if any.

    What is derived is built again; documents whose vectors are damaged are encoded again. What was replaced or lost is
    kept in the folder damaged/ of the collection. Nobody should have the collection open meanwhile.

    With --json: an object with path, documents, rebuilt, lost (reasons by doc_id), remains and complete.
    """
    from nearfield.health import repair

    repaired = repair(path, encoder)
    if as_json:
        print_json(repaired.to_dict())
        return
    for what in repaired.rebuilt:
        typer.echo(f"Made anew: {one_line(what)}")
    for doc_id, reason in repaired.lost.items():
        typer.echo(f"Lost: {one_line(repr(doc_id))}, which {one_line(reason)}")
    if not repaired.complete:
        typer.echo("More documents may be lost, of which not even the doc_id could be read.")
    if repaired.remains:
        typer.echo(f"What was replaced or lost is in {repaired.remains}")
    done = f"{len(repaired.lost):,} documents were lost" if repaired.lost else "nothing is lost"
    typer.echo(f"{path}: {repaired.documents:,} documents; {done if repaired.rebuilt else 'nothing was wrong'}.")
