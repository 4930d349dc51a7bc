"""An encoder that needs no model."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np


class WordEncoder:
    """Counts of hashed words, in 16 dimensions; takes 24 words at once, so that longer texts have several passages."""

    name = "words"
    dimension = 16
    max_tokens = 24
    fingerprint = "words-16"

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(_words(text)) for text in texts]

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in _words(text):
                place = zlib.crc32(word.encode())
                vector[place % self.dimension] += 1 if place & 0x10000 else -1
        return vectors

    encode_queries = encode_documents


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
