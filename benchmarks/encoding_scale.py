"""Encoding at scale: the first vector, a million titles, texts that are there already, the arithmetic limit.

    python benchmarks/encoding_scale.py --reference-python ENV/bin/python [--titles docs.jsonl.gz] [--folder DISK]

Titles are those of a file of {"text": …} lines, or texts of ten words from the docstrings of Python's standard library.
A million is extrapolated from a part, for nearfield (added to a collection on disk, index included) and for the script
that everyone writes (sentence-transformers' vectors of all titles in a list). The limit is the rate of one large
product in the same integers or floats, by the same library on the same processors.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from encoding import Reference, texts_of

MILLION = 1_000_000
RE_ADDED = 100_000
FIRST = """
import time; began = time.clock_gettime(time.CLOCK_MONOTONIC)
import nearfield as nf
vectors = nf.load_encoder().encode_queries(["how to build a recommender"])
print(vectors.shape[1], time.clock_gettime(time.CLOCK_MONOTONIC))
"""


def main() -> None:
    """Measure the parts one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference-python", required=True, help="a Python with sentence-transformers")
    parser.add_argument("--titles", type=Path, help="a gzipped file of JSON lines with a text each")
    parser.add_argument("--measured", type=int, default=50_000, help="titles that are measured (50,000)")
    parser.add_argument("--folder", type=Path, help="where to put collections while they are measured")
    given = parser.parse_args()
    first_vector()
    titles = read_titles(given.titles, given.measured) if given.titles else texts_of(10, given.measured)
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        million(titles, given.reference_python, Path(scratch))
        re_added(titles, Path(scratch))
    limit(titles[:8192])


def read_titles(file: Path, count: int) -> list[str]:
    """Return the first titles of a file."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in itertools.islice(lines, count)]


def first_vector() -> None:
    """Print the seconds from the start of a process to its first vector."""
    seconds = []
    for _ in range(7):
        began = time.clock_gettime(time.CLOCK_MONOTONIC)
        printed = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True).stdout
        seconds.append(float(printed.split()[1]) - began)
    middle = statistics.median(seconds)
    print(f"process start to first vector: {middle:.2f} s (<= 0.8 s {'met' if middle <= 0.8 else 'MISSED'})\n")


def million(titles: list[str], reference_python: str, scratch: Path) -> None:
    """Print how long a million titles take, extrapolated, and the memory of the process that adds them."""
    from nearfield.encode.models import DEFAULT_ENCODER, find_model

    (scratch / "titles.json").write_text(json.dumps(titles))
    child = [sys.executable, __file__.replace("encoding_scale", "encoding_child"), str(scratch)]
    ours: dict[str, Any] = json.loads(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
    reference = Reference(reference_python, find_model(DEFAULT_ENCODER), scratch)
    reference(titles[:64], False)
    part = titles[: max(1, len(titles) // 16)]
    (theirs,), _ = reference(part, False)
    reference.close()
    rates = {"nearfield": len(titles) / ours["seconds"], "script": len(part) / theirs}
    print(f"titles of {statistics.mean(len(title.split()) for title in titles):.0f} words; {len(titles):,} measured")
    for name, rate in rates.items():
        print(f"  {name:10} {rate:8,.0f} a second: a million in {MILLION / rate / 60:6.1f} minutes")
    print(f"  ratio {rates['nearfield'] / rates['script']:.1f} x; nearfield's memory after a quarter "
          f"{ours['early']:,.0f} MB, after all {ours['late']:,.0f} MB\n")  # fmt: skip


def re_added(titles: list[str], scratch: Path) -> None:
    """Print how many of 100,000 unchanged documents are encoded again."""
    import nearfield as nf

    encoder = _Counting(nf.load_encoder())
    documents = [{"doc_id": str(i), "text": titles[i % len(titles)], "year": i % 9} for i in range(RE_ADDED)]
    with nf.open(scratch / "again.nf", encoder=encoder) as col:
        col.ingest(documents, replace=True)
        once, encoder.texts = encoder.texts, 0
        began = time.perf_counter()
        done = col.ingest(documents, replace=True)
        seconds = time.perf_counter() - began
    print(f"{RE_ADDED:,} unchanged documents again: {encoder.texts:,} texts encoded ({once:,} the first time), "
          f"{done.unchanged:,} unchanged, {RE_ADDED / seconds:,.0f} a second\n")  # fmt: skip


class _Counting:
    """An encoder that counts the texts it is given."""

    def __init__(self, encoder: Any) -> None:
        self._encoder, self.texts = encoder, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_documents(self, texts: list[str]) -> np.ndarray:
        self.texts += len(texts)
        return self._encoder.encode_documents(texts)

    def encode_queries(self, texts: list[str]) -> np.ndarray:
        return self._encoder.encode_queries(texts)


def limit(texts: list[str]) -> None:
    """Print the arithmetic of encoding beside that of one large product."""
    import nearfield as nf

    encoder: Any = nf.load_encoder()
    encoder.encode_documents(texts[:64])
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        encoder.encode_documents(texts)
        seconds.append(time.perf_counter() - began)
    tokens = sum(encoder.count_tokens(texts)) + 2 * len(texts)
    shape = encoder._settings.shape
    inner = encoder._weights.tensors["encoder.layer.0.intermediate.dense.bias"].shape[0]
    each = 2 * shape.layers * (4 * shape.hidden**2 + 2 * shape.hidden * inner)
    reached = tokens * each / min(seconds) / 1e9
    best = product_rate(encoder.precision) / 1e9
    print(f"{tokens / min(seconds):,.0f} tokens a second in {encoder.precision}: {reached:,.0f} billion operations in "
          f"products with weights; one large product reaches {best:,.0f} ({100 * reached / best:.0f} %)")  # fmt: skip


def product_rate(precision: str, rows: int = 512, width: int = 1536, repeated: int = 8) -> float:
    """Return operations a second of large products, a stream a core."""
    from nearfield.encode.openvino import import_openvino

    openvino = import_openvino()
    ops = openvino.opset13
    chance = np.random.default_rng(0)
    node = parameter = ops.parameter([rows, width], np.float32)
    for _ in range(repeated):
        if precision == "int8":
            bounds = [ops.constant(np.float32(bound)) for bound in (-4.0, 4.0, -4.0, 4.0)]
            node = ops.fake_quantize(node, *bounds, 256)
            weights = ops.constant(chance.integers(-127, 127, (width, width)).astype(np.int8))
            matrix = ops.multiply(ops.convert(weights, "f32"), ops.constant(np.full((width, 1), 1e-3, np.float32)))
        else:
            matrix = ops.constant(chance.standard_normal((width, width)).astype(np.float32) / 40)
        node = ops.matmul(node, matrix, False, True)
    half = "f32" if precision == "float32" else "bf16"
    options = {"INFERENCE_PRECISION_HINT": half, "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = openvino.Core().compile_model(openvino.Model([node], [parameter], "product"), "CPU", options)
    queue = openvino.AsyncInferQueue(compiled)
    data = chance.standard_normal((rows, width)).astype(np.float32)
    for count in (4, 60):
        began = time.perf_counter()
        for _ in range(count):
            queue.start_async([data])
        queue.wait_all()
        seconds = time.perf_counter() - began
    return 2 * rows * width * width * repeated * count / seconds


if __name__ == "__main__":
    main()
