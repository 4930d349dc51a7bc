"""The files of a local collection, and the manifest that names their format.

manifest.json        the format and its version; written last, so that a folder without it is no collection
documents.sqlite     documents, metadata, passages, and how many vectors are committed: the truth
vectors/000000.vec   vectors, append-only (see segments.py)
lexical/             the BM25 index, derived
columns/             what a process holds of the documents in memory, derived: so that opening is quick
snapshot.json        in a snapshot: which states of which collection it may hold (see snapshot.py)
damaged/             what a repair replaced
index/               the index of the vectors, derived
migration/           vectors of another encoder in the making (see changeover/)
writer.lock          held by the process that writes
lexical.lock         held by the process that brings the BM25 index up to date
index.lock           held by the process that builds the index of the vectors
migration.lock       held by the process that makes the vectors of another encoder

docs/formats.md describes them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from nearfield.durable import CHECKSUM, read_json, write_json
from nearfield.errors import CorruptCollection, IncompatibleFormat, InvalidInput
from nearfield.stages import stage

FORMAT = "nearfield"
VERSION = 2


@dataclass(frozen=True, slots=True)
class Manifest:
    """The format's version, and the collection's identity (32 hexadecimal digits; version 1 had none)."""

    version: int
    identity: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of a collection's files."""

    root: Path

    @property
    def manifest(self) -> Path:
        """The file that makes a folder a collection."""
        return self.root / "manifest.json"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "documents.sqlite"

    @property
    def vectors(self) -> Path:
        """The folder of vector segments."""
        return self.root / "vectors"

    @property
    def lexical(self) -> Path:
        """The folder of the BM25 index."""
        return self.root / "lexical"

    @property
    def columns(self) -> Path:
        """The folder of the saved columns."""
        return self.root / "columns"

    @property
    def index(self) -> Path:
        """The folder of the vectors' index."""
        return self.root / "index"

    @property
    def index_lock(self) -> Path:
        """The file that a process locks to build the vectors' index."""
        return self.root / "index.lock"

    @property
    def snapshot(self) -> Path:
        """The file that makes a collection a snapshot."""
        return self.root / "snapshot.json"

    @property
    def damaged(self) -> Path:
        """The folder of what repairs replaced."""
        return self.root / "damaged"

    @property
    def migration(self) -> Path:
        """The folder of another encoder's vectors in the making."""
        return self.root / "migration"

    @property
    def migration_lock(self) -> Path:
        """The file that a process locks to make another encoder's vectors."""
        return self.root / "migration.lock"

    @property
    def writer_lock(self) -> Path:
        """The file that the writing process locks."""
        return self.root / "writer.lock"

    @property
    def lexical_lock(self) -> Path:
        """The file that a process locks to update the BM25 index."""
        return self.root / "lexical.lock"

    def sizes(self) -> dict[str, int]:
        """Return bytes on disk by part."""
        sizes = {
            "documents": sum(_size(file) for file in self.root.glob("documents.sqlite*")),
            "vectors": _sizes(self.vectors),
            "lexical": _sizes(self.lexical),
            "columns": _sizes(self.columns),
            "index": _sizes(self.index),
        }
        return sizes | ({"migration": _sizes(self.migration)} if self.migration.exists() else {})


def _sizes(folder: Path) -> int:
    # Not by rglob, which raises if a folder is removed meanwhile.
    return sum(_size(Path(path) / name) for path, _, names in os.walk(folder) for name in names)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # merged away, or a write-ahead log that was just checkpointed
        return 0


def read_manifest(layout: Layout) -> Manifest | None:
    """Return the manifest of a collection; None if the folder is absent or empty.

    Raises:
        InvalidInput: there is something else at the path.
        IncompatibleFormat: a newer version wrote it.
        CorruptCollection: the manifest can't be read.
    """
    if not layout.root.exists():
        return None
    if not layout.root.is_dir():
        raise InvalidInput(f"{layout.root} is a file; a collection is a folder")
    if not layout.manifest.exists():
        strangers = [file.name for file in layout.root.iterdir() if not _ours(layout, file)]
        if strangers:
            raise InvalidInput(
                f"{layout.root} is not a collection: it has no manifest.json, but {sorted(strangers)[0]!r} and "
                f"{len(strangers) - 1} more; choose an empty or a new folder"
            )
        return None
    return _parse_manifest(layout.manifest)


def _ours(layout: Layout, file: Path) -> bool:
    """Whether a creation that was cut off before its manifest may have left the file."""
    known = {layout.vectors, layout.lexical, layout.columns, layout.index, layout.damaged}
    known |= {layout.writer_lock, layout.lexical_lock, layout.index_lock}
    return file in known or file.name.startswith((layout.database.name, layout.manifest.name, layout.snapshot.name))


def _parse_manifest(manifest: Path) -> Manifest:
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        # Format version 1 had no checksum, and a later one may have another.
        if CHECKSUM in content or content["version"] == VERSION:
            content = read_json(manifest)
        name, version, identity = content["format"], content["version"], content.get("id", "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptCollection(
            f"{manifest} is no manifest ({error!r}); `nearfield repair` makes it again from the other files"
        ) from error
    if name != FORMAT:
        raise InvalidInput(f"{manifest} names the format {name!r}, not {FORMAT!r}; this is not a collection")
    if not isinstance(version, int) or version > VERSION:
        raise IncompatibleFormat(
            f"{manifest.parent} has format version {version}, and this nearfield reads up to {VERSION}; install a "
            "newer nearfield"
        )
    return Manifest(version, str(identity))


def write_manifest(layout: Layout, identity: str) -> None:
    """Make the folder a collection."""
    with stage("write manifest"):
        write_json(layout.manifest, {"format": FORMAT, "version": VERSION, "id": identity})
