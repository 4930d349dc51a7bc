"""The step by which a collection's vectors become those of another encoder.

First the new segments get numbers of the collection's, which are given out for good, and names beside its own
segments. Then one transaction has all the rest. A process that is killed before its commit leaves files that no state
names, under numbers that are never used again, and the migration with all that it made; after it, only the migration's
folder is left to be removed.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from nearfield.durable import sync_folder
from nearfield.engine.local import compaction
from nearfield.engine.local.changeover.progress import Progress
from nearfield.engine.local.database import counters, read_settings, write_counters, write_settings
from nearfield.engine.local.segments import Folder, Segment, header_of
from nearfield.engine.protocol import Settings
from nearfield.errors import CorruptCollection
from nearfield.stages import stage

Transaction = Callable[[], AbstractContextManager[sqlite3.Connection]]


def carry_out(folder: Folder, progress: Progress, settings: Settings, transaction: Transaction) -> None:
    """Put the new vectors in the place of the old ones; nobody else may be writing.

    Args:
        folder: The collection's segments.
        progress: The new vectors, of every document.
        settings: Those of the encoder that made them.
        transaction: Gives the writer's connection within a transaction.

    Raises:
        CorruptCollection: not every document has new vectors; nothing was changed.
    """
    segments = progress.segments()
    with transaction() as connection:
        now = counters(connection)
        write_counters(connection, replace(now, next_segment=now.next_segment + len(segments)))
    with stage("place vectors"):
        placed = [
            _placed(folder, progress.folder, segment, now.next_segment + i, settings.dimension or 0)
            for i, segment in enumerate(segments)
        ]
        sync_folder(folder.path)
    with transaction() as connection, stage("switch vectors"):
        _swap(connection, progress, placed, settings)


def _placed(folder: Folder, made: Folder, segment: Segment, number: int, dimension: int) -> Segment:
    """Return a segment under a number of the collection's; its header says so, and its file gets a second name."""
    source, target = made.file(segment.number), folder.file(number)
    with source.open("r+b") as stream:
        stream.write(header_of(folder, number, dimension))
        stream.flush()
        os.fsync(stream.fileno())
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
        with target.open("rb+") as stream:
            os.fsync(stream.fileno())
    return replace(segment, number=number)


def _swap(connection: sqlite3.Connection, progress: Progress, segments: list[Segment], settings: Settings) -> None:
    now = counters(connection)
    changed = connection.executemany(
        "UPDATE documents SET first_row = ?, n_rows = ?, text_sum = ?, vector_sum = ?, encoded = 1 "
        "WHERE key = ? AND text_sum = ?",
        progress.changes(),
    ).rowcount
    (documents,) = connection.execute("SELECT count(*) FROM documents").fetchone()
    if max(changed, 0) != documents:
        raise CorruptCollection(
            f"{documents - max(changed, 0)} documents have no new vectors, or were changed by another program; migrate "
            "again, which goes on from what there is"
        )
    connection.executemany("UPDATE texts SET spans = ? WHERE key = ?", progress.resplit())
    connection.execute("DELETE FROM segments")
    connection.executemany(
        "INSERT INTO segments VALUES (?, ?, ?)", [(one.number, one.first_row, one.rows) for one in segments]
    )
    kept = read_settings(connection)
    write_settings(connection, replace(settings, index=kept.index, recall=kept.recall, memory=kept.memory))
    # Every place is another now: who has an older state begins anew, also by programs that know nothing of this.
    write_counters(connection, replace(now, generation=now.generation + 1))
    compaction.trim(connection, now.generation + 1)


def clear(connection: sqlite3.Connection, folder: Folder) -> None:
    """Remove the segments of the old vectors, and give back what the transaction took of the disk."""
    compaction.remove_dropped(connection, folder)
    compaction.empty_log(connection)
