"""A writer killed with SIGKILL at random moments: what it acknowledged is there, whole, and nothing else.

NEARFIELD_KILLS says how many kills; see README.md.
"""

from __future__ import annotations

import os
import random
import shutil

import pytest
from crash.judge import judge, judge_snapshot
from crash.model import Model, outcomes, snapshot_outcomes
from crash.plan import plan
from crash.worker import SNAPSHOT

KILLS = int(os.environ.get("NEARFIELD_KILLS", "40"))
IN_A_ROW = 10
"""Kills that one collection has to bear."""

OPERATIONS = 60


@pytest.mark.slow
@pytest.mark.parametrize("history", range(-(-KILLS // IN_A_ROW)))
def test_kill_at_random_moments(nursery, disk, history):
    chance, model, snapshot = random.Random(history), Model(), None
    for kill in range(IN_A_ROW):
        operations = plan((history, kill), model, OPERATIONS)
        worker = nursery.start(disk / "col.nf", operations)
        worker.kill_after(chance.uniform(0, chance.choice((0.02, 0.1, 0.4))))
        assert worker.status in (0, -9)
        done = worker.done or 0
        kept = snapshot_outcomes(model, snapshot, operations, done)
        snapshot = judge_snapshot(disk / SNAPSHOT, kept, disk / "restored.nf")
        # The next worker goes on with what this one left, or with what the judge left, who has repaired something.
        place = disk / "col.nf"
        if chance.random() < 0.5 and place.exists():
            place = shutil.copytree(place, disk / "copy.nf")
        model = judge(place, outcomes(model, operations, done), seed=kill)
        shutil.rmtree(disk / "copy.nf", ignore_errors=True)
