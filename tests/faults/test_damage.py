"""Damaged files: reading gives right answers or names the file, `check` finds all that matters, `repair` mends it.

NEARFIELD_DAMAGES says how often each sort of file is damaged in each way; see README.md.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from contextlib import contextmanager

import pytest
from crash import small
from crash.damage import DAMAGES, changed_documents, harmless, kind_of
from crash.disk import lay_out, picture
from crash.encoder import WordEncoder
from crash.judge import ask, ask_vectors, ask_words, contents, identify
from crash.model import Model, after, outcomes, vectors_are_given
from crash.plan import plan
from crash.worker import work

import nearfield as nf
from nearfield.errors import CorruptCollection, NearfieldError

TRIALS = int(os.environ.get("NEARFIELD_DAMAGES", "6"))
KINDS = ["manifest", "documents", "vectors", "lexical", "lexical marker", "columns", "columns marker"]
DERIVED = {"manifest", "lexical", "lexical marker", "columns", "columns marker"}


def operations_of(seed):
    """Return operations that leave every sort of file."""
    return [*plan(seed, Model(), 60), {"do": "search", "query": "river"}]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two collections: the files of each, and what it holds."""
    made = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        small.make_small(monkeypatch.setattr)
        for seed in (1, 2):
            folder, model = tmp_path_factory.mktemp("damage") / "col.nf", Model()
            operations = operations_of(seed)
            for operation in operations:
                model = [model, *after(model, operation)][-1]
            work(folder, operations, lambda done: None)
            made.append((picture(folder), model))
    for files, _ in made:
        assert {kind_of(path) for path, content in files.items() if content} >= set(KINDS)
    return made


@contextmanager
def in_time(seconds=30):
    """A context that ends what goes on for ever, as following a damaged tree of pages can."""

    def end(*_):
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def read(folder, model, path):
    """Read and search all there is; each answer is right, or an error that names the damaged file."""
    # Vectors are compared with their checksums when they are read, and not in a search. What a damaged database says of
    # other files may contradict them.
    vectors, name = kind_of(path) != "vectors", folder.name if kind_of(path) == "documents" else path.split("/")[-1]

    def attempt(work, *arguments):
        try:
            return work(*arguments)
        except CorruptCollection as error:
            assert name in str(error), f"{error} does not name {name}"

    col = attempt(lambda: nf.open(folder, encoder=WordEncoder(), create=False))
    if col is None:
        return
    with col:
        attempt(ask_words, col, model)
        if vectors:
            attempt(ask_vectors, col, model)
        found = attempt(contents, col)
        if found is not None:
            assert model.same(found)


def find_and_mend(disk, files, model, path, broken):
    """Check a collection with a damaged file, and mend a copy of it."""
    folder = disk / "mended.nf"
    lay_out({**files, path: broken}, folder)
    problems = nf.check(folder).problems
    # What contradicts a damaged database may be named in its stead.
    assert problems
    assert kind_of(path) == "documents" or any(path in problem.file for problem in problems), problems
    mend(folder, files, model, path, broken)
    folder.rename(disk / f"mended-{len(list(disk.iterdir()))}.nf")


def mend(folder, files, model, path, broken):
    """Repair a collection: what is left is what was there, and what is lost is named."""
    try:
        repaired = nf.repair(folder, encoder=WordEncoder())
    except CorruptCollection as error:
        assert kind_of(path) == "documents", error
        assert path in str(error)
        return
    assert repaired.rebuilt
    assert nf.check(folder).problems == []
    left = Model({name: entry for name, entry in model.entries.items() if name not in repaired.lost})
    with nf.open(folder, encoder=WordEncoder(), create=False) as col:
        if kind_of(path) == "documents":
            found = contents(col)
            missing = left.entries.keys() - found.keys()
            assert not missing or not repaired.complete or any(name.startswith("key ") for name in repaired.lost)
            left = Model({name: entry for name, entry in left.entries.items() if name in found})
        else:
            assert repaired.lost.keys() == expected_loss(files, model, path, broken, folder.parent)
        identify(col, [left])
        ask(col, left)


