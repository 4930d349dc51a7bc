"""`check`: looks through every file of a collection, beside a running writer or where it can't be opened."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

from nearfield.engine.local import layout as files
from nearfield.engine.local.care import wal
from nearfield.engine.local.care.check_derived import check_columns, check_index, check_lexical
from nearfield.engine.local.care.check_tables import Basis, check_places, check_structure, steady, unless_busy
from nearfield.engine.local.care.inspection import Findings, SegmentFiles, Table, check_vectors, read_documents
from nearfield.engine.local.changeover import damage
from nearfield.engine.local.database import Database, select_in
from nearfield.engine.local.layout import Layout, Manifest
from nearfield.engine.reports import Health, Problem
from nearfield.errors import CorruptCollection, IncompatibleFormat, InvalidInput, NearfieldError, NotFound


def check(root: Path) -> Health:
    """Return what is wrong with the collection in a folder; it need not be one that can be opened.

    Raises:
        NotFound: there is no collection.
        InvalidInput: there is something else at the path.
        IncompatibleFormat: a newer version wrote it, or an older one.
        NearfieldError: a file can't be read, for lack of the right to.
    """
    layout = Layout(root)
    if not layout.database.exists() and not any(layout.vectors.glob("*.vec")) and files.read_manifest(layout) is None:
        raise NotFound(f"there is no collection at {root}")
    findings = Findings()
    # A log that a killed writer left is taken into the database by whoever closes it last, and damage in it with that.
    database = Database(layout.database, read_only=_log(layout).exists())
    try:
        with closing(database):
            return _check(layout, database, findings)
    except sqlite3.DatabaseError as error:
        raise database.failure(error) from error
    except OSError as error:
        raise NearfieldError(f"{root} can't be checked: {error}") from error


def _check(layout: Layout, database: Database, findings: Findings) -> Health:
    manifest = _manifest(layout, findings)
    log = _log(layout)
    if wal.damage(log) and (what := wal.damage(log)):  # twice, since a writer may have been at it
        findings.add(log, what)
    documents, passages, generation = 0, 0, -1
    try:
        with steady(layout, database, manifest.version if manifest else None) as (connection, basis, segments):
            generation = basis.counters.generation
            _check_identity(layout, manifest, basis, findings)
            table = inspect(layout, connection, basis, segments, findings)
            documents, passages = len(table.keys), int(table.counts.sum())
            _check_derived(layout, database, connection, basis, table, findings)
            _note_leftovers(layout, basis, findings)
    except CorruptCollection as error:
        findings.add(layout.database, str(error))
    return Health(str(layout.root), documents, passages, generation, findings.problems, findings.notes)


def _log(layout: Layout) -> Path:
    return layout.database.with_name(f"{layout.database.name}-wal")


def _manifest(layout: Layout, findings: Findings) -> Manifest | None:
    """Return the manifest; None if it is missing or damaged."""
    if not layout.manifest.exists():
        findings.add(layout.manifest, "is missing")
        return None
    try:
        return files.read_manifest(layout)
    except (CorruptCollection, InvalidInput, IncompatibleFormat) as error:
        findings.add(layout.manifest, str(error))
        return None


def _check_identity(layout: Layout, manifest: Manifest | None, basis: Basis, findings: Findings) -> None:
    if manifest is None:
        return
    if manifest.version != files.VERSION:
        findings.add(layout.manifest, f"names format version {manifest.version}, and the database is another")
    if manifest.identity != basis.identity:
        findings.add(
            layout.manifest,
            f"belongs to the collection {manifest.identity!r}, and {layout.database.name} to {basis.identity!r}",
        )


def inspect(
    layout: Layout, connection: sqlite3.Connection, basis: Basis, segments: SegmentFiles, findings: Findings
) -> Table:
    """Check the truth: the tables of a read transaction, and the vectors in some files; return its documents.

    Raises:
        CorruptCollection: the tables can't be read.
    """
    try:
        check_structure(connection, layout.database, findings)
        table = read_documents(connection, findings)
        check_places(table, basis, findings, layout.database)
    except sqlite3.DatabaseError as error:
        raise CorruptCollection(f"{layout.database} can't be read ({unless_busy(error)})") from error
    segments.check_headers(findings)
    check_vectors(table, segments, findings)
    _report_documents(layout, connection, table, segments, findings)
    return table


def _report_documents(
    layout: Layout, connection: sqlite3.Connection, table: Table, segments: SegmentFiles, findings: Findings
) -> None:
    """Make problems of what is wrong with documents: one for each file and kind."""
    kinds: dict[tuple[str, str], list[int]] = defaultdict(list)
    for key, what in findings.texts.items():
        kinds[str(layout.database), what].append(key)
    if findings.vectors:
        first_of = dict(zip(table.keys.tolist(), table.firsts.tolist(), strict=True))
        for key, what in findings.vectors.items():
            first = first_of[key]
            homes = [one.number for one in segments.segments if one.first_row <= first < one.end]
            home = segments.folder.file(homes[0]) if homes else layout.database
            kinds[str(home), what].append(key)
    for (file, what), keys in kinds.items():
        named = names_of(connection, keys)
        findings.problems.append(
            Problem(file, f"{len(keys)} documents: each {what}" if len(keys) > 1 else f"a document {what}", named)
        )


def names_of(connection: sqlite3.Connection, keys: list[int]) -> list[str]:
    """Return the doc_ids of some keys, as far as they can be read."""
    statement = "SELECT key, CAST(doc_id AS BLOB) FROM documents WHERE key IN"
    try:
        known = {key: doc_id.decode("utf-8", "replace") for key, doc_id in select_in(connection, statement, keys)}
    except (sqlite3.DatabaseError, AttributeError):
        known = {}
    return [known.get(key, f"key {key}") for key in keys]


def _check_derived(
    layout: Layout,
    database: Database,
    connection: sqlite3.Connection,
    basis: Basis,
    table: Table,
    findings: Findings,
) -> None:
    if any(problem.file == str(layout.database) for problem in findings.problems):
        findings.notes.append(
            f"{layout.lexical} and {layout.columns} were not looked at, since there is no telling what they should hold"
        )
        return
    check_columns(layout, connection, table, findings)
    check_lexical(layout, database, connection, basis, table, findings)
    check_index(layout, database, connection, basis, table, findings)


def _note_leftovers(layout: Layout, basis: Basis, findings: Findings) -> None:
    known = {f"{segment.number:06d}.vec" for segment in basis.segments}
    for file in sorted(layout.vectors.glob("*")):
        if file.name not in known:
            findings.notes.append(f"{file} belongs to no state; the next writer removes it")
    migration = damage.note(layout.migration, basis.identity, basis.settings.fingerprint)
    findings.notes += [migration] if migration else []
