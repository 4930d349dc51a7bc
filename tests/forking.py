"""Work in a forked child, for tests of what a process leaves behind."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable
from typing import Any

SECONDS = 60
"""After which a child that hangs is ended by SIGALRM."""

Tell = Callable[[str], Any]


def fork_telling(work: Callable[[Tell], None]) -> tuple[int, list[str]]:
    """Have a child do some work, and return its exit status and the lines that it told; see `fork`."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of others don't matter to the child
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            signal.alarm(SECONDS)
            work(lambda line: os.write(writing, f"{line}\n".encode()))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as told:
        lines = told.read().splitlines()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), lines


def fork(work: Callable[[], Any]) -> int:
    """Have a child do some work, and return its exit status: 1 if it raised; negative: the signal that ended it."""
    return fork_telling(lambda _: work())[0]
