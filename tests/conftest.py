"""What tests share: an encoder that needs no model, and collections made with it."""

from __future__ import annotations

import hashlib
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import nearfield as nf
from nearfield.encode.probing import DOCUMENTS, QUERIES

# Texts that a collection has encoded to know its encoder again.
PROBED = {*DOCUMENTS, *QUERIES}

# A shell has what it starts in the background ignore SIGINT, and Python then has no KeyboardInterrupt to test.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Where modules lie that several folders of tests share.
sys.path.insert(0, str(Path(__file__).parent))


class HashingEncoder:
    """Counts of hashed words: texts that share words are near. Same text, same vector, on every machine."""

    name = "hashing"
    max_tokens: int | None = None

    def __init__(self, dimension: int = 64, max_tokens: int | None = None) -> None:
        self.dimension = dimension
        self.max_tokens = max_tokens
        self.fingerprint = f"hashing-{dimension}"
        self.encoded = 0

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(self._words(text)) for text in texts]

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in self._words(text):
                digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
                place, sign = int.from_bytes(digest[:4], "little"), 1 if digest[4] % 2 else -1
                vector[place % self.dimension] += sign
        self.encoded += sum(text not in PROBED for text in texts)
        return vectors

    encode_queries = encode_documents

    @staticmethod
    def _words(text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())


@pytest.fixture
def encoder() -> HashingEncoder:
    return HashingEncoder()


@pytest.fixture
def col(tmp_path: Path, encoder: HashingEncoder) -> Iterator[nf.Collection]:
    with nf.open(tmp_path / "col.nf", encoder=encoder) as collection:
        yield collection
