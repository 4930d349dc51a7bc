"""Single documents: how many are acknowledged durably in a second, and what searches feel of another process's adds."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from durability_common import Options, at_least, at_most, command, percentiles, print_table, timed
from durability_data import Corpus

import nearfield as nf

BATCH = 10_000
SECONDS = 3.0
"""How long the writer adds alone, in each run."""

QUERIES = 200
"""Of each mode, in each round."""

PACE = 150
CONTINUOUS = 0
NEW_FROM = 10**8
"""Position of the first document that the writers add alone; those beside searches are twice as far."""


class Writer:
    """Another process that adds single documents between `go` and `stop`."""

    def __init__(self, system: str, folder: Path, first: int) -> None:
        words = command("durability_writer.py", system, folder, first)
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
        if self._process.returncode and error is None:
            raise RuntimeError(f"the writer ended with exit code {self._process.returncode}")

    def go(self, rate: float) -> None:
        """Begin to add, at a rate or as fast as it can."""
        self._tell(f"{rate}\n")

    def stop(self) -> dict[str, Any]:
        """Stop, and return how long each add took, the seconds, and the last doc_id."""
        self._tell("stop\n")
        return self._answer()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the writer ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(slots=True)
class Condition:
    """What was measured under one condition.

    Args:
        rate: The writer's: documents a second, 0 for as many as it can, None for none.
    """

    rate: float | None
    latencies: dict[str, list[float]] = field(default_factory=dict)
    added: int = 0
    seconds: float = 0.0


def single(options: Options) -> None:
    """Add single documents alone, and then while this process searches."""
    n = options.documents or 100_000
    print(f"single: {n:,} documents; {options.runs} runs\n")
    collection, script = _make(options, n)
    _alone(options, {"nearfield": collection, "script": script})
    conditions = {"idle": Condition(None), "continuous": Condition(CONTINUOUS), "paced": Condition(PACE)}
    with nf.open(collection, create=False) as col, Writer("nearfield", collection, 2 * NEW_FROM) as writer:
        before = len(col)
        calls = _calls(col, Corpus(options.seed), n)
        lasts = []
        for name in ("idle", "continuous", "idle", "paced") * options.runs:
            lasts += _round(conditions[name], writer, calls)
        seen, new = len(col) - before, sum(last in col for last in lasts)
    added = sum(condition.added for condition in conditions.values())
    for name, condition in conditions.items():
        if condition.rate is not None:
            print(f"the {name} writer added {condition.added / condition.seconds:,.0f} documents/s beside the searches")
    print()
    _print_latencies(conditions)
    print(f"documents acknowledged meanwhile that the reader has: {seen:,} of {added:,}; ", end="")
    print(f"last ones of rounds: {new} of {len(lasts)}\n")


def _make(options: Options, n: int) -> tuple[Path, Path]:
    from durability_script import System

    corpus = Corpus(options.seed)
    folders = options.folder / "single.nf", options.folder / "single-script"
    script = System(folders[1])
    with nf.open(folders[0]) as col:
        for batch in corpus.batches(0, n, BATCH):
            col.add(batch.documents, vectors=batch.vectors)
            script.add(batch)
    return folders


def _alone(options: Options, folders: dict[str, Path]) -> None:
    measured: dict[str, Condition] = {name: Condition(CONTINUOUS, {"add": []}) for name in folders}
    with ExitStack() as stack:
        writers = {name: stack.enter_context(Writer(name, folder, NEW_FROM)) for name, folder in folders.items()}
        for _ in range(options.runs):
            for name, writer in writers.items():
                writer.go(CONTINUOUS)
                time.sleep(SECONDS)
                _count(measured[name], writer.stop())
    rates = {name: condition.added / condition.seconds for name, condition in measured.items()}
    rows = []
    for name, label in (("nearfield", "nearfield"), ("script", "peer: script with SQLite, FTS5 and NumPy")):
        middle, high = percentiles(measured[name].latencies["add"])
        rows.append([label, f"{rates[name]:,.0f}", f"{middle:.2f}", f"{high:.2f}"])
    rows[0] += [at_least(rates["nearfield"], 150, "/s"), f"{rates['nearfield'] / rates['script']:.2f} x peer"]
    rows[1] += ["", ""]
    print_table(["single adds, nobody else at work", "documents/s", "p50 ms", "p95 ms", "bar", "ratio"], rows)


def _count(condition: Condition, answer: dict[str, Any]) -> None:
    condition.added += len(answer["each"])
    condition.seconds += answer["seconds"]
    if "add" in condition.latencies:
        condition.latencies["add"] += answer["each"]


def _calls(col: nf.Collection, corpus: Corpus, n: int) -> dict[str, Callable[[int], object]]:
    texts = corpus.query_texts(QUERIES)
    vectors = corpus.query_vectors(QUERIES)
    matrix = np.concatenate([batch.vectors for batch in corpus.batches(0, n, BATCH)])
    return {
        "semantic": lambda i: col.search(vectors[i], mode="semantic"),
        "lexical": lambda i: col.search(texts[i], mode="lexical"),
        "hybrid": lambda i: col.search(texts[i]),
        "peer: NumPy product": lambda i: np.argpartition(-(matrix @ vectors[i]), 10)[:10],
    }


def _round(condition: Condition, writer: Writer, calls: dict[str, Callable[[int], object]]) -> list[str]:
    """Measure under a condition, and return the last doc_id that was acknowledged."""
    if condition.rate is not None:
        writer.go(condition.rate)
    # One after the other: BLAS, which the peer's product runs in, leaves threads spinning that would slow the others.
    for name, call in calls.items():
        call(0)  # takes in what came since
        for i in range(QUERIES):
            condition.latencies.setdefault(name, []).append(timed(lambda i=i, call=call: call(i))[0])
    if condition.rate is None:
        return []
    answer = writer.stop()
    _count(condition, answer)
    return [answer["last"]]


def _print_latencies(conditions: dict[str, Condition]) -> None:
    rows = []
    for name, idle in conditions["idle"].latencies.items():
        base = percentiles(idle)
        cells = [f"{base[0]:.2f}", f"{base[1]:.2f}"]
        for other in ("continuous", "paced"):
            middle, high = percentiles(conditions[other].latencies[name])
            bar = "" if name.startswith("peer") else at_most(high / base[1], 2)
            cells += [f"{middle:.2f}", f"{high:.2f}", f"{high / base[1]:.2f}", bar]
        rows.append([name, *cells])
    columns = ["p50 ms", "p95 ms"]
    beside = ["p50", "p95", "x idle", "bar"]
    print("search latency, idle, then beside the continuous writer, then beside the writer at 150/s:")
    print_table(["", *columns, *beside, *beside], rows)
