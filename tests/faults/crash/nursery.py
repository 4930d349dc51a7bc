"""A small process without a collection that forks workers, and reports when they end.

    with Nursery() as nursery:
        worker = nursery.start(folder, operations)
        worker.kill_after(0.05)
        worker.done           # how many operations were acknowledged; None if not even the collection was open

A worker writes a line for each acknowledgement before it goes on, so that what was acknowledged is known here whatever
becomes of the worker.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from crash.model import Operation
from crash.watch import child_environment


class Worker:
    """A process that does operations, seen from outside."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self.done: int | None = None
        self.status: int | None = None
        self.pid = int(nursery.line("pid"))

    def kill_after(self, seconds: float) -> None:
        """Kill it after some time, whether it has ended or not."""
        time.sleep(seconds)
        # Its parent leaves an ended worker as a zombie until the next, so that nobody else can have its number.
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        """Wait for its end."""
        while True:
            word, number = self._nursery.read()
            if word == "ended":
                self.status = int(number)
                return
            self.done = int(number)


class Nursery:
    """The parent of workers; a context."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crash.nursery"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=child_environment(),
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()

    def start(
        self,
        folder: Path,
        operations: Sequence[Operation],
        *,
        step: tuple[str, str, int] | None = None,
        counts: Path | None = None,
    ) -> Worker:
        """Return a worker on a collection.

        Args:
            folder: Of the collection.
            operations: What it does.
            step: (name, "enter" or "exit", n): it kills itself when it does that to a named step for the n-th time.
            counts: A file for how often it enters each step, as a JSON object, written when all is done.
        """
        plan = Path(self._folder.name) / "plan.json"
        content = {
            "folder": str(folder),
            "operations": list(operations),
            "step": step,
            "counts": counts and str(counts),
        }
        plan.write_text(json.dumps(content))
        self._process.stdin.write(f"{plan}\n")
        self._process.stdin.flush()
        return Worker(self)

    def read(self) -> tuple[str, str]:
        """Return the next thing that was told: a word and a number."""
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the nursery has ended; see its standard error")
        word, number = line.split()
        return word, number

    def line(self, expected: str) -> str:
        """Return the number that comes with an expected word."""
        word, number = self.read()
        assert word == expected, (word, number)
        return number


def tell(word: str, number: int) -> None:
    """Write a line in one piece."""
    os.write(1, f"{word} {number}\n".encode())


def main() -> None:
    """Fork a worker for each plan that standard input names."""
    from crash import small, worker

    small.make_small()
    zombie = None
    for line in sys.stdin:
        if zombie is not None:
            os.waitpid(zombie, 0)
        plan = json.loads(Path(line.strip()).read_text())
        zombie = os.fork()
        if not zombie:
            tell("pid", os.getpid())
            _run(worker.work, plan)
        ended = os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
        tell("ended", -ended.si_status if ended.si_code != os.CLD_EXITED else ended.si_status)


def _run(work: Callable[..., None], plan: dict[str, Any]) -> None:
    """Work, and end the process without what belongs to its parent."""
    status = 1
    try:
        if plan["step"]:
            kill_at(*plan["step"])
        counts = count_steps()
        work(Path(plan["folder"]), plan["operations"], lambda done: tell("done", done))
        if plan["counts"]:
            Path(plan["counts"]).write_text(json.dumps(counts))
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def kill_at(name: str, edge: str, occurrence: int) -> None:
    """Make this process kill itself when it enters or leaves a named step for the n-th time."""
    count = 0

    def kill(step: str) -> None:
        nonlocal count
        count += step == name
        if step == name and count == occurrence:
            os.kill(os.getpid(), signal.SIGKILL)

    listen(edge, kill)


def count_steps() -> Counter[str]:
    """Return a counter of how often each step is entered from now on."""
    counts: Counter[str] = Counter()
    listen("enter", lambda step: counts.update([step]))
    return counts


def listen(edge: str, heard: Callable[[str], None]) -> None:
    """Have a function called with the name of every step that this process enters or leaves."""
    from nearfield.stages import stage

    method = {"enter": "__enter__", "exit": "__exit__"}[edge]
    original = getattr(stage, method)

    def watched(self: stage, *arguments: Any) -> None:
        heard(self._name)
        original(self, *arguments)

    setattr(stage, method, watched)


if __name__ == "__main__":
    main()
