"""How long starting takes: importing nearfield, and `nearfield search` from process start to its first hit.

    python benchmarks/start.py

The collection holds 10,000 sentences of the standard library's docstrings, encoded by the default encoder. The peers in
the same run: importing NumPy alone, and the same search by a script, without the command line. Also prints the size of
the environment that runs it; made with `pip install .`, that is the core install.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import nearfield as nf

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from docstrings import documents

SCRIPT = "import sys, nearfield as nf; print(nf.open(sys.argv[1]).search(sys.argv[2], k=3))"
QUERY = "read a file line by line"


def main() -> None:
    """Print medians of several runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--documents", type=int, default=10_000)
    arguments = parser.parse_args()
    python = [sys.executable, "-c"]
    empty = _median([*python, "pass"], arguments.runs)
    for module in ("numpy", "nearfield"):
        seconds = _median([*python, f"import {module}"], arguments.runs) - empty
        print(f"import {module:34} {1000 * seconds:7.0f} ms  (less {1000 * empty:.0f} ms of Python's own start)")
    with tempfile.TemporaryDirectory() as folder:
        location = f"{folder}/sentences.nf"
        with nf.open(location) as col:
            col.add(_sentences(arguments.documents))
        command = [str(Path(sysconfig.get_path("scripts")) / "nearfield"), "search", location, QUERY, "--k", "3"]
        for mode in ("hybrid", "semantic", "lexical"):
            seconds = _median([*command, "--mode", mode], arguments.runs)
            print(f"nearfield search, {mode:23} {1000 * seconds:7.0f} ms  from process start to end")
        script = _median([*python, SCRIPT, location, QUERY], arguments.runs)
        print(f"peer: the same by a script, hybrid       {1000 * script:7.0f} ms")
    site = Path(sysconfig.get_path("purelib"))
    megabytes = sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) / 1e6
    print(f"this environment's packages              {megabytes:7.0f} MB")


def _sentences(n: int) -> list[str]:
    found = {line.strip() for document in documents() for line in document.text.split(". ") if len(line.strip()) > 30}
    return sorted(found)[:n]


def _median(command: list[str], runs: int) -> float:
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])  # the first fills caches


if __name__ == "__main__":
    main()
