"""`nearfield import`."""  # noqa: N999 - the command's name; it is imported by its name as a str

from __future__ import annotations

import time
from typing import Annotated

import typer

from nearfield.cli import options
from nearfield.cli.output import Interrupted, print_json
from nearfield.cli.progress import progress_bar


def command(
    path: options.Path,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A Parquet file that export wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace documents whose doc_id exists; else that is an error.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Add the documents of a Parquet file that export wrote, with their vectors as they are.

    The collection is made if there is none, for the encoder that made the vectors; no text is encoded. Every row is
    checked before the first is stored; then each batch is committed on its own. Other Parquet files are for add.

    With --json: an object with written, documents (how many the collection holds) and seconds.
    """
    from nearfield import parquet
    from nearfield.collection import Collection

    started = time.monotonic()
    with parquet.open_export(file) as source:
        with progress_bar("Checking") as show:
            source.check(show)
        engine = parquet.engine_for(path, source)
        with Collection(engine) as collection:
            try:
                with progress_bar("Writing") as show:
                    written = parquet.import_into(
                        engine, lambda: collection.encoder, source, replace=replace, progress=show
                    )
            except KeyboardInterrupt:
                kept = f"{path} holds {len(collection):,} documents, every one of them complete"
                raise Interrupted(f"interrupted; {kept}") from None
            documents = len(collection)
    seconds = time.monotonic() - started
    if as_json:
        print_json({"written": written, "documents": documents, "seconds": round(seconds, 3)})
    else:
        rate = written / max(seconds, 1e-9)
        typer.echo(
            f"Wrote {written:,} documents in {seconds:.1f} s ({rate:,.0f} a second); {path} holds {documents:,}."
        )
