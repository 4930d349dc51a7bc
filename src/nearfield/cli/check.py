"""`nearfield check`."""

from __future__ import annotations

import typer

from nearfield.cli import options
from nearfield.cli.output import print_json
from nearfield.cli.text import one_line
from nearfield.errors import CorruptCollection, exit_code


def command(path: options.Path, as_json: options.Json = False) -> None:
    """Read every file of a collection, and say what is wrong with it; the exit code is 6 if something is.

    The collection need not be one that can be opened. Nothing is changed, and a writer may be at work meanwhile.

    With --json: an object with ok, documents, passages, generation, problems (file, what, doc_ids) and notes.
    """
    from nearfield.health import check

    health = check(path)
    if as_json:
        print_json(health.to_dict())
    else:
        for problem in health.problems:
            typer.echo(one_line(str(problem)))
        for note in health.notes:
            typer.echo(f"Note: {one_line(note)}")
        counts = f"{health.documents:,} documents with {health.passages:,} passages"
        found = f"{len(health.problems)} problems; see `nearfield repair`" if health.problems else "nothing is wrong"
        typer.echo(f"{path}: {counts}: {found}.")
    if not health.ok:
        raise typer.Exit(exit_code(CorruptCollection()))
