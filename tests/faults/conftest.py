"""What the tests of crashes share."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from crash import small, watch
from crash.nursery import Nursery


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the judge keep to the limits that the workers keep to."""
    small.make_small(monkeypatch.setattr)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as opened:
        yield opened


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder in memory, if there is such a place: syncs are logged or don't matter to a kill, and cost nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def watching() -> None:
    """Skips a test where system calls can't be watched, and says why."""
    library = watch.library()
    if isinstance(library, str):
        pytest.skip(library)
