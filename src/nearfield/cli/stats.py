"""`nearfield stats`."""

from __future__ import annotations

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import plain, print_fields, print_json


def command(path: options.Path, as_json: options.Json = False) -> None:
    """Show counts, bytes on disk and the kind of index.

    With --json: an object.
    """
    with existing(path) as collection:
        stats = collection.stats().to_dict()
    if as_json:
        print_json(stats)
    else:
        print_fields({name.replace("_", " "): _shown(value) for name, value in stats.items()})


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_shown(part)}" for name, part in value.items()) or "none"
    return f"{value:,}" if type(value) is int else plain(value)
