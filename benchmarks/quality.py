"""nDCG@10 of each search mode on judged collections, through the public API.

    python benchmarks/quality.py --data FOLDER [--sets beir_scifact cranfield …]

FOLDER holds a folder for each set: corpus.jsonl.gz ({_id, title, text}), queries.jsonl ({_id, text}) and qrels.tsv. The
peer in the same run: rank_bm25-like scripts have no fusion, so the two legs alone are what hybrid search is held
against. Collections are kept in --cache, if given, and used again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import nearfield as nf
from nearfield.evaluate import evaluate_run, read_qrels, read_queries

SETS = ["beir_scifact", "cranfield", "cisi", "medline", "cosqa", "arguana_orig", "stackfaq"]
# In these, each query is a document of the collection too.
QUERY_IS_DOCUMENT = {"arguana_orig"}
WAYS: dict[str, dict[str, object]] = {
    "lexical": {"mode": "lexical"},
    "semantic": {"mode": "semantic"},
    "reciprocal": {"mode": "hybrid", "fusion": "reciprocal"},
    "hybrid": {"mode": "hybrid"},
}


def main() -> None:
    """Print a row for each set, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    print(f"{'set':16}{'documents':>10}{'texts/s':>9}" + "".join(f"{way:>12}" for way in WAYS))
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.sets:
            row = _measure(arguments.data / name, (arguments.cache or Path(temporary)) / f"{name}.nf")
            rows.append(row)
    print(f"{'mean':35}" + "".join(f"{sum(row[way] for row in rows) / len(rows):12.1f}" for way in WAYS))


def _measure(folder: Path, location: Path) -> dict[str, float]:
    with nf.open(location) as col:
        began, rate = time.perf_counter(), 0.0
        if not len(col):
            col.add(nf.read_files([folder / "corpus.jsonl.gz"], on_empty=print))
            rate = len(col) / (time.perf_counter() - began)
        queries, qrels = read_queries(folder / "queries.jsonl"), read_qrels(folder / "qrels.tsv")
        asked = {query_id: text for query_id, text in queries.items() if query_id in qrels}
        row = {way: 100 * ndcg(col, asked, qrels, options, folder.name) for way, options in WAYS.items()}
        cells = "".join(f"{value:12.1f}" for value in row.values())
        print(f"{folder.name:16}{len(col):10,}{rate:9.0f}{cells}", flush=True)
    return row


def ndcg(
    col: nf.Collection,
    queries: dict[str, str],
    qrels: dict[str, dict[str, int]],
    options: dict[str, object],
    name: str,
) -> float:
    """Return nDCG@10 of one way to search."""
    if name not in QUERY_IS_DOCUMENT:
        return col.evaluate(queries, qrels, ["nDCG@10"], k=10, **options).mean["nDCG@10"]
    run = {}
    for query_id, hits in zip(queries, col.search(list(queries.values()), k=11, **options), strict=True):  # type: ignore[arg-type]
        run[query_id] = {hit.doc_id: hit.score for hit in hits if hit.doc_id != query_id}
    return evaluate_run(run, qrels, ["nDCG@10"]).mean["nDCG@10"]


if __name__ == "__main__":
    main()
