"""What is wrong with the vectors that a migration has made so far."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from nearfield.engine.local.care.inspection import Findings, SegmentFiles, Table, check_vectors
from nearfield.engine.local.changeover.progress import Progress
from nearfield.engine.protocol import Settings
from nearfield.errors import NearfieldError


def damage(progress: Progress, settings: Settings) -> tuple[list[int], list[int]]:
    """Return the keys of documents whose vectors are not what was written, and the segments that are too short.

    Args:
        progress: What was made.
        settings: Those that the collection is to have.
    """
    places, findings = progress.places(), Findings()
    # Read after the documents: so each of these lies in them, though the migration goes on.
    segments = progress.segments()
    with closing(SegmentFiles(progress.folder, segments, settings.dimension or 1)) as files:
        cut = [segment.number for segment in segments if files.rows_there(segment) < segment.rows]
        table = Table(places.keys, places.firsts, places.counts, places.sums)
        check_vectors(table, files, findings)
    return list(findings.vectors), cut


def note(path: Path, identity: str, fingerprint: str | None) -> str:
    """Return what a check says of a migration that was begun; "" if there is none.

    Args:
        path: Its folder.
        identity: The collection's.
        fingerprint: That of the collection's vectors.
    """
    if not path.exists():
        return ""
    with closing(Progress(path, identity, read_only=True)) as progress:
        try:
            target = progress.target(fingerprint)
            if target is None:
                return f"{path} holds what is left of a migration; the next one removes it"
            documents, segments = damage(progress, target)
            count = progress.count()
        except (NearfieldError, FileNotFoundError):  # switched or given up meanwhile, or to be made again
            return f"{path} holds a migration that can't be read; the next one begins anew"
    found = f"{path}: a migration to the encoder {target.encoder!r} has made the vectors of {count} documents"
    if documents or segments:
        found += f"; those of {len(documents)} are damaged, and will be made again"
    return found
