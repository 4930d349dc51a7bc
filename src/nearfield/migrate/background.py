"""A migration in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from nearfield.errors import NearfieldError
from nearfield.migrate.report import MigrationReport
from nearfield.migrate.work import Progress, Stopped

Work = Callable[[Progress, Callable[[], bool]], MigrationReport]


class BackgroundMigration:
    """A migration that goes on while its collection is used; `Collection.migrate(..., background=True)` returns one.

    If the process ends before it, what it has made stays, and the next migration to the same encoder goes on with that.

    Args:
        work: Migrates; called with what is to be told of progress, and what says whether to stop.
        progress: Told of progress as well, in the migration's thread.
    """

    def __init__(self, work: Work, progress: Progress | None = None) -> None:
        self.done = 0
        self.total = 0
        self._work = work
        self._progress = progress
        self._report: MigrationReport | None = None
        self._error: BaseException | None = None
        self._stopping = threading.Event()
        # Nothing is lost if it ends with the process: that is as good as a kill.
        self._thread = threading.Thread(target=self._run, name="nearfield-migration", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._report = self._work(self._show, self._stopping.is_set)
        except BaseException as error:
            self._error = error

    def _show(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        if self._progress is not None:
            self._progress(done, total)

    @property
    def running(self) -> bool:
        """Whether it is still at work."""
        return self._thread.is_alive()

    def wait(self, seconds: float | None = None) -> MigrationReport | None:
        """Return the report when it is done, or None if it isn't after so many seconds; raises what ended it.

        Raises:
            NearfieldError: it was stopped before its end, or failed; the collection has its old vectors.
        """
        self._thread.join(seconds)
        if self._thread.is_alive():
            return None
        if isinstance(self._error, Stopped):
            raise NearfieldError(
                f"the migration was stopped when {self.done} of {self.total} documents had new vectors; another one "
                "to the same encoder goes on from there"
            )
        if self._error is not None:
            raise self._error
        return self._report

    def stop(self) -> None:
        """End it after the batch that is being encoded, and return when it has ended; what was made stays."""
        self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
