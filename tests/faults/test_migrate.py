"""A migration that is killed at every named step and at random moments, and then goes on.

What is left must be the collection with its old vectors or with its new ones, and nothing that was made is made again.
NEARFIELD_MIGRATION_KILLS says how many random moments there are; see README.md.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from crash import watch
from crash.disk import Disk, Luck, lay_out, picture
from crash.nursery import count_steps, kill_at
from crash.watch import Kind

import nearfield as nf
from forking import fork, fork_telling
from migrating import QUESTIONS, Words, assert_is, document, model
from nearfield.errors import Conflict

pytestmark = pytest.mark.slow

DOCUMENTS = 70
BATCH = 16
STEPS = {
    "append vectors": "any",
    "sync vectors": "any",
    "migrate batch": "any",
    "place vectors": "one",
    "switch vectors": "one",
    "commit": "any",
    "drop segment": "one",
    "remove migration": "any",
}
KILLS = int(os.environ.get("NEARFIELD_MIGRATION_KILLS", "8"))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr("nearfield.migrate.work.ENCODED_TOGETHER", BATCH)
    monkeypatch.setattr("nearfield.migrate.work.READ_TOGETHER", BATCH)


def encoders() -> dict[str, Words]:
    return {"words 1": Words(1), "words 2": Words(2, dimension=24, max_tokens=20)}


def make(path: Path) -> dict[str, nf.Document]:
    """Make the collection, in a child, so that this process has nothing open when it forks."""
    documents = model(range(DOCUMENTS))

    def add() -> None:
        with nf.open(path, encoder=encoders()["words 1"]) as col:
            col.add(documents.values())

    assert fork(add) == 0
    return documents


def migrate(path: Path, before: Callable[[], object] = lambda: None) -> None:
    before()
    with nf.open(path, encoder=encoders()["words 1"]) as col:
        col.migrate(encoders()["words 2"])


def _work(work: Callable[[], object]) -> NoReturn:
    """Do some work in a child, and end it."""
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def judge(path: Path, documents: dict[str, nf.Document]) -> int | None:
    """Look at what a kill has left; return how many documents have new vectors, None if they are in use."""
    with nf.open(path, encoder=None, create=False) as col:
        stats = col.stats()
    encoder = encoders()[stats.encoder]
    with nf.open(path, encoder=encoder) as col:
        assert_is(col, documents, encoder)
    if stats.encoder == "words 2":
        assert stats.migration is None
        return None
    if stats.migration is None:
        return 0
    assert stats.migration == {"encoder": "words 2", "done": stats.migration["done"], "total": len(documents)}
    return int(stats.migration["done"])


def finish(path: Path, documents: dict[str, nf.Document], done: int | None) -> None:
    """Go on to the end, and look at the result."""
    old, new = encoders().values()
    with nf.open(path, encoder=new if done is None else old) as col:
        report = col.migrate(new)
        assert (report.switched, report.encoded) == ((False, 0) if done is None else (True, len(documents) - done))
        assert_is(col, documents, new)
        col.upsert([document(1, version=9)])
        documents = documents | model([1], version=9)
        assert_is(col, documents, new)
        assert col.check().notes == []
    with nf.open(path, encoder=new) as col:
        assert_is(col, documents, new)


def test_every_step_has_a_name_here(disk):
    counted = disk / "counts.json"

    def count() -> None:
        counts = count_steps()
        migrate(disk / "col.nf")
        counted.write_text(json.dumps(counts))

    make(disk / "col.nf")
    assert fork(count) == 0
    counts = Counter(json.loads(counted.read_text()))
    reading = {"encode", "search", "read"}
    keeping = {"update lexical", "swap lexical", "save columns", "swap columns", "vacuum", "move rows"}
    assert set(counts) - reading - keeping == set(STEPS)
    assert counts["migrate batch"] == 1 + -(-DOCUMENTS // BATCH)
    assert counts["append vectors"] >= counts["migrate batch"] - 1


@pytest.mark.parametrize("edge", ["enter", "exit"])
@pytest.mark.parametrize("step", STEPS)
def test_kill_at_a_step(disk, step, edge):
    """At the first time that it is reached, and at a later one."""
    for occurrence in (1,) if STEPS[step] == "one" else (1, 2):
        path = disk / f"{occurrence}.nf"
        documents = make(path)
        assert fork(lambda: migrate(path, lambda: kill_at(step, edge, occurrence))) == -signal.SIGKILL  # noqa: B023
        finish(path, documents, judge(path, documents))


@pytest.mark.parametrize("step", ["place vectors", "switch vectors"])
def test_the_next_writer_overwrites_nothing_of_a_switch_that_was_cut_off(disk, step):
    """It begins segments of its own, when files of the new vectors lie beside its own already."""
    path = disk / "col.nf"
    documents = make(path)
    assert fork(lambda: migrate(path, lambda: kill_at(step, "exit", 1))) == -signal.SIGKILL
    assert judge(path, documents) == DOCUMENTS
    more = model(range(DOCUMENTS, 3 * DOCUMENTS))
    with nf.open(path, encoder=encoders()["words 1"]) as col:
        col.add(more.values())
    documents |= more
    assert judge(path, documents) == DOCUMENTS
    finish(path, documents, DOCUMENTS)


def test_killed_at_random_moments_beside_a_writer(disk):
    """The same collection again and again, which is written to in between."""
    path = disk / "col.nf"
    documents = make(path)
    began = time.monotonic()
    assert fork(lambda: migrate(disk / "col.nf", lambda: kill_at("place vectors", "enter", 1))) == -signal.SIGKILL
    seconds = time.monotonic() - began
    assert judge(path, documents) == DOCUMENTS
    with nf.open(path, encoder=encoders()["words 1"]) as col:
        assert col.give_up_migration()
    chance = random.Random("migrations")
    done: int | None = 0
    for kill in range(KILLS):
        child = os.fork()
        if not child:
            _work(lambda: migrate(path))
        time.sleep(chance.uniform(0, 1.2 * seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done = judge(path, documents)
        if done is None:  # begin again, the other way round
            with nf.open(path, encoder=encoders()["words 2"]) as col:
                col.migrate(encoders()["words 1"])
        with nf.open(path, encoder=encoders()["words 1"]) as col:
            col.upsert([document(chance.randrange(DOCUMENTS), version=kill + 1), document(1000 + kill)])
            documents = {one.doc_id: one for one in col}
    done = judge(path, documents)
    assert done is not None
    finish(path, documents, _alive(path, documents))


def _alive(path: Path, documents: dict[str, nf.Document]) -> int:
    """Return how many documents that are still there have new vectors."""
    with nf.open(path, encoder=encoders()["words 1"]) as col:
        with_migration = col.stats().migration
        if with_migration is None:
            return 0
        new = encoders()["words 2"]
        migration = col._engine.migration(_settings(col, new))
        try:
            return len(documents) - len(migration.pending())
        finally:
            migration.close()


def _settings(col: nf.Collection, encoder: Words):
    from nearfield.migrate.work import Target, _settings

    return _settings(col._engine.settings, Target(encoder, encoder.name))


POWER_LOSS = """
import sys
from pathlib import Path
import nearfield as nf
import nearfield.migrate.work as work
from crash import small
from crash.watch import mark
from migrating import Words, model

