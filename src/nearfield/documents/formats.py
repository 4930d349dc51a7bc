"""The rows of a file in each format: where they are, and their fields."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeAlias

from nearfield.documents.frames import plain_row
from nearfield.documents.jsonlist import JsonList
from nearfield.documents.sources import Source, lines, open_bytes, seekable, text_chunks
from nearfield.errors import InvalidInput
from nearfield.extras import load_extra

Row: TypeAlias = dict[str, Any]
Rows: TypeAlias = Iterator[tuple[str, Row]]
"""Where a row is ("articles.csv:17"), and its fields."""

_INTEGER = re.compile(r"-?(0|[1-9]\d{0,14})")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,2})?")
_HEADING = re.compile(r"#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*")
_FIELD = re.compile(r"([A-Za-z_][\w.-]*):[ \t]*(.*)")


class NumberCell(str):
    """A cell of a CSV column of numbers: metadata takes its `number`, while an id, title or text stays as written."""

    __slots__ = ()

    @property
    def number(self) -> int | float:
        """The cell's value."""
        return _number(self)


def read_rows(source: Source) -> Rows:
    """Yield the rows of a file, with where each is.

    Raises:
        InvalidInput: the file is malformed or empty; the message names the file and the line.
        MissingDependency: a Parquet file, and no pyarrow.
    """
    empty = True
    for row in READERS[source.format](source):
        empty = False
        yield row
    if empty:
        raise InvalidInput(f"{source.path}: holds no documents; leave it out")


def _jsonl(source: Source) -> Rows:
    with open_bytes(source) as stream:
        yield from _json_lines(text_chunks(stream, source.path), source.path)


def _json_lines(chunks: Iterable[str], path: str) -> Rows:
    for number, line in enumerate(lines(chunks), 1):
        if line.strip():
            place = f"{path}:{number}"
            yield place, _json_row(_parse(line, place), place)


def _json(source: Source) -> Rows:
    """Yield the elements of a list one by one; a file that starts with an object is read as JSON lines."""
    with open_bytes(source) as stream:
        chunks = text_chunks(stream, source.path)
        begun = ""
        while not begun.strip():
            chunk = next(chunks, "")
            if not chunk:
                return
            begun += chunk
        chunks = chain([begun], chunks)
        first = begun.lstrip()[0]
        if first in '{"':
            yield from _json_lines(chunks, source.path)
        elif first == "[" or source.format:
            for line, value in JsonList(chunks, source.path):
                place = f"{source.path}:{line}"
                yield place, _json_row(value, place)
        else:
            raise InvalidInput("stdin: expected JSON, got something else; state its format: lines, csv, text, ...")


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise InvalidInput(f"{place}: nested too deeply") from None
    except ValueError as error:
        raise InvalidInput(f"{place}: not valid JSON: {error}") from None


def _json_row(value: Any, place: str) -> Row:
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict):
        raise InvalidInput(f"{place}: expected an object with a field for the text, got {str(value)[:40]!r}")
    return value


def _delimited(delimiter: str) -> Callable[[Source], Rows]:
    def read(source: Source) -> Rows:
        with seekable(source) as stream:
            numeric = _numeric_columns(_cells(stream, source.path, delimiter))
            stream.seek(0)
            for place, row in _cells(stream, source.path, delimiter):
                yield (
                    place,
                    {name: NumberCell(cell) if cell and name in numeric else cell for name, cell in row.items()},
                )

    return read


def _cells(stream: IO[bytes], path: str, delimiter: str) -> Rows:
    """Yield the rows as strings; an empty cell is None."""
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 28))  # the default refuses texts over 128 KiB
    reader = csv.reader(lines(text_chunks(stream, path)), delimiter=delimiter, strict=True)
    header: list[str] = []
    line = 1
    try:
        for cells in reader:
            place, line = f"{path}:{line}", reader.line_num + 1
            if not header:
                header = _header(cells, place)
            elif cells and len(cells) != len(header):
                raise InvalidInput(f"{place}: expected {len(header)} cells as in the header, got {len(cells)}")
            elif cells:
                yield place, {name: cell or None for name, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        raise InvalidInput(f"{path}:{line}: not valid CSV: {error}") from None


def _header(cells: list[str], place: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if not all(names) or len(set(names)) < len(names):
        raise InvalidInput(f"{place}: expected a header with different names, got {cells}")
    return names


def _numeric_columns(rows: Rows) -> set[str]:
    """Return the columns of which every cell is a number; "007" and long digit strings are names, not numbers."""
    numeric: dict[str, bool] = {}
    for _, row in rows:
        for name, cell in row.items():
            if cell is not None and numeric.get(name, True):
                numeric[name] = _is_number(cell)
    return {name for name, holds in numeric.items() if holds}


def _is_number(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell)) and (not cell.lstrip("-").isdigit() or bool(_INTEGER.fullmatch(cell)))


def _number(cell: str) -> int | float:
    return int(cell) if _INTEGER.fullmatch(cell) else float(cell)


def _parquet(source: Source) -> Rows:
    parquet = pyarrow_parquet()
    with seekable(source) as stream:
        try:
            # Buffered ahead, the whole file would be in memory.
            file = parquet.ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False)
            if b"nearfield" in (file.schema_arrow.metadata or {}):
                raise InvalidInput(
                    f"{source.path} is the export of a collection; `nearfield import` brings it back with its vectors"
                )
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{source.path}: row {number}", {**dict.fromkeys(row), **plain_row(row)}
        except (OSError, ValueError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"{source.path}: not a readable Parquet file ({error})") from None


