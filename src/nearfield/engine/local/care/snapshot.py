"""Snapshots: a committed state copied to another folder, and brought up to date there with what is new.

A snapshot is a collection: the segments' committed rows, the database, and the manifest; what is derived is left out,
and made by whoever needs it. snapshot.json names the states that the folder may hold: the one it had and the one it is
given, then only the latter. So a folder that holds another state was written to since, and is refused.

Order: rows are appended behind those of the older snapshot, and all of them are compared with the source's checksums;
then the database is replaced in one transaction of SQLite's; then segments that it no longer names are removed. A
snapshot that is cut off at any point leaves the older one, with rows behind it that nothing names.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearfield.durable import make_folder, read_json, sync_folder, write_json
from nearfield.engine.local import layout as files
from nearfield.engine.local.care.check import inspect
from nearfield.engine.local.care.check_tables import Basis, check_structure, read_basis, steady
from nearfield.engine.local.care.copying import Copier
from nearfield.engine.local.care.inspection import Findings, SegmentFiles, Table, read_documents
from nearfield.engine.local.compaction import remove_dropped
from nearfield.engine.local.database import Database, session_of
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.lock import FileLock
from nearfield.engine.local.segments import Folder
from nearfield.engine.reports import Snapshot
from nearfield.errors import Conflict, CorruptCollection, InvalidInput, NearfieldError, NotFound
from nearfield.stages import stage

State = list[object]
"""A state of a collection, for comparing: its generation, and the token of the last process that wrote."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What a target holds: what its tables rest on, its state, and the session that wrote its generation."""

    basis: Basis
    state: State
    session: str


def take(source: Layout, database: Database, root: Path) -> Snapshot:
    """Copy the newest state of a collection to a folder.

    Args:
        source: The collection.
        database: Its.
        root: A folder that is absent, empty, or an older snapshot of the same collection.

    Raises:
        InvalidInput: there is something else.
        Conflict: it is another collection, another one's snapshot, or was written to since.
        Locked: another process is writing there.
        CorruptCollection: the collection, or the older snapshot's database, is damaged; the folder is as it was.
        NearfieldError: writing failed; the folder holds what it held.
    """
    target = Layout(root)
    _refuse_nesting(source.root, root)
    files.read_manifest(target)  # raises if there is something else
    with _told_failures(target), steady(source, database) as (connection, basis, segments):
        new = _refuse_others(target, basis)
        make_folder(target.vectors)
        with FileLock(target.writer_lock):
            held = None if new else _held(target)
            _refuse_diverged(target, held, connection)
            state = _state(connection)
            _record(target, basis, [held.state, state] if held else [state])
            copier = Copier(segments, Folder(target.vectors, segments.folder.identity))
            snapshot = _copy(source, target, connection, basis, copier, held)
            _record(target, basis, [state])
            with closing(sqlite3.connect(target.database)) as copied:
                remove_dropped(copied, copier.target)
            for leftover in target.vectors.glob("*.new"):
                leftover.unlink()
    return snapshot


