"""A child of `durability.py`: adds single documents with given vectors when it is told to.

    python benchmarks/durability_writer.py SYSTEM FOLDER FIRST

Each line that it reads is a rate in documents a second, 0 for as many as it can, or "stop"; at "stop" it says how many
documents it added since, how long each took, and the last doc_id. FIRST is the first document's position.
"""

from __future__ import annotations

import argparse
import importlib
import json
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from durability_data import Batch, Corpus

AHEAD = 20_000
"""Documents that are made before the first is added, so that making them doesn't slow adding."""


def main() -> None:
    """Add what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system")
    parser.add_argument("folder", type=Path)
    parser.add_argument("first", type=int)
    arguments = parser.parse_args()
    system = importlib.import_module(f"durability_{arguments.system}").System(arguments.folder)
    singles = _singles(Corpus(), arguments.first)
    system.add(system.prepare(next(singles)))  # takes the locks
    print(json.dumps({"ready": True}), flush=True)
    rates: queue.Queue[float | None] = queue.Queue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(rates, stop), daemon=True).start()
    for rate in iter(rates.get, None):
        print(json.dumps(_write(system, singles, rate, stop)), flush=True)


def _listen(rates: queue.Queue[float | None], stop: threading.Event) -> None:
    for line in sys.stdin:
        if line == "stop\n":
            stop.set()
        else:
            stop.clear()
            rates.put(float(line))
    rates.put(None)


def _singles(corpus: Corpus, position: int) -> Iterator[Batch]:
    while True:
        many = corpus.batch(position, AHEAD)
        position += AHEAD
        for i in range(AHEAD):
            cut = slice(i, i + 1)
            yield Batch(many.doc_ids[cut], many.texts[cut], many.metadata[cut], many.vectors[cut])


def _write(system: Any, singles: Iterator[Batch], rate: float, stop: threading.Event) -> dict[str, Any]:
    each: list[float] = []
    last = ""
    start = time.perf_counter()
    while not stop.is_set():
        batch = next(singles)
        documents = system.prepare(batch)
        began = time.perf_counter()
        system.add(documents)
        each.append(time.perf_counter() - began)
        last = batch.doc_ids[0]
        if rate:
            stop.wait(max(0.0, start + len(each) / rate - time.perf_counter()))
    return {"each": each, "seconds": time.perf_counter() - start, "last": last}


if __name__ == "__main__":
    main()
