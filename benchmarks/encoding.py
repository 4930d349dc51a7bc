"""Texts encoded a second, and one query's time, against sentence-transformers on the same texts in the same run.

    python benchmarks/encoding.py --reference-python ENV/bin/python

The reference runs in a Python of its own (one with sentence-transformers), so that nearfield's needs no PyTorch. Both
have the same model's folder, the processor, and their own defaults; rounds alternate, and medians count.
Texts are cut from the docstrings of Python's standard library. Agreement is the cosine between the two sides' vectors.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WORDS = {"12 words": 12, "70 words": 70, "250 words": 250}
SHARES = {"12 words": 1, "70 words": 4, "250 words": 12}
"""Of --texts, the part that is measured: longer texts take longer."""

PAUSE = 0.5
"""Seconds between the sides: threads that one leaves spinning must not take the processors from the other."""

TARGETS = {"12 words": 5.0, "70 words": 5.0, "250 words": 5.0, "one query": 6.0}

REFERENCE = """
import json, sys, time
import numpy as np
from sentence_transformers import SentenceTransformer
import sentence_transformers, torch

model = SentenceTransformer(sys.argv[1], device="cpu")
versions = f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}"
print(json.dumps({"versions": versions, "threads": torch.get_num_threads()}), flush=True)
for line in sys.stdin:
    job = json.loads(line)
    texts = json.load(open(job["texts"]))
    times, start = [], time.perf_counter()
    if job["one by one"]:
        rows = []
        for text in texts:
            begun = time.perf_counter()
            rows.append(model.encode([text], show_progress_bar=False)[0])
            times.append(time.perf_counter() - begun)
        vectors = np.stack(rows)
    else:
        vectors = model.encode(texts, show_progress_bar=False)
        times.append(time.perf_counter() - start)
    np.save(job["vectors"], vectors)
    print(json.dumps(times), flush=True)
"""


@dataclass
class Measured:
    """One side's best time, in seconds (of a whole round, or the median of single queries), and its vectors."""

    seconds: float
    vectors: np.ndarray


def docstrings() -> Iterator[str]:
    """Yield the docstrings of the standard library's modules, classes and functions, read from their source."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if {"site-packages", "test", "tests", "idlelib", "lib2to3"} & set(path.relative_to(root).parts):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):
                continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""


def texts_of(words: int, count: int) -> list[str]:
    """Return distinct texts of so many words each, in an order that mixes modules."""
    texts: dict[str, None] = {}
    for docstring in docstrings():
        found = docstring.split()
        for start in range(0, len(found) - words + 1, words):
            texts[" ".join(found[start : start + words])] = None
    chosen = np.random.default_rng(0).permutation(sorted(texts))[:count]
    return [str(text) for text in chosen]


class Reference:
    """sentence-transformers in a process of its own, which stays warm between rounds."""

    def __init__(self, python: str, folder: Path, scratch: Path) -> None:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        self._scratch = scratch
        self._process = subprocess.Popen(
            [python, "-c", REFERENCE, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.about: dict[str, Any] = json.loads(self._line())

    def _line(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            sys.exit("the reference Python failed; does it have sentence-transformers?")
        return line

    def __call__(self, texts: list[str], one_by_one: bool) -> tuple[list[float], np.ndarray]:
        """Return the times and the vectors."""
        job = {"texts": str(self._scratch / "texts.json"), "vectors": str(self._scratch / "vectors.npy")}
        Path(job["texts"]).write_text(json.dumps(texts))
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**job, "one by one": one_by_one}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._line()), np.load(job["vectors"])

    def close(self) -> None:
        """End the process."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()


