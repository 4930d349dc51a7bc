"""A child of encoding_scale.py: adds titles to a collection, and prints the seconds and its memory on the way.

python benchmarks/encoding_child.py FOLDER     # which holds titles.json
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import nearfield as nf


def main() -> None:
    """Print one JSON object."""
    folder = Path(sys.argv[1])
    titles = json.loads((folder / "titles.json").read_text())
    memory: dict[str, float] = {}

    def note(done: int, _: int | None) -> None:
        if done >= len(titles) // 4:
            memory.setdefault("early", resident())

    with nf.open(folder / "titles.nf") as col:
        col.search("warm", mode="semantic")
        nf.load_encoder().encode_queries(["warm"])
        began = time.perf_counter()
        col.ingest(({"text": title} for title in titles), progress=note)
    print(json.dumps({"seconds": time.perf_counter() - began, "late": resident(), **memory}))


def resident() -> float:
    """Return this process's resident memory, in millions of bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) * 1024 / 1e6 if found else float("nan")


if __name__ == "__main__":
    main()
