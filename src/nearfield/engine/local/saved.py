"""What a process holds of the documents in memory, saved so that the next one opens quickly.

Derived: a folder `columns/NNNNNN` that never changes once columns/marker.json names it. It holds the arrays of one
state without its deleted documents, and the fields of the metadata as codes and distinct values; documents that came
later are read from the tables. docs/formats.md describes the files.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.durable import read_json, sync_folder, write_json
from nearfield.engine.local.database import rising, session_of
from nearfield.engine.local.state import State
from nearfield.errors import CorruptCollection
from nearfield.filters import MISSING, Value, look_up
from nearfield.stages import stage

VERSION = 1
READ_AT_ONCE = 1000

MOST_FIELDS = 64
"""Fields that are saved; a condition on another one reads it from the tables."""

_ARRAYS = ("keys", "firsts", "counts")
_PLACES, _CODES = np.dtype("<i8"), np.dtype("<i4")


@dataclass(frozen=True, slots=True)
class Marker:
    """What was saved.

    Args:
        version: Of these files.
        folder: Name of the folder.
        generation: Of the state.
        next_key: Keys below it were considered.
        session: Who wrote that generation: a database that was restored from a backup has another.
        documents: How many there are.
        complete: Whether every field is there; one that is not is then in no document.
        fields: The names of the fields; the n-th is in field-n.npy and field-n.json.
        files: Size and CRC-32 of each file.
    """

    version: int
    folder: str
    generation: int
    next_key: int
    session: str
    documents: int
    complete: bool
    fields: list[str]
    files: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Saved:
    """A state as it was saved: `keys`, `firsts`, `counts`, int64 `(documents,)`; and columns, read when asked for."""

    path: Path
    marker: Marker
    keys: NDArray[np.int64]
    firsts: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def next_key(self) -> int:
        """Keys below it were considered."""
        return self.marker.next_key

    def column(self, field: str) -> tuple[NDArray[np.int32], list[Value]] | None:
        """Return a field's codes, int32 `(documents,)`, and the values that the codes from 1 on stand for.

        None: the field was not saved, and may be in some document.
        """
        if field not in self.marker.fields:
            return (np.zeros(len(self.keys), np.int32), []) if self.marker.complete else None
        number = self.marker.fields.index(field)
        folder = self.path / self.marker.folder
        try:
            values = json.loads(_checked(folder / f"field-{number}.json", self.marker))
            return _array(folder / f"field-{number}.npy", self.marker), values
        except CorruptCollection:
            if marker_of(self.path) != self.marker:  # another process has saved anew, and removed these files
                return None
            raise


def marker_of(path: Path) -> Marker | None:
    """Return what the folder says it holds; None if there is nothing, or of another version.

    Raises:
        CorruptCollection: the marker can't be read.
    """
    file = path / "marker.json"
    try:
        content = read_json(file)
        if content["version"] != VERSION:
            return None
        marker = Marker(**content)
        if any(not isinstance(getattr(marker, f.name), _TYPES[f.name]) for f in fields(Marker)):
            raise TypeError("values of other types")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptCollection(f"{file} can't be read ({error!r}); {_remedy(path)}") from error
    return marker


_TYPES: dict[str, type] = {
    "version": int, "folder": str, "generation": int, "next_key": int, "session": str, "documents": int,
    "complete": bool, "fields": list, "files": dict,
}  # fmt: skip


def load(path: Path, connection: sqlite3.Connection) -> Saved | None:
    """Return what was saved, if it speaks of this database; None if there is nothing of use.

    Raises:
        CorruptCollection: a file is damaged.
    """
    marker = marker_of(path)
    if marker is None or session_of(connection, marker.generation) != marker.session:
        return None
    folder = path / marker.folder
    try:
        arrays = {name: _array(folder / f"{name}.npy", marker) for name in _ARRAYS}
    except CorruptCollection:
        if marker_of(path) != marker:  # another process has just saved anew
            return load(path, connection)
        raise
    return Saved(path, marker, **arrays)


def save(path: Path, state: State, connection: sqlite3.Connection, session: str) -> Marker:
    """Save a state and its columns, made from those saved before and the documents that came since."""
    before = load(path, connection)
    keys = state.keys[state.live]
    with stage("save columns"):
        columns = Fields(before, keys)
        first = before.next_key if before is not None else 1
        rows = connection.execute("SELECT key, metadata FROM documents WHERE key >= ? ORDER BY key", (first,))
        columns.read(rising(rows))
        arrays = {"keys": keys, "firsts": state.firsts[state.live], "counts": state.counts[state.live]}
        marker = _write(path, state, session, arrays, columns)
    with stage("swap columns"):
        write_json(path / "marker.json", asdict(marker))
    _remove_others(path, marker)
    return marker


def _write(path: Path, state: State, session: str, arrays: Mapping[str, NDArray[np.int64]], columns: Fields) -> Marker:
    path.mkdir(exist_ok=True)
    numbers = [int(child.name) for child in path.iterdir() if child.name.isdecimal()]
    folder = path / f"{max(numbers, default=0) + 1:06d}"
    folder.mkdir()
    files = {f"{name}.npy": _npy(array) for name, array in arrays.items()}
    for number, (codes, texts) in enumerate(columns.of_fields()):
        files[f"field-{number}.npy"] = _npy(codes)
        files[f"field-{number}.json"] = f"[{','.join(texts)}]".encode()
    try:
        for name, content in files.items():
            with (folder / name).open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)  # which may be all the room that is left
        raise
    sync_folder(folder)
    sync_folder(path)
    sums = {name: [len(content), zlib.crc32(content)] for name, content in files.items()}
    return Marker(
        VERSION,
        folder.name,
        state.generation,
        state.next_key,
        session,
        state.count,
        columns.complete,
        columns.names,
        sums,
    )


class Fields:
    """All fields of all documents, in the making."""

    def __init__(self, before: Saved | None, keys: NDArray[np.int64]) -> None:
        self.complete = before is None or before.marker.complete
        self._keys = keys
        self._codes: dict[str, NDArray[np.int32]] = {}
        self._texts: dict[str, list[str]] = {}
        if before is not None:
            kept = keys[keys < before.next_key]
            places = np.searchsorted(before.keys, kept)
            for name in before.marker.fields:
                codes, values = before.column(name) or (np.empty(0, np.int32), [])
                self._begin(name)[: len(kept)] = codes[places]
                self._texts[name] = [json.dumps(value) for value in values]

    @property
    def names(self) -> list[str]:
        """The fields."""
        return list(self._codes)

    def _begin(self, name: str) -> NDArray[np.int32]:
        self._texts[name] = []
        return self._codes.setdefault(name, np.zeros(len(self._keys), np.int32))

    def read(self, rows: Iterator[tuple[int, str]]) -> None:
        """Take in documents: their keys and their metadata as JSON."""
        books: dict[str, dict[Any, int]] = {}
        while portion := list(islice(rows, READ_AT_ONCE)):
            slots = np.searchsorted(self._keys, [key for key, _ in portion])
            documents = json.loads(f"[{','.join(metadata for _, metadata in portion)}]")
            for name in dict.fromkeys(name for document in documents for name in _names(document)):
                if name not in self._codes and len(self._codes) >= MOST_FIELDS:
                    self.complete = False
                    continue
                if name not in self._codes:
                    self._begin(name)
                if name not in books:
                    books[name] = _book(self._texts[name])
                self._codes[name][slots] = self._coded(name, documents, books[name])

    def _coded(self, name: str, documents: list[dict[str, Any]], book: dict[Any, int]) -> list[int]:
        """Return the codes of a field's values; those that are new get the next codes."""
        values = [document.get(name, MISSING) for document in documents]
        if "." in name:
            values = [look_up(document, name) for document in documents]
        known = len(book)
        book[token(MISSING)] = 0  # so that the next new value's code is the number of entries
        try:
            # As `token` does it, but twice as quickly; a list or an object can't be a key.
            codes = [book.setdefault((value.__class__, value), len(book)) for value in values]
        except TypeError:
            codes = [book.setdefault(token(value), len(book)) for value in values]
        del book[token(MISSING)]
        fresh = {code: value for code, value in zip(codes, values, strict=True) if code > known}
        self._texts[name] += [json.dumps(fresh[code]) for code in sorted(fresh)]
        return codes

    def of_fields(self) -> Iterator[tuple[NDArray[np.int32], list[str]]]:
        """Yield each field's codes, and the JSON of the values that they stand for, without those no document has."""
        for name, codes in self._codes.items():
            texts = self._texts[name]
            used = np.bincount(codes, minlength=len(texts) + 1) > 0
            used[0] = True
            renumbered = (np.cumsum(used) - 1).astype(np.int32)
            yield renumbered[codes], [text for text, keep in zip(texts, used[1:].tolist(), strict=True) if keep]


