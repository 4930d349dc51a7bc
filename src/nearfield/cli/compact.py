"""`nearfield compact`."""

from __future__ import annotations

import typer

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import print_json


def command(path: options.Path, as_json: options.Json = False) -> None:
    """Free the space of deleted and replaced documents now.

    It happens by itself, in small steps after writes, when a fifth of the space is dead.

    With --json: an object with before and after, bytes on disk.
    """
    with existing(path) as collection:
        before = sum(collection.stats().bytes.values())
        after = sum(collection.compact().bytes.values())
    if as_json:
        print_json({"before": before, "after": after})
    else:
        typer.echo(f"{path} took {before:,} bytes, and takes {after:,}.")
