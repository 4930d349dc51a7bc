"""Opening a large collection: how long to the first hits, and how much memory after a thousand queries."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from durability_common import (
    Options,
    ask,
    at_most,
    command,
    drop_from_cache,
    megabytes,
    percentiles,
    print_table,
    sizes,
    timed,
)
from durability_data import CATEGORIES, DIMENSION, BruteForce, Corpus

import nearfield as nf

BATCH = 10_000
QUERIES = 1_000
MEMORY_RUNS = 2
"""Memory varies little from process to process, and a thousand queries take their time."""

CHECKED = 30
FROM_YEAR = 2015
WHERE = {"category": CATEGORIES[3], "year": {"$gte": FROM_YEAR}}


def open_(options: Options) -> None:
    """Make a collection, and open it in fresh processes, each with a filtered hybrid query first."""
    n = options.documents or 500_000
    print(f"open: {n:,} documents; medians of {options.runs} processes, for memory of {MEMORY_RUNS}\n")
    folder = options.folder / "open"
    folder.mkdir()
    truth = _make(options, folder, n)
    vectors = n * DIMENSION * 4
    reader = command("durability_reader.py", folder)
    ask(reader)  # fills the page cache
    cached, cold, encoder = [], [], []
    for _ in range(options.runs):
        encoder.append(ask([*reader, "--encoder-alone"]))
        cached.append(ask(reader))
        drop_from_cache(folder)
        cold.append(ask(reader))
    _print_times(_medians(cached), _medians(cold), _medians(encoder))
    asked = ["--queries", str(QUERIES)]
    after = [ask([*reader, *asked]) for _ in range(MEMORY_RUNS)]
    _print_memory(_medians(after), ask([*reader, "--encoder-alone", *asked]), vectors)
    middle, high = percentiles([seconds for answer in after for seconds in answer["each"]])
    print(f"hybrid queries, every other one filtered: p50 {middle:.1f} ms, p95 {high:.1f} ms")
    print(f"filtered semantic search, recall@10: {truth.recall(after[0]['found']):.3f}")
    print(f"bytes on disk: {sizes(folder / 'collection.nf')}\n")


def _make(options: Options, folder: Path, n: int) -> BruteForce:
    corpus = Corpus(options.seed)
    queries = corpus.query_vectors(CHECKED)
    np.save(folder / "queries.npy", queries)
    (folder / "queries.json").write_text(json.dumps({"texts": corpus.query_texts(QUERIES + 1), "where": WHERE}))
    truth = BruteForce(queries)
    seconds = 0.0
    col = nf.open(folder / "collection.nf")
    for batch in corpus.batches(0, n, BATCH):
        documents = batch.documents
        seconds += timed(lambda documents=documents, batch=batch: col.add(documents, vectors=batch.vectors))[0]
        chosen = [i for i, fields in enumerate(batch.metadata) if _matches(fields)]
        truth.show([batch.doc_ids[i] for i in chosen], batch.vectors[chosen])
    seconds += timed(col.close)[0]
    print(f"made at {n / seconds:,.0f} documents/s\n")
    return truth


def _matches(fields: dict[str, int | str]) -> bool:
    return fields["category"] == CATEGORIES[3] and int(fields["year"]) >= FROM_YEAR


def _medians(answers: list[dict[str, Any]]) -> dict[str, float]:
    numbers = [name for name, value in answers[0].items() if not isinstance(value, list)]
    return {name: statistics.median(answer[name] for answer in answers) for name in numbers}


def _print_times(cached: dict[str, float], cold: dict[str, float], encoder: dict[str, float]) -> None:
    rows = []
    for name, times in (("cached files", cached), ("files not cached", cold)):
        cells = [f"{times[key]:.2f} s" for key in ("imported", "opened", "first", "first_from_start")]
        ratio = f"{times['first'] / encoder['first']:.2f} x peer"
        rows.append([name, *cells, at_most(times["first"], 1.0, " s") if times is cached else "", ratio])
    times = [f"{encoder['first']:.2f} s", f"{encoder['first_from_start']:.2f} s"]
    rows.append(["peer: the encoder alone, to its first vector", "", "", *times, "", ""])
    header = ["to the first filtered hybrid query's hits", "import", "open()", "from open", "from process start"]
    print_table([*header, "bar (from open)", "ratio"], rows)


def _print_memory(cached: dict[str, float], encoder: dict[str, float], vectors: int) -> None:
    rows = []
    for name, memory in (("collection", cached), ("peer: the encoder alone", encoder)):
        cells = [megabytes(memory[key]) for key in ("VmRSS", "RssAnon", "RssFile", "VmHWM")]
        ratio = memory["VmRSS"] / vectors
        rows.append([name, *cells, f"{ratio:.2f}", at_most(ratio, 1.3) if memory is cached else ""])
    header = [f"memory after {QUERIES:,} queries", "resident", "its own", "of files", "highest", "x vectors", "bar"]
    print_table(header, rows)
    print(f"the vectors have {megabytes(vectors)}\n")
