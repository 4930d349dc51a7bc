"""`nearfield stats`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import plain, print_fields, print_json


def command(path: options.Path, as_json: options.Json = False) -> None:
    """Show counts, bytes on disk, and the index of the vectors with its recall.

    With --json: an object.
    """
    with existing(path) as collection:
        stats = collection.stats().to_dict()
    if as_json:
        print_json(stats)
    else:
        fields = {name.replace("_", " "): _shown(value) for name, value in stats.items()}
        print_fields(fields | {"index": _index(stats["index"])})


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_shown(part)}" for name, part in value.items()) or "none"
    return f"{value:,}" if type(value) is int else plain(value)


def _index(told: Mapping[str, Any]) -> str:
    lines = {
        "kind": f"{told['kind']} ({told['asked']} was asked for)",
        "why": told["reason"],
        "recall target": f"{told['recall_target']:g}",
        "recall": _recall(told),
        **{name: f"{told[name]:,} vectors" for name in ("indexed", "scanned", "pending", "dead")},
        "memory": f"{told.get('memory_bytes', 0):,} bytes",
        "building": told["building"],
        "failure": told["failure"],
    }
    return "\n".join(f"{name}: {plain(text)}" for name, text in lines.items() if text)


def _recall(told: Mapping[str, Any]) -> str:
    if "recall_queries" not in told:
        return "1, by an exact scan"
    low, high = told["recall_interval"]
    return f"{told['recall']:.4f}, 95 % interval {low:.4f} to {high:.4f}, of {told['recall_queries']:,} queries"
