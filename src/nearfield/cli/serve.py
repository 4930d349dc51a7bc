"""`nearfield serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from nearfield.cli import options
from nearfield.cli.output import print_json


def command(
    path: options.Path,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; there is no authentication.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", help="Port to listen on; 0 takes a free one.")] = 8000,
    cache_size: Annotated[
        int, typer.Option("--cache-size", metavar="N", help="Most answers to keep; 0 keeps none.")
    ] = 1024,
    max_body: Annotated[int, typer.Option("--max-body", metavar="BYTES", help="Most bytes of a request's body.")] = 16
    * 2**20,
    vector_cache: options.VectorCache = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse to add, replace and delete.")] = False,
    as_json: options.Json = False,
) -> None:
    """Serve the collection over HTTP until Ctrl-C.

    A line says where, once it listens. With --json: an object with message, the same line.
    """
    from nearfield.serve import run

    def announce(line: str) -> None:
        if as_json:
            print_json({"message": line})
        else:
            typer.echo(line)

    run(
        path,
        host=host,
        port=port,
        vector_cache=vector_cache,
        announce=announce,
        cache_size=cache_size,
        max_body=max_body,
        read_only=read_only,
    )
