"""An index on disk: numbered folders, never changed once the marker names them, replaced by the next.

marker.json       names the folder, what it holds, and the efforts that were measured
000003/           index.faiss: as FAISS writes it; keys.npy: the key of each position's document; names.npy: the
                  documents' doc_ids; asked.npy: vectors of users' queries

A process that is killed leaves at most a folder that no marker names.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.durable import checksum_of, read_json, sync_folder, write_json
from nearfield.encode.protocol import Vectors
from nearfield.errors import CorruptCollection
from nearfield.index.ann import Ann, Effort, load
from nearfield.index.keys import distinct
from nearfield.index.kinds import is_mapped
from nearfield.index.names import Names, load_names
from nearfield.index.nearest import Approximate
from nearfield.index.tuning import Point, Tuning
from nearfield.stages import stage

VERSION = 2
REMEDY = "`nearfield repair`, or removing the folder `index`, lets it be built again from the vectors"

READ_AT_OPENING = 256_000_000
"""Bytes of an index up to which a process compares it with its checksum before the first search."""


@dataclass(frozen=True, slots=True)
class Marker:
    """What an index holds: every document below `next_key` that the collection had at `generation`, and older ones.

    Args:
        folder: Its name; "" for no index.
        generation: Of the collection when the index was brought up to date.
        next_key: The key that the next document gets.
        session: Who wrote that generation; a database that was restored from a backup has another.
        fingerprint: Of the encoder that made the vectors; None if all were given.
        kind: What was asked for.
        factory: FAISS's factory string.
        reason: Why this one.
        rows: Vectors in it, those included that were deleted since they went in.
        documents: Their documents.
        learned: Vectors that were there when it learned from them.
        tuned: Those that it held when it was measured.
        tuning: As `Tuning` has it.
        files: Size and CRC-32 of each file.
        version: Of these files.
    """

    folder: str = ""
    generation: int = 0
    next_key: int = 1
    session: str = ""
    fingerprint: str | None = None
    kind: str = ""
    factory: str = ""
    reason: str = ""
    rows: int = 0
    documents: int = 0
    learned: int = 0
    tuned: int = 0
    tuning: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    version: int = VERSION


NONE = Marker()
"""Of an index that is not there."""


class IndexFolder:
    """The index of one collection; who changes it holds a lock between processes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = root / "marker.json"
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int, int], Marker] | None = None
        self._loaded: tuple[Marker, Approximate] | None = None

    @property
    def marker_file(self) -> Path:
        """The file that says what the index holds."""
        return self._file

    def marker(self) -> Marker:
        """Return what the index holds: `NONE`, if it is missing or of another version.

        Raises:
            CorruptCollection: the marker is damaged, or can't be read.
        """
        try:
            status = os.stat(self._file)  # noqa: PTH116 - a third of Path.stat's time, at every search
        except (FileNotFoundError, NotADirectoryError):
            return NONE
        except OSError as error:
            raise _unreadable(self._file, error) from error
        seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        if self._read is None or self._read[0] != seen:
            self._read = (seen, _parsed(self._file))
        return self._read[1]

    def load(self, marker: Marker) -> Approximate | None:
        """Return the index that a marker speaks of; None if it has been replaced meanwhile.

        Raises:
            CorruptCollection: a file is missing, or not what was written.
        """
        with self._lock:
            if self._loaded is not None and self._loaded[0] == marker:
                return self._loaded[1]
            try:
                found = self._opened(marker)
            except CorruptCollection:
                if self.marker() != marker:
                    return None
                raise
            self._loaded = (marker, found)
            return found

    def _opened(self, marker: Marker) -> Approximate:
        small = sum(size for size, _ in marker.files.values()) <= READ_AT_OPENING
        self._check(marker, contents=small)
        folder = self._root / marker.folder
        try:
            keys = np.load(folder / "keys.npy", allow_pickle=False)
            ann = load(folder / "index.faiss", mapped=is_mapped(marker.factory))
            names = load_names(folder, distinct(keys))
            if not ann.count == len(keys) == marker.rows:
                raise ValueError(f"it holds {ann.count} vectors, and {marker.rows} were written")
            asked = np.load(folder / "asked.npy", allow_pickle=False)
            return approximate(ann, keys, tuning_of(marker), marker.factory, names, asked)
        except (RuntimeError, ValueError, OSError, MemoryError, IndexError) as error:
            raise _unreadable(folder, error) from error

    def copy(self, marker: Marker) -> Ann:
        """Return the index that a marker speaks of, to be changed.

        Raises:
            CorruptCollection: a file is not what was written; with what is added, it would look whole again.
        """
        self._check(marker, contents=True)
        try:
            return load(self._root / marker.folder / "index.faiss", mapped=False)
        except (RuntimeError, MemoryError) as error:
            raise _unreadable(self._root / marker.folder, error) from error

    def _check(self, marker: Marker, *, contents: bool) -> None:
        folder = self._root / marker.folder
        try:
            found = self.damage(marker, contents=contents)
        except OSError as error:
            raise _unreadable(folder, error) from error
        for name, what in found:
            raise CorruptCollection(f"{folder / name} {what}; {REMEDY}")

    def damage(self, marker: Marker, *, contents: bool = True) -> list[tuple[str, str]]:
        """Return the name of each file that is not what a marker says, and what is wrong with it."""
        wrong = []
        for name, (size, checksum) in marker.files.items():
            file = self._root / marker.folder / name
            try:
                actual = file.stat().st_size
                if actual != size:
                    wrong.append((name, f"has {actual} bytes, and {size} were written"))
                elif contents and checksum_of(file) != checksum:
                    wrong.append((name, "is not what was written (its checksum differs)"))
            except FileNotFoundError:
                wrong.append((name, "is missing"))
        return wrong

    def verify(self, is_used: Callable[[Marker], bool]) -> list[tuple[Path, str]]:
        """Return what is wrong with the index, if it is used: the file or folder, and what."""
        while True:
            try:
                marker = self.marker()
            except CorruptCollection as error:
                return [(self._file, str(error))]
            folder = self._root / marker.folder
            found = [(folder / name, what) for name, what in self.damage(marker)] if is_used(marker) else []
            if self.marker() == marker:
                return found

    def publish(self, marker: Marker, found: Approximate) -> None:
        """Write an index, and let it be the one that is searched.

        Args:
            marker: What it holds, except folder, rows, tuning and files.
            found: The index.

        Raises:
            OSError: it can't be written; the one that was there before stays.
        """
        with suppress(CorruptCollection):  # what others left that were killed may fill the disk
            self._sweep(self.marker().folder)
        folder = self._root / f"{self._last_number() + 1:06}"
        with stage("write index"):
            try:
                folder.mkdir()
                _save(found.ann, folder / "index.faiss")
                np.save(folder / "keys.npy", found.keys)
                np.save(folder / "asked.npy", found.asked)
                found.names.save(folder)
                files = {file.name: _made_durable(file) for file in sorted(folder.iterdir())}
                sync_folder(folder)
                sync_folder(self._root)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        whole = replace(marker, folder=folder.name, rows=len(found.keys), tuning=asdict(found.tuning), files=files)
        with stage("swap index"):
            write_json(self._file, asdict(whole))
        self._sweep(folder.name)

    def remove(self) -> None:
        """Remove the index, if there is one."""
        if self._root.is_dir():
            self._file.unlink(missing_ok=True)
            sync_folder(self._root)  # or the marker would come back after a loss of power, without what it names
            self._sweep("")

    def _sweep(self, kept: str) -> None:
        with suppress(OSError):  # what stays is removed the next time
            for path in self._root.iterdir():
                if path.name not in (kept, self._file.name):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _last_number(self) -> int:
        self._root.mkdir(exist_ok=True)
        return max((int(path.name) for path in self._root.iterdir() if path.name.isdecimal()), default=0)


