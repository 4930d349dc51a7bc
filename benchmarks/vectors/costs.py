"""What a collection costs as it grows, beside raw FAISS HNSW, and what that predicts for 100,000,000 documents.

    python benchmarks/vectors/costs.py --titles FILE --cache FOLDER

FILE and FOLDER are those of table.py, which says how things are measured. Each figure is fitted by a power of the
number of documents (a straight line in logarithms); the exponent and the value of that power at the predicted number
are printed. It is an extrapolation over more than two orders of magnitude, and no more.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cases
import corpus
import numpy as np
import systems
from measure import Measured, Plan, measure
from report import print_table
from table import add_opening, opening, prepare

FIGURES: dict[str, Callable[[Measured], float]] = {
    "build s": lambda result: result.build["seconds"],
    "adding s": lambda result: result.build.get("adding", float("nan")),
    "indexing s": lambda result: result.build.get("indexing", float("nan")),
    "build peak MB": lambda result: result.build["peak"] / 1e6,
    "first hits s": lambda result: result.first,
    "resident MB": lambda result: result.memory["VmRSS"] / 1e6,
    "anonymous MB": lambda result: result.memory["RssAnon"] / 1e6,
    "disk MB": lambda result: result.bytes / 1e6,
}


def main() -> None:
    """Measure each size, and print."""
    arguments = _arguments()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    names = cases.named(arguments.cases.split(","))
    entries = systems.chosen(systems.entries(opening(arguments)), arguments.systems.split(","))
    measured: dict[str, dict[int, Measured]] = {entry.label: {} for entry in entries}
    for size in sizes:
        own = corpus.prepare(arguments.titles, arguments.cache, size, arguments.queries, arguments.seed)
        _, truth, cases_file = prepare(own, arguments.filters, arguments.seed)
        built = arguments.cache / "costs"
        shutil.rmtree(built, ignore_errors=True)
        plan = Plan(
            corpus=own.folder,
            cases_file=cases_file,
            truth=truth,
            cases=names,
            built=built,
            peer_python=arguments.peer_python,
            target=arguments.recall,
            seconds=arguments.seconds,
        )
        for entry in entries:
            result = measure(entry, plan)
            measured[entry.label][size] = result
            print(f"{entry.label}, {size:,}: {result.failed or result.about}", flush=True)
        shutil.rmtree(built, ignore_errors=True)
    print()
    for label, found in measured.items():
        _print(label, {size: result for size, result in found.items() if not result.failed}, names, arguments.predict)
    if arguments.json:
        written = {label: {n: result.to_dict() for n, result in found.items()} for label, found in measured.items()}
        arguments.json.write_text(json.dumps(written, indent=1))


def _print(label: str, found: dict[int, Measured], names: list[str], predicted: int) -> None:
    print(label if found else f"{label}: nothing was measured")
    if not found:
        return
    rows = []
    for figure, value in FIGURES.items():
        rows.append(_row(figure, {n: value(result) for n, result in found.items()}, predicted))
    for name in names:
        rows.append(_row(f"p50 ms, {name}", {n: result.cases[name]["p50"] for n, result in found.items()}, predicted))
        recalls = [f"{result.cases[name]['recall']:.3f}" for result in found.values()]
        rows.append([f"recall@10, {name}", *recalls, "", ""])
    print_table(["documents", *(f"{n:,}" for n in found), "exponent", f"prediction for {predicted:,}"], rows)


def _row(figure: str, values: dict[int, float], predicted: int) -> list[str]:
    shown = [_digits(value) for value in values.values()]
    if len(values) < 2 or not all(value > 0 for value in values.values()):
        return [figure, *shown, "", ""]
    exponent, constant = np.polyfit(np.log(list(values)), np.log(list(values.values())), 1)
    return [figure, *shown, f"{exponent:.2f}", _digits(float(np.exp(constant + exponent * np.log(predicted))))]


def _digits(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--titles", type=Path, required=True, metavar="FILE")
    parser.add_argument("--cache", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--sizes", default="50000,100000,200000,500000", help="documents, by commas")
    parser.add_argument("--predict", type=int, default=100_000_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--filters", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--systems", default="nearfield,faiss-hnsw", help="see systems.py")
    parser.add_argument("--cases", default="none,random-1,adversarial-10", help="see cases.py")
    parser.add_argument("--peer-python", type=Path, default=Path(sys.executable), metavar="PYTHON")
    parser.add_argument("--json", type=Path, metavar="FILE")
    add_opening(parser, recall=0.95)
    return parser.parse_args()


if __name__ == "__main__":
    main()
