"""Power lost at any point of a log of system calls: what was acknowledged before it is there, whole, and nothing else.

NEARFIELD_POWER_LOSSES says at how many points power is lost; see README.md.
"""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest
from crash import watch
from crash.disk import Disk, Luck, lay_out, picture
from crash.judge import judge, judge_snapshot
from crash.model import Model, outcomes, snapshot_outcomes
from crash.plan import plan
from crash.watch import Kind
from crash.worker import SNAPSHOT

POINTS = int(os.environ.get("NEARFIELD_POWER_LOSSES", "120"))
POINTS_IN_A_RUN = 60
OPERATIONS = 40


PLACE = "shelf/col.nf"
"""Of the collection on the disk; its parent is made with it."""


def run_watched(disk, operations):
    """Do operations on a collection on disk/machine, and return the log."""
    (disk / "machine").mkdir()
    (disk / "plan.json").write_text(json.dumps(operations))
    arguments = ["-m", "crash.worker", str(disk / "machine" / PLACE), str(disk / "plan.json")]
    done = watch.run(arguments, disk / "machine", disk / "log")
    assert done.returncode == 0, done.stderr
    return list(watch.read_log(disk / "log"))


def choose(records, chance, count):
    """Return points of the log with the luck that the disk has at each: half of them around syncs and renames."""
    edges = [i for i, record in enumerate(records) if record.kind in (Kind.SYNC, Kind.RENAME, Kind.UNLINK, Kind.MARK)]
    chosen = {}
    for _ in range(count):
        point = chance.choice(edges) + chance.randint(0, 1) if chance.random() < 0.5 else chance.randrange(len(records))
        luck = None if chance.random() < 0.25 else chance.random()  # None: everything is kept, as by a kill
        chosen.setdefault(point, []).append(luck)
    return chosen


@pytest.mark.slow
@pytest.mark.parametrize("history", range(-(-POINTS // POINTS_IN_A_RUN)))
def test_power_loss(watching, disk, history):
    operations = plan(history, Model(), OPERATIONS)
    records = run_watched(disk, operations)
    chosen = choose(records, random.Random(history), POINTS_IN_A_RUN)
    machine, done = Disk(disk / "machine"), 0
    for point, record in enumerate([*records, None]):
        for number, luck in enumerate(chosen.get(point, [])):
            after = disk / f"after-{point}-{number}"
            lay_out(machine.crash(Luck(luck)), after)
            try:
                kept = snapshot_outcomes(Model(), None, operations, done)
                judge_snapshot((after / PLACE).with_name(SNAPSHOT), kept, after / "restored.nf")
                judge(after / PLACE, outcomes(Model(), operations, done), seed=point)
            except Exception as error:
                trail = "\n".join(describe(record) for record in records[max(0, point - 30) : point])
                error.add_note(f"power lost after {point} calls, {done} operations, luck {luck}; before it:\n{trail}")
                raise
            shutil.rmtree(after, ignore_errors=True)
        if record is not None:
            machine.take(record)
            done = int(record.data) if record.kind is Kind.MARK else done
    # What was followed is what happened: nothing was written behind the watch's back.
    assert machine.crash(Luck(None)) == picture(disk / "machine")
    assert all(path.endswith("-shm") for path in machine.mapped)


def describe(record):
    """Return a record in words."""
    if record.kind is Kind.MARK:
        return f"  acknowledged: {record.data.decode()}"
    size = f" {len(record.data)} bytes at" if record.data else ""
    return f"  {record.kind.name.lower()}{size} {record.offset or ''} {record.path} {record.second}".rstrip()
