"""A writer whose vectors are searched by an index is killed while that is built, extended, written and swapped.

What is left opens, answers as brute force does, and the next index is built; see README.md.
"""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest
from crash import indexed
from crash.disk import Disk, Luck, lay_out, picture
from crash.judge import judge
from crash.model import Model, outcomes
from crash.plan import plan
from crash.watch import Kind, read_log, run

KILLS = int(os.environ.get("NEARFIELD_KILLS", "20"))
IN_A_ROW = 10
STEPS = ["write index", "swap index"]
OPERATIONS = plan("index steps", Model(), 80)
STEP_KILLS = int(os.environ.get("NEARFIELD_STEP_KILLS", "2"))
POINTS = int(os.environ.get("NEARFIELD_POWER_LOSSES", "40"))


@pytest.mark.slow
@pytest.mark.parametrize("history", range(-(-KILLS // IN_A_ROW)))
def test_kill_at_random_moments(nursery, disk, history):
    chance, model = random.Random(f"index {history}"), Model()
    indexed.make(disk / "col.nf")
    for kill in range(IN_A_ROW):
        operations = plan(("index", history, kill), model, 60)
        worker = nursery.start(disk / "col.nf", operations)
        worker.kill_after(chance.uniform(0, chance.choice((0.05, 0.2, 0.6))))
        assert worker.status in (0, -9)
        model = judge(disk / "col.nf", outcomes(model, operations, worker.done or 0), seed=kill)
    indexed.assert_swept(disk / "col.nf")


@pytest.fixture(scope="module")
def counts(nursery, tmp_path_factory):
    """How often a worker that nobody kills enters each step."""
    folder = tmp_path_factory.mktemp("steps")
    indexed.make(folder / "col.nf")
    worker = nursery.start(folder / "col.nf", OPERATIONS, counts=folder / "counts.json")
    worker.wait()
    assert worker.status == 0
    return json.loads((folder / "counts.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(STEP_KILLS))
@pytest.mark.parametrize("edge", ["enter", "exit"])
@pytest.mark.parametrize("step", STEPS)
def test_kill_at_a_step(nursery, disk, counts, step, edge, kill):
    chance = random.Random(f"{step} {edge} {kill}")
    # The index follows in a thread: how often it takes a step depends on the time that others take.
    occurrence = chance.randint(1, counts[step] // 2) if kill else 1
    indexed.make(disk / "col.nf")
    worker = nursery.start(disk / "col.nf", OPERATIONS, step=(step, edge, occurrence))
    worker.wait()
    assert worker.status == -9, f"the step {step!r} was not reached {occurrence} times"
    model = judge(disk / "col.nf", outcomes(Model(), OPERATIONS, worker.done or 0))
    more = plan((step, edge, kill, "again"), model, 10)
    worker = nursery.start(disk / "col.nf", more)
    worker.wait()
    assert (worker.status, worker.done) == (0, 10)
    judge(disk / "col.nf", outcomes(model, more, 10))
    indexed.assert_swept(disk / "col.nf")


@pytest.mark.slow
def test_power_loss(watching, disk):
    (disk / "machine").mkdir()
    operations = plan("index power", Model(), 30)
    (disk / "plan.json").write_text(json.dumps(operations))
    command = ["-m", "crash.indexed", str(disk / "machine" / "col.nf"), str(disk / "plan.json")]
    done = run(command, disk / "machine", disk / "log")
    assert done.returncode == 0, done.stderr
    records = list(read_log(disk / "log"))
    chance = random.Random(0)
    near = [i for i, record in enumerate(records) if "/index/" in f"{record.path} {record.second}"]
    chosen = {chance.choice(near) + chance.randint(0, 2): chance.random() for _ in range(POINTS)}
    machine, acknowledged = Disk(disk / "machine"), 0
    for point, record in enumerate([*records, None]):
        if point in chosen:
            after = disk / f"after-{point}"
            lay_out(machine.crash(Luck(chosen[point])), after)
            if (after / "col.nf" / "manifest.json").exists():
                judge(after / "col.nf", outcomes(Model(), operations, acknowledged), seed=point)
            shutil.rmtree(after)
        if record is not None:
            machine.take(record)
            acknowledged = int(record.data) if record.kind is Kind.MARK else acknowledged
    assert machine.crash(Luck(None)) == picture(disk / "machine")