def _save(ann: Ann, file: Path) -> None:
    """Write an index, and see that it can be read: FAISS tells nobody if its last bytes don't fit on the disk."""
    try:
        ann.save(file)
        written = load(file, mapped=False).count  # a mapped one that is too short may pass
    except RuntimeError as error:
        raise OSError(f"{file} can't be written: {error}") from error
    if written != ann.count:
        raise OSError(f"{file} can't be written: of {ann.count} vectors it holds {written}")


def approximate(
    ann: Ann, keys: NDArray[np.int64], tuning: Tuning, name: str, names: Names, asked: Vectors | None = None
) -> Approximate:
    """Return an index with what belongs to it."""
    asked = np.empty((0, 0), np.float32) if asked is None else asked
    return Approximate(ann, keys, tuning, name, names, asked, ann.lists_of())


def tuning_of(marker: Marker) -> Tuning:
    """Return the efforts that a marker records."""
    kept = marker.tuning
    return Tuning(
        target=kept["target"],
        queries=kept["queries"],
        chosen={int(k): _point(point) for k, point in kept["chosen"].items()},
        whole={int(k): count for k, count in kept["whole"].items()},
        curve=[_point(point) for point in kept["curve"]],
    )


def _point(kept: Mapping[str, Any]) -> Point:
    return Point(**{**kept, "effort": Effort(**kept["effort"])})


def _parsed(file: Path) -> Marker:
    try:
        content = read_json(file)
        if content["version"] != VERSION or set(content) != {part.name for part in fields(Marker)}:
            return NONE
        files = {name: (size, checksum) for name, (size, checksum) in content.pop("files").items()}
        marker = Marker(**content, files=files)
        tuning_of(marker)
    except FileNotFoundError:
        return NONE
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise _unreadable(file, error) from error
    return marker


def _unreadable(path: Path, error: Exception) -> CorruptCollection:
    return CorruptCollection(f"{path} can't be read ({error!r}); {REMEDY}")


def _made_durable(file: Path) -> tuple[int, int]:
    """Return a file's size and CRC-32, when it is on disk."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
    return file.stat().st_size, checksum_of(file)
