"""What commands write to stdout: JSON for programs, tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from nearfield.cli.text import one_line, visible

if TYPE_CHECKING:
    from rich.table import Table

    from nearfield.hits import Explanation, Hit, Hits

_SNIPPET = 240
_VALUE = 60


class Interrupted(Exception):
    """Ctrl-C, with what there is to say about it."""


def report(kind: str, message: str, as_json: bool) -> None:
    """Write an error to stderr: one line, or one JSON object."""
    line = json.dumps({"error": {"type": kind, "message": message}}) if as_json else f"Error: {one_line(message)}"
    typer.echo(line, err=True)


def print_json(value: Any) -> None:
    """Write one JSON document to stdout."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    typer.echo(json.dumps(value, ensure_ascii=not utf8, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Write a table to stdout, as wide as the terminal; cells are never read as markup."""
    table = _table(columns, right)
    for row in rows:
        table.add_row(*(_cell(str(value)) for value in row))
    _print(table)


def print_hits(hits: Hits, as_json: bool) -> None:
    """Write hits to stdout, best first: a JSON list, or a table of rank, score, doc_id, document and metadata."""
    if as_json:
        print_json(hits.to_dicts())
    elif not len(hits):
        typer.echo("No document matches.")
    else:
        _print(_hits_table(hits))


def _hits_table(hits: Hits) -> Table:
    from rich.text import Text

    some_metadata = any(hit.metadata for hit in hits)
    columns = ["#", "score", "doc_id", "document", *(["metadata"] if some_metadata else [])]
    table = _table(columns, right=("#", "score"))
    for rank, hit in enumerate(hits, 1):
        document = Text()
        if hit.title:
            document.append(one_line(hit.title), style="bold")
            document.append("\n")
        document.append(one_line(hit.passage.text, _SNIPPET))
        if hit.explanation:
            document.append("\n" + explained(hit.explanation), style="dim")
        cells = [Text(str(rank)), Text(f"{hit.score:.4f}"), _cell(hit.doc_id), document]
        table.add_row(*cells, *([_cell(_metadata(hit))] if some_metadata else []))
    return table


def explained(explanation: Explanation) -> str:
    """Return how a hit got its score, a line for each leg and one for the fusion."""
    lines = []
    for name, leg in explanation.legs.items():
        found = "not found" if leg.score is None else f"{leg.score:.4f}"
        rank = "" if leg.rank is None else f", rank {leg.rank}"
        lines.append(f"{name}: {found}{rank}, adds {leg.contribution:.4f} ({explanation.plan.get(name, '')})")
    if len(explanation.legs) > 1:
        lines.append(f"fused: {explanation.fusion}")
    return "\n".join(map(one_line, lines))


def _metadata(hit: Hit) -> str:
    return "\n".join(f"{one_line(name)}={plain(value, _VALUE)}" for name, value in hit.metadata.items())


def plain(value: object, width: int | None = None) -> str:
    """Return a metadata value for reading, on one line: strings as they are, others as JSON."""
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), width)


def print_fields(fields: Mapping[str, object]) -> None:
    """Write names and values to stdout, a line each."""
    print_table(("", ""), fields.items())


def _table(columns: Sequence[str], right: Sequence[str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_header=any(columns), pad_edge=False, show_edge=False)
    for name in columns:
        # doc_ids are there to be copied: they fold rather than lose their end.
        narrow = name in right or name == "doc_id"
        table.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=name in right)
        table.columns[-1].min_width = 4 if narrow else 1
    return table


def _cell(text: str) -> Any:
    from rich.text import Text

    return Text(visible(text))


def _print(table: Table) -> None:
    from rich.console import Console

    Console(markup=False, emoji=False, highlight=False, soft_wrap=False).print(table)
