"""`nearfield restore`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from nearfield.cli import options
from nearfield.cli.snapshot import show


def command(
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="The snapshot's folder.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Where the collection is to be; absent or empty.")],
    as_json: options.Json = False,
) -> None:
    """Make a collection from a snapshot, checked, with its index built.

    With --json: an object with path, documents, passages, generation, copied_bytes, kept_bytes and seconds.
    """
    from nearfield.health import restore

    started = time.monotonic()
    restored = restore(snapshot, path)
    show("Restored", restored, path, time.monotonic() - started, as_json)
