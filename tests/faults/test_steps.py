"""A writer killed when it enters and when it leaves each named step of writing.

NEARFIELD_STEP_KILLS says how often at each edge of each step; see README.md.
"""

from __future__ import annotations

import json
import os
import random

import pytest
from crash.judge import judge, judge_snapshot
from crash.model import Model, outcomes, snapshot_outcomes
from crash.plan import plan
from crash.worker import SNAPSHOT

STEPS = [
    "append vectors",
    "sync vectors",
    "commit",
    "update lexical",
    "swap lexical",
    "write manifest",
    "move rows",
    "drop segment",
    "vacuum",
    "save columns",
    "swap columns",
    "snapshot vectors",
    "snapshot documents",
]
OPERATIONS = plan("steps", Model(), 150)
KILLS = int(os.environ.get("NEARFIELD_STEP_KILLS", "2"))
"""At each edge of each step: the first time that it is reached, and then at random."""


@pytest.fixture(scope="module")
def counts(nursery, tmp_path_factory):
    """How often a worker that nobody kills enters each step."""
    folder = tmp_path_factory.mktemp("steps")
    worker = nursery.start(folder / "col.nf", OPERATIONS, counts=folder / "counts.json")
    worker.wait()
    assert worker.status == 0
    return json.loads((folder / "counts.json").read_text())


def test_every_step_has_a_name_here(counts):
    reading = {"encode", "search", "read"}
    assert set(counts) - reading == set(STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(KILLS))
@pytest.mark.parametrize("edge", ["enter", "exit"])
@pytest.mark.parametrize("step", STEPS)
def test_kill_at_a_step(nursery, disk, counts, step, edge, kill):
    chance = random.Random(f"{step} {edge} {kill}")
    # The BM25 index follows in a thread: how often it takes a step depends on the time that others take.
    most = counts[step] // 2 if "lexical" in step else counts[step]
    occurrence = chance.randint(1, most) if kill else 1
    worker = nursery.start(disk / "col.nf", OPERATIONS, step=(step, edge, occurrence))
    worker.wait()
    assert worker.status == -9, f"the step {step!r} was not reached {occurrence} times"
    done = worker.done or 0
    judge_snapshot(disk / SNAPSHOT, snapshot_outcomes(Model(), None, OPERATIONS, done), disk / "restored.nf")
    model = judge(disk / "col.nf", outcomes(Model(), OPERATIONS, done))
    # The next writer goes on from there.
    more = plan((step, edge, kill, "again"), model, 10)
    worker = nursery.start(disk / "col.nf", more)
    worker.wait()
    assert (worker.status, worker.done) == (0, 10)
    judge(disk / "col.nf", outcomes(model, more, 10))
