"""Damaged files: reading gives right answers or names the file, and `check` finds all damage that matters."""

from __future__ import annotations

import os
import random
import shutil

import pytest
from crash import small
from crash.damage import DAMAGES, harmless, kind_of
from crash.disk import lay_out, picture
from crash.encoder import WordEncoder
from crash.judge import ask_vectors, ask_words, contents
from crash.model import Model, after
from crash.plan import plan
from crash.worker import work

import nearfield as nf
from nearfield.errors import CorruptCollection

TRIALS = int(os.environ.get("NEARFIELD_DAMAGES", "12"))
"""How often each sort of file is damaged in each way."""

KINDS = ["manifest", "documents", "vectors", "lexical", "lexical marker", "columns", "columns marker"]


def make(folder, seed, monkeypatch):
    """Make a collection with every sort of file, and return what it holds."""
    small.make_small(monkeypatch.setattr)
    operations = [*plan(seed, Model(), 60), {"do": "search", "query": "river"}]
    model = Model()
    for operation in operations:
        model = [model, *after(model, operation)][-1]
    work(folder, operations, lambda done: None)
    return model


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two collections: the files of each, and what it holds."""
    made = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        for seed in (1, 2):
            folder = tmp_path_factory.mktemp("damage") / "col.nf"
            model = make(folder, seed, monkeypatch)
            made.append((picture(folder), model))
    for files, _ in made:
        assert {kind_of(path) for path, content in files.items() if content} >= set(KINDS)
    return made


def read(folder, model, path):
    """Read and search all there is; each answer is right, or an error that names the damaged file."""
    # Bits of vectors are compared with their checksums by check, compaction and snapshots, and not in a search. What
    # a damaged database says of other files may contradict them.
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
        if found is not None and vectors:
            assert model.same(found)
        if found is not None:
            assert {name: entry.document for name, entry in found.items()} == {
                name: entry.document for name, entry in model.entries.items()
            }


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_noticed(whole, disk, kind, damage):
    files, model = whole[0]
    chance = random.Random(f"{kind} {damage}")
    (disk / "workplace").mkdir()
    for trial in range(TRIALS):
        path = chance.choice([path for path, content in files.items() if content and kind_of(path) == kind])
        broken = DAMAGES[damage](files[path], chance)
        folder = disk / f"{trial}.nf"
        lay_out({**files, path: broken}, folder)
        if hasattr(nf, "check") and not harmless(files, path, broken, disk / "workplace"):
            problems = nf.check(folder).problems
            assert any(path in str(problem.file) for problem in problems), (path, problems)
        read(folder, model, path)
        shutil.rmtree(folder, ignore_errors=True)