def token(value: Value) -> Any:
    """Return what stands for a value in a dict, where True, 1 and 1.0 would be the same key."""
    return json.dumps(value) if isinstance(value, list | dict) else (value.__class__, value)


def flat(metadata: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each field that a condition can name, with its value: keys, and paths into objects."""
    for name in _names(metadata):
        value = look_up(metadata, name)
        if value is not MISSING:
            yield name, value


def _names(metadata: dict[str, Any]) -> Iterable[str]:
    return _paths(metadata, "") if dict in map(type, metadata.values()) else metadata


def _book(texts: list[str]) -> dict[Any, int]:
    """Return the codes of values, given as JSON, by their tokens; as many entries as there are values."""
    book: dict[Any, int] = {}
    for code, text in enumerate(texts, start=1):
        if book.setdefault(token(json.loads(text)), code) != code:
            book["twice", code] = code
    return book


def _paths(metadata: dict[str, Any], prefix: str) -> dict[str, None]:
    names: dict[str, None] = {}
    for key, value in metadata.items():
        names[prefix + key] = None
        if isinstance(value, dict):
            names |= _paths(value, f"{prefix}{key}.")
    return names


def _npy(array: NDArray[Any]) -> bytes:
    stream = BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()


def _array(file: Path, marker: Marker) -> NDArray[Any]:
    content = _checked(file, marker)
    # Not by np.load, whose parsing of the header fails in several threads at once (CPython's issue 106905).
    array = np.frombuffer(content, _CODES if file.name.startswith("field-") else _PLACES, offset=_npy_start(content))
    return array.copy()


def _npy_start(content: bytes) -> int:
    """Return where the values of an .npy file of version 1.0 begin."""
    return 10 + int.from_bytes(content[8:10], "little")


def _checked(file: Path, marker: Marker) -> bytes:
    """Return a file's content.

    Raises:
        CorruptCollection: it is not what was written.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        content = b""
    if marker.files.get(file.name) != [len(content), zlib.crc32(content)]:
        raise CorruptCollection(f"{file} is missing or not what was written; {_remedy(file.parent.parent)}")
    return content


def _remedy(path: Path) -> str:
    return f"`nearfield repair`, or removing the folder {path}, makes it again from the documents"


def _remove_others(path: Path, marker: Marker) -> None:
    for child in path.iterdir():
        if child.name.isdecimal() and child.name != marker.folder:
            shutil.rmtree(child, ignore_errors=True)


def verify(path: Path) -> list[tuple[Path, str]]:
    """Return the files that are missing or damaged, and what is wrong with each."""
    try:
        marker = marker_of(path)
    except CorruptCollection as error:
        return [(path / "marker.json", str(error))]
    if marker is None:
        return []
    wrong = []
    for name in marker.files:
        try:
            _checked(path / marker.folder / name, marker)
        except CorruptCollection as error:
            wrong.append((path / marker.folder / name, str(error)))
    return wrong
