"""Bulk add with given vectors: documents a second, the BM25 index included."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from durability_common import Options, ask, at_least, command, megabytes, print_table, sizes
from durability_data import BruteForce, Corpus

import nearfield as nf

BATCH = 10_000
CHECKED = 200
"""Queries whose answers are compared with brute force."""


def bulk(options: Options) -> None:
    """Add documents to a new collection, up to the end of `close()`, and the same by a script."""
    n = options.documents or 100_000
    print(f"bulk: {n:,} documents in batches of {BATCH:,}, until close() returns; median of {options.runs} processes\n")
    rates: dict[str, list[float]] = {"nearfield": [], "script": []}
    names = {}
    for _ in range(options.runs):
        for system in ("nearfield", "script"):
            folder = options.folder / f"bulk-{system}"
            shutil.rmtree(folder, ignore_errors=True)
            words = [system, "bulk", folder, "--documents", n, "--batch", BATCH, "--seed", options.seed]
            answer = ask(command("durability_system.py", *words))
            rates[system].append(n / answer["seconds"])
            names[system] = answer["name"]
    recall, own = _quality(options, options.folder / "bulk-nearfield", n)
    rate, peer = (statistics.median(rates[system]) for system in rates)
    rows = [
        [names["nearfield"], f"{rate:,.0f}", at_least(rate, 20_000, "/s"), f"{rate / peer:.2f} x peer"],
        [f"peer, {names['script']}", f"{peer:,.0f}", "", ""],
    ]
    stored = [sum(sizes(options.folder / f"bulk-{system}").values()) for system in rates]
    for row, size in zip(rows, stored, strict=True):
        row.append(megabytes(size))
    print_table(["", "documents/s", "bar", "ratio", "disk"], rows)
    print(f"recall@10 of semantic search: {recall:.3f}; documents found first by their own text: {own:.3f}\n")


def _quality(options: Options, folder: Path, n: int) -> tuple[float, float]:
    corpus = Corpus(options.seed)
    queries = corpus.query_vectors(CHECKED)
    truth = BruteForce(queries)
    for batch in corpus.batches(0, n, BATCH):
        truth.show(batch.doc_ids, batch.vectors)
    asked = corpus.batch(n // 2, min(CHECKED, n - n // 2))
    with nf.open(folder, create=False) as col:
        found = [col.search(query, 10, mode="semantic").doc_ids for query in queries]
        firsts = [col.search(text, 1, mode="lexical").doc_ids for text in asked.texts]
    hits = [first == [doc_id] for first, doc_id in zip(firsts, asked.doc_ids, strict=True)]
    return truth.recall(found), sum(hits) / len(hits)
