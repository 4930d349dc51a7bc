"""Damages files, and says what the damage may have done."""

from __future__ import annotations

import json
import random
import re
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

Picture = dict[str, bytes | None]

HEADER_BYTES = 64


def flip_bit(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]


def blank_sector(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(0, len(content), 512)
    end = min(start + 512, len(content))
    return content[:start] + bytes(end - start) + content[end:]


def cut_short(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "a flipped bit": flip_bit,
    "a blank sector": blank_sector,
    "a missing end": cut_short,
}


def kind_of(path: str) -> str:
    """Return what sort of file a path of a collection is: "documents", "vectors", "lexical", "columns" or "manifest".

    The markers of what is derived are "lexical marker" and "columns marker".
    """
    first, *rest = PurePosixPath(path).parts
    if not rest:
        return {"documents.sqlite": "documents", "manifest.json": "manifest"}.get(first, "nothing")
    return f"{first} marker" if rest == ["marker.json"] else first


def harmless(before: Picture, path: str, damaged: bytes, workplace: Path) -> bool:
    """Return whether a file's damage lies where nothing is kept, so that nobody need notice it."""
    content = before[path]
    assert content is not None
    if content == damaged:
        return True
    match kind_of(path):
        case "documents":
            return _tables(content, workplace) == _tables(damaged, workplace)
        case "vectors":
            return _kept_vectors(before, path, content, workplace) == _kept_vectors(before, path, damaged, workplace)
        case "manifest" | "lexical marker" | "columns marker":
            return json.loads(content) == _json(damaged)
        case _:
            return False


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _tables(content: bytes, workplace: Path) -> list[tuple[Any, ...]] | None:
    """Return every row of every table; None if SQLite finds the file damaged."""
    file = workplace / "documents.sqlite"
    file.write_bytes(content)
    try:
        with closing(sqlite3.connect(file)) as connection:
            connection.text_factory = bytes
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != b"ok":
                return None
            schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
            names = [name.decode() for kind, name, _, _ in schema if kind == b"table"]
            rows = [(*row, b" ".join(re.sub(rb"--.*", b"", sql or b"").lower().split())) for *row, sql in schema]
            rows += connection.execute("SELECT * FROM pragma_user_version").fetchall()
            for name in sorted(names):
                rows += connection.execute(f'SELECT * FROM "{name}"').fetchall()
            return rows
    except sqlite3.DatabaseError:
        return None
    finally:
        for leftover in workplace.glob("documents.sqlite*"):
            leftover.unlink()


def _kept_vectors(before: Picture, path: str, content: bytes, workplace: Path) -> list[bytes]:
    """Return a segment's header, and the rows that documents own."""
    dimension = struct.unpack_from("<I", before[path] or b"", 12)[0]
    width, kept = dimension * 4, [content[:HEADER_BYTES]]
    for first, count in owned_rows(before, path, workplace).values():
        kept.append(content[HEADER_BYTES + first * width : HEADER_BYTES + (first + count) * width])
    return kept


def changed_documents(before: Picture, path: str, damaged: bytes, workplace: Path) -> set[str]:
    """Return the documents whose vectors are not what they were."""
    content = before[path] or b""
    width = struct.unpack_from("<I", content, 12)[0] * 4
    changed = set()
    for doc_id, (first, count) in owned_rows(before, path, workplace).items():
        start, end = HEADER_BYTES + first * width, HEADER_BYTES + (first + count) * width
        if content[start:end] != damaged[start:end]:
            changed.add(doc_id)
    return changed


def owned_rows(picture: Picture, path: str, workplace: Path) -> dict[str, tuple[int, int]]:
    """Return for each document that has its vectors in a segment their first row, counted in it, and how many."""
    file = workplace / "documents.sqlite"
    file.write_bytes(picture["documents.sqlite"] or b"")
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute(
            "SELECT doc_id, documents.first_row - segments.first_row, n_rows FROM documents, segments "
            "WHERE number = ? AND documents.first_row >= segments.first_row "
            "AND documents.first_row < segments.first_row + rows",
            (int(PurePosixPath(path).stem),),
        ).fetchall()
    for leftover in workplace.glob("documents.sqlite*"):
        leftover.unlink()
    return {doc_id: (first, count) for doc_id, first, count in found}