def nearfield_side(folder: Path, precision: str) -> tuple[Any, Callable[[list[str], bool], tuple[list[float], Any]]]:
    """Return the encoder, and a function like `Reference.__call__`."""
    from nearfield.encode import load_encoder

    encoder: Any = load_encoder(folder, precision=precision)

    def encode(texts: list[str], one_by_one: bool) -> tuple[list[float], np.ndarray]:
        if not one_by_one:
            start = time.perf_counter()
            vectors = encoder.encode_documents(texts)
            return [time.perf_counter() - start], vectors
        times, rows = [], []
        for text in texts:
            start = time.perf_counter()
            rows.append(encoder.encode_queries([text])[0])
            times.append(time.perf_counter() - start)
        return times, np.stack(rows)

    return encoder, encode


def measure(
    sides: list[Callable[..., Any]], texts: list[str], one_by_one: bool, rounds: int
) -> tuple[Measured, Measured, float]:
    """Return each side's median over several rounds, taken in turn after one that warms up, and the ratio.

    The ratio is the median of the rounds' own ratios: a machine whose speed drifts moves both sides of a round alike.
    """
    seconds: list[list[float]] = [[] for _ in sides]
    vectors: list[Any] = [None] * len(sides)
    for _ in range(rounds + 1):
        for place, side in enumerate(sides):
            time.sleep(PAUSE)
            times, vectors[place] = side(texts, one_by_one)
            seconds[place].append(float(np.median(times)))
    ours, theirs = (np.array(times[1:]) for times in seconds)
    ratio = float(np.median(theirs / ours))
    return Measured(float(np.median(ours)), vectors[0]), Measured(float(np.median(theirs)), vectors[1]), ratio


def report(what: str, texts: list[str], ours: Measured, theirs: Measured, ratio: float) -> dict[str, Any]:
    """Print one comparison, and return it."""
    norms = np.linalg.norm(ours.vectors, axis=1) * np.linalg.norm(theirs.vectors, axis=1)
    cosines = (ours.vectors * theirs.vectors).sum(axis=1) / norms
    if what == "one query":
        sizes = f"p50 {ours.seconds * 1e3:8.2f} ms   against {theirs.seconds * 1e3:8.2f} ms"
    else:
        sizes = f"{len(texts) / ours.seconds:8.0f} texts/s against {len(texts) / theirs.seconds:6.0f} texts/s"
    held = "holds" if ratio >= TARGETS[what] else "FAILS"
    print(
        f"{what:10} {sizes}   {ratio:5.2f} ×  (target {TARGETS[what]} ×: {held})   "
        f"cosine min {cosines.min():.6f} mean {cosines.mean():.6f}"
    )
    return {"what": what, "ratio": ratio, "nearfield_s": ours.seconds, "reference_s": theirs.seconds,
            "texts": len(texts), "cosine_min": float(cosines.min())}  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference-python", required=True, help="a Python with sentence-transformers")
    parser.add_argument("--model", help="the model's folder; that of all-MiniLM-L6-v2 if not given")
    parser.add_argument(
        "--texts", type=int, default=2000, help="texts of 12 words; a quarter as many of 70, a twelfth of 250 (2000)"
    )
    parser.add_argument("--queries", type=int, default=100, help="queries encoded one by one (100)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds, of which the median counts; five times as many for queries (3)"
    )
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16", "int8"])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()

    from nearfield.encode.models import DEFAULT_ENCODER, find_model

    folder = Path(given.model) if given.model else find_model(DEFAULT_ENCODER)
    with tempfile.TemporaryDirectory() as scratch:
        reference = Reference(given.reference_python, folder, Path(scratch))
        encoder, encode = nearfield_side(folder, given.precision)
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors; nearfield in "
              f"{encoder.precision}; {reference.about['versions']}, {reference.about['threads']} threads")  # fmt: skip
        figures = []
        counts = {what: max(1, given.texts // share) for what, share in SHARES.items()} | {"one query": given.queries}
        for what, count in counts.items():
            one = what == "one query"
            texts = texts_of(WORDS.get(what, WORDS["12 words"]), count)
            # Many short rounds for queries, which take milliseconds.
            measured = measure([encode, reference], texts, one, given.rounds * 5 if one else given.rounds)
            figures.append(report(what, texts, *measured))
        reference.close()
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
