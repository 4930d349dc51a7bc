"""A disk that loses power: what may be on it at any point of a log of system calls.

A file holds what was written before its last fsync; of each later write, every sector of 512 bytes may be there or not.
A folder holds the names it had at its last fsync, and the first few of its later changes. Nothing else is promised, so
that what survives here survives on any file system that keeps to POSIX.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath

from crash.watch import Kind, Record

SECTOR = 512
LEFT_BEHIND = ("-shm",)
"""Ends of the names of files that are written through maps and hold nothing durable; SQLite makes them anew."""


@dataclass
class File:
    """Bytes, as programs see them, and as they were at the last fsync with the changes since."""

    current: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def change(self, offset: int, data: bytes | None) -> None:
        """Write data at an offset, or, without data, set the size."""
        self.pending.append((offset, data))
        _apply(self.current, offset, data)

    def sync(self) -> None:
        """Make all of it durable."""
        if self.pending:
            self.durable, self.pending = bytes(self.current), []

    def after_crash(self, luck: Luck) -> bytes:
        """Return what the disk holds."""
        content = bytearray(self.durable)
        for (offset, data), kept in zip(self.pending, luck.kept(len(self.pending)), strict=True):
            if data is None:
                if kept:
                    _apply(content, offset, None)
                continue
            for start, end in _sectors(offset, len(data)) if kept is None else [(0, len(data))]:
                if kept or (kept is None and luck.coin()):
                    _apply(content, offset + start, data[start:end])
                elif luck.coin() and len(content) < offset + end:
                    # The file has grown, and its new blocks hold what lay there before.
                    _apply(content, offset + start, luck.litter(end - start))
        return bytes(content)


@dataclass
class Folder:
    """Names, as programs see them, and as they were at the last fsync with the changes since."""

    current: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[dict[str, File | Folder | None]] = field(default_factory=list)

    def change(self, names: dict[str, File | Folder | None]) -> None:
        """Give and take names, all at once."""
        self.pending.append(names)
        _rename(self.current, names)

    def sync(self) -> None:
        """Make all names durable."""
        self.durable, self.pending = dict(self.current), []

    def after_crash(self, luck: Luck) -> dict[str, File | Folder]:
        """Return the names that the disk holds."""
        names = dict(self.durable)
        for change in self.pending[: luck.first(len(self.pending))]:
            _rename(names, change)
        return names


def _rename(names: dict[str, File | Folder], change: dict[str, File | Folder | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


def _sectors(offset: int, count: int) -> list[tuple[int, int]]:
    edges = [0, *range(-offset % SECTOR or SECTOR, count, SECTOR), count]
    return list(pairwise(edges))


class Luck:
    """Decides what the disk kept; `Luck(None)` keeps everything, as when a process is killed."""

    def __init__(self, seed: object) -> None:
        self._random = None if seed is None else random.Random(repr(seed))

    def coin(self) -> bool:
        """Return true or false."""
        return self._random is None or self._random.random() < 0.5

    def first(self, count: int) -> int:
        """Return how many of some ordered changes were kept."""
        if self._random is None:
            return count
        return self._random.choice((0, count, self._random.randint(0, count)))

    def kept(self, count: int) -> list[bool | None]:
        """Return for each write whether it was kept; None: parts of it."""
        if self._random is None:
            return [True] * count
        match self._random.randrange(5):
            case 0:
                return [False] * count
            case 1:
                whole = self._random.randint(0, count)
                return ([True] * whole + [None] + [False] * count)[:count]
            case 2:
                return [self.coin() for _ in range(count)]
            case 3:
                return [None] * count
            case _:
                return [self._random.choice((True, False, None)) for _ in range(count)]

    def litter(self, count: int) -> bytes:
        """Return what lay in a block before."""
        return bytes(count) if self._random is None or self.coin() else self._random.randbytes(count)


class Disk:
    """Follows a log of system calls on the files below a folder that was there, and empty, from the start."""

    def __init__(self, root: Path) -> None:
        self._root = PurePosixPath(root)
        self._top = Folder()
        self._files: dict[int, File] = {}
        self.mapped: set[str] = set()

    def follow(self, records: Iterable[Record]) -> None:
        """Take in some records."""
        for record in records:
            self.take(record)

    def take(self, record: Record) -> None:
        """Take in one record."""
        match record.kind:
            case Kind.CREATE:
                self._files[record.inode] = file = File()
                self._give_name(record.path, file)
            case Kind.WRITE:
                self._files[record.inode].change(record.offset, record.data)
            case Kind.TRUNCATE:
                self._files[record.inode].change(record.offset, None)
            case Kind.SYNC:
                (self._find(record.path) if record.offset else self._files[record.inode]).sync()
            case Kind.MKDIR:
                self._give_name(record.path, Folder())
            case Kind.UNLINK:
                folder, name = self._place(record.path)
                folder.change({name: None})
            case Kind.LINK:
                self._give_name(record.second, self._find(record.path))
            case Kind.RENAME:
                self._move(record.path, record.second)
            case Kind.MAP:
                self.mapped.add(record.path)

    def _move(self, old: str, new: str) -> None:
        (source, old_name), (target, new_name) = self._place(old), self._place(new)
        if source is not target:
            raise NotImplementedError(f"{old} moves to another folder, {new}: say what a crash leaves of that")
        source.change({old_name: None, new_name: source.current[old_name]})

    def _give_name(self, path: str, node: File | Folder) -> None:
        folder, name = self._place(path)
        folder.change({name: node})

    def _place(self, path: str) -> tuple[Folder, str]:
        parent = self._find(str(PurePosixPath(path).parent))
        assert isinstance(parent, Folder)
        return parent, PurePosixPath(path).name

    def _find(self, path: str) -> File | Folder:
        node: File | Folder = self._top
        for name in PurePosixPath(path).relative_to(self._root).parts:
            assert isinstance(node, Folder)
            node = node.current[name]
        return node

    def crash(self, luck: Luck) -> dict[str, bytes | None]:
        """Return what may be on the disk now: by relative path, the bytes of each file, and None for a folder."""
        left: dict[str, bytes | None] = {}
        _collect(self._top, "", luck, left, {})
        return left


def _collect(folder: Folder, prefix: str, luck: Luck, left: dict[str, bytes | None], seen: dict[int, bytes]) -> None:
    for name, node in sorted(folder.after_crash(luck).items()):
        path = prefix + name
        if isinstance(node, Folder):
            left[path] = None
            _collect(node, path + "/", luck, left, seen)
        elif not name.endswith(LEFT_BEHIND):
            # A file may have several names, and has one content.
            if id(node) not in seen:
                seen[id(node)] = node.after_crash(luck)
            left[path] = seen[id(node)]


def lay_out(left: dict[str, bytes | None], target: Path) -> None:
    """Make the files of a disk in a folder."""
    target.mkdir(parents=True, exist_ok=True)
    for path, content in left.items():
        if content is None:
            (target / path).mkdir()
        else:
            (target / path).write_bytes(content)


def picture(folder: Path) -> dict[str, bytes | None]:
    """Return what is in a folder, in the form of `Disk.crash`."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.name.endswith(LEFT_BEHIND)
    }
