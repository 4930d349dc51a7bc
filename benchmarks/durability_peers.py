"""nearfield beside txtai, Chroma and a script: bulk add, reopening, disk, and what SIGKILL leaves.

Every system works in processes and, for txtai and Chroma, in an environment of their own. "Acknowledged" means that the
call returned after which the system promises that the documents are stored; the settings are the safest that its
documentation offers (see the modules durability_txtai.py and durability_chroma.py).
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from durability_common import Options, ask, command, megabytes, percentiles, print_table, sizes
from durability_data import BruteForce, Corpus

BATCH = 10_000
DURABLE_DOCUMENTS = 10_000
QUERIES = 200
KILLED_BATCH = 1_000
KILLED_DOCUMENTS = 20_000
FEWEST, MOST = 3, 12
"""Batches that are acknowledged before the kill."""


@dataclass(slots=True)
class Speed:
    """What runs of one system gave.

    Args:
        name: With its version.
        settings: What it was told.
        bulk: Documents a second, left persisted.
        durable: Documents a second, each batch of a thousand durable before the next.
        firsts: Seconds from the start of a process to its first result.
        searches: Seconds of each search.
        found: The doc_ids that each query found.
        size: Bytes on disk.
    """

    name: str = ""
    settings: str = ""
    bulk: list[float] = field(default_factory=list)
    durable: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    searches: list[float] = field(default_factory=list)
    found: list[list[str]] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class Left:
    """What kills left, all of them added up.

    Args:
        acknowledged: Documents.
        lost: Documents that were acknowledged, and are not there.
        torn: Batches of which there is a part.
        more: Documents that are there without having been acknowledged, in whole batches.
        opened: Kills after which it opened and answered.
        missed: Of some documents that were acknowledged (as many as there are queries, each time that it opened), those
            that a search by their own vector doesn't find.
        recalls: Of semantic search, of each kill after which it opened.
        errors: What else happened.
    """

    acknowledged: int = 0
    lost: int = 0
    torn: int = 0
    more: int = 0
    opened: int = 0
    missed: int = 0
    recalls: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def peers(options: Options) -> None:
    """Measure every system in turn, in alternation."""
    n = options.documents or 100_000
    systems = ["nearfield", "script", *(["txtai", "chroma"] if options.peers_python else [])]
    print(f"peers: {n:,} documents; {options.runs} runs\n")
    speeds = {system: Speed() for system in systems}
    for _ in range(options.runs):
        for system in systems:
            _run(options, system, n, speeds[system])
    _print_speeds(options, speeds, n)
    left = {system: Left() for system in systems}
    rng = np.random.default_rng(options.seed)
    for _ in range(options.kills):
        batches, share = int(rng.integers(FEWEST, MOST + 1)), float(rng.random())
        for system in systems:
            _kill(options, system, batches, share, left[system])
    _print_left(options, left)


def _run(options: Options, system: str, n: int, speed: Speed) -> None:
    folder = options.folder / f"peers-{system}"
    shutil.rmtree(folder, ignore_errors=True)
    done = ask(_words(options, system, "add", folder, DURABLE_DOCUMENTS, KILLED_BATCH))
    speed.durable.append(DURABLE_DOCUMENTS / done["seconds"])
    shutil.rmtree(folder)
    done = ask(_words(options, system, "bulk", folder, n, BATCH))
    speed.name, speed.settings = done["name"], done["settings"]
    speed.bulk.append(n / done["seconds"])
    ask(_words(options, system, "query", folder, n, BATCH))  # fills the page cache
    answer = ask(_words(options, system, "query", folder, n, BATCH))
    speed.firsts.append(answer["first"])
    speed.searches += answer["each"]
    speed.found = answer["found"]
    speed.size = sum(sizes(folder).values())


def _print_speeds(options: Options, speeds: dict[str, Speed], n: int) -> None:
    corpus = Corpus(options.seed)
    truth = BruteForce(corpus.query_vectors(QUERIES))
    for batch in corpus.batches(0, n, BATCH):
        truth.show(batch.doc_ids, batch.vectors)
    figures = {
        system: (median(speed.bulk), median(speed.durable), median(speed.firsts), speed.size)
        for system, speed in speeds.items()
    }
    rows = []
    for system, speed in speeds.items():
        bulk, durable, first, size = figures[system]
        ratios = [f"{own / other:.2f}" for own, other in zip(figures["nearfield"], figures[system], strict=True)]
        shown = (f"{bulk:,.0f}", f"{durable:,.0f}", f"{first:.2f}", megabytes(size))
        cells = [cell for pair in zip(shown, ratios, strict=True) for cell in pair]
        middle, high = percentiles(speed.searches)
        rows.append([speed.name, *cells, f"{truth.recall(speed.found):.3f}", f"{middle:.2f}", f"{high:.2f}"])
    header = ["", "bulk/s", "ratio", "durable/s", "ratio", "first result s", "ratio", "disk", "ratio"]
    print_table([*header, "recall@10", "p50 ms", "p95 ms"], rows)
    print("bulk/s: documents a second in bulk, left persisted; durable/s: in batches of 1,000, each durable before the")
    print("next, up to 10,000, without what a system indexes later; first result: from the start of a process; ratio:")
    print("nearfield's figure over the system's")
    for speed in speeds.values():
        print(f"{speed.name}: {speed.settings}")
    print()


def _print_left(options: Options, left: dict[str, Left]) -> None:
    print(f"after SIGKILL at {options.kills} random moments, while batches of {KILLED_BATCH:,} were added:")
    rows = []
    for system, found in left.items():
        recall = f"{min(found.recalls):.3f}" if found.recalls else ""
        counts = [f"{number:,}" for number in (found.acknowledged, found.lost, found.more, found.torn)]
        missed = f"{found.missed} of {found.opened * QUERIES}"
        rows.append([system, f"{found.opened} of {options.kills}", *counts, missed, recall])
    header = ["", "opens, answers", "acknowledged", "lost", "more than that", "torn batches", "missed by search"]
    print_table([*header, "worst recall@10"], rows)
    print("lost: acknowledged and not there, all of them if it doesn't open; missed by search: acknowledged documents,")
    print("some of each time, that a search by their own vector doesn't find\n")
    for system, found in left.items():
        for error in dict.fromkeys(found.errors):
            print(f"{system}: {error}")


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
        words = _words(options, system, "query", folder, KILLED_DOCUMENTS, KILLED_BATCH)
        answer = ask([*words, "--own", str(acknowledged)])
    except RuntimeError as error:
        left.lost += acknowledged
        left.errors.append(str(error))
        return
    _judge(answer, acknowledged, options.seed, left)


def _judge(answer: dict[str, Any], acknowledged: int, seed: int, left: Left) -> None:
    there = {int(doc_id) for doc_id in answer["doc_ids"]}
    left.opened += 1
    left.missed += answer["missed"]
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
