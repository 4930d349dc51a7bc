"""Whether every kind of index keeps its recall target, and in what memory: held-out queries against the exact scan.

    python benchmarks/vectors/kinds.py --titles FILE --cache FOLDER --size 50000

FILE and FOLDER are those of table.py. For each kind and target: the recall@10 that the index says it has, the one that
the held-out queries measure with the lower end of its one-sided 95 % interval, the median time of a search, what the
index takes as a share of the vectors as float32, and how long it took from the last document to the end of `close()`.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import cases
import corpus
import numpy as np
from report import print_table
from table import prepare
from truth import Truth

import nearfield as nf

KINDS = (
    "auto,flat,ivf-flat,ivf-sq8,ivf-pq,ivf-fastscan,ivf-rabitq,fastscan,hnsw,hnsw-sq8,lsh,sq8,rabitq,"
    "IVF128,PQ48;OPQ48,IVF128,PQ48x4fs;PCA128,IVF128,SQ8"
)
BATCH = 20_000


def main() -> None:
    """Measure, and print a row for each kind and target."""
    arguments = _arguments()
    own = corpus.prepare(arguments.titles, arguments.cache, arguments.size, arguments.queries, seed=0)
    made, truth, _ = prepare(own, filters=10, seed=0)
    asked = {name: [query for query, _ in made[name].asked] for name in (cases.TUNING, "none")}
    rows = []
    for kind in _kinds(arguments.kinds):
        for target in map(float, arguments.targets.split(",")):
            rows.append(_row(kind, target, own, truth, asked, arguments.cache / "kinds.nf"))
            print(*rows[-1], sep="  ", flush=True)
    print()
    print_table(
        ["kind", "target", "built", "estimate", "recall", "at least", "p50 ms", "% of float32", "build s"], rows
    )


def _kinds(given: str) -> list[str]:
    """Return names, and factory strings, which have commas of their own and stand behind semicolons."""
    first, *strings = given.split(";")
    names = first.split(",")
    whole = [name for name in names if name.islower()]
    return whole + [string for string in [",".join(name for name in names if not name.islower()), *strings] if string]


def _row(
    kind: str, target: float, own: corpus.Corpus, truth: Truth, asked: dict[str, list[int]], folder: Path
) -> list[str]:
    shutil.rmtree(folder, ignore_errors=True)
    with nf.open(folder, index=kind, recall=target) as col:
        for begin in range(0, len(own.vectors), BATCH):
            vectors = own.vectors[begin : begin + BATCH]
            col.add([{"doc_id": begin + i, "text": "title"} for i in range(len(vectors))], vectors=vectors)
        began = time.perf_counter()
    built = time.perf_counter() - began
    with nf.open(folder) as col:
        about, times = col.stats().index, []
        found: dict[str, list[list[int]]] = {name: [] for name in asked}
        for name, queries in asked.items():
            for query in queries:
                start = time.perf_counter()
                doc_ids = col.search(own.queries[query], k=10, mode="semantic").doc_ids
                times.append(time.perf_counter() - start)
                found[name].append([int(doc_id) for doc_id in doc_ids])
    shutil.rmtree(folder)
    halves = [truth.judge(name, answers) for name, answers in found.items()]
    recall, low = (float(np.mean([getattr(half, name) for half in halves])) for name in ("recall", "low"))
    share = about.get("memory_bytes", 0) / own.vectors.nbytes
    return [
        kind, f"{target}", about["kind"], f"{about['recall']:.3f}", f"{recall:.3f}", f"{low:.3f}",
        f"{np.median(times) * 1e3:.2f}", f"{100 * share:.1f}", f"{built:.1f}",
    ]  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--titles", type=Path, required=True, metavar="FILE")
    parser.add_argument("--cache", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--size", type=int, help="documents (without: all titles but the queries)")
    parser.add_argument("--queries", type=int, default=1000, help="titles that are held out")
    parser.add_argument("--kinds", default=KINDS, help="names by commas, factory strings behind semicolons")
    parser.add_argument("--targets", default=".9,.95,.99")
    return parser.parse_args()


if __name__ == "__main__":
    main()
