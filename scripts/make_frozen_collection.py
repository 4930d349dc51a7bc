"""Make the collection that every later version must open: `tests/formats/v<version of the format>`.

Run it once for each version of the format, with the version that introduces it, and commit what it makes. The
collection of version 1 was made by an earlier form of this script.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import nearfield as nf
from nearfield.engine.local import compaction, segments, upkeep
from nearfield.engine.local.segments import Segment

DIMENSION = 16
TOPICS = ["cats and dogs", "trains and ships", "rivers of Asia", "naïve Übung 聚类 😀", "old bread recipes"]


class Counting:
    """An encoder without a model: each letter counts at one place of the vector."""

    name = "counting"
    dimension = DIMENSION
    max_tokens = 12
    fingerprint = "counting-16"

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Return the number of words of each text."""
        return [len(text.split()) for text in texts]

    def encode_documents(self, texts: list[str]) -> np.ndarray:
        """Return how often each letter occurs, folded to 16 places, float32 `(n, 16)`."""
        vectors = np.zeros((len(texts), DIMENSION), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for letter in text:
                vector[ord(letter) % DIMENSION] += 1
        return vectors

    encode_queries = encode_documents


def text(number: int) -> str:
    """Return a text of one to four passages."""
    sentences = [f"Sentence {i} of text {number} tells of {TOPICS[(number + i) % 5]}." for i in range(1 + number % 4)]
    return " ".join(sentences)


def metadata(number: int) -> dict[str, object]:
    """Return fields of every kind that JSON has."""
    return {"year": 2000 + number % 7, "topic": TOPICS[number % 5], "nested": {"even": number % 2 == 0},
            "tags": ["a", number], "score": number / 8, "none": None}  # fmt: skip


def documents(numbers: Iterable[int]) -> list[dict[str, object]]:
    """Return documents with the names "doc <number>"."""
    return [
        {"doc_id": f"doc {n}", "title": f"Title {n}" if n % 3 else "", "text": text(n), "metadata": metadata(n)}
        for n in numbers
    ]


def lower_limits() -> None:
    """Let segments fill, compaction run and columns be saved after a few documents.

    Addresses stay those of slots of the full size, since they are part of the format.
    """
    place = segments.place

    def place_in_few(known: list[Segment], counts: np.ndarray, next_number: int) -> list[tuple[Segment, int]]:
        newest = max(known, key=lambda segment: segment.number, default=None)
        return place(known, counts, next_number + (newest is not None and newest.rows >= 32))

    segments.place = place_in_few
    compaction.STEP_ROWS = 16
    compaction.LEAST_DEAD = 8
    upkeep.LEAST_UNSAVED = 10


def fill(folder: Path) -> None:
    """Add, replace and delete, so that the files hold what was deleted, too."""
    with nf.open(folder, encoder=Counting()) as col:
        col.add(documents(range(25)))
        col.add(documents(range(25, 40)))
        col.upsert([{"doc_id": f"doc {n}", "text": text(n + 1), "year": 1999} for n in range(5, 9)])
        col.upsert([{**document, "metadata": {"year": 1998}} for document in documents(range(10, 12))])
        col.delete([f"doc {n}" for n in range(30, 35)])
        col.delete(where={"tags": {"$contains": 20}})
        col.add(["a text without a name", "another one"])
        col.add([{"doc_id": "given", "text": "its vector was given"}], vectors=np.eye(1, DIMENSION, dtype=np.float32))
    with nf.open(folder, encoder=Counting()) as col:
        with suppress(KeyboardInterrupt):
            col.ingest(cut_off(documents(range(50, 60)), 5), batch_size=2, source="a list that was cut off")
        col.delete(["doc 2", "doc 51"])


def cut_off(given: list[dict[str, object]], count: int) -> Iterator[dict[str, object]]:
    """Yield some documents, and end as if the user had pressed Ctrl-C."""
    yield from given[:count]
    raise KeyboardInterrupt


def expected(col: nf.Collection) -> dict[str, object]:
    """Return what must be found in the collection."""
    words = {query: col.search(query, k=99, mode="lexical") for query in ("trains", "cats", "another sentence")}
    near = {query: col.search(query, k=10, mode="semantic") for query in ("trains and ships", "old bread")}
    return {
        "documents": [[d.doc_id, d.title, d.text, d.metadata] for d in col],
        "passages": col.stats().passages,
        "lexical": {query: sorted(hits.doc_ids) for query, hits in words.items()},
        "semantic": {query: [[hit.doc_id, hit.score] for hit in hits] for query, hits in near.items()},
        "recent": sorted(col.doc_ids(where={"year": {"$gte": 2004}})),
        "nested": sorted(col.doc_ids(where={"nested.even": True})),
        "dead_passages": col.stats().dead_passages,
    }


def main() -> None:
    """Make the collection, and beside it what must be found in it."""
    formats = Path(__file__).parent.parent / "tests" / "formats"
    lower_limits()
    with TemporaryDirectory() as working:
        made = Path(working) / "collection"
        fill(made)
        with nf.open(made, encoder=Counting()) as col:
            found, version = expected(col), col.stats().format
        for lock in made.glob("*.lock"):
            lock.unlink()
        folder = formats / f"v{version}"
        folder.mkdir()  # fails if there is one: what is frozen stays as it is
        shutil.copytree(made, folder / "collection")
    (folder / "expected.json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
