"""A lock between processes, released by the system when its holder ends."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from nearfield.errors import Locked


class FileLock:
    """An exclusive lock on a file, which then holds its holder's process id; not for use from several threads.

    Args:
        path: The file; made if it is absent.
        wait: Seconds to wait for another holder.
    """

    def __init__(self, path: Path, wait: float = 0.0) -> None:
        self._path = path
        self._wait = wait
        self._descriptor: int | None = None
        self._owner = 0

    def acquire(self) -> None:
        """Take the lock; holding it already is fine.

        Raises:
            Locked: another process holds it.
        """
        if self._descriptor is not None:
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._owner = os.getpid()
        # Who holds it is a courtesy to others; a full disk must not keep the lock from working.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)

    def _lock(self, descriptor: int) -> None:
        import fcntl

        deadline = time.monotonic() + self._wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 32, 0).decode(errors="replace") or "unknown"
                    raise Locked(
                        f"{self._path.parent} is being written by process {holder}; try again when it has closed the "
                        "collection"
                    ) from None
                time.sleep(0.01)
            else:
                return

    def release(self) -> None:
        """Give the lock back; doing so without holding it is fine."""
        if self._descriptor is not None:
            import fcntl

            if self._owner == os.getpid():
                # A process that was forked meanwhile has the same lock, and would keep it.
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
