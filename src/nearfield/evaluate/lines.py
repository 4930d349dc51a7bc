"""Reading text files line by line, so that every error names the file and the line."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeAlias, cast

from nearfield.errors import InvalidInput

Line: TypeAlias = tuple[int, str]


def read_lines(path: str | os.PathLike[str]) -> Iterator[Line]:
    """Yield `(line number from 1, text)`; blank lines are left out, `.gz` is decompressed.

    Raises:
        InvalidInput: the file can't be opened or decompressed, or a line is not UTF-8.
    """
    number = 0
    try:
        with _open(Path(path)) as stream:
            for number, raw in enumerate(stream, start=1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield number, text
    except UnicodeDecodeError as error:
        raise failure(path, number, "UTF-8 text", f"{error.reason} at byte {error.start}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{os.fspath(path)} can't be read: {error}; give the path of a text or .gz file") from error


def read_rows(path: str | os.PathLike[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield `(line number, cells)`: of a CSV file as RFC 4180 quotes it, else of unquoted tab-separated rows.

    Raises:
        InvalidInput: as `read_lines`, or a quotation mark of a CSV file that isn't closed.
    """
    if suffix(path) == ".csv":
        yield from _csv_rows(path)
        return
    for number, text in read_lines(path):
        yield number, [cell.strip() for cell in text.split("\t")]


def _csv_rows(path: str | os.PathLike[str]) -> Iterator[tuple[int, list[str]]]:
    lines = list(read_lines(path))
    reader = csv.reader((f"{text}\n" for _, text in lines), strict=True)
    place = 0  # of the line that the next row starts on: a quoted cell may go over several
    try:
        for row in reader:
            yield lines[place][0], [cell.strip() for cell in row]
            place = reader.line_num
    except csv.Error as error:
        raise failure(path, lines[place][0], f"a CSV row ({error})", lines[place][1]) from error


def suffix(path: str | os.PathLike[str]) -> str:
    """Return the file's suffix in lower case, that of the decompressed file for `.gz`.

    >>> suffix("runs/BM25.TSV.gz")
    '.tsv'
    """
    name = Path(path).name.lower().removesuffix(".gz")
    return Path(name).suffix


def failure(path: str | os.PathLike[str], line: int, expected: str, given: str) -> InvalidInput:
    """Return the error for a malformed line: the file, the line, what was expected and what was given."""
    shown = given if len(given) <= 80 else f"{given[:77]}..."
    return InvalidInput(f"{os.fspath(path)}, line {line}: expected {expected}; got: {shown}")


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")
