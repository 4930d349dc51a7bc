"""nDCG@10 of the same model in float32, bfloat16 and int8, on judged collections, through the public API.

    python benchmarks/precisions.py --data FOLDER [--sets beir_scifact …] [--precisions float32 int8]

FOLDER is that of quality.py. The first precision is the one that the others are held against: int8 is the default where
its mean is at most 0.3 points below float32's, and no set more than 1.0.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from quality import SETS, WAYS, ndcg

import nearfield as nf
from nearfield.evaluate import read_qrels, read_queries

MODES = ("semantic", "hybrid")
MEAN_BELOW, SET_BELOW = 0.3, 1.0


def main() -> None:
    """Print a row for each set, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16", "int8"])
    arguments = parser.parse_args()
    encoders = {precision: nf.load_encoder(precision=precision) for precision in arguments.precisions}
    print(f"{'set':16}" + "".join(f"{f'{mode} {name}':>20}" for name in encoders for mode in MODES) + "    texts/s")
    rows = []
    for name in arguments.sets:
        measured = [_measure(arguments.data / name, encoder) for encoder in encoders.values()]
        rows.append([value for values, _ in measured for value in values])
        speeds = " ".join(f"{rate:6.0f}" for _, rate in measured)
        print(f"{name:16}" + "".join(f"{value:20.2f}" for value in rows[-1]) + f"    {speeds}", flush=True)
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    print(f"{'mean':16}" + "".join(f"{value:20.2f}" for value in means))
    for place, name in enumerate(encoders):
        for offset, mode in enumerate(MODES):
            column = len(MODES) * place + offset
            below = means[offset] - means[column]
            worst = max(row[offset] - row[column] for row in rows)
            verdict = "holds" if below <= MEAN_BELOW and worst <= SET_BELOW else "FAILS"
            print(f"{mode} in {name}: mean {-below:+.2f}, worst set {-worst:+.2f} ({verdict})")


def _measure(folder: Path, encoder: object) -> tuple[list[float], float]:
    """Return nDCG@10 of each mode, and documents encoded a second."""
    queries, qrels = read_queries(folder / "queries.jsonl"), read_qrels(folder / "qrels.tsv")
    asked = {query_id: text for query_id, text in queries.items() if query_id in qrels}
    with tempfile.TemporaryDirectory() as temporary, nf.open(Path(temporary) / "a.nf", encoder=encoder) as col:  # type: ignore[arg-type]
        began = time.perf_counter()
        col.add(nf.read_files([folder / "corpus.jsonl.gz"], on_empty=lambda _: None))
        rate = len(col) / (time.perf_counter() - began)
        return [100 * ndcg(col, asked, qrels, WAYS[mode], folder.name) for mode in MODES], rate


if __name__ == "__main__":
    main()
