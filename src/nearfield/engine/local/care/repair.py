"""`repair`: makes anew what is derived, and keeps of the truth what its checksums say is whole.

The database is never mended in place: what can be read of it goes into a new one, document by document, and that takes
its place in one step. What is replaced, and the raw remains of what is lost, lies in damaged/NNN afterwards. Processes
that have the collection open meanwhile keep the files that were replaced, and must open it again.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from nearfield.encode.protocol import Encoder
from nearfield.engine.local import layout as files
from nearfield.engine.local import schema
from nearfield.engine.local.care.check import check
from nearfield.engine.local.care.renewal import Renewal, finish_swap
from nearfield.engine.local.database import Database
from nearfield.engine.local.layout import Layout
from nearfield.engine.local.lock import FileLock
from nearfield.engine.local.store import LocalEngine
from nearfield.engine.protocol import Settings
from nearfield.engine.reports import Health, Repair
from nearfield.errors import CorruptCollection, NearfieldError


def repair(root: Path, load: Callable[[Settings], Encoder], name: str) -> Repair:
    """Mend a collection.

    Args:
        root: Its folder.
        load: Gives the encoder, for documents whose vectors are damaged; may raise NearfieldError.
        name: Of the encoder, if the database can't say it.

    Raises:
        NotFound, InvalidInput, IncompatibleFormat: as `check`.
        Locked: another process is writing.
        CorruptCollection: it can't be mended: the database is missing, or another collection's.
        NearfieldError: a file can't be read or written.
    """
    layout = Layout(root)
    check(root)  # raises if there is no collection
    try:
        with FileLock(layout.writer_lock):
            rebuilt = ["documents.sqlite, which an earlier repair had made"] if finish_swap(layout) else []
            health = check(root)
            if health.ok:
                return Repair(str(root), health.documents, rebuilt, {})
            repaired = _mend_truth(layout, health, load, name)
        rebuilt += repaired.rebuilt + _mend_derived(layout, renewed=bool(repaired.remains))
    except sqlite3.DatabaseError as error:
        raise Database(layout.database).failure(error) from error
    except OSError as error:
        raise NearfieldError(f"{root} can't be mended: {error}") from error
    after = check(root)
    if not after.ok:
        raise CorruptCollection(f"{root} could not be mended: {'; '.join(map(str, after.problems[:3]))}")
    return replace(repaired, documents=after.documents, rebuilt=rebuilt)


def _mend_truth(layout: Layout, health: Health, load: Callable[[Settings], Encoder], name: str) -> Repair:
    """Mend the database, the segments and the manifest; return what was done and lost."""
    repaired = Repair(str(layout.root), 0, [], {})
    damaged = [problem.file for problem in health.problems]
    if any(file.startswith((str(layout.database), str(layout.vectors))) for file in damaged):
        if not layout.database.exists():
            raise CorruptCollection(f"{layout.database} is missing, and nothing else says what it said; restore it")
        folder = _remains(layout)
        try:
            with closing(Renewal(layout, folder)) as renewal:
                lost = renewal.renew(load, name)
        except CorruptCollection:
            shutil.rmtree(folder)  # nothing was replaced
            raise
        complete = renewal.complete and f"{layout.database}-wal" not in damaged
        repaired = replace(repaired, rebuilt=renewal.done, lost=lost, remains=str(folder), complete=complete)
    if str(layout.manifest) in damaged:
        with closing(Database(layout.database)) as database, database.reading() as connection:
            files.write_manifest(layout, schema.identity_of(connection))
        repaired.rebuilt.append(layout.manifest.name)
    return repaired


def _remains(layout: Layout) -> Path:
    layout.damaged.mkdir(exist_ok=True)
    numbers = [int(child.name) for child in layout.damaged.iterdir() if child.name.isdecimal()]
    folder = layout.damaged / f"{max(numbers, default=0) + 1:03d}"
    folder.mkdir()
    return folder


def _mend_derived(layout: Layout, *, renewed: bool) -> list[str]:
    """Remove the derived parts that are damaged, or speak of a database that was replaced, and make them anew."""
    damaged = [problem.file for problem in check(layout.root).problems]
    rebuilt = []
    for part in (layout.lexical, layout.columns, layout.index):
        if part.exists() and (renewed or any(file.startswith(str(part)) for file in damaged)):
            shutil.rmtree(part)
            rebuilt.append(f"{part.name}/")
    with closing(LocalEngine(layout.root)) as engine:
        engine.settle()
    return rebuilt
