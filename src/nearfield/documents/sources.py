"""Files, folders and stdin as streams of checked text, gzipped or not."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from nearfield.errors import InvalidInput

SUFFIXES = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
    ".txt": "text", ".text": "text", ".md": "markdown", ".markdown": "markdown",
}  # fmt: skip
FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "text", "lines", "markdown")

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read.

    Args:
        path: Where it is, as the user wrote it; "-" is stdin.
        name: What it is called in its folder: the relative path, with slashes.
        format: One of `FORMATS`; "" for stdin whose format is to be found from its first character.
    """

    path: str
    name: str
    format: str


def find_sources(
    paths: Iterable[str | os.PathLike[str]],
    format: str | None = None,  # noqa: A002
) -> list[Source]:
    """Return the files that paths name: a file itself, a folder's files sorted by path, "-" for stdin.

    A folder gives its files at every depth that aren't hidden and have a known suffix (with or without .gz); with a
    `format`, those with any suffix. Links to folders are not followed.

    Raises:
        InvalidInput: a path doesn't exist, a folder has nothing to read, or a file's format can't be told.
    """
    if format is not None and format not in FORMATS:
        raise InvalidInput(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    found: list[Source] = []
    for path in [os.fspath(path) for path in paths]:
        if path == "-":
            found.append(Source("-", "-", format or ""))
        elif Path(path).is_dir():
            found += _in_folder(path, format)
        elif not Path(path).exists():
            raise InvalidInput(f"no file or folder {path!r}; check the path")
        else:
            found.append(Source(path, Path(path).as_posix(), format or _told(path)))
    if not found:
        raise InvalidInput("expected at least one file or folder to read, got none; '-' reads stdin")
    if [source.path for source in found].count("-") > 1:
        raise InvalidInput("stdin ('-') can be read once only, got it twice")
    return found


def _in_folder(folder: str, stated: str | None) -> list[Source]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if not name.startswith(".") and path.is_file() and (stated or _suffix(name) in SUFFIXES):
                kind = stated or SUFFIXES[_suffix(name)]
                found.append(Source(str(path), path.relative_to(folder).as_posix(), kind))
    if not found:
        wanted = "no files" if stated else f"no files that end in {', '.join(SUFFIXES)} (or these with .gz)"
        raise InvalidInput(f"{folder}: {wanted}; state another folder, or the format of its files")
    return sorted(found, key=lambda source: source.name.split("/"))


def _told(path: str) -> str:
    if _suffix(path) not in SUFFIXES:
        raise InvalidInput(f"{path}: its name doesn't tell its format; state one of {', '.join(FORMATS)}")
    return SUFFIXES[_suffix(path)]


def _suffix(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).suffix


@contextmanager
def open_bytes(source: Source) -> Iterator[IO[bytes]]:
    """Open a source as a stream of its bytes, decompressed if it is gzipped, whatever its name.

    Raises:
        InvalidInput: it can't be opened or read, or its gzip data is damaged or ends early; names the file.
    """
    try:
        with _opened(source) as raw:
            if raw.peek(2)[:2] == _GZIP:
                yield cast("IO[bytes]", gzip.GzipFile(fileobj=raw, mode="rb"))
            else:
                yield raw
    except EOFError:
        raise InvalidInput(f"{source.path}: its gzip data ends early; the file is truncated") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InvalidInput(f"{source.path}: its gzip data is damaged ({error})") from None
    except OSError as error:
        raise InvalidInput(f"{source.path}: can't be read ({error.strerror or error})") from None


@contextmanager
def _opened(source: Source) -> Iterator[io.BufferedReader]:
    if source.path == "-":
        # Not closed: stdin belongs to the process.
        if sys.stdin is None:
            raise InvalidInput("-: standard input is closed; name a file")
        stream = sys.stdin.buffer
        yield stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", stream))
    else:
        with Path(source.path).open("rb") as file:
            yield file


@contextmanager
def seekable(source: Source) -> Iterator[IO[bytes]]:
    """Open a source as bytes that can be read several times; stdin and gzip go through a temporary file."""
    with open_bytes(source) as stream:
        if source.path != "-" and not isinstance(stream, gzip.GzipFile) and stream.seekable():
            yield stream
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(stream, copy, _CHUNK)
            copy.seek(0)
            yield copy


def text_chunks(stream: IO[bytes], path: str) -> Iterator[str]:
    """Yield the text of a UTF-8 stream piece by piece, without a byte order mark.

    Raises:
        InvalidInput: it is not UTF-8, or has a NUL; names the file and the byte, counting from 0.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    read = getattr(stream, "read1", stream.read)  # read1 gives what a pipe has, without waiting for more
    at = 0
    while True:
        chunk = read(_CHUNK)
        if at == 0 and chunk[:2] in _UTF16:
            raise InvalidInput(f"{path}: expected UTF-8, got UTF-16; convert it first, e.g. with iconv")
        nul = chunk.find(b"\0")
        if nul >= 0:
            raise InvalidInput(f"{path}: has a NUL at byte {at + nul}; it is no text file, or needs cleaning first")
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            place = at - pending + error.start
            raise InvalidInput(
                f"{path}: expected UTF-8, but byte {place} (0x{byte:02x}) is not; convert it first, e.g. with iconv"
            ) from None
        if text:
            yield text
        if not chunk:
            return
        at += len(chunk)


def lines(chunks: Iterable[str]) -> Iterator[str]:
    r"""Yield the lines of a text that comes in pieces, each with its "\n".

    >>> list(lines(["Hel", "lo\nwo", "rld"]))
    ['Hello\n', 'world']
    """
    begun: list[str] = []
    for chunk in chunks:
        first, *rest = chunk.split("\n")
        begun.append(first)
        if rest:
            yield "".join(begun) + "\n"
            yield from (line + "\n" for line in rest[:-1])
            begun = [rest[-1]]
    if any(begun):
        yield "".join(begun)
