"""`nearfield migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import print_json
from nearfield.cli.progress import progress_bar
from nearfield.errors import InvalidInput


def command(
    path: options.Path,
    encoder: Annotated[
        str | None, typer.Option("--encoder", metavar="NAME", help="The other encoder: a model's name or folder.")
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option("--queries", metavar="FILE", help="Compare with these queries first: BEIR JSON lines, or TREC."),
    ] = None,
    qrels: Annotated[
        str | None, typer.Option("--qrels", metavar="FILE", help="Judgements of the queries: BEIR TSV, or TREC.")
    ] = None,
    measures: Annotated[
        list[str] | None,
        typer.Option("--measure", metavar="NAME", help="With judgements; nDCG@10 if not given; may be repeated."),
    ] = None,
    no_switch: Annotated[
        bool, typer.Option("--no-switch", help="Stop before the switch; without it, the same command then switches.")
    ] = False,
    replace_given: Annotated[
        bool, typer.Option("--replace-given", help="Encode the texts of documents whose vectors were given.")
    ] = False,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="Remove what an unfinished migration has made, and do nothing else.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Encode every document with another encoder, then use its vectors.

    The collection answers with its old vectors until all new ones are made, and other processes may read and write it
    meanwhile; only the switch needs that no other process is writing. If the command is ended, the same one goes on
    where it was.

    With --json: an object with old_encoder, new_encoder, documents, encoded (by this run), switched, already (there was
    nothing to do) and comparison; with --give-up, given_up.
    """
    if give_up == (encoder is not None):
        raise InvalidInput("migrate needs --encoder, or --give-up, one of the two")
    with existing(path) as collection:
        if encoder is None:
            given_up = collection.give_up_migration()
            if as_json:
                print_json({"given_up": given_up})
            else:
                typer.echo("What the migration had made is removed." if given_up else "There is no migration.")
            return
        with progress_bar("Encoding") as show:
            report = collection.migrate(
                encoder,
                switch=not no_switch,
                queries=queries,
                qrels=qrels,
                measures=measures or ["nDCG@10"],
                replace_given=replace_given,
                progress=show,
            )
    if as_json:
        print_json(report.to_dict())
    else:
        typer.echo(str(report))