def restore(source_root: Path, root: Path) -> Snapshot:
    """Make a collection from a snapshot, or from any collection, without its derived parts.

    It is the same collection as at the snapshot, with the same identity: so it goes on with the snapshots that it had.

    Raises:
        NotFound: there is no snapshot.
        InvalidInput: there is something at the path.
        CorruptCollection: the snapshot is damaged; nothing was made.
        NearfieldError: writing failed; nothing was made.
    """
    source, target = Layout(source_root), Layout(root)
    manifest = files.read_manifest(source)
    if manifest is None:
        raise NotFound(f"there is no snapshot at {source_root}")
    _refuse_nesting(source_root, root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InvalidInput(f"{root} is not empty; name a folder that does not exist, or move what is there")
    made = not root.exists()
    with closing(Database(source.database)) as database:
        try:
            with _told_failures(target), steady(source, database, manifest.version) as (connection, basis, segments):
                if manifest.identity != basis.identity:
                    raise CorruptCollection(f"{source.manifest} and {source.database} are of different collections")
                make_folder(target.vectors)
                with FileLock(target.writer_lock):
                    copier = Copier(segments, Folder(target.vectors, segments.folder.identity))
                    return _copy(source, target, connection, basis, copier, None)
        except BaseException:
            if target.vectors.exists():
                shutil.rmtree(root) if made else _empty(root)
            raise


def _empty(root: Path) -> None:
    for child in root.iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()


def _copy(
    source: Layout,
    target: Layout,
    connection: sqlite3.Connection,
    basis: Basis,
    copier: Copier,
    held: _Held | None,
) -> Snapshot:
    """Copy a state, and return what was done; if that fails, the target is as it was."""
    try:
        copier.copy({segment.number: segment.rows for segment in held.basis.segments} if held else {})
        table = _verified(source, connection, basis, copier)
        with stage("snapshot documents"):
            _copy_database(target, connection, new=held is None)
    except BaseException:
        copier.undo()
        raise
    _compare(target, basis, table)
    if held is None:
        files.write_manifest(target, basis.identity)
    return Snapshot(
        path=str(target.root),
        documents=len(table.keys),
        passages=int(table.counts.sum()),
        generation=basis.counters.generation,
        copied_bytes=copier.copied + target.database.stat().st_size,
        kept_bytes=copier.kept,
    )


def _verified(source: Layout, connection: sqlite3.Connection, basis: Basis, copier: Copier) -> Table:
    """Return the documents of a state whose vectors were copied, every one of them compared with its checksums."""
    findings = Findings()
    for again in (False, True):
        findings = Findings()
        with closing(SegmentFiles(copier.target, basis.segments, basis.dimension)) as copied:
            table = inspect(source, connection, basis, copied, findings)
        wrong = {Path(problem.file) for problem in findings.problems}
        damaged = [segment for segment in basis.segments if copier.target.file(segment.number) in wrong]
        if not findings.problems:
            return table
        if again or len(damaged) < len(wrong):
            break
        copier.copy_whole(damaged)  # rows that were there from an older snapshot may have suffered
    told = "; ".join(str(problem) for problem in findings.problems[:3])
    told = told.replace(str(copier.target.path), str(source.vectors))
    raise CorruptCollection(
        f"{source.root} is damaged, and was not copied: {told}; `nearfield check` tells all, and `nearfield repair` "
        "mends it"
    )


def _copy_database(target: Layout, connection: sqlite3.Connection, *, new: bool) -> None:
    """Put the database of a read transaction in the place of the target's, in one transaction."""
    if new:
        for leftover in target.root.glob(target.database.name + "*"):
            leftover.unlink()
    with _told_failures(target), closing(sqlite3.connect(target.database)) as copied:
        copied.execute("PRAGMA synchronous = FULL")
        connection.backup(copied)
    sync_folder(target.root)


def _compare(target: Layout, basis: Basis, table: Table) -> None:
    """Check that the copied tables are whole, and say what the source's said."""
    findings = Findings()
    with closing(sqlite3.connect(target.database)) as copied:
        check_structure(copied, target.database, findings)
        same = read_basis(copied, None) == basis
        again = read_documents(copied, findings)
    same = same and all(
        np.array_equal(getattr(again, name), getattr(table, name)) for name in ("keys", "firsts", "counts", "sums")
    )
    if findings.problems or findings.texts or not same:
        raise CorruptCollection(f"{target.database} is not what was copied there; is the disk at fault?")


def _refuse_nesting(source: Path, target: Path) -> None:
    one, other = source.resolve(), target.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise InvalidInput(f"{target} and {source} lie within each other; name a folder apart")


def _refuse_others(target: Layout, basis: Basis) -> bool:
    """Raise Conflict if a target is not this collection's; return whether there is no whole snapshot yet."""
    manifest = files.read_manifest(target)
    if not target.snapshot.exists():
        if manifest is not None:
            raise Conflict(f"{target.root} is a collection of its own, and no snapshot; name another folder")
        if target.database.exists():
            raise InvalidInput(f"{target.database} is there without a manifest.json; name another folder")
        return True
    identity, _ = _recorded(target)
    if identity != basis.identity or (manifest is not None and manifest.identity != identity):
        raise Conflict(f"{target.root} is a snapshot of another collection; name another folder")
    return manifest is None


def _recorded(target: Layout) -> tuple[str, list[State]]:
    """Return the identity and the states that a snapshot may have."""
    try:
        content = read_json(target.snapshot)
        return str(content["id"]), list(content["states"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptCollection(f"{target.snapshot} can't be read ({error!r}); name another folder") from error


def _record(target: Layout, basis: Basis, states: list[State]) -> None:
    write_json(target.snapshot, {"id": basis.identity, "states": states})


def _held(target: Layout) -> _Held:
    with closing(Database(target.database)) as database, steady(target, database) as (connection, basis, _):
        session = session_of(connection, basis.counters.generation)
        return _Held(basis, _state(connection), session)


def _state(connection: sqlite3.Connection) -> State:
    """Return what tells a state from all others; a process that only moves a bookmark is told by its token."""
    (generation,) = connection.execute("SELECT generation FROM state").fetchone()
    last = connection.execute("SELECT token FROM sessions ORDER BY first_generation DESC LIMIT 1").fetchone()
    return [generation, last[0] if last else ""]


def _refuse_diverged(target: Layout, held: _Held | None, connection: sqlite3.Connection) -> None:
    """Raise Conflict unless the collection goes on from the state that a target holds."""
    if held is None:
        return
    _, states = _recorded(target)
    if held.state not in states:
        raise Conflict(f"{target.root} was written to since it was made, and would lose that; name another folder")
    generation = held.basis.counters.generation
    if generation and session_of(connection, generation) != held.session:
        raise Conflict(
            f"{target.root} holds a state that the collection did not have, or had too long ago to tell; name another "
            "folder"
        )


@contextmanager
def _told_failures(target: Layout) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise Database(target.database).failure(error) from error
    except OSError as error:
        raise NearfieldError(f"writing to {target.root} failed: {error}; what it held before is whole") from error
