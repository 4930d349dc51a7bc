"""A small collection, an encoder that needs no model, and an app over them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import nearfield as nf
from nearfield.serve import create_app

TEXTS = [
    "Learn Python for data science.",
    "Neural networks for image classification.",
    "Building recommendation systems with embeddings.",
    "Introduction to clustering and k-means.",
    "Deploying machine learning models to production.",
    "Semantic search using vector databases.",
    "Collaborative filtering for movie recommendations.",
    "Topic modeling and document clustering.",
]


class HashingEncoder:
    """Counts words, each in the dimension that its CRC-32 gives."""

    name = "hashing"
    dimension = 96
    max_tokens = None
    fingerprint = "hashing-96"

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(_words(text)) for text in texts]

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in _words(text):
                vector[zlib.crc32(word.encode()) % self.dimension] += 1
        return vectors

    encode_queries = encode_documents


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@pytest.fixture
def encoder() -> HashingEncoder:
    return HashingEncoder()


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[nf.Collection]:
    with nf.open(tmp_path / "guide.nf", encoder=HashingEncoder()) as opened:
        opened.add(
            {"doc_id": row, "text": text, "metadata": {"year": 2020 + row, "even": row % 2 == 0}}
            for row, text in enumerate(TEXTS)
        )
        yield opened


@pytest.fixture
def serve(collection: nf.Collection) -> Iterator[Callable[..., TestClient]]:
    """Return a function that serves the collection with options, and gives a client."""
    clients = []

    def start(**options: Any) -> TestClient:
        client = TestClient(create_app(collection, **options), follow_redirects=False)
        clients.append(client.__enter__())
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def indexed(tmp_path: Path) -> Iterator[tuple[nf.Collection, TestClient]]:
    """Return a collection whose vectors, of eight dimensions, have an index; and a client of an app over it."""
    vectors = np.random.default_rng(0).standard_normal((1_200, 8)).astype(np.float32)
    with nf.open(tmp_path / "indexed.nf", index="ivf-flat", recall=0.8) as made:
        made.add([{"text": f"text {row}", "metadata": {"row": row}} for row in range(1_200)], vectors=vectors)
    with nf.open(tmp_path / "indexed.nf") as opened, TestClient(create_app(opened)) as client:
        yield opened, client


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    return serve()
