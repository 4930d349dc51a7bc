"""Latency of the exact scan, and of lexical search, on 100,000 documents, beside a matrix product in NumPy.

    python benchmarks/search.py --data FOLDER

FOLDER holds arxiv_titles/docs.jsonl.gz ({_id, text, label, year}). Vectors are random unit vectors unless --encode is
given: the time of an exact scan does not depend on what the vectors mean. The peers in the same run: one matrix-vector
product in NumPy with argpartition (what a script would do) for the exact scan. Quality beside speed: the share of the
ten best that agree with a brute-force answer in double precision, for every filter.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import nearfield as nf

FILTERS: dict[str, dict[str, object]] = {
    "no filter": {},
    "year >= 2015 (wide)": {"year": {"$gte": "2015"}},
    "tenth = 3 (10 %)": {"tenth": 3},
    "hundredth = 3 (1 %)": {"hundredth": 3},
    "thousandth = 3 (0.1 %)": {"thousandth": 3},
}


def main() -> None:
    """Print latencies, recall, sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--dimension", type=int, default=384)
    arguments = parser.parse_args()
    rows = list(itertools.islice(_read(arguments.data), arguments.documents + arguments.queries))
    documents, queries = rows[: arguments.documents], [row["text"] for row in rows[arguments.documents :]]
    rng = np.random.default_rng(0)
    vectors = _unit(rng.standard_normal((len(documents), arguments.dimension)))
    asked = _unit(vectors[rng.integers(0, len(vectors), len(queries))] + 0.05 * rng.standard_normal((1, 1)))
    with tempfile.TemporaryDirectory() as folder, nf.open(f"{folder}/titles.nf", index="exact") as col:
        began = time.perf_counter()
        col.add([_document(i, row) for i, row in enumerate(documents)], vectors=vectors)
        print(f"add {len(documents):,} documents with vectors: {len(documents) / (time.perf_counter() - began):,.0f}/s")
        _measure(col, documents, vectors, asked, queries)
        print(f"bytes on disk: {col.stats().bytes}")


def _read(data: Path) -> itertools.chain[dict[str, object]]:
    with gzip.open(data / "arxiv_titles" / "docs.jsonl.gz", "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _document(i: int, row: dict[str, object]) -> dict[str, object]:
    sizes = {"tenth": i % 10, "hundredth": i % 100, "thousandth": i % 1000}
    return {"doc_id": i, "text": row["text"], "label": row["label"], "year": row["year"], **sizes}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _measure(
    col: nf.Collection, documents: list[dict[str, object]], vectors: np.ndarray, asked: np.ndarray, queries: list[str]
) -> None:
    print(f"\n{'':26}{'p50 ms':>9}{'p95 ms':>9}{'agrees':>9}")
    peer = _time(lambda i: np.argpartition(-(vectors @ asked[i]), 10)[:10], len(asked))
    print(f"{'peer: NumPy product':26}{peer[0]:9.2f}{peer[1]:9.2f}{'1.000':>9}")
    for name, where in FILTERS.items():
        col.search(asked[0], k=10, mode="semantic", where=where)  # reads the field's column
        times = _time(lambda i, where=where: col.search(asked[i], k=10, mode="semantic", where=where), len(asked))
        agreement = _agreement(col, documents, vectors, asked[:30], where)
        print(
            f"{'semantic, ' + name:26}{times[0]:9.2f}{times[1]:9.2f}{agreement:9.3f}  {peer[0] / times[0]:.2f} × peer"
        )
    for name, where in FILTERS.items():
        times = _time(lambda i, where=where: col.search(queries[i], k=10, mode="lexical", where=where), len(queries))
        print(f"{'lexical, ' + name:26}{times[0]:9.2f}{times[1]:9.2f}")


def _time(call: Callable[[int], object], n: int) -> tuple[float, float]:
    times = []
    for i in range(n):
        began = time.perf_counter()
        call(i)
        times.append(1000 * (time.perf_counter() - began))
    return float(np.percentile(times, 50)), float(np.percentile(times, 95))


def _agreement(
    col: nf.Collection,
    documents: list[dict[str, object]],
    vectors: np.ndarray,
    asked: np.ndarray,
    where: dict[str, object],
) -> float:
    from nearfield.filters import parse

    condition = parse(where)
    allowed = [
        i
        for i, row in enumerate(documents)
        if condition is None or condition.matches(_document(i, row))  # type: ignore[arg-type]
    ]
    shares = []
    for vector in asked:
        scores = vectors[allowed].astype(np.float64) @ vector.astype(np.float64)
        best = {str(allowed[i]) for i in np.argsort(-scores)[:10]}
        found = col.search(vector, k=10, mode="semantic", where=where)
        shares.append(len(best & set(found.doc_ids)) / len(best))
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
