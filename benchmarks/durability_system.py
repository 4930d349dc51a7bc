"""A child of `durability.py`: does one thing with one system, in a process and an environment of its own.

    python benchmarks/durability_system.py SYSTEM bulk|add|fill|query FOLDER

bulk: adds documents the way that is best for many at once, and says how long that took.
add: the same, each batch durable before the next.
fill: adds batches of documents, each durable before the next, and prints a line after each; made to be killed.
query: opens what is there, searches, and says what it found and what it holds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from durability_common import since_start
from durability_data import Corpus


def main() -> None:
    """Do one thing, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system", choices=["nearfield", "script", "txtai", "chroma"])
    parser.add_argument("what", choices=["bulk", "add", "fill", "query"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument(
        "--own", type=int, default=0, help="query: look for some of so many documents, by their vectors"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    act = {"bulk": _bulk, "add": _add, "fill": _fill, "query": _query}[arguments.what]
    answer = act(arguments, Corpus(arguments.seed))
    if answer:
        print(json.dumps(answer))


def _bulk(arguments: argparse.Namespace, corpus: Corpus) -> dict[str, Any]:
    module, system = _load(arguments)
    batches = [system.prepare(batch) for batch in corpus.batches(0, arguments.documents, arguments.batch)]
    began = time.perf_counter()
    system.bulk(batches)
    return {"name": module.NAME, "settings": module.SETTINGS, "seconds": time.perf_counter() - began}


def _add(arguments: argparse.Namespace, corpus: Corpus) -> dict[str, Any]:
    _, system = _load(arguments)
    batches = [system.prepare(batch) for batch in corpus.batches(0, arguments.documents, arguments.batch)]
    seconds = []
    for batch in batches:
        began = time.perf_counter()
        system.add(batch)
        seconds.append(time.perf_counter() - began)
    return {"seconds": sum(seconds), "each": seconds}


def _fill(arguments: argparse.Namespace, corpus: Corpus) -> None:
    _, system = _load(arguments)
    for batch in [system.prepare(batch) for batch in corpus.batches(0, arguments.documents, arguments.batch)]:
        system.add(batch)
        print("acknowledged", flush=True)


def _query(arguments: argparse.Namespace, corpus: Corpus) -> dict[str, Any]:
    began = time.perf_counter()
    queries = corpus.query_vectors(arguments.queries)
    own = time.perf_counter() - began
    _, system = _load(arguments)
    system.search(queries[0], 10)
    first = since_start() - own
    found, seconds = [], []
    for query in queries:
        began = time.perf_counter()
        found.append(system.search(query, 10))
        seconds.append(time.perf_counter() - began)
    missed = sum(
        system.search(vector, 1) != [doc_id] for doc_id, vector in _spread(corpus, arguments.own, arguments.queries)
    )
    return {"first": first, "each": seconds, "found": found, "missed": missed, "doc_ids": system.doc_ids()}


def _spread(corpus: Corpus, n: int, wanted: int) -> list[tuple[str, np.ndarray]]:
    """Return some of the first `n` documents, evenly spread and with the last one."""
    if not n:
        return []
    vectors = corpus.batch(0, n).vectors
    return [(str(i), vectors[i]) for i in np.linspace(0, n - 1, wanted).astype(int).tolist()]


def _load(arguments: argparse.Namespace) -> tuple[Any, Any]:
    module = importlib.import_module(f"durability_{arguments.system}")
    return module, module.System(arguments.folder)


if __name__ == "__main__":
    main()
