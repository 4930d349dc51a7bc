"""Power lost while a collection of format version 1 becomes one of today's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from crash import watch
from crash.disk import Disk, Luck, lay_out, picture
from crash.judge import contents
from crash.watch import Kind

import nearfield as nf

OLD = Path(__file__).parents[1] / "formats" / "v1" / "collection"
LUCKS = (None, 1, 2)
MIGRATE = """
import os, shutil, sys
from pathlib import Path
import nearfield as nf
from crash.watch import mark

old, new = Path(sys.argv[1]), Path(sys.argv[2])
shutil.copytree(old, new)
for path in [new.parent, new, *new.rglob("*")]:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
mark("there")
with nf.open(new) as col:
    col.delete(col.doc_ids()[0])
mark("migrated")
"""


@pytest.mark.slow
def test_power_lost_in_a_migration(watching, disk):
    shutil.copytree(OLD, disk / "clean.nf")
    with nf.open(disk / "clean.nf") as col:
        whole = contents(col)
    (disk / "machine").mkdir()
    done = watch.run(["-c", MIGRATE, str(OLD), str(disk / "machine" / "col.nf")], disk / "machine", disk / "log")
    assert done.returncode == 0, done.stderr
    machine, marks, states = Disk(disk / "machine"), 0, set()
    for point, record in enumerate(watch.read_log(disk / "log")):
        machine.take(record)
        marks += record.kind is Kind.MARK
        for luck in LUCKS if marks else ():
            states.add(judge_migration(machine, luck, disk / f"{point}-{luck}", whole))
    assert states == {len(whole), len(whole) - 1}
    assert machine.crash(Luck(None)) == picture(disk / "machine")


def judge_migration(machine, luck, after, whole):
    """Return how many documents there are, all that there were, or without the one that is deleted at the end."""
    lay_out(machine.crash(Luck(luck)), after)
    with nf.open(after / "col.nf") as col:
        found = contents(col)
    assert nf.check(after / "col.nf").problems == []
    assert list(found) == list(whole)[len(whole) - len(found) :]
    assert all(found[doc_id].same(whole[doc_id]) for doc_id in found)
    shutil.rmtree(after, ignore_errors=True)
    return len(found)
