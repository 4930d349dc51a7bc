"""What the parts of `durability.py` share: the options, tables, sizes, percentiles, and children to measure in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Options:
    """What every part is given.

    Args:
        folder: Where to put collections.
        documents: How many; None: as many as the figure asks for.
        seed: Of the documents.
        runs: How often each thing is measured.
        kills: How often each system is killed.
        peers_python: The interpreter that has txtai and Chroma; None: without them.
    """

    folder: Path
    documents: int | None
    seed: int
    runs: int
    kills: int
    peers_python: Path | None


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        first, *others = (cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))  # noqa: B905
        print("  ".join([first, *others]).rstrip())
    print()


def at_least(value: float, bar: float, unit: str = "") -> str:
    """Return a bar, and whether a figure reaches it."""
    return f">= {bar:,g}{unit} {'met' if value >= bar else 'MISSED'}"


def at_most(value: float, bar: float, unit: str = "") -> str:
    """Return a bar, and whether a figure stays under it."""
    return f"<= {bar:,g}{unit} {'met' if value <= bar else 'MISSED'}"


def percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile, in milliseconds."""
    middle, high = np.percentile(seconds, [50, 95])
    return 1000 * float(middle), 1000 * float(high)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return how many seconds a call took, and what it returned."""
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def sizes(folder: Path) -> dict[str, int]:
    """Return bytes by entry of a folder, what lies deeper added up."""
    found: dict[str, int] = {}
    for file in folder.rglob("*"):
        try:
            if file.is_file():
                top = file.relative_to(folder).parts[0]
                found[top] = found.get(top, 0) + file.stat().st_size
        except FileNotFoundError:  # a file of an index that was just merged away
            continue
    return found


def megabytes(n: float) -> str:
    """Return bytes in millions."""
    return f"{n / 1e6:,.1f} MB"


def drop_from_cache(folder: Path) -> None:
    """Ask the kernel to forget a folder's files, so that they are read from the disk."""
    os.sync()
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def command(script: str, *arguments: object, python: Path | None = None) -> list[str]:
    """Return the command line of a script of this folder."""
    return [str(python or sys.executable), str(HERE / script), *map(str, arguments)]


def ask(words: list[str]) -> dict[str, Any]:
    """Return what a child answers: the JSON object on the last line that it prints.

    Its environment has the start of its process, so that it can say how long it took from there.

    Raises:
        RuntimeError: it failed; the message has its exit code and the last line of its errors.
    """
    environment = {**os.environ, "DURABILITY_BEGAN": str(time.monotonic())}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False, timeout=1800)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def since_start() -> float:
    """Return seconds since the parent started this process."""
    return time.monotonic() - float(os.environ["DURABILITY_BEGAN"])  # one clock for all processes
