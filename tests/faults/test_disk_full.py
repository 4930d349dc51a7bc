"""A disk that is full, for a while or in the middle of a write, and one whose fsync fails.

What is told is a NearfieldError that blames the disk and not the collection; what was there stays readable, and once
there is room, the same process writes on.
"""

from __future__ import annotations

import json
import os

import pytest
from crash import watch

HISTORIES = int(os.environ.get("NEARFIELD_FULL_DISKS", "2"))
TRIALS = 15
"""Times that the disk is full in one history."""


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["room", "failing_syncs"])
@pytest.mark.parametrize("history", range(HISTORIES))
def test_a_full_disk(watching, disk, trouble, history):
    (disk / "machine").mkdir()
    arguments = ["-m", "crash.squeeze", str(disk / "machine" / "col.nf"), trouble, str(history), str(TRIALS)]
    done = watch.run(arguments, disk / "machine")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["trials"] == TRIALS
    assert told["failures"] > TRIALS / 5, "the disk was hardly ever full"
