"""A bar that shows how far long work has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(word: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar on stderr if that is a terminal, and give what moves it.

    Args:
        word: What is being done, such as "Writing".

    It is called with how many documents are done, and how many there are (None: not known).
    """
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn(word),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
    )
    started = time.monotonic()
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate="")

        def show(done: int, total: int | None) -> None:
            rate = f"{done / max(time.monotonic() - started, 1e-9):,.0f} a second"
            bar.update(task, completed=done, total=total, rate=rate)

        yield show
