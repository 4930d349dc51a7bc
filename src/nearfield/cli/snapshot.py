"""`nearfield snapshot`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import print_json

if TYPE_CHECKING:
    from nearfield.engine.reports import Snapshot


def command(
    path: options.Path,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A folder: absent, empty, or an older snapshot.")],
    as_json: options.Json = False,
) -> None:
    """Copy a collection as it is now, and check the copy; an older snapshot in TARGET is brought up to date.

    The copy is itself a collection. Writers may be at work meanwhile. Only vectors that TARGET lacks are copied, and
    the older snapshot stays whole until the new one is.

    With --json: an object with path, documents, passages, generation, copied_bytes, kept_bytes and seconds.
    """
    started = time.monotonic()
    with existing(path) as collection:
        snapshot = collection.snapshot(target)
    show("Copied", snapshot, target, time.monotonic() - started, as_json)


def show(done: str, snapshot: Snapshot, target: str, seconds: float, as_json: bool) -> None:
    """Write what a snapshot, or a restored collection, holds."""
    if as_json:
        print_json({**snapshot.to_dict(), "seconds": round(seconds, 3)})
        return
    kept = f"; {snapshot.kept_bytes:,} bytes were there already" if snapshot.kept_bytes else ""
    sizes = f"{snapshot.copied_bytes:,} bytes{kept}"
    typer.echo(f"{done} {snapshot.documents:,} documents to {target} in {seconds:.1f} s ({sizes}).")
