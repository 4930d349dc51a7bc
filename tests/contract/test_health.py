"""Damage is noticed and mended: whatever changes what a reader could see is reported, and repair loses only what it says.

The truth is what was stored. A flip of a bit that the check lets pass must change nothing that can be asked for.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

import nearfield as nf
from nearfield.cli import main
from nearfield.engine.local import inspection, segments, upkeep

GIVEN = [f"g{i}" for i in range(10)]
DIMENSION = 16


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Several segments, saved columns and several batches, with few documents."""
    monkeypatch.setattr(segments, "SLOT", 64)
    monkeypatch.setattr(upkeep, "LEAST_UNSAVED", 10)
    monkeypatch.setattr(inspection, "AT_ONCE", 17)
    monkeypatch.setattr(inspection, "ROWS_AT_ONCE", 13)


def opened(folder, encoder):
    return nf.open(folder, encoder=encoder)


def fill(col):
    for batch in range(4):
        col.add(
            [
                {
                    "doc_id": f"d{batch}-{i}",
                    "title": "A title" * (i % 2),
                    "text": f"word{i} of batch {batch}. " + "A longer text. " * (i % 9),
                    "year": i % 7,
                    "tag": {"x": [i]},
                }
                for i in range(30)
            ]
        )
    vectors = np.random.default_rng(0).standard_normal((len(GIVEN), DIMENSION))
    vectors[3] = 0
    col.add([nf.Document(f"given {name}", name) for name in GIVEN], vectors=vectors)
    col.delete([f"d1-{i}" for i in range(20)])
    col.compact()
    col.add([{"text": "a late one", "year": 3}])
    col.delete("d2-2")


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A folder with a collection, which tests copy."""
    from tests_conftest import HashingEncoder

    folder = tmp_path_factory.mktemp("origin")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SLOT", 64)
        patch.setattr(upkeep, "LEAST_UNSAVED", 10)
        with nf.open(folder / "made.nf", encoder=HashingEncoder(DIMENSION, max_tokens=24)) as col:
            fill(col)
    return folder / "made.nf"
