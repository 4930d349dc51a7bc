"""What every encoder must fulfil: `check_encoder` raises AssertionError otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from nearfield.encode.passages import passage_input, split_many
from nearfield.encode.protocol import Encoder, Vectors
from nearfield.errors import InvalidInput

_TEXTS = (
    "Learn Python for data science.",
    "Collaborative filtering for movie recommendations.",
    "",
    "a",
    "机器学习模型的部署。",
    "😀🎉 emoji — and “quotes”",
    "two\nlines\tand a tab",
    "Topic modeling and document clustering. " * 20,
)
_NOT_TEXTS = ([1], [None], [b"bytes"], ["right", 2.5], ["lone surrogate \ud800"], "one text")
_OTHER_PRECISION = 0.999
"""Least cosine between a text's vectors alone and in a batch: bfloat16 has 8 bits, and sums in another order."""


def check_encoder(encoder: Encoder) -> None:
    """Return None if an object fulfils what `nearfield.Encoder` promises.

    Compares values: a text's vector must not depend on its neighbours in the batch, on its place, on repetition or on
    the thread that asks, and different texts must have different vectors.

    Raises:
        AssertionError: the encoder breaks the contract; says where.

    >>> from nearfield.encode import load_encoder
    >>> check_encoder(load_encoder())
    """
    _check_properties(encoder)
    for encode in (encoder.encode_documents, encoder.encode_queries):
        what = f"{type(encoder).__name__}.{encode.__name__}"
        alone = np.concatenate([encode([text]) for text in _TEXTS])
        _check_array(alone, len(_TEXTS), encoder.dimension, what)
        _check_array(encode([]), 0, encoder.dimension, f"{what}([])")
        _check_same(encode(_TEXTS), alone, f"{what}: a batch and its texts alone")
        _check_same(encode(_TEXTS[::-1])[::-1], alone, f"{what}: the batch reversed")
        repeated = encode([text for text in _TEXTS for _ in range(3)])
        _check_same(repeated[::3], alone, f"{what}: texts repeated")
        with ThreadPoolExecutor(4) as threads:
            for row, vectors in enumerate(threads.map(encode, [[text] for text in _TEXTS])):
                _check_same(vectors, alone[row : row + 1], f"{what}: several threads")
        _check_distinct(alone, what)
        _check_refusals(encode, what)
    _check_tokens(encoder)


def _check_properties(encoder: Encoder) -> None:
    name = type(encoder).__name__
    assert isinstance(encoder, Encoder), f"{name} lacks members of nearfield.Encoder"
    assert isinstance(encoder.name, str) and encoder.name, f"{name}.name must be a str that is not empty"
    assert isinstance(encoder.dimension, int) and encoder.dimension > 0, f"{name}.dimension must be an int from 1"
    assert isinstance(encoder.fingerprint, str) and encoder.fingerprint, f"{name}.fingerprint must be a str, not empty"
    assert encoder.fingerprint == encoder.fingerprint, f"{name}.fingerprint must not change"
    limit = encoder.max_tokens
    assert limit is None or (isinstance(limit, int) and limit > 0), f"{name}.max_tokens must be None or an int from 1"


def _check_array(vectors: Vectors, rows: int, dimension: int, what: str) -> None:
    assert isinstance(vectors, np.ndarray), f"{what} must return a NumPy array, returned {type(vectors).__name__}"
    assert vectors.dtype == np.float32, f"{what} must return float32, returned {vectors.dtype}"
    assert vectors.shape == (rows, dimension), f"{what} must have shape {(rows, dimension)}, has {vectors.shape}"
    assert np.isfinite(vectors).all(), f"{what} returned NaN or an infinity"


def _cosines(left: Vectors, right: Vectors) -> Vectors:
    """Return the cosine of each pair of rows; 1 for two zero vectors, as an encoder may have for an empty text."""
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    both_zero = (np.abs(left).max(axis=1) == 0) & (np.abs(right).max(axis=1) == 0)
    cosines: Vectors = np.where(both_zero, 1, (left * right).sum(axis=1) / np.where(norms > 0, norms, 1))
    return cosines


def _check_same(found: Vectors, wanted: Vectors, what: str) -> None:
    assert found.shape == wanted.shape, f"{what} must have shape {wanted.shape}, has {found.shape}"
    cosines = _cosines(found, wanted)
    worst = int(cosines.argmin())
    assert cosines[worst] >= _OTHER_PRECISION, f"{what} differ: row {worst} has cosine {cosines[worst]:.6f}"


def _check_distinct(vectors: Vectors, what: str) -> None:
    cosine = float(_cosines(vectors[:1], vectors[1:2])[0])
    assert cosine < _OTHER_PRECISION, f"{what} gives different texts the same vector (cosine {cosine:.6f})"


def _check_refusals(encode: object, what: str) -> None:
    assert callable(encode)
    for wrong in _NOT_TEXTS:
        try:
            encode(wrong)
        except InvalidInput:
            continue
        raise AssertionError(f"{what}({wrong!r}) must raise InvalidInput")


def _check_tokens(encoder: Encoder) -> None:
    counts = encoder.count_tokens(_TEXTS)
    name = f"{type(encoder).__name__}.count_tokens"
    assert counts == [encoder.count_tokens([text])[0] for text in _TEXTS], f"{name} must not depend on the batch"
    assert counts[2] == 0, f"{name} must be 0 for an empty text, is {counts[2]}: special tokens are not counted"
    longer = encoder.count_tokens([_TEXTS[0] * 100])[0]
    assert longer > 10 * counts[0] > 0, f"{name} must not truncate: {counts[0]} tokens, and {longer} for 100 times that"
    if encoder.max_tokens is not None:
        _check_passages(encoder, encoder.max_tokens, (*_TEXTS, _TEXTS[0] * 500))


def _check_passages(encoder: Encoder, limit: int, texts: Sequence[str]) -> None:
    for text, spans in zip(texts, split_many(texts, encoder), strict=True):
        counts = encoder.count_tokens([passage_input("", text[start:end]) for start, end in spans])
        assert max(counts) <= limit, f"a passage of {text[:30]!r}… has {max(counts)} tokens, over the limit of {limit}"
