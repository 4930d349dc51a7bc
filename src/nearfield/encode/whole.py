"""One vector for a text of any length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nearfield.checks import unit_vectors
from nearfield.encode.passages import split_many
from nearfield.encode.protocol import Encoder, Vectors


def encode_queries(texts: Sequence[str], encoder: Encoder) -> Vectors:
    """Return a vector of unit length for each query, float32 `(len(texts), dimension)`.

    A query longer than the encoder's limit has the mean of its passages' vectors, so that none of it is dropped.
    """
    return _encode_whole(texts, encoder, encoder.encode_queries)


def encode_documents(texts: Sequence[str], encoder: Encoder) -> Vectors:
    """Return a vector of unit length for each text, float32 `(len(texts), dimension)`; long ones as for queries."""
    return _encode_whole(texts, encoder, encoder.encode_documents)


def _encode_whole(texts: Sequence[str], encoder: Encoder, encode: Callable[[Sequence[str]], Vectors]) -> Vectors:
    spans = split_many(texts, encoder)
    parts = [text[start:end] for text, pieces in zip(texts, spans, strict=True) for start, end in pieces]
    vectors = unit_vectors(encode(parts), len(parts), encoder.dimension, "the encoder's vectors")
    if len(parts) == len(texts):
        return vectors
    starts = np.cumsum([0, *map(len, spans[:-1])])
    return unit_vectors(np.add.reduceat(vectors, starts, axis=0), len(texts), encoder.dimension)
