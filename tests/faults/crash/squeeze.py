"""Writes to a collection while the disk is full at times; run below the watch, in a process of its own.

    python -m crash.squeeze COLLECTION room|failing_syncs SEED TRIALS

Every operation either returns, and is there, or raises a NearfieldError that is not CorruptCollection, and then the
contents are as before or as after it; either way everything can be read in this process at once.
"""

from __future__ import annotations

import ctypes
import json
import random
import sys
from pathlib import Path

import nearfield as nf
from crash import small
from crash.encoder import WordEncoder
from crash.judge import ask, ask_vectors, ask_words, identify, judge
from crash.model import Model, Operation, after
from crash.plan import plan
from crash.watch import watched
from crash.worker import SNAPSHOT, perform
from nearfield.errors import CorruptCollection, NearfieldError

LARGEST = 300_000
"""Bytes that an operation may write until the disk is full."""


def squeeze(folder: Path, trouble: str, seed: int, trials: int) -> dict[str, int]:
    """Return how many operations were tried and failed.

    Args:
        folder: Of a collection that is made.
        trouble: "room": there is a random number of bytes left. "failing_syncs": some calls of fsync fail.
        seed: Of everything that is random.
        trials: How often there is trouble.
    """
    chance, failures = random.Random(f"{trouble} {seed}"), 0
    model = Model()
    col = nf.open(folder, encoder=WordEncoder())
    for trial in range(trials):
        for operation in plan((seed, trial), model, chance.choice((1, 2, 8))):
            if operation["do"] == "reopen":
                col.close()
                col = nf.open(folder, encoder=WordEncoder())
            else:
                perform(col, operation, Path(col._engine.location).with_name(SNAPSHOT))
            model = [model, *after(model, operation)][-1]
        _begin(trouble, chance)
        for operation in plan((seed, trial, "trouble"), model, chance.choice((1, 3))):
            if operation["do"] == "reopen":
                continue
            model, failed = _attempt(col, model, operation)
            failures += failed
            _read(col, model, trial)
        _end()
        identify(col, [model])
        ask(col, model, trial)
    col.close()
    judge(folder, [model])
    return {"trials": trials, "failures": failures}


def _begin(trouble: str, chance: random.Random) -> None:
    if trouble == "room":
        watched().watch_room(ctypes.c_long(chance.choice((0, 1, chance.randrange(5000), chance.randrange(LARGEST)))))
    else:
        watched().watch_failing_syncs(ctypes.c_long(chance.choice((1, 2, 1000))))


def _end() -> None:
    watched().watch_room(ctypes.c_long(-1))
    watched().watch_failing_syncs(ctypes.c_long(0))


def _attempt(col: nf.Collection, model: Model, operation: Operation) -> tuple[Model, bool]:
    """Try an operation, and return the contents afterwards, and whether it failed."""
    try:
        perform(col, operation, Path(col._engine.location).with_name(SNAPSHOT))
    except CorruptCollection as error:
        raise AssertionError(f"a full disk is no damage: {error}") from error
    except NearfieldError as error:
        assert str(error)
        return identify(col, [model, *after(model, operation)]), True
    return identify(col, [[model, *after(model, operation)][-1]]), False


def _read(col: nf.Collection, model: Model, seed: int) -> None:
    """Compare what reading says; where there is no room for a new index, lexical search may say that."""
    ask_vectors(col, model, seed)
    try:
        ask_words(col, model, seed)
    except NearfieldError as error:
        assert not isinstance(error, CorruptCollection), error


if __name__ == "__main__":
    small.make_small()
    json.dump(squeeze(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])), sys.stdout)
