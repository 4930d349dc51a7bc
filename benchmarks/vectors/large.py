"""Millions of vectors in little memory: built and searched in processes of their own, beside FAISS IVF,SQ8.

    python benchmarks/vectors/large.py --folder FOLDER                     # 5,000,000 vectors of 384 dimensions
    python benchmarks/vectors/large.py --folder FOLDER --count 50000       # to try it

The vectors are synthetic (synthetic.py says how) and never all in memory; nor are they for the exact answers, which are
made by going through them once more. Printed are the most memory that each process had (VmHWM), seconds, bytes on disk,
latency on one thread, and recall@10 without and with filters. Peer: FAISS with inverted lists and a byte a dimension,
trained on a sample, nprobe the smallest that reaches the recall; its index alone, without documents or filters.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from large_child import CASES, FILTERED
from measure import ONE_THREAD, on_disk
from report import print_table
from synthetic import Batch, Mixture
from table import add_opening, opening
from truth import K

BAR = 8 * 2**30
SYSTEMS = {"nearfield": "nearfield", "faiss": "FAISS IVF,SQ8"}


def main() -> None:
    """Build, search, judge, print."""
    arguments = _arguments()
    mixture = Mixture(arguments.count, arguments.seed)
    truth = exact(mixture, arguments.queries)
    print(f"{arguments.count:,} vectors of {mixture.queries(1).vectors.shape[1]} dimensions: ", end="")
    print(f"{arguments.count * 384 * 4 / 2**30:.2f} GiB in float32; recall {arguments.recall} wanted", flush=True)
    rows = []
    for name in arguments.systems.split(","):
        folder = arguments.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        rows += _rows(name, folder, arguments, truth)
        if not arguments.keep:
            shutil.rmtree(folder)
    header = ["", "case", "p50 ms", "p95 ms", "recall@10", "filled"]
    header += ["build s", "build peak GiB", "search peak GiB", "anonymous GiB", "disk GiB"]
    print_table(header, rows)


def exact(mixture: Mixture, queries: int) -> dict[str, np.ndarray]:
    """Return the rows of the k nearest for every query and case, int64 `(queries, k)`, by going through all vectors."""
    asked = mixture.queries(queries)
    scores = {name: np.full((queries, K), -np.inf, np.float32) for name in CASES}
    rows = {name: np.full((queries, K), -1, np.int64) for name in CASES}
    for batch in mixture.batches():
        products = asked.vectors @ batch.vectors.T
        for name in CASES:
            found = np.where(_allowed(name, asked, batch), products, -np.inf)
            best = np.argpartition(-found, min(K, found.shape[1] - 1), axis=1)[:, :K]
            both = np.hstack([scores[name], np.take_along_axis(found, best, axis=1)])
            names = np.hstack([rows[name], best + batch.begin])
            order = np.argsort(-both, axis=1, kind="stable")[:, :K]
            scores[name] = np.take_along_axis(both, order, axis=1)
            rows[name] = np.take_along_axis(names, order, axis=1)
    return {name: np.where(np.isfinite(scores[name]), rows[name], -1) for name in CASES}


def _allowed(name: str, asked: Batch, batch: Batch) -> np.ndarray:
    if name in FILTERED:
        return (batch.r < FILTERED[name])[None]
    if name == "adversarial-50":
        return asked.side[:, None] != batch.side[None]
    return np.ones((1, len(batch.r)), dtype=bool)


def _rows(name: str, folder: Path, arguments: argparse.Namespace, truth: dict[str, np.ndarray]) -> list[list[str]]:
    job = {
        "folder": str(folder),
        "count": arguments.count,
        "seed": arguments.seed,
        "queries": arguments.queries,
        "opening": opening(arguments),
        "target": arguments.recall,
        "truth": truth["none"].tolist(),
    }
    try:
        built = _ask(name, "build", job, {})
        print(f"{SYSTEMS[name]}: {built['about']}", flush=True)
        searched = _ask(name, "search", job, ONE_THREAD)
        print(f"{SYSTEMS[name]}: {searched['about']}", flush=True)
    except RuntimeError as error:
        print(f"{SYSTEMS[name]} failed: {error}")
        return []
    costs = [f"{built['seconds']:,.0f}", *(_gibibytes(peak) for peak in (built["peak"], searched["peak"]))]
    costs += [_gibibytes(searched["anonymous"]), _gibibytes(on_disk(folder))]
    if name == "nearfield":
        highest = max(built["peak"], searched["peak"])
        print(f"most resident memory {_gibibytes(highest)} GiB, <= 8: {'met' if highest <= BAR else 'MISSED'}")
        recall = _recall(searched["cases"]["none"]["found"], truth["none"])[0]
        print(f"recall {recall:.3f}, >= {arguments.recall}: {'met' if recall >= arguments.recall else 'MISSED'}\n")
    rows = []
    for case, answer in searched["cases"].items():
        middle, high = np.percentile(answer["seconds"], [50, 95]) * 1000
        recall, filled = _recall(answer["found"], truth[case])
        shown = [f"{middle:.2f}", f"{high:.2f}", f"{recall:.3f}", f"{100 * filled:.0f} %"]
        rows.append([SYSTEMS[name], case, *shown, *costs])
        if answer.get("plan"):
            print(f"{SYSTEMS[name]}, {case}: {answer['plan']}")
    return rows


def _recall(found: list[list[int]], truth: np.ndarray) -> tuple[float, float]:
    shares, filled = [], []
    for rows, best in zip(found, truth, strict=True):
        wanted = set(best[best >= 0].tolist())
        shares.append(len(wanted & set(rows)) / len(wanted) if wanted else 1.0)
        filled.append(len(rows) >= len(wanted))
    return float(np.mean(shares)), float(np.mean(filled))


def _ask(name: str, phase: str, job: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    """Return what a child answers.

    Raises:
        RuntimeError: it failed.
    """
    path = Path(job["folder"]).with_suffix(".job.json")
    path.write_text(json.dumps(job))
    words = [sys.executable, str(Path(__file__).with_name("large_child.py")), name, phase, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    path.unlink()
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"{phase} ended with {done.returncode}"])[-1])
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _gibibytes(n: float) -> str:
    return f"{n / 2**30:.2f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="on the disk that is to hold the collection")
    parser.add_argument("--count", type=int, default=5_000_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--systems", default="nearfield,faiss", help="by commas: nearfield, faiss")
    parser.add_argument("--keep", action="store_true", help="leave what was built")
    add_opening(parser, recall=0.90)
    return parser.parse_args()


if __name__ == "__main__":
    main()
