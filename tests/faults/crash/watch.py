"""Compiles watch.c, runs a process below it, and reads its log."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

HERE = Path(__file__).parent
HEAD = struct.Struct("<IIIIQQQ")


class Kind(IntEnum):
    """What a record tells of."""

    MARK, CREATE, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MKDIR, LINK, MAP = range(10)


@dataclass(frozen=True, slots=True)
class Record:
    """One system call that succeeded, or a mark.

    Args:
        path: Absolute; of a rename or a link, the old name.
        second: The new name.
        offset: Where a write begins, the size that a file is truncated or extended to, or, of a sync, 1 for a folder.
    """

    kind: Kind
    path: str
    second: str
    inode: int
    offset: int
    data: bytes


@functools.cache
def library() -> Path | str:
    """Return the compiled library, or, in words, why there is none."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if not sys.platform.startswith("linux"):
        return "system calls are watched on Linux only"
    if compiler is None:
        return "there is no C compiler (cc) to build tests/faults/crash/watch.c with"
    target = Path(tempfile.mkdtemp(prefix="nearfield-watch-")) / "watch.so"
    command = [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(target), str(HERE / "watch.c")]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise RuntimeError(f"tests/faults/crash/watch.c does not compile:\n{built.stderr}")
    probe = subprocess.run(
        ["/bin/true"], env={"LD_PRELOAD": str(target), "WATCH_FOLDER": "/nowhere"}, capture_output=True, check=False
    )
    return target if probe.returncode == 0 else "this system does not let a process filter its calls (seccomp)"


def environment(folder: Path, log: Path | None = None) -> dict[str, str]:
    """Return the environment for a process that is watched."""
    # With an arena for each thread, glibc opens a file of /proc when a thread ends, with signals blocked: then a call
    # that is handed over kills the process.
    ours = {"LD_PRELOAD": str(library()), "WATCH_FOLDER": str(folder), "MALLOC_ARENA_MAX": "1"}
    return {**child_environment(), **ours, **({"WATCH_LOG": str(log)} if log else {})}


def child_environment() -> dict[str, str]:
    """Return the environment for a child that imports what this process imports."""
    search = os.pathsep.join([str(HERE.parent), *(entry for entry in sys.path if entry)])
    return {**os.environ, "PYTHONPATH": search, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def watched() -> ctypes.CDLL:
    """Return the functions of watch.c, in a process that is watched."""
    return ctypes.CDLL(None)


def mark(text: str) -> None:
    """Put a mark into the log of this process, which is watched."""
    watched().watch_mark(text.encode(), ctypes.c_size_t(len(text.encode())))


def read_log(log: Path) -> Iterator[Record]:
    """Yield the records of a log."""
    content, at = log.read_bytes(), 0
    while at < len(content):
        kind, path_bytes, second_bytes, _, inode, offset, data_bytes = HEAD.unpack_from(content, at)
        at += HEAD.size
        parts = []
        for count in (path_bytes, second_bytes, data_bytes):
            parts.append(content[at : at + count])
            at += count
        yield Record(Kind(kind), parts[0].decode(), parts[1].decode(), inode, offset, parts[2])


def run(arguments: list[str], folder: Path, log: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python below the watch on what happens in a folder, until it ends."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment(folder, log), capture_output=True, text=True, check=False)
