"""Space: rounds of replacing half of the documents, against a fresh collection of the same final contents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from durability_common import Options, at_most, megabytes, percentiles, print_table, sizes, timed
from durability_data import Batch, BruteForce, Corpus

import nearfield as nf

BATCH = 10_000
ROUNDS = 10
QUERIES = 100


def space(options: Options) -> None:
    """Replace documents, and compare bytes and searches with a collection that was made at once."""
    n = options.documents or 100_000
    print(f"space: {n:,} documents, {ROUNDS} rounds of replacing half of them\n")
    corpus = Corpus(options.seed)
    replaced, fresh = options.folder / "space.nf", options.folder / "space-fresh.nf"
    contents = corpus.batch(0, n)
    with nf.open(replaced) as col:
        col.add(contents.documents, vectors=contents.vectors)
        states = [("made", _total(replaced), "")]
        for number in range(1, ROUNDS + 1):
            rate = _replace(col, contents, corpus.batch(number * n, n // 2), number)
            states.append((f"round {number}", _total(replaced), f"{rate:,.0f}"))
    ended = _total(replaced)
    _make_fresh(fresh, contents)
    base = _total(fresh)
    rows = [[name, megabytes(size), f"{size / base:.2f}", rate, ""] for name, size, rate in states]
    rows.append(["closed", megabytes(ended), f"{ended / base:.2f}", "", at_most(ended / base, 1.35)])
    rows.append(["peer: fresh, closed", megabytes(base), "1.00", "", ""])
    print_table(["", "disk", "x peer", "replaced/s", "bar"], rows)
    print(f"by part, replaced: {sizes(replaced)}\nby part, fresh:    {sizes(fresh)}\n")
    _compare(options, corpus, contents, replaced, fresh)
    with nf.open(replaced) as col:
        seconds = timed(col.compact)[0]
    left = _total(replaced)
    print(f"compact() took {seconds:.1f} s and left {megabytes(left)}: {left / base:.2f} x fresh\n")


def _replace(col: nf.Collection, contents: Batch, new: Batch, seed: int) -> float:
    """Replace a random half, keep `contents` in step, and return how many documents a second."""
    n = len(contents.doc_ids)
    chosen = np.random.default_rng(seed).permutation(n)[: len(new.doc_ids)]
    for i, position in enumerate(chosen.tolist()):
        contents.texts[position], contents.metadata[position] = new.texts[i], new.metadata[i]
    contents.vectors[chosen] = new.vectors
    documents = contents.documents
    seconds = 0.0
    for start in range(0, len(chosen), BATCH):
        some = chosen[start : start + BATCH]
        batch = [documents[i] for i in some.tolist()]
        seconds += timed(lambda batch=batch, some=some: col.upsert(batch, vectors=contents.vectors[some]))[0]
    return len(chosen) / seconds


def _make_fresh(folder: Path, contents: Batch) -> None:
    documents = contents.documents
    with nf.open(folder) as col:
        for start in range(0, len(documents), BATCH):
            col.add(documents[start : start + BATCH], vectors=contents.vectors[start : start + BATCH])


def _compare(options: Options, corpus: Corpus, contents: Batch, replaced: Path, fresh: Path) -> None:
    texts, vectors = corpus.query_texts(QUERIES), corpus.query_vectors(QUERIES)
    truth = BruteForce(vectors)
    truth.show(contents.doc_ids, contents.vectors)
    rows = []
    with nf.open(replaced, create=False) as one, nf.open(fresh, create=False) as other:
        for mode, queries in (("semantic", list(vectors)), ("lexical", texts), ("hybrid", texts)):
            times: dict[int, list[float]] = {0: [], 1: []}
            for _ in range(options.runs + 1):
                found = {0: [], 1: []}
                for query in queries:
                    for which, col in enumerate((one, other)):
                        seconds, hits = timed(lambda q=query, c=col, m=mode: c.search(q, 10, mode=m))  # type: ignore[misc]
                        times[which].append(seconds)
                        found[which].append(hits.doc_ids)
            # The first round opens files and loads the encoder.
            here, there = (percentiles(times[which][len(queries) :]) for which in (0, 1))
            same = np.mean([len(set(a) & set(b)) / max(1, len(b)) for a, b in zip(found[0], found[1], strict=True)])
            recall = f"{truth.recall(found[0]):.3f}" if mode == "semantic" else ""
            cells = [f"{value:.2f}" for value in (*here, *there, here[0] / there[0], here[1] / there[1])]
            rows.append([mode, *cells, f"{same:.3f}", recall])
    header = ["search", "p50 ms", "p95 ms", "fresh p50", "fresh p95", "x p50", "x p95", "same hits", "recall@10"]
    print_table(header, rows)


def _total(folder: Path) -> int:
    return sum(sizes(folder).values())