small.make_small()
work.ENCODED_TOGETHER = work.READ_TOGETHER = 8
with nf.open(sys.argv[1], encoder=Words(1)) as col:
    col.add(model(range(24)).values())
    mark("there")
    col.migrate(Words(2, dimension=24, max_tokens=20))
mark("migrated")
"""


@pytest.mark.slow
def test_power_lost_in_a_migration(watching, disk):
    """At every system call; and what is left goes on to the end."""
    (disk / "machine").mkdir()
    done = watch.run(["-c", POWER_LOSS, str(disk / "machine" / "col.nf")], disk / "machine", disk / "log")
    assert done.returncode == 0, done.stderr
    machine, marks, seen = Disk(disk / "machine"), 0, set()
    documents = model(range(24))
    for point, record in enumerate(watch.read_log(disk / "log")):
        machine.take(record)
        marks += record.kind is Kind.MARK
        if not marks:
            continue
        after = disk / f"after-{point}"
        lay_out(machine.crash(Luck(point % 3 or None)), after)
        left = judge(after / "col.nf", documents)
        assert left is None or marks == 1
        seen.add(left)
        if point % 4 == 0:
            finish(after / "col.nf", documents, left)
        shutil.rmtree(after)
    assert {0, 8, 16, 24, None} <= seen
    assert machine.crash(Luck(None)) == picture(disk / "machine")


def test_a_reading_process_sees_one_or_the_other(disk):
    """It searches while another process migrates: old answers, then a Conflict, and after opening again new ones."""
    path = disk / "col.nf"
    make(path)
    question = QUESTIONS[0]
    old, new = encoders().values()

    def scores(col: nf.Collection) -> np.ndarray:
        return np.array([hit.score for hit in col.search(question, 5, mode="semantic")])

    def read(tell: Callable[[str], object]) -> None:
        with nf.open(path, encoder=old) as col:
            expected = scores(col)
            migrator = os.fork()
            if not migrator:
                _work(lambda: migrate(path))
            answers = ended = 0
            while not ended:
                ended, status = os.waitpid(migrator, os.WNOHANG)
                try:
                    np.testing.assert_allclose(scores(col), expected, atol=1e-6)
                    answers += 1
                except Conflict:
                    break
            assert (status if ended else os.waitpid(migrator, 0)[1]) == 0
            with pytest.raises(Conflict, match="words 2"):
                scores(col)
            tell(str(answers))
            assert len(col) == DOCUMENTS
        with nf.open(path, encoder=new) as col:
            found = scores(col)
            assert not np.allclose(found, expected, atol=1e-3)
            tell(json.dumps(found.tolist()))

    status, lines = fork_telling(read)
    assert status == 0
    assert int(lines[0]) > 0
    with nf.open(path, encoder=new) as col:
        np.testing.assert_allclose(json.loads(lines[1]), scores(col), atol=1e-6)
