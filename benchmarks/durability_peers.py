"""nearfield beside txtai, Chroma and a script: bulk add, reopening, disk, and what SIGKILL leaves.

Every system works in processes and, for txtai and Chroma, in an environment of their own. "Acknowledged" means that the
call returned after which the system promises that the documents are stored; the settings are the safest that its
documentation offers (see the modules durability_txtai.py and durability_chroma.py).
"""

from __future__ import annotations

import shutil
import signal
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from durability_common import Options, ask, command, megabytes, percentiles, print_table, sizes
from durability_data import BruteForce, Corpus

BATCH = 10_000
QUERIES = 200
KILLED_BATCH = 1_000
KILLED_DOCUMENTS = 40_000
FEWEST, MOST = 5, 20
"""Batches that are acknowledged before the kill."""


@dataclass(slots=True)
class Left:
    """What kills left, all of them added up.

    Args:
        acknowledged: Documents.
        lost: Documents that were acknowledged, and are not there.
        torn: Batches of which there is a part.
        more: Documents that are there without having been acknowledged, in whole batches.
        opened: Kills after which it opened and answered.
        recalls: Of semantic search, of each kill after which it opened.
        errors: What else happened.
    """

    acknowledged: int = 0
    lost: int = 0
    torn: int = 0
    more: int = 0
    opened: int = 0
    recalls: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def peers(options: Options) -> None:
    """Measure every system in turn, in alternation."""
    n = options.documents or 100_000
    systems = ["nearfield", "script", *(["txtai", "chroma"] if options.peers_python else [])]
    print(f"peers: {n:,} documents; {options.runs} runs\n")
    _speeds(options, systems, n)
    print(f"SIGKILL while batches of {KILLED_BATCH:,} are added, {options.runs} times, at a random moment after "
          f"{FEWEST} to {MOST} acknowledgements:\n")  # fmt: skip
    rows = []
    rng = np.random.default_rng(options.seed)
    left = {system: Left() for system in systems}
    for _ in range(options.runs):
        batches, share = int(rng.integers(FEWEST, MOST + 1)), float(rng.random())
        for system in systems:
            _kill(options, system, batches, share, left[system])
    for system, found in left.items():
        recall = f"{min(found.recalls):.3f}" if found.recalls else "-"
        counts = [f"{number:,}" for number in (found.acknowledged, found.lost, found.more, found.torn)]
        rows.append([system, f"{found.opened} of {options.runs}", *counts, recall])
    header = ["", "opens, answers", "acknowledged", "lost", "unacknowledged", "torn batches", "worst recall@10"]
    print_table(header, rows)
    for system, found in left.items():
        for error in dict.fromkeys(found.errors):
            print(f"{system}: {error}")
    print()


def _speeds(options: Options, systems: list[str], n: int) -> None:
    truth = BruteForce(Corpus(options.seed).query_vectors(QUERIES))
    for batch in Corpus(options.seed).batches(0, n, BATCH):
        truth.show(batch.doc_ids, batch.vectors)
    rates: dict[str, list[float]] = {system: [] for system in systems}
    reopened: dict[str, list[dict[str, Any]]] = {system: [] for system in systems}
    answers = {}
    for _ in range(options.runs):
        for system in systems:
            folder = options.folder / f"peers-{system}"
            shutil.rmtree(folder, ignore_errors=True)
            answers[system] = ask(_words(options, system, "bulk", folder, n, BATCH))
            rates[system].append(n / answers[system]["seconds"])
            ask(_words(options, system, "query", folder, n, BATCH))  # fills the page cache
            reopened[system].append(ask(_words(options, system, "query", folder, n, BATCH)))
    rows = []
    own: list[float] = []
    for system in systems:
        size = sum(sizes(options.folder / f"peers-{system}").values())
        middle, high = percentiles([seconds for answer in reopened[system] for seconds in answer["each"]])
        rate, first = statistics.median(rates[system]), statistics.median(a["first"] for a in reopened[system])
        own = own or [rate, first, size]
        faster, sooner, larger = (f"{x:.2f}" for x in (own[0] / rate, own[1] / first, own[2] / size))
        cells = [f"{rate:,.0f}", faster, f"{first:.2f}", sooner, megabytes(size), larger]
        recall = truth.recall(reopened[system][-1]["found"])
        rows.append([answers[system]["name"], *cells, f"{recall:.3f}", f"{middle:.2f}", f"{high:.2f}"])
    header = ["", "bulk add/s", "ratio", "first result s", "ratio", "disk", "ratio", "recall@10", "p50 ms", "p95 ms"]
    print_table(header, rows)
    print("ratio: nearfield's figure over the system's; the first result is counted from the start of the process")
    for system in systems:
        print(f"{answers[system]['name']}: {answers[system]['settings']}")
    print()


def _kill(options: Options, system: str, batches: int, share: float, left: Left) -> None:
    """Kill a child after some acknowledgements, and a share of the time that a batch took; look at what is left."""
    folder = options.folder / f"killed-{system}"
    shutil.rmtree(folder, ignore_errors=True)
    words = _words(options, system, "fill", folder, KILLED_DOCUMENTS, KILLED_BATCH)
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    times = []
    while len(times) < batches and child.stdout.readline():
        times.append(time.perf_counter())
    if len(times) > 1:
        time.sleep(share * (times[-1] - times[-2]))
    child.send_signal(signal.SIGKILL)
    acknowledged = KILLED_BATCH * (len(times) + len(child.stdout.read().splitlines()))
    child.wait()
    left.acknowledged += acknowledged
    try:
        answer = ask(_words(options, system, "query", folder, KILLED_DOCUMENTS, KILLED_BATCH))
    except RuntimeError as error:
        left.lost += acknowledged
        left.errors.append(str(error))
        return
    _judge(answer, acknowledged, options.seed, left)


def _judge(answer: dict[str, Any], acknowledged: int, seed: int, left: Left) -> None:
    there = {int(doc_id) for doc_id in answer["doc_ids"]}
    left.opened += 1
    left.lost += acknowledged - sum(i < acknowledged for i in there)
    counts = np.bincount([i // KILLED_BATCH for i in there], minlength=1)
    left.torn += int(np.sum((counts > 0) & (counts < KILLED_BATCH)))
    left.more += sum(i >= acknowledged for i in there)
    corpus = Corpus(seed)
    truth = BruteForce(corpus.query_vectors(QUERIES))
    for batch in corpus.batches(0, KILLED_DOCUMENTS, KILLED_BATCH):
        present = [i for i, doc_id in enumerate(batch.doc_ids) if int(doc_id) in there]
        truth.show([batch.doc_ids[i] for i in present], batch.vectors[present])
    left.recalls.append(truth.recall(answer["found"]))


def _words(options: Options, system: str, what: str, folder: Path, documents: int, batch: int) -> list[str]:
    python = options.peers_python if system in {"txtai", "chroma"} else None
    words = [system, what, folder, "--documents", documents, "--batch", batch, "--queries", QUERIES]
    return command("durability_system.py", *words, "--seed", options.seed, python=python)
