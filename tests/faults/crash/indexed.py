"""Collections whose vectors are searched by an index that is right to the last place, so that brute force can judge it.

python -m crash.indexed COLLECTION PLAN    what `crash.worker` does, on such a collection
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nearfield as nf
from crash import small, watch
from crash.encoder import WordEncoder
from crash.worker import work

KIND = "flat"


def make(folder: Path) -> None:
    """Make an empty collection."""
    nf.open(folder, encoder=WordEncoder(), index=KIND).close()


def assert_swept(folder: Path) -> None:
    """Assert that the index can be built, and that nothing lies beside it then."""
    with nf.open(folder) as col:
        indexes = col._engine._indexes
        indexes.neighbours.renew(indexes.state())
        told = col.stats()
    assert told.index["failure"] == ""
    assert told.index["indexed"] == (told.passages if told.index["wanted"] else 0)
    numbered = 1 if told.index["wanted"] else 0
    assert sorted(path.is_dir() for path in (folder / "index").glob("*")) == [False, True][: 2 * numbered]


if __name__ == "__main__":
    small.make_small()
    make(Path(sys.argv[1]))
    work(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), lambda done: watch.mark(str(done)))
