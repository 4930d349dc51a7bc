"""A writer killed when it enters and when it leaves each named step of writing."""

from __future__ import annotations

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
ONCE = {"write manifest"}
OPERATIONS = 120


@pytest.mark.slow
@pytest.mark.parametrize("occurrence", [1, 3])
@pytest.mark.parametrize("edge", ["enter", "exit"])
@pytest.mark.parametrize("step", STEPS)
def test_kill_at_a_step(nursery, disk, step, edge, occurrence):
    if step in ONCE and occurrence > 1:
        return
    operations = plan((step, edge, occurrence), Model(), OPERATIONS)
    worker = nursery.start(disk / "col.nf", operations, step=(step, edge, occurrence))
    worker.wait()
    assert worker.status == -9, f"the step {step!r} was not reached {occurrence} times"
    done = worker.done or 0
    judge_snapshot(disk / SNAPSHOT, snapshot_outcomes(Model(), None, operations, done), disk / "restored.nf")
    model = judge(disk / "col.nf", outcomes(Model(), operations, done))
    # The next writer goes on from there.
    more = plan((step, edge, occurrence, "again"), model, 10)
    worker = nursery.start(disk / "col.nf", more)
    worker.wait()
    assert (worker.status, worker.done) == (0, 10)
    judge(disk / "col.nf", outcomes(model, more, 10))
