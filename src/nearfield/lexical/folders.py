"""The folders of the BM25 index: numbered, never changed once a marker names them, replaced by the next.

marker.json      names the folder that is searched, and what it holds
building.json    names a folder that is being built anew beside it, and how far that has come
000007/          a tantivy index from terms to keys of documents

An update makes a new folder, in which the files that stay are links to those of the one before, and then replaces the
marker. So a process that is killed leaves at most a folder that nothing names, and every file that a marker names has
the checksum that the marker says.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nearfield.durable import checksum_of, sync_folder
from nearfield.errors import CorruptCollection, NearfieldError
from nearfield.lexical.analysis import analyzer, normalised, terms
from nearfield.lexical.marker import NONE, REMEDY, Marker, read_marker, write_marker
from nearfield.stages import stage

if TYPE_CHECKING:
    import tantivy

HEAP_BYTES = 64_000_000
# tantivy replaces these by others of the same name, and writes each other file once; so links to them are safe.
_CHANGING = {"meta.json", ".managed.json"}


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """A folder that is open for searching; it stays so when the folder is removed."""

    folder: Path
    marker: Marker
    searcher: tantivy.Searcher
    schema: tantivy.Schema

    def keys(self) -> NDArray[np.int64]:
        """Return the key of every document, int64, rising; one that is there twice is named twice."""
        import tantivy

        with told_damage(self.folder):
            hits = self.searcher.search(tantivy.Query.all_query(), max(self.searcher.num_docs, 1), count=False).hits
            found = self.searcher.fast_field_values("key", [address for _, address in hits])
            return np.sort(np.array(found, dtype=np.int64))


class IndexFolders:
    """The index of one collection on disk; who changes it holds a lock between processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.marker_file = root / "marker.json"
        self._building_file = root / "building.json"
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int, int], Marker] | None = None
        self._open: OpenIndex | None = None
        self._checked: dict[str, tuple[int, int, int]] = {}

    def marker(self) -> Marker:
        """Return what the index holds: `NONE`, if it is missing or of another version.

        Raises:
            CorruptCollection: the marker is damaged.
        """
        marker = self._marker()
        while marker.folder and not (self.root / marker.folder).is_dir():
            again = self._marker()
            if again == marker:
                return NONE
            marker = again  # another process has replaced the folder meanwhile
        return marker

    def _marker(self) -> Marker:
        try:
            status = self.marker_file.stat()
        except FileNotFoundError:
            return NONE
        seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        if self._read is None or self._read[0] != seen:
            self._read = (seen, read_marker(self.marker_file))
        return self._read[1]

    def building(self) -> Marker:
        """Return what the index that is being built anew holds; `NONE`, if there is none, or it is damaged."""
        try:
            building = read_marker(self._building_file)
            self.check(building)
        except CorruptCollection:
            return NONE
        return building

    def open(self, marker: Marker) -> OpenIndex | None:
        """Return the index that a marker speaks of, checked and open; None if it has been replaced meanwhile.

        Raises:
            CorruptCollection: a file is missing, or is not what was written.
            NearfieldError: the folder can't be opened.
        """
        with self._lock:
            if self._open is None or self._open.marker != marker:
                try:
                    self.check(marker)
                    self._open = self._opened(marker)
                except NearfieldError:
                    if self.marker() != marker:
                        return None
                    raise
            return self._open

    def _opened(self, marker: Marker) -> OpenIndex:
        folder = self.root / marker.folder
        with told_damage(folder):
            index = _tantivy_index(folder)
            searcher = index.searcher()
        if searcher.num_docs != marker.documents:
            raise CorruptCollection(
                f"{folder} holds {searcher.num_docs} documents, and {marker.documents} were written; {REMEDY}"
            )
        return OpenIndex(folder, marker, searcher, index.schema)

    def check(self, marker: Marker) -> None:
        """Compare the files of a marker's folder with what it says; those that this process knows by size only.

        Raises:
            CorruptCollection: a file is missing, or is not what was written.
        """
        for name, what in self.damage(marker, known=self._checked):
            raise CorruptCollection(f"{self.root / marker.folder / name} {what}; {REMEDY}")

    def damage(self, marker: Marker, known: dict[str, tuple[int, int, int]] | None = None) -> Iterator[tuple[str, str]]:
        """Yield the name of each file that is not what a marker says, and what is wrong with it.

        Args:
            marker: Names the folder and its files.
            known: Inode, size and CRC-32 by name of files that need no reading; those found whole are added.
        """
        known = {} if known is None else known
        for name, (size, checksum) in marker.files.items():
            file = self.root / marker.folder / name
            try:
                status = file.stat()
                identity = (status.st_ino, size, checksum)
                if status.st_size != size:
                    yield name, f"has {status.st_size} bytes, and {size} were written"
                elif known.get(name) != identity and checksum_of(file) != checksum:
                    yield name, "is not what was written (its checksum differs)"
                else:
                    known[name] = identity
            except FileNotFoundError:
                yield name, "is missing"

    def extend(self, base: Marker, documents: Iterable[tuple[int, str]], after: Callable[[], Marker]) -> Marker:
        """Make a folder with the documents of another and more, and return its marker, which nothing names yet.

        Args:
            base: Of the folder that is extended; `NONE` for an empty one.
            documents: Key and text of those to add.
            after: Gives generation, next_key and session, when the documents have been read.

        Raises:
            CorruptCollection: a file of the base is not what was written.
            NearfieldError: the folder can't be written.
        """
        self.check(base)  # tantivy's merging would give damaged content a good checksum
        folder = self.root / f"{self._last_number() + 1:06}"
        try:
            with stage("update lexical"), _told_failures(folder):
                _link(self.root / base.folder, folder, base)
                added, average = _add(folder, documents, base)
                files = self._checksums(folder, base)
                sync_folder(folder)
                sync_folder(self.root)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return replace(after(), folder=folder.name, documents=base.documents + added, average=average, files=files)

    def _checksums(self, folder: Path, base: Marker) -> dict[str, tuple[int, int]]:
        files = {}
        for file in sorted(folder.iterdir()):
            if file.suffix != ".lock":
                status = file.stat()
                same = file.name in base.files and file.name not in _CHANGING
                checksum = base.files[file.name][1] if same else checksum_of(file)
                files[file.name] = (status.st_size, checksum)
                self._checked[file.name] = (status.st_ino, status.st_size, checksum)
        return files

    def publish(self, marker: Marker) -> None:
        """Let a folder be the one that is searched, and remove all others; one that is being built anew, too."""
        with stage("swap lexical"):
            write_marker(self.marker_file, marker)
            self._building_file.unlink(missing_ok=True)
            self._sweep(marker, NONE)

    def swap(self, marker: Marker) -> None:
        """Let a folder be the one that is searched, and remove the one before it."""
        with stage("swap lexical"):
            write_marker(self.marker_file, marker)
            self._sweep(marker, self.building())

    def keep_building(self, building: Marker) -> None:
        """Record how far the building of a new index has come."""
        write_marker(self._building_file, building)
        self._sweep(self.marker(), building)

    def _sweep(self, marker: Marker, building: Marker) -> None:
        kept = {marker.folder, building.folder, self.marker_file.name, self._building_file.name}
        files = marker.files.keys() | building.files.keys()
        self._checked = {name: known for name, known in self._checked.items() if name in files}
        with suppress(OSError):  # what stays is removed the next time
            for path in self.root.iterdir():
                if path.name not in kept:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _last_number(self) -> int:
        self.root.mkdir(exist_ok=True)
        return max((int(path.name) for path in self.root.iterdir() if path.name.isdecimal()), default=0)


