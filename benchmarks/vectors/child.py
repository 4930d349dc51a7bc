"""A process in which one system builds, opens or searches; measure.py starts it and reads the JSON that it prints.

python benchmarks/vectors/child.py PHASE JOB      # JOB: a JSON object
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from system import Source, System

K = 10
WARMING = "tuning"
WARMING_SECONDS = 5.0
FEWEST = 20
"""Queries of a case that are answered even if the time is up."""


def main() -> None:
    """Print one JSON object on the last line."""
    phase, job = sys.argv[1], json.loads(sys.argv[2])
    module = importlib.import_module(job["module"])
    system: System = module.Measured(Source(Path(job["corpus"])), Path(job["folder"]), **job["options"])
    answer = {"settings": _settings, "build": _build, "configure": _configure, "first": _first, "search": _search}[
        phase
    ](system, job)
    print("\n" + json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)  # some peers wait for their threads, or warn, at the end


def _settings(system: System, _: dict[str, Any]) -> dict[str, Any]:
    return {"settings": list(system.settings)}


def _build(system: System, _: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    parts = system.build()
    return {"seconds": time.perf_counter() - began - parts.pop("reading", 0.0), "peak": memory()["VmHWM"], **parts}


def _configure(system: System, job: dict[str, Any]) -> dict[str, Any]:
    system.configure(job["setting"])
    return {}


def _first(system: System, job: dict[str, Any]) -> dict[str, Any]:
    query = np.load(Path(job["corpus"]) / "queries.npy", mmap_mode="r")[-1].copy()
    system.open(job["setting"])
    found = system.search(query, K, system.prepare({}))
    seconds = time.monotonic() - float(os.environ["VECTORS_BEGAN"])  # one clock for all processes
    return {"seconds": seconds, "found": len(system.rows(found))}


def _search(system: System, job: dict[str, Any]) -> dict[str, Any]:
    queries = np.load(Path(job["corpus"]) / "queries.npy")
    cases = json.loads((Path(job["corpus"]) / job["cases_file"]).read_text())
    system.open(job["setting"])
    if WARMING not in job["cases"]:
        _case(system, cases[WARMING], queries, WARMING_SECONDS)  # files are read as they are touched
    answers = {name: _case(system, cases[name], queries, job["seconds"]) for name in job["cases"]}
    return {"cases": answers, "memory": memory(), "about": system.about()}


def _case(system: System, case: dict[str, Any], queries: np.ndarray, most: float) -> dict[str, Any]:
    prepared = {}
    plan = ""
    for query, j in case["asked"]:  # each filter once before the clock runs, as for a filter that is used again
        if j not in prepared:
            prepared[j] = system.prepare(case["filters"][j])
            system.search(queries[query], K, prepared[j])
            if not plan and hasattr(system, "plan"):
                plan = system.plan(queries[query], K, prepared[j])
    times, found = [], []
    for query, j in case["asked"]:
        began = time.perf_counter()
        answer = system.search(queries[query], K, prepared[j])
        times.append(time.perf_counter() - began)
        found.append(system.rows(answer))
        if sum(times) > most and len(times) >= FEWEST:
            break
    return {"seconds": times, "found": found, "plan": plan}


def memory() -> dict[str, int]:
    """Return bytes: VmRSS (resident), VmHWM (its peak), RssAnon and RssFile (without and with a file behind it)."""
    text = Path("/proc/self/status").read_text()
    return {
        name: int(size) * 1024 for name, size in re.findall(r"^(VmRSS|VmHWM|RssAnon|RssFile):\s+(\d+) kB", text, re.M)
    }


if __name__ == "__main__":
    main()