def pyarrow_parquet() -> Any:
    """Return pyarrow's Parquet module.

    Raises:
        MissingDependency: pyarrow is not installed.
    """
    return load_extra("pyarrow.parquet", "frames", "reading Parquet")


def _text(source: Source) -> Rows:
    yield source.path, {"doc_id": source.name, "text": _whole(source), "path": source.path}


def _lines_format(source: Source) -> Rows:
    with open_bytes(source) as stream:
        for number, line in enumerate(lines(text_chunks(stream, source.path)), 1):
            if line.strip():
                yield f"{source.path}:{number}", {"text": line.rstrip("\r\n")}


def _whole(source: Source) -> str:
    with open_bytes(source) as stream:
        return "".join(text_chunks(stream, source.path)).replace("\r\n", "\n")


def _markdown(source: Source) -> Rows:
    fields, text = split_front_matter(_whole(source))
    if not isinstance(fields.get("title"), str):
        fields["title"] = first_heading(text)
    yield source.path, {**fields, "doc_id": source.name, "text": text, "path": source.path}


def first_heading(text: str) -> str:
    """Return the text of the first Markdown heading outside fenced code, "" if there is none.

    >>> first_heading("# Getting started #\\n\\nInstall it.")
    'Getting started'
    """
    fence = ""
    for line in text.splitlines():
        mark = line.lstrip()[:3]
        if mark in ("```", "~~~") and fence in ("", mark):
            fence = "" if fence else mark
        elif not fence and (match := _HEADING.fullmatch(line)):
            return match[1]
    return ""


def split_front_matter(text: str) -> tuple[Row, str]:
    """Return the fields of simple YAML front matter, and the text below it.

    Simple means lines of `key: value` with plain values. Other front matter is left in the text: nothing is lost.

    >>> split_front_matter("---\\ntitle: Intro\\nyear: 2024\\n---\\nHello")
    ({'title': 'Intro', 'year': 2024}, 'Hello')
    """
    lines = text.split("\n")
    if lines[0].rstrip() != "---" or "---" not in (line.rstrip() for line in lines[1:]):
        return {}, text
    end = next(number for number, line in enumerate(lines) if number and line.rstrip() == "---")
    fields: Row = {}
    for line in filter(str.strip, lines[1:end]):
        match = _FIELD.fullmatch(line.rstrip())
        if not match or not match[2] or match[2][0] in "[{|>&*!" or match[1] in ("doc_id", "text", "path", *fields):
            return {}, text
        fields[match[1]] = _plain_value(match[2])
    return fields, "\n".join(lines[end + 1 :])


def _plain_value(value: str) -> str | int | float | bool:
    if value in ("true", "false"):
        return value == "true"
    if _is_number(value):
        return _number(value)
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


READERS: dict[str, Callable[[Source], Rows]] = {
    "": _json, "jsonl": _jsonl, "json": _json, "csv": _delimited(","), "tsv": _delimited("\t"),
    "parquet": _parquet, "text": _text, "lines": _lines_format, "markdown": _markdown,
}  # fmt: skip


def count_rows(source: Source) -> int | None:
    """Return how many rows a file has if that is quick to know, else None; malformed files raise when they are read."""
    if source.path == "-" or source.format == "json" or not Path(source.path).is_file():
        return None
    if source.format in ("text", "markdown"):
        return 1
    if source.format == "parquet":
        with seekable(source) as stream:
            return int(pyarrow_parquet().ParquetFile(stream).metadata.num_rows)
    with open_bytes(source) as stream:
        if source.format in ("csv", "tsv"):
            delimiter = "," if source.format == "csv" else "\t"
            return sum(1 for _ in _cells(stream, source.path, delimiter))
        return sum(1 for line in lines(text_chunks(stream, source.path)) if line.strip())
