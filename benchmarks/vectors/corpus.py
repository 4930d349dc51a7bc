"""The titles, their vectors and the queries of a run, in a folder of the cache that every process reads.

The encoding is kept as `NAME-BYTES.npy` (of the file of titles), so that it is made once.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ENCODED_TOGETHER = 20_000
PARTS = 10_000
"""The field `r` of a document is a random integer below this, so that `r < 100` allows 1 % of the documents."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents with their vectors, and queries that are not among them.

    Args:
        folder: What the other processes read: vectors, columns and the like.
        vectors: float32 `(n, d)`, unit length; documents are named by their row.
        queries: float32 `(q, d)`, unit length.
        query_labels: int64 `(q,)`: positions in `labels`.
        columns: Of the documents, each `(n,)`: `label` (position in `labels`), `year` and `r`.
        labels: The names.
    """

    folder: Path
    vectors: np.ndarray
    queries: np.ndarray
    query_labels: np.ndarray
    columns: dict[str, np.ndarray]
    labels: list[str]


def prepare(titles: Path, cache: Path, size: int | None, queries: int, seed: int) -> Corpus:
    """Return a random subset of the titles (None: all of them but the queries), made if it isn't in the cache."""
    name = f"{titles.name}-{titles.stat().st_size}"
    folder = cache / f"{name}-{size or 'all'}-{queries}-{seed}"
    if not (folder / "labels.json").exists():
        _make(titles, encoded(titles, cache), folder, size, queries, seed)
    return load(folder)


def load(folder: Path) -> Corpus:
    """Return what `prepare` left in a folder."""
    found = columns(folder)
    return Corpus(
        folder=folder,
        vectors=np.load(folder / "vectors.npy"),
        queries=np.load(folder / "queries.npy"),
        query_labels=np.load(folder / "query_labels.npy"),
        columns=found,
        labels=labels(folder),
    )


def columns(folder: Path) -> dict[str, np.ndarray]:
    """Return the columns of the documents: label (a position in the labels), year, r."""
    with np.load(folder / "columns.npz") as file:
        return {name: file[name] for name in file.files}


def labels(folder: Path) -> list[str]:
    """Return the names of the labels."""
    return list(json.loads((folder / "labels.json").read_text()))


def documents(folder: Path) -> list[dict[str, Any]]:
    """Return the documents in the order of their rows: text, label, year, r."""
    with (folder / "documents.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def encoded(titles: Path, cache: Path) -> np.ndarray:
    """Return a vector for every title in the file, float32 `(n, d)`, encoded if they are not in the cache."""
    path = cache / f"{titles.name}-{titles.stat().st_size}.npy"
    if not path.exists():
        _encode(titles, path)
    return np.load(path, mmap_mode="r")


def _read(titles: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(titles, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _encode(titles: Path, path: Path) -> None:
    from nearfield.encode import load_encoder

    encoder = load_encoder("all-MiniLM-L6-v2")
    texts = [row["text"] for row in _read(titles)]
    path.parent.mkdir(parents=True, exist_ok=True)
    half_made = path.with_suffix(".part")
    made = np.lib.format.open_memmap(half_made, mode="w+", dtype=np.float32, shape=(len(texts), encoder.dimension))
    for begin in range(0, len(texts), ENCODED_TOGETHER):
        end = begin + ENCODED_TOGETHER
        made[begin:end] = encoder.encode_documents(texts[begin:end])
        print(f"encoded {min(end, len(texts)):,} of {len(texts):,}", flush=True)
    made.flush()
    half_made.rename(path)


def _make(titles: Path, vectors: np.ndarray, folder: Path, size: int | None, queries: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(vectors))
    asked, kept = order[:queries], order[queries : None if size is None else queries + size]
    if size is not None and len(kept) < size:
        raise SystemExit(f"--size {size} and {queries} queries are more than the {len(vectors)} titles")
    rows = list(_read(titles))
    names = sorted({row["label"] for row in rows})
    codes = {name: i for i, name in enumerate(names)}
    parts = rng.permutation(len(kept)) * PARTS // len(kept)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "vectors.npy", _unit(vectors[kept]))
    np.save(folder / "queries.npy", _unit(vectors[asked]))
    np.savez(
        folder / "columns.npz",
        label=np.array([codes[rows[i]["label"]] for i in kept], np.int16),
        year=np.array([int(rows[i]["year"]) for i in kept], np.int16),
        r=parts.astype(np.int16),
    )
    np.save(folder / "query_labels.npy", np.array([codes[rows[i]["label"]] for i in asked]))
    _write_documents(folder / "documents.jsonl", [rows[i] for i in kept], parts)
    (folder / "labels.json").write_text(json.dumps(names))


def _write_documents(path: Path, rows: Sequence[dict[str, Any]], parts: np.ndarray) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row, part in itertools.zip_longest(rows, parts.tolist()):
            document = {"text": row["text"], "label": row["label"], "year": int(row["year"]), "r": part}
            file.write(json.dumps(document) + "\n")


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
