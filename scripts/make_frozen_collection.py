"""Make the collection that every later version must open: `tests/formats/v<version of the format>`.

Run it once for each version of the format, with the version that introduces it, and commit what it makes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

import nearfield as nf

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


def fill(col: nf.Collection) -> None:
    """Add, replace and delete, so that the files hold what was deleted, too."""
    documents = [
        {"doc_id": f"doc {n}", "title": f"Title {n}" if n % 3 else "", "text": text(n), "metadata": metadata(n)}
        for n in range(40)
    ]
    col.add(documents[:25])
    col.add(documents[25:])
    col.upsert([{"doc_id": f"doc {n}", "text": text(n + 1), "year": 1999} for n in range(5, 9)])
    col.delete([f"doc {n}" for n in range(30, 35)])
    col.add(["a text without a name", "another one"])
    col.add([{"doc_id": "given", "text": "its vector was given"}], vectors=np.eye(1, DIMENSION, dtype=np.float32))


def main() -> None:
    """Make the collection, and beside it what must be found in it."""
    formats = Path(__file__).parent.parent / "tests" / "formats"
    working = formats / "making.nf"
    with nf.open(working, encoder=Counting()) as col:
        fill(col)
        queries = {"trains": col.search("trains", k=50, mode="lexical"), "cats": col.search("cats", k=50, mode="lexical")}
        near = {name: col.search(name, k=10, mode="semantic") for name in ("trains and ships", "old bread")}
        expected = {
            "documents": [[d.doc_id, d.title, d.text, d.metadata] for d in col],
            "passages": col.stats().passages,
            "lexical": {query: sorted(hit.doc_id for hit in hits) for query, hits in queries.items()},
            "semantic": {query: [[hit.doc_id, hit.score] for hit in hits] for query, hits in near.items()},
            "recent": sorted(col.doc_ids(where={"year": {"$gte": 2004}})),
        }
        version = col.stats().format
    folder = formats / f"v{version}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    working.rename(folder / "collection")
    for lock in (folder / "collection").glob("*.lock"):
        lock.unlink()
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
