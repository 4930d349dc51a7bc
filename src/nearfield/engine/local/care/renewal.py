"""A new database from what can be read of a damaged one, and from the vectors that are whole."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from nearfield import checks
from nearfield.durable import sync_folder
from nearfield.encode.identity import is_identity
from nearfield.encode.passages import passage_input
from nearfield.encode.protocol import Encoder
from nearfield.engine.local import schema, writing
from nearfield.engine.local.care.inspection import (
    SHARED,
    Findings,
    SegmentFiles,
    Table,
    check_vectors,
    runs,
    sharing,
    within,
)
from nearfield.engine.local.care.mending import Mender
from nearfield.engine.local.care.salvage import Salvage
from nearfield.engine.local.database import Counters, begin_session, write_counters, write_settings
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.segments import Folder, Segment, read_header
from nearfield.engine.protocol import Settings
from nearfield.errors import CorruptCollection, NearfieldError

ENCODED_AT_ONCE = 256
"""Documents that are encoded again together."""


class Renewal:
    """One repair of the truth.

    Args:
        layout: The collection; its writer's lock is held.
        remains: An empty folder for what is replaced or lost.

    `done` says what was made anew, in words; `complete` tells whether all that was lost is named.
    """

    def __init__(self, layout: Layout, remains: Path) -> None:
        self.done: list[str] = []
        self.complete = True
        self._layout = layout
        self._remains = remains
        self._lost: dict[str, str] = {}
        for file in layout.root.glob(layout.database.name + "*"):
            if file.name in (layout.database.name, layout.database.name + "-wal"):
                _copy_durably(file, remains / file.name)
        reading = remains / "reading"
        reading.mkdir()
        for file in remains.glob(layout.database.name + "*"):
            shutil.copyfile(file, reading / file.name)
        self._reading = reading
        self._salvage = Salvage(reading / layout.database.name)
        self._fresh = layout.database.with_name(layout.database.name + ".new")
        self._fresh.unlink(missing_ok=True)
        self._connection = sqlite3.connect(self._fresh, isolation_level=None)

    def close(self) -> None:
        """Close and remove what was made for the work."""
        self._connection.close()
        self._salvage.close()
        shutil.rmtree(self._reading)
        for leftover in self._layout.root.glob(self._fresh.name + "*"):
            leftover.unlink()

    def renew(self, load: Callable[[Settings], Encoder], name: str) -> dict[str, str]:
        """Put a new database in the place of the old one, and return the documents that were lost, with reasons."""
        identity, headers = self._identity()
        schema.create(self._connection, identity)
        settings = self._settings(headers, name)
        table = self._keep_documents()
        folder = Folder(self._layout.vectors, bytes.fromhex(identity))
        if settings.dimension is not None:
            self._refuse_another(table, folder, settings.dimension)
            damaged = self._keep_vectors(table, folder, settings.dimension)
            if damaged:
                self._encode(damaged, folder, settings, load)
        self._finish(folder)
        self._connection.execute("COMMIT")
        self._connection.close()
        (kept,) = self._counts()
        self.done.append(f"{self._layout.database.name}, with {kept} documents")
        _swap(self._layout, self._fresh)
        return self._lost

    def _counts(self) -> tuple[int]:
        with closing(sqlite3.connect(self._fresh)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM documents").fetchone()
        return (int(count),)

    def _identity(self) -> tuple[str, list[int]]:
        """Return the identity that most files name, and the dimensions that segments name."""
        named: Counter[str] = Counter()
        dimensions = []
        for file in self._layout.vectors.glob("*.vec"):
            header = read_header(file)
            if header is not None:
                named[header[0].hex()] += 1
                dimensions.append(header[2])
        for (identity,) in self._salvage.rows("SELECT identity FROM state"):
            if isinstance(identity, str) and _is_identity(identity):
                named[identity] += 1
        try:
            identity = json.loads(self._layout.manifest.read_text(encoding="utf-8"))["id"]
            named[identity] += 1 if _is_identity(identity) else 0
        except (OSError, ValueError, TypeError, KeyError):
            pass
        best = named.most_common(1)
        return (best[0][0] if best and best[0][1] else uuid.uuid4().hex), dimensions

    def _settings(self, dimensions: list[int], encoder: str) -> Settings:
        """Return the settings that can be read, and others in the place of those that can't."""
        found: dict[str, Any] = {}
        for name, value in self._salvage.rows("SELECT name, value FROM settings"):
            try:
                found[name] = json.loads(value)
            except (ValueError, TypeError):
                found[name] = _UNREADABLE
        found.setdefault("identity", None)  # an earlier version has none
        defaults = Settings(encoder, dimension=Counter(dimensions).most_common(1)[0][0] if dimensions else None)
        values = {field.name: found.get(field.name, getattr(defaults, field.name)) for field in fields(Settings)}
        for name, fine in _FINE.items():
            if name not in found or not fine(found[name]):
                values[name] = getattr(defaults, name)
                self.done.append(f"the setting {name!r}, which could not be read, as {values[name]!r}")
        if values["identity"] is not None and values["identity"]["fingerprint"] != values["fingerprint"]:
            values["identity"] = None
            self.done.append("the setting 'identity', which was of another fingerprint, as None")
        settings = Settings(**values)
        write_settings(self._connection, settings)
        return settings

    def _keep_documents(self) -> Table:
        """Copy the documents whose rows are whole, and return where their vectors should lie."""
        named = self._salvage.named()
        # Rows that were deleted may come to light again; one that the index names is not among them.
        deleted = {key for (key,) in self._salvage.rows("SELECT key FROM deletions")} - named.keys()
        placed, seen, names = [], set(), set()
        for found in self._salvage.documents():
            seen.add(found.key)
            if found.trouble:
                name = named.get(found.key) or found.doc_id or f"key {found.key}"
                self._lose(name, found.trouble, found.remains())
            elif found.key not in deleted:
                document, text = found.rows()
                self._connection.execute(
                    "DELETE FROM texts WHERE key = (SELECT key FROM documents WHERE doc_id = ?)", document[1:2]
                )
                self._connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)", document)
                self._connection.execute("INSERT OR REPLACE INTO texts VALUES (?, ?, ?, ?)", text)
                names.add(document[1])
                placed.append((found.key, document[2], document[3], document[7]))
        for key, doc_id in named.items():
            if key not in seen and key not in deleted and doc_id not in names:
                self._lose(doc_id, "has rows that can't be read", {"key": key, "doc_id": doc_id})
        self.complete = self._salvage.all_rows or self._salvage.all_names
        for name in names & self._lost.keys():
            del self._lost[name]
        columns = np.array(placed, np.int64).reshape(-1, 4).T
        return Table(*(np.ascontiguousarray(column) for column in columns))

    def _refuse_another(self, table: Table, folder: Folder, dimension: int) -> None:
        """Raise CorruptCollection if the database is another collection's."""
        own = self._salvage.rows("SELECT identity FROM state")
        if not own or not len(table.keys) or own[0][0] == folder.identity.hex() or not _is_identity(str(own[0][0])):
            return
        segments = [Segment(*row) for row in self._salvage.rows("SELECT number, first_row, rows FROM segments")]
        findings = Findings()
        with closing(SegmentFiles(folder, segments, dimension)) as opened:
            check_vectors(table, opened, findings)
        if len(findings.vectors) == len(table.keys):
            raise CorruptCollection(
                f"{self._layout.database} belongs to another collection than the files beside it, and was left alone; "
                "put the right one back, or restore the collection from a snapshot"
            )

    def _keep_vectors(self, table: Table, folder: Folder, dimension: int) -> dict[int, tuple[str, str]]:
        """Name the segments whose files are there; return what is wrong with vectors, and their bytes, by keys."""
        known = [
            Segment(*row)
            for row in self._salvage.rows("SELECT number, first_row, rows FROM segments ORDER BY first_row")
            if all(type(value) is int for value in row)
        ]
        mended = Mender(folder, dimension, table, self._remains).mend(known)
        self.done += mended.done
        self._connection.executemany(
            "INSERT INTO segments VALUES (?, ?, ?)", [(one.number, one.first_row, one.rows) for one in mended.segments]
        )
        findings = Findings()
        damaged: dict[int, tuple[str, str]] = {}
        with closing(SegmentFiles(folder, mended.segments, dimension)) as opened:
            check_vectors(table, opened, findings)
            findings.vectors |= dict.fromkeys(table.keys[sharing(table)].tolist(), SHARED)
            for key, what in findings.vectors.items():
                damaged[key] = what, _raw(table, key, opened)
        return damaged

    def _encode(
        self,
        damaged: dict[int, tuple[str, str]],
        folder: Folder,
        settings: Settings,
        load: Callable[[Settings], Encoder],
    ) -> None:
        """Encode documents again whose vectors were the encoder's, and lose the others."""
        rows = _rows_of(self._connection, list(damaged))
        encoder, unloaded = None, ""
        if any(row["encoded"] for row in rows):
            try:
                encoder = load(settings)
            except NearfieldError as error:
                unloaded = f", and the encoder can't be loaded ({error})"
        again = []
        for row in rows:
            what, raw = damaged[row["key"]]
            if row["encoded"] and encoder is not None:
                again.append(row)
                continue
            why = unloaded if row["encoded"] else ", which were given, and not the encoder's"
            self._lose(row["doc_id"], what + why, {**row, "vectors": raw})
            for table in ("documents", "texts"):
                self._connection.execute(f"DELETE FROM {table} WHERE key = ?", (row["key"],))
        if encoder is not None:
            number = self._next_segment(folder)
            for start in range(0, len(again), ENCODED_AT_ONCE):
                number = self._append(again[start : start + ENCODED_AT_ONCE], folder, encoder, number)
            self.done.append(f"the vectors of {len(again)} documents, by encoding them again")

    def _append(self, rows: list[dict[str, Any]], folder: Folder, encoder: Encoder, number: int) -> int:
        spans = [json.loads(row["spans"]) if row["spans"] else [(0, len(row["text"]))] for row in rows]
        pairs = zip(rows, spans, strict=True)
        texts = [passage_input(row["title"], row["text"][start:end]) for row, parts in pairs for start, end in parts]
        vectors = checks.unit_vectors(encoder.encode_documents(texts), len(texts), encoder.dimension)
        counts = np.array([len(parts) for parts in spans], np.int64)
        firsts, number = writing.append(self._connection, folder, vectors, counts, number)
        sums = writing.vector_sums(vectors, counts)
        self._connection.executemany(
            "UPDATE documents SET first_row = ?, vector_sum = ? WHERE key = ?",
            [(first, one, row["key"]) for first, one, row in zip(firsts, sums, rows, strict=True)],
        )
        return number

    def _next_segment(self, folder: Folder) -> int:
        """Return a number that no segment ever had; so nothing is appended to files that were there."""
        numbers = [int(file.stem) for file in folder.path.glob("*.vec") if file.stem.isdecimal()]
        recorded = self._salvage.number("SELECT next_segment FROM state")
        # Not so far off that it could be damage.
        return max([recorded if recorded < 1 << 31 else 0, *(number + 1 for number in numbers)]) + 1

    def _finish(self, folder: Folder) -> None:
        """Write the counters, above all that was ever given, and what else can be kept."""
        for bookmark in self._salvage.rows("SELECT source, position, digest FROM bookmarks"):
            # What was lost can be ingested again.
            if not self._lost and self.complete and list(map(type, bookmark)) == [str, int, str]:
                self._connection.execute("INSERT OR IGNORE INTO bookmarks VALUES (?, ?, ?)", bookmark)
        number = self._salvage.number
        generation = 1 + max(
            number("SELECT generation FROM state"),
            number("SELECT max(generation) FROM deletions"),
            number("SELECT max(generation) FROM moves"),
            number("SELECT max(first_generation) FROM sessions"),
        )
        keys = [*self._connection.execute("SELECT max(key) + 1 FROM documents").fetchone()]
        next_key = max(
            1,
            number("SELECT next_key FROM state"),
            number("SELECT max(key) + 1 FROM deletions"),
            *(keys if keys[0] else ()),
        )
        next_number = max(0, number("SELECT next_number FROM state"))
        counters = Counters(generation, next_key, next_number, self._next_segment(folder), generation)
        write_counters(self._connection, counters)
        begin_session(self._connection, generation, uuid.uuid4().hex)

    def _lose(self, name: str, reason: str, remains: dict[str, Any]) -> None:
        self._lost[name] = reason
        with (self._remains / "documents.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({**remains, "reason": reason}, ensure_ascii=False) + "\n")


_UNREADABLE = object()

_FINE: dict[str, Callable[[Any], bool]] = {
    "encoder": lambda value: isinstance(value, str) and bool(value),
    "index": lambda value: isinstance(value, str) and bool(value),
    "recall": lambda value: type(value) in (int, float) and 0 < value <= 1,
    "dimension": lambda value: value is None or (type(value) is int and 1 <= value <= 1 << 20),
    "fingerprint": lambda value: value is None or isinstance(value, str),
    "memory": lambda value: value is None or (type(value) is int and value > 0),
    "identity": lambda value: value is None or is_identity(value),
}


def _is_identity(text: object) -> bool:
    return isinstance(text, str) and len(text) == 32 and set(text) <= set("0123456789abcdef")


def _rows_of(connection: sqlite3.Connection, keys: list[int]) -> list[dict[str, Any]]:
    names = ("key", "doc_id", "title", "text", "metadata", "spans", "encoded")
    statement = f"SELECT {', '.join(names)} FROM documents JOIN texts USING (key) WHERE key = ?"
    return [dict(zip(names, connection.execute(statement, (key,)).fetchone(), strict=True)) for key in keys]


def _raw(table: Table, key: int, opened: SegmentFiles) -> str:
    """Return a document's rows as they lie in the files, as base64; "" if they are not there."""
    place = int(np.searchsorted(table.keys, key))
    first, end = int(table.firsts[place]), int(table.firsts[place] + table.counts[place])
    there = runs([(one.first_row, one.first_row + opened.rows_there(one)) for one in opened.segments])
    if not within(table, there)[place]:
        return ""
    return base64.b64encode(opened.read(first, end).tobytes()).decode()


def _copy_durably(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as stream:
        os.fsync(stream.fileno())
    sync_folder(target.parent)


def _swap(layout: Layout, fresh: Path) -> None:
    """Put a whole new database in the place of the old one; whatever happens, one of them is found."""
    with fresh.open("rb") as stream:
        os.fsync(stream.fileno())
    fresh.replace(_ready(layout))
    sync_folder(layout.root)
    finish_swap(layout)


def _ready(layout: Layout) -> Path:
    return layout.database.with_name(layout.database.name + ".repaired")


def finish_swap(layout: Layout) -> bool:
    """Finish what a repair that was cut off began, and return whether there was such a thing."""
    ready = _ready(layout)
    if not ready.exists():
        return False
    # The log of the old file must not be taken for the new one's.
    for name in ("-wal", "-shm"):
        layout.database.with_name(layout.database.name + name).unlink(missing_ok=True)
    ready.replace(layout.database)
    sync_folder(layout.root)
    return True