def expected_loss(files, model, path, broken, disk):
    """Return the documents whose vectors are damaged, and can't be encoded again since they were given."""
    if kind_of(path) in DERIVED:
        return set()
    changed = changed_documents(files, path, broken, disk / "workplace")
    return {doc_id for doc_id in changed if vectors_are_given(model.entries[doc_id])}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_noticed_and_mended(whole, disk, kind, damage):
    files, model = whole[0]
    chance = random.Random(f"{kind} {damage}")
    (disk / "workplace").mkdir()
    for trial in range(TRIALS):
        path = chance.choice([path for path, content in files.items() if content and kind_of(path) == kind])
        broken = DAMAGES[damage](files[path], chance)
        folder = disk / f"{trial}.nf"
        lay_out({**files, path: broken}, folder)
        try:
            with in_time():
                if not harmless(files, path, broken, disk / "workplace"):
                    find_and_mend(disk, files, model, path, broken)
                read(folder, model, path)
        except BaseException as error:
            error.add_note(f"{damage} in {path}, trial {trial}")
            raise
        shutil.rmtree(folder, ignore_errors=True)


def swapped_segments(files, other):
    first, second = sorted(path for path in files if kind_of(path) == "vectors" and files[path])[:2]
    return {**files, first: files[second], second: files[first]}


def foreign(part):
    """Return a change that puts a file or folder of another collection in the place of this one's."""

    def change(files, other):
        kept = {path: content for path, content in files.items() if path.split("/")[0] != part}
        return {**kept, **{path: content for path, content in other.items() if path.split("/")[0] == part}}

    return change


def without(kind):
    """Return a change that removes one file of a sort."""

    def change(files, other):
        gone = min(path for path, content in files.items() if content and kind_of(path) == kind)
        return {path: content for path, content in files.items() if path != gone}

    return change


MIX_UPS = {
    "two segments swapped": swapped_segments,
    "another collection's database": foreign("documents.sqlite"),
    "another collection's manifest": foreign("manifest.json"),
    "another collection's segments": foreign("vectors"),
    "another collection's index": foreign("lexical"),
    "another collection's columns": foreign("columns"),
    "no manifest": without("manifest"),
    "no database": without("documents"),
    "no segment": without("vectors"),
    "no file of the index": without("lexical"),
    "no file of the columns": without("columns"),
}


@pytest.mark.parametrize("mix_up", MIX_UPS)
def test_files_that_do_not_belong_together(whole, disk, mix_up):
    (files, model), (other, _) = whole
    folder = disk / "col.nf"
    lay_out(MIX_UPS[mix_up](files, other), folder)
    assert nf.check(folder).problems or "index" in mix_up or "columns" in mix_up
    try:
        with nf.open(folder, encoder=WordEncoder(), create=False) as col:
            identify(col, [model])
            ask(col, model)
    except NearfieldError as error:
        assert str(folder) in str(error)
        assert isinstance(error, CorruptCollection) or mix_up == "no manifest"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_write_ahead_log_loses_whole_operations_only(nursery, disk, damage):
    """SQLite takes a write-ahead log as far as its checksums hold: the state is an earlier one, never a mixture."""
    operations = [operation for operation in plan("log", Model(), 60) if operation["do"] != "reopen"]
    worker = nursery.start(disk / "col.nf", operations, step=("commit", "exit", 25))
    worker.wait()
    assert worker.status == -9
    files, chance = picture(disk / "col.nf"), random.Random(damage)
    log = "documents.sqlite-wal"
    allowed = [state for done in range(worker.done + 1) for state in outcomes(Model(), operations, done)]
    for trial in range(TRIALS):
        folder = disk / f"{trial}.nf"
        lay_out({**files, log: DAMAGES[damage](files[log], chance)}, folder)
        try:
            with nf.open(folder, encoder=WordEncoder(), create=False) as col:
                ask(col, identify(col, allowed))
        except CorruptCollection as error:
            assert str(folder) in str(error)
