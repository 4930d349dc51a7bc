"""A child of `durability.py`: opens a collection, asks hybrid queries, and says how long and how much memory it took.

    python benchmarks/durability_reader.py FOLDER
    python benchmarks/durability_reader.py FOLDER --encoder-alone

FOLDER holds queries.json, queries.npy and the collection, collection.nf.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

from durability_common import since_start


def main() -> None:
    """Print times and memory as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--queries", type=int, default=0, help="how many to ask after the first")
    parser.add_argument("--encoder-alone", action="store_true")
    arguments = parser.parse_args()
    asked = json.loads((arguments.folder / "queries.json").read_text())
    further = asked["texts"][1 : 1 + arguments.queries]
    answer = _encoder(asked, further) if arguments.encoder_alone else _collection(arguments.folder, asked, further)
    print(json.dumps(answer))


def _encoder(asked: dict[str, Any], further: list[str]) -> dict[str, Any]:
    from nearfield.encode import DEFAULT_ENCODER, load_encoder

    began = time.perf_counter()
    encoder = load_encoder(DEFAULT_ENCODER)
    encoder.encode_queries(asked["texts"][:1])
    answer: dict[str, Any] = {"first": time.perf_counter() - began, "first_from_start": since_start()}
    for text in further:
        encoder.encode_queries([text])
    return {**answer, **_memory()}


def _collection(folder: Path, asked: dict[str, Any], further: list[str]) -> dict[str, Any]:
    import nearfield as nf

    imported = since_start()
    began = time.perf_counter()
    col = nf.open(folder / "collection.nf", create=False)
    opened = time.perf_counter() - began
    hits = col.search(asked["texts"][0], where=asked["where"])
    first, first_from_start = time.perf_counter() - began, since_start()
    if len(hits) != 10:
        raise RuntimeError(f"the first query has {len(hits)} hits instead of 10")
    each = []
    for i, text in enumerate(further):
        began = time.perf_counter()
        col.search(text, where=asked["where"] if i % 2 else None)
        each.append(time.perf_counter() - began)
    answer = {"imported": imported, "opened": opened, "first": first, "first_from_start": first_from_start}
    return {**answer, **_memory(), "each": each, "found": _found(col, folder, asked["where"])}


def _found(col: Any, folder: Path, where: dict[str, Any]) -> list[list[str]]:
    import numpy as np

    return [col.search(vector, mode="semantic", where=where).doc_ids for vector in np.load(folder / "queries.npy")]


def _memory() -> dict[str, int]:
    """Return the process's resident bytes: all, its own, and of files that are mapped."""
    lines = Path("/proc/self/status").read_text()
    return {name: 1024 * int(kilobytes) for name, kilobytes in re.findall(r"(VmHWM|VmRSS|Rss\w+):\s+(\d+) kB", lines)}


if __name__ == "__main__":
    main()
