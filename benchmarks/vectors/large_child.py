"""A process of large.py that builds or searches; it prints a JSON object.

python benchmarks/vectors/large_child.py SYSTEM PHASE JOB
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from child import memory
from synthetic import PARTS, Mixture
from truth import K

FILTERED = {"random-10": PARTS // 10, "random-1": PARTS // 100}
CASES = ["none", *FILTERED, "adversarial-50"]
SAMPLE = 160
"""Vectors for each list that FAISS is trained with."""

PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)


def main() -> None:
    """Do one phase."""
    name, phase, path = sys.argv[1:]
    job = json.loads(Path(path).read_text())
    phases = {
        ("nearfield", "build"): _build_nearfield,
        ("nearfield", "search"): _search_nearfield,
        ("faiss", "build"): _build_faiss,
        ("faiss", "search"): _search_faiss,
    }
    answer = phases[name, phase](Path(job["folder"]), job)
    used = memory()
    print("\n" + json.dumps({"peak": used["VmHWM"], "anonymous": used["RssAnon"], **answer}))


def _build_nearfield(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    from system_nearfield import wait_for_index

    import nearfield as nf

    making, began = 0.0, time.perf_counter()
    with nf.open(folder, **job["opening"]) as col:
        batches = iter(Mixture(job["count"], job["seed"]).batches())
        while True:
            before = time.perf_counter()
            batch = next(batches, None)
            documents = batch.documents() if batch else []
            making += time.perf_counter() - before
            if batch is None:
                break
            col.add(documents, vectors=batch.vectors)
        added = time.perf_counter()
        wait_for_index(col)
    with nf.open(folder, create=False) as col:
        stats = wait_for_index(col)
    seconds = time.perf_counter() - began - making
    adding = added - began - making
    about = f"added in {adding:,.0f} s ({job['count'] / adding:,.0f}/s), indexed in {seconds - adding:,.0f} s more: "
    return {"seconds": seconds, "about": f"{about}{stats}"}


def _search_nearfield(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    import nearfield as nf

    queries = Mixture(job["count"], job["seed"]).queries(job["queries"])
    with nf.open(folder, create=False) as col:
        answers = {}
        for case in CASES:
            wheres = [_where(case, int(side)) for side in queries.side]
            plans = {_plan(col, queries.vectors[i], wheres[i]) for i in range(min(10, job["queries"]))}

            def search(i: int, wheres: list[Any] = wheres) -> list[int]:
                found = col.search(queries.vectors[i], k=K, mode="semantic", where=wheres[i])
                return [int(doc_id) for doc_id in found.doc_ids]

            answers[case] = {**_timed(search, job["queries"]), "plan": "; ".join(sorted(plans))}
        return {"cases": answers, "about": f"{job['opening']}: {col.stats().index}"}


def _plan(col: Any, query: np.ndarray, where: dict[str, Any] | None) -> str:
    hits = col.search(query, k=K, mode="semantic", where=where, explain=True)
    explanation = hits[0].explanation if len(hits) else None
    return "; ".join(explanation.plan.values()) if explanation else ""


def _where(case: str, side: int) -> dict[str, Any] | None:
    if case in FILTERED:
        return {"r": {"$lt": FILTERED[case]}}
    return {"side": 1 - side} if case == "adversarial-50" else None


def _build_faiss(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    import faiss

    mixture = Mixture(job["count"], job["seed"])
    lists = 2 ** max(4, round(np.log2(2 * job["count"] ** 0.5)))
    sample = []
    for batch in mixture.batches():
        share = min(len(batch.vectors), -(-len(batch.vectors) * SAMPLE * lists // job["count"]))
        sample.append(batch.vectors[:share].copy())
    began = time.perf_counter()
    index = faiss.index_factory(mixture.queries(1).vectors.shape[1], f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(np.concatenate(sample))
    sample.clear()
    seconds = time.perf_counter() - began
    for batch in mixture.batches():
        began = time.perf_counter()
        index.add(batch.vectors)
        seconds += time.perf_counter() - began
    folder.mkdir(parents=True)
    faiss.write_index(index, str(folder / "index.faiss"))
    return {"seconds": seconds, "about": f"faiss-cpu {faiss.__version__}, IVF{lists},SQ8"}


def _search_faiss(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    import faiss

    queries = Mixture(job["count"], job["seed"]).queries(job["queries"]).vectors
    index = faiss.read_index(str(folder / "index.faiss"))
    truth = np.array(job["truth"])
    half = len(queries) // 2
    for probes in PROBES:
        index.nprobe = probes
        found = index.search(queries[:half], K)[1]
        shares = [len(set(a) & set(b)) / K for a, b in zip(found.tolist(), truth[:half].tolist(), strict=True)]
        if np.mean(shares) >= job["target"]:
            break
    answer = _timed(lambda i: index.search(queries[i : i + 1], K)[1][0].tolist(), len(queries))
    return {"cases": {"none": answer}, "about": f"nprobe {index.nprobe}"}


def _timed(search: Callable[[int], list[int]], n: int) -> dict[str, Any]:
    times, found = [], []
    for i in range(n):
        began = time.perf_counter()
        found.append(search(i))
        times.append(time.perf_counter() - began)
    return {"seconds": times, "found": found}


if __name__ == "__main__":
    main()
