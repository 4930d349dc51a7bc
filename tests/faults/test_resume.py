"""An ingestion that is killed again and again, and called again: every document is there once."""

from __future__ import annotations

import random

import pytest
from crash.judge import judge
from crash.model import Model, after, outcomes
from crash.plan import some_documents

DOCUMENTS = 400


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_an_ingestion_resumes(nursery, disk, seed):
    chance = random.Random(seed)
    documents = some_documents(chance, DOCUMENTS)
    ingest = {"do": "ingest", "documents": documents, "batch_size": 16, "source": "a file"}
    (whole,) = after(Model(), ingest)[-1:]
    parts = outcomes(Model(), [ingest], 0)
    for _ in range(50):
        worker = nursery.start(disk / "col.nf", [ingest])
        worker.kill_after(chance.uniform(0.01, 0.2))
        if worker.status == 0:
            break
        found = judge(disk / "col.nf", parts, seed)
        if whole.same(found.entries):
            break  # it had come to its end, and only could not say so
        # Nothing goes back: what was there stays.
        parts = [part for part in parts if len(part.entries) >= len(found.entries)]
    judge(disk / "col.nf", [whole], seed)
