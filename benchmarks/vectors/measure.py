"""One system measured: built, its setting chosen, reopened, searched; each in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from cases import TUNING
from systems import Entry
from truth import Truth

HERE = Path(__file__).parent
OPENINGS = 3
HOURS = 4 * 3600
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "RAYON_NUM_THREADS",
        "TOKIO_WORKER_THREADS",
        "LANCE_CPU_THREADS",
    ),
    "1",
)
"""Searches run with this; building takes every processor."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure.

    Args:
        corpus: The folder with the documents.
        cases_file: The file in it with the cases.
        truth: The exact answers.
        cases: The names of those to measure.
        built: Where systems store what they build.
        peer_python: The interpreter that has the peers.
        target: Recall without a filter that the setting must reach.
        seconds: Searching of a case ends after so many.
    """

    corpus: Path
    cases_file: str
    truth: Truth
    cases: Sequence[str]
    built: Path
    peer_python: Path
    target: float
    seconds: float


@dataclass(slots=True)
class Measured:
    """What was measured of one system; times in seconds unless they say otherwise.

    Args:
        name: Of the system.
        label: In the table.
        failed: Why there is nothing; "" if there is.
        about: Version and settings.
        setting: That was chosen.
        tuning: Its recall on the queries that it was chosen with.
        build: Seconds, by part, and what the system says of what it built.
        bytes: On disk.
        first: From the start of a process to its first hits.
        memory: Bytes after all searches: VmRSS, VmHWM, RssAnon, RssFile.
        cases: By name: p50 and p95 in ms, recall, low, filled, wrong, queries, plan.
    """

    name: str
    label: str
    failed: str = ""
    about: str = ""
    setting: Any = None
    tuning: float | None = None
    build: dict[str, Any] = field(default_factory=dict)
    bytes: int = 0
    first: float = 0.0
    memory: dict[str, int] = field(default_factory=dict)
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def measure(entry: Entry, plan: Plan) -> Measured:
    """Return what was measured; a failure is part of it."""
    result = Measured(entry.name, entry.label)
    try:
        _measure(_Runner(entry, plan), result)
    except RuntimeError as error:
        result.failed = str(error)
    return result


def installed(python: Path, package: str) -> bool:
    """Return whether an interpreter has a package."""
    words = [str(python), "-c", f"import importlib.util as u, sys; sys.exit(u.find_spec({package!r}) is None)"]
    return subprocess.run(words, check=False).returncode == 0


class _Runner:
    """Starts children for one system."""

    def __init__(self, entry: Entry, plan: Plan) -> None:
        self.plan = plan
        self._python = Path(sys.executable) if entry.own else plan.peer_python
        self.package = entry.needs
        self.folder = plan.built / entry.stored
        self._job = {
            "module": entry.module,
            "options": entry.options,
            "corpus": str(plan.corpus),
            "folder": str(self.folder),
            "cases_file": plan.cases_file,
            "seconds": plan.seconds,
        }

    def installed(self) -> bool:
        return installed(self._python, self.package)

    def run(self, phase: str, **more: Any) -> dict[str, Any]:
        """Return what a child answers.

        Raises:
            RuntimeError: it failed, or took too long.
        """
        threads = {} if phase == "build" else ONE_THREAD
        environment = {**os.environ, **threads, "VECTORS_BEGAN": str(time.monotonic())}
        words = [str(self._python), str(HERE / "child.py"), phase, json.dumps({**self._job, **more})]
        try:
            done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False, timeout=HOURS)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{phase} took more than {HOURS} s") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"{phase} ended with code {done.returncode}: {last}")
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return answer


def _measure(runner: _Runner, result: Measured) -> None:
    if not runner.installed():
        result.failed = "not installed"
        return
    result.build = _built(runner)
    result.setting, result.tuning = _tuned(runner)
    runner.run("configure", setting=result.setting)
    result.first = median(runner.run("first", setting=result.setting)["seconds"] for _ in range(OPENINGS))
    answer = runner.run("search", setting=result.setting, cases=list(runner.plan.cases))
    result.about, result.memory = answer["about"], answer["memory"]
    result.bytes = on_disk(runner.folder)
    for name, case in answer["cases"].items():
        result.cases[name] = _judged(runner.plan.truth, name, case)


def _built(runner: _Runner) -> dict[str, Any]:
    kept = runner.folder.with_name(runner.folder.name + ".json")
    if not kept.exists():
        shutil.rmtree(runner.folder, ignore_errors=True)
        runner.folder.parent.mkdir(parents=True, exist_ok=True)
        answer = runner.run("build")
        os.sync()  # so that nothing is written while searches are timed
        for file in filter(Path.is_file, runner.folder.rglob("*")):
            shutil.copyfile(file, os.devnull)  # into the page cache, where some leave what they wrote, and others don't
        kept.write_text(json.dumps(answer))
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def _tuned(runner: _Runner) -> tuple[Any, float | None]:
    """Return the first setting that reaches the target on the queries for that (else the last), and its recall."""
    recalls: dict[int, float] = {}

    def recall(i: int, settings: Sequence[Any]) -> float:
        if i not in recalls:
            runner.run("configure", setting=settings[i])
            answer = runner.run("search", setting=settings[i], cases=[TUNING])
            recalls[i] = runner.plan.truth.judge(TUNING, answer["cases"][TUNING]["found"]).recall
        return recalls[i]

    settings = runner.run("settings")["settings"]
    if len(settings) == 1:
        return settings[0], None
    low, high = 0, len(settings) - 1
    while low < high:  # recall grows along the settings
        middle = (low + high) // 2
        low, high = (low, middle) if recall(middle, settings) >= runner.plan.target else (middle + 1, high)
    return settings[low], recall(low, settings)


def _judged(truth: Truth, name: str, case: dict[str, Any]) -> dict[str, Any]:
    if not case["seconds"]:
        return {"queries": 0}
    middle, high = np.percentile(case["seconds"], [50, 95])
    judged = asdict(truth.judge(name, case["found"]))
    return {"p50": 1000 * float(middle), "p95": 1000 * float(high), **judged, "plan": case["plan"]}


def on_disk(folder: Path) -> int:
    """Return bytes that the files of a folder take; holes in them take none."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
