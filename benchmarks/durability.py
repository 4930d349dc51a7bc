"""Durability's figures: bulk and single adds, opening, memory, space, and what txtai, Chroma and a script do.

    python benchmarks/durability.py PART...      # bulk, open, single, space, peers; all of them if none is named

Documents are synthetic, the same for the same --seed: clustered unit vectors of 384 dimensions, texts of 8 to 24 words
that follow Zipf's law, and two fields of metadata. Every part prints each figure beside its bar and beside a peer in
the same run, and the quality of what was searched. `bulk`, `single` and `peers` have as a peer a careful script (SQLite
with FTS5, NumPy: durability_script.py), `open` the encoder alone, `space` a fresh collection. `peers` also has txtai
and Chroma, if --peers-python names the interpreter of an environment with `pip install txtai chromadb`.

Put --folder on the disk that is to be measured, not in memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from durability_bulk import bulk
from durability_common import Options
from durability_open import open_
from durability_peers import peers
from durability_single import single
from durability_space import space

PARTS = {"bulk": bulk, "open": open_, "single": single, "space": space, "peers": peers}


def main() -> None:
    """Measure the parts that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--documents", type=int, help="instead of 100,000 (open: 500,000)")
    parser.add_argument("--runs", type=int, default=5, help="how often each thing is measured")
    parser.add_argument("--kills", type=int, default=10, help="how often `peers` kills each system")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to put collections while they are measured")
    parser.add_argument("--peers-python", type=Path, help="an interpreter that has txtai and chromadb")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"PART must be one of {', '.join(PARTS)}, got {unknown[0]!r}")
    for part in arguments.parts or PARTS:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            options = Options(
                folder=Path(folder),
                documents=arguments.documents,
                seed=arguments.seed,
                runs=arguments.runs,
                kills=arguments.kills,
                peers_python=arguments.peers_python,
            )
            PARTS[part](options)
        print(f"{part} took {time.perf_counter() - began:.0f} s\n")


if __name__ == "__main__":
    main()