def _link(source: Path, folder: Path, base: Marker) -> None:
    folder.mkdir()
    for name in base.files:
        try:
            os.link(source / name, folder / name)
        except OSError:  # a file system without links
            _copy(source / name, folder / name)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("wb") as new:
        shutil.copyfileobj(old, new)
        new.flush()
        os.fsync(new.fileno())


def _add(folder: Path, documents: Iterable[tuple[int, str]], base: Marker) -> tuple[int, float]:
    """Add documents, and return how many, and the mean number of terms of all that are in the folder."""
    index = _tantivy_index(folder)
    writer = index.writer(HEAP_BYTES, 1)
    try:
        added, known_term = _add_to(writer, documents)
        writer.commit()
    finally:
        writer.wait_merging_threads()  # also after a failure: its threads would write on while the folder is removed
    index.reload()
    if known_term:
        return added, _average(index, known_term)
    return added, base.average * base.documents / max(base.documents + added, 1)


def _add_to(writer: tantivy.IndexWriter, documents: Iterable[tuple[int, str]]) -> tuple[int, str]:
    """Add documents, and return how many, and a term that one of them has; "" if there is none."""
    import tantivy

    added, known_term = 0, ""
    for key, text in documents:
        document = tantivy.Document()
        document.add_unsigned("key", key)
        document.add_text("text", normalised(text))
        writer.add_document(document)
        added += 1
        known_term = known_term or next((term for term in terms(text) if len(term) < 100), "")
    return added, known_term


def _average(index: tantivy.Index, term: str) -> float:
    """Return the mean number of terms of a document, as tantivy's scores take it."""
    import tantivy

    searcher = index.searcher()
    query = tantivy.Query.term_query(index.schema, "text", term, "freq")
    ((_, address),) = searcher.search(query, 1, count=False).hits
    explanations = [json.loads(query.explain(searcher, address).to_json())]
    while explanations:
        explanation = explanations.pop()
        if explanation["description"].startswith("avgdl"):
            return float(explanation["value"])
        explanations += explanation.get("details", [])
    raise NearfieldError("this version of tantivy does not explain its scores; install one that nearfield was made for")


def _tantivy_index(folder: Path) -> tantivy.Index:
    import tantivy

    schema = (
        tantivy.SchemaBuilder()
        .add_unsigned_field("key", indexed=True, fast=True)
        .add_text_field("text", tokenizer_name="nearfield", index_option="freq")
        .build()
    )
    index = tantivy.Index(schema, path=str(folder))
    index.config_reader(reload_policy="manual")  # by default it follows what happens in its folder
    index.register_tokenizer("nearfield", analyzer())
    return index


def _is_tantivys(error: BaseException) -> bool:
    """Whether tantivy raised it: a ValueError for everything, or a panic, which is no Exception."""
    if isinstance(error, NearfieldError):
        return False
    return isinstance(error, ValueError) or type(error).__name__ == "PanicException"


@contextmanager
def told_damage(folder: Path) -> Iterator[None]:
    """Raise what tantivy raises as CorruptCollection; NearfieldError where it lacks the right to open the folder."""
    try:
        yield
    except BaseException as error:
        if not _is_tantivys(error):
            raise
        if "Permission denied" in str(error) or "Read-only" in str(error):
            raise NearfieldError(
                f"{folder} can't be opened ({error}); lexical search needs the right to read and write it, and "
                "mode='semantic' does not"
            ) from error
        raise CorruptCollection(f"{folder} can't be used ({error}); {REMEDY}") from error


@contextmanager
def _told_failures(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not _is_tantivys(error):
            raise
        raise NearfieldError(
            f"the BM25 index can't be written to {folder} ({error}); the documents are stored, and whoever searches "
            "next tries again"
        ) from error
