"""nearfield and its peers on titles from arXiv: latency, recall, filters, building, opening, memory, disk, in one run.

    python benchmarks/vectors/table.py --titles FILE --cache FOLDER --size 200000 --peer-python PYTHON

FILE is a docs.jsonl.gz of {_id, text, label, year}; it is encoded once, into FOLDER. 1,000 titles are held out as
queries: half choose each system's setting (the first that reaches the target recall without a filter), half are
reported. FAISS's HNSW is measured once more, with the first setting that reaches nearfield's own recall. PYTHON is the
interpreter of an environment with the peers:

    python -m venv peers
    peers/bin/pip install faiss-cpu qdrant-edge-py lancedb chromadb txtai usearch hnswlib
    peers/bin/python -m compileall -q peers/lib      # else the first start of each is slower

(txtai needs PyTorch.) A peer that is not there is printed as not installed. Each system is built (every processor),
reopened and searched (one thread) in processes of its own. Filters are prepared once where the interface has something
to keep: FAISS a bitmap, Qdrant its Filter, usearch and hnswlib a mask; the others get the condition with each search.
The cases are described in cases.py, the settings of the peers in system_*.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import corpus
import figures
import report
import systems
from measure import Measured, Plan, measure
from truth import Truth


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    own = corpus.prepare(arguments.titles, arguments.cache, arguments.size, arguments.queries, arguments.seed)
    made, truth, cases_file = prepare(own, arguments.filters, arguments.seed)
    names = cases.named(arguments.cases.split(","))
    plan = Plan(
        corpus=own.folder,
        cases_file=cases_file,
        truth=truth,
        cases=names,
        built=arguments.cache / "built" / f"{own.folder.name}-{_word(opening(arguments))}",
        peer_python=arguments.peer_python,
        target=arguments.recall,
        seconds=arguments.seconds,
    )
    entries = systems.chosen(systems.entries(opening(arguments)), arguments.systems.split(","))
    print(f"{len(own.vectors):,} titles, {own.vectors.shape[1]} dimensions, k=10; recall {arguments.recall} wanted")
    print(f"{_processor()}, {os.cpu_count()} processors, Python {platform.python_version()}\n", flush=True)
    if not (arguments.keep or arguments.resume):
        shutil.rmtree(plan.built, ignore_errors=True)  # what an interrupted run left
    results: list[Measured] = []
    for entry in entries:
        results.append(_measured(entry, replace(plan, target=_target(entry, results, plan.target)), arguments))
    if not arguments.keep:
        shutil.rmtree(plan.built, ignore_errors=True)
    print()
    report.print_all(results, names, made)
    figures.print_figures(results, len(own.vectors), arguments.recall)
    if arguments.json:
        written = {
            "documents": len(own.vectors),
            "cases": {name: {"share": made[name].share, "queries": len(made[name].asked)} for name in names},
            "systems": [result.to_dict() for result in results],
        }
        arguments.json.write_text(json.dumps(written, indent=1))


def prepare(own: corpus.Corpus, filters: int, seed: int) -> tuple[dict[str, cases.Case], Truth, str]:
    """Return the cases of a corpus, the exact answers, and the name of the file with the cases; made once."""
    path = own.folder / f"cases-{filters}.json"
    if not path.exists():
        began = time.perf_counter()
        cases.save(cases.make(own, filters, seed), path)
        (own.folder / f"truth-{filters}.npz").unlink(missing_ok=True)
        Truth(own, cases.load(path), own.folder / f"truth-{filters}.npz")
        print(f"made the cases and the exact answers in {time.perf_counter() - began:.0f} s")
    made = cases.load(path)
    return made, Truth(own, made, own.folder / f"truth-{filters}.npz"), path.name


def add_opening(parser: argparse.ArgumentParser, recall: float) -> None:
    """Add the options of nearfield."""
    parser.add_argument("--index", default="auto", help="nearfield's index")
    parser.add_argument("--recall", type=float, default=recall, help="wanted without a filter")
    parser.add_argument("--open", type=json.loads, default={}, metavar="JSON", help="more arguments of nearfield.open")


def opening(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of nearfield.open."""
    return {"index": arguments.index, "recall": arguments.recall, **arguments.open}


def _target(entry: systems.Entry, results: Sequence[Measured], wanted: float) -> float:
    """Return the recall that a system's setting must reach without a filter."""
    for result in results:
        if result.name == entry.matches and "none" in result.cases:
            return max(wanted, result.cases["none"]["recall"])
    return wanted


def _measured(entry: systems.Entry, plan: Plan, arguments: argparse.Namespace) -> Measured:
    kept = arguments.cache / "results" / _key(arguments, plan) / f"{entry.name}.json"
    if arguments.resume and kept.exists():
        print(f"{entry.label}: measured before", flush=True)
        return Measured(**json.loads(kept.read_text()))
    began = time.perf_counter()
    result = measure(entry, plan)
    kept.parent.mkdir(parents=True, exist_ok=True)
    if not result.failed:
        kept.write_text(json.dumps(result.to_dict()))
    print(f"{entry.label}: {result.failed or 'measured'} ({time.perf_counter() - began:.0f} s)", flush=True)
    return result


def _key(arguments: argparse.Namespace, plan: Plan) -> str:
    """Return a word for all that a result depends on."""
    parts = [arguments.filters, arguments.cases, opening(arguments), arguments.seconds, plan.target]
    return f"{plan.corpus.name}-{_word(parts)}"


def _word(parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--titles", type=Path, required=True, metavar="FILE")
    parser.add_argument("--cache", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--size", type=int, help="documents (without: all titles but the queries)")
    parser.add_argument("--queries", type=int, default=1000, help="titles that are held out")
    parser.add_argument("--filters", type=int, default=10, help="distinct filters of a case")
    parser.add_argument("--seconds", type=float, default=20.0, help="searching of a case ends after so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--systems", default="*", help="names or patterns, by commas; see systems.py")
    parser.add_argument("--cases", default="*", help=f"names or patterns, by commas: {', '.join(cases.NAMES)}")
    add_opening(parser, recall=0.95)
    parser.add_argument("--peer-python", type=Path, default=Path(sys.executable), metavar="PYTHON")
    parser.add_argument("--resume", action="store_true", help="take what an earlier run with the same options measured")
    parser.add_argument("--keep", action="store_true", help="keep what the systems built, and build no system twice")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
