"""Names of the cache's files: a damaged one is replaced under a new name, since others may still have it open.

SQLite removes the log of a database by its name: were a new file to take an old one's name, a process that closes the
old one would take away the new one's log.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nearfield.errors import InvalidInput

_PREFIX, _SUFFIX, _BROKEN = "vectors-", ".sqlite", ".broken"


def cache_folder() -> Path:
    """Return the folder for what nearfield can make again, in the user's caches.

    Raises:
        RuntimeError: the user has no home.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    # A relative one is to be ignored: freedesktop.org's base directory specification.
    return (base if base.is_absolute() else Path("~/.cache").expanduser()) / "nearfield"


def check_folder(path: str | Path) -> Path:
    """Return a folder that the user gave, absolute; it need not be there.

    Raises:
        InvalidInput: it is no path, or there is a file.
    """
    if not isinstance(path, str | Path) or not str(path).strip() or "\0" in str(path):
        raise InvalidInput(f"the cache's path must be a folder, there or not, got {path!r}")
    try:
        folder = Path(path).expanduser().absolute()
    except (OSError, RuntimeError) as error:
        raise InvalidInput(f"the cache's path must be a folder, and {path} is no path: {error}") from error
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"the cache's path must be a folder, there or not, and {folder} is a file")
    return folder


class CacheFiles:
    """The files in a folder; of those that are numbered, the last is in use.

    Args:
        folder: Made when it is needed, for its owner alone: vectors tell about texts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the folder, against other processes that open or replace a file.

        Raises:
            OSError: the folder can't be written to.
        """
        import fcntl

        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / "vectors.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def newest(self) -> Path:
        """Return the file in use, which need not be there yet."""
        used = self._numbered(_SUFFIX)
        number = max(used) if used else max(self._numbered(_BROKEN), default=0) + 1
        return self._folder / f"{_PREFIX}{number:04d}{_SUFFIX}"

    def set_aside(self, file: Path) -> None:
        """Take a file out of use, unless another process has done so; the one set aside before it is removed.

        Raises:
            OSError: it can't be renamed.
        """
        with self.exclusive():
            if not file.exists():
                return
            for older in self._numbered(_BROKEN).values():
                older.unlink(missing_ok=True)
            file.rename(file.with_suffix(_BROKEN))
            for log in ("-wal", "-shm"):
                file.with_name(file.name + log).unlink(missing_ok=True)

    def size(self, file: Path) -> int:
        """Return the bytes of a file and its log."""
        total = 0
        for part in (file, file.with_name(file.name + "-wal")):
            with suppress(OSError):
                total += part.stat().st_size
        return total

    def _numbered(self, suffix: str) -> dict[int, Path]:
        files = self._folder.glob(f"{_PREFIX}*{suffix}")
        numbers = ((file.name[len(_PREFIX) : -len(suffix)], file) for file in files)
        return {int(number): file for number, file in numbers if number.isdecimal()}
