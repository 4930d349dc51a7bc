"""`nearfield export`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import print_json
from nearfield.cli.progress import progress_bar


def command(
    path: options.Path,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The Parquet file to write; replaced if there is one.")],
    where: options.WhereText = None,
    as_json: options.Json = False,
) -> None:
    """Write the documents, with their metadata and vectors, to a Parquet file.

    pandas, polars and DuckDB read it, and import brings it back without encoding anything. It is one state of the
    collection, whatever is written meanwhile. The file appears when it is whole; one that was there stays until then.

    With --json: an object with written (how many documents), bytes and seconds.
    """
    condition = options.parse_where(where)
    started = time.monotonic()
    with existing(path) as collection, progress_bar("Exporting") as show:
        written = collection.export_parquet(file, where=condition, progress=show)
    seconds, size = time.monotonic() - started, Path(file).expanduser().stat().st_size
    if as_json:
        print_json({"written": written, "bytes": size, "seconds": round(seconds, 3)})
    else:
        typer.echo(f"Exported {written:,} documents to {file} in {seconds:.1f} s ({size:,} bytes).")
