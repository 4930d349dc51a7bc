"""The exact scan: every allowed vector is compared with the query.

A document may own several consecutive rows (its passages); its score is the highest cosine among them. Scores of the
documents that can be among the best are computed again in double precision, one row at a time, so that equal vectors
have equal scores wherever they lie, which a matrix product does not promise.
"""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.errors import CorruptCollection
from nearfield.index.rows import Rows

LONGEST = 1.001
"""No stored vector is longer, rounding included."""

Float = TypeVar("Float", np.float32, np.float64)

Scored: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Documents, rising, and their scores."""

SCORES_AT_ONCE = 16_000_000
"""Float32 scores held at once by a batch of queries: 64 MB."""

GATHER_BELOW = 0.15
"""Share of the rows below which copying the allowed rows costs less than comparing all of them."""

GATHERED_AT_ONCE = 1024
"""Rows that are copied together: of 384 dimensions they stay in the processor's cache."""

FEW_ROWS = 200
"""Rows whose product with a query BLAS computes in the caller's thread."""

FEW_QUERIES = 3
"""Measured on 100,000 vectors of 384 dimensions: a product takes BLAS 24 ms for two queries or for eight."""

ROUNDING = 5e-5
"""More than the error of a float32 dot product of unit vectors with up to 4,096 dimensions."""


def best_documents(rows: Rows, queries: Vectors, k: int, documents: NDArray[np.int64]) -> list[Scored]:
    """Return, for each query, those of some documents with the k highest cosines, and all that tie with the k-th.

    Args:
        rows: The vectors, at unit length or zero.
        queries: float32 `(q, d)`, at unit length or zero.
        k: How many; fewer come back only if fewer are given.
        documents: int64 `(n,)`, rising.

    Returns:
        Documents, rising, and their scores in [-1, 1], float64.
    """
    if not len(documents) or not len(queries):
        return [(documents, np.empty(0)) for _ in queries]
    # Arrays of all documents are megabytes; those that are there need no copy.
    counts = rows.counts if len(documents) == len(rows.counts) else rows.counts[documents]
    count = int(counts.sum())
    wanted = rows.firsts if count == len(rows.counts) == len(documents) else rows.of(documents)
    narrow = count < GATHER_BELOW * rows.total
    at_once = max(1, SCORES_AT_ONCE // (count if narrow else rows.end))
    found = []
    for start in range(0, len(queries), at_once):
        chunk = queries[start : start + at_once]
        by_document = _highest(_scan_some(rows, chunk, wanted) if narrow else _scan_all(rows, chunk, wanted), counts)
        found += [refine(rows, query, documents, row, k) for query, row in zip(chunk, by_document, strict=True)]
    return found


def _scan_some(rows: Rows, queries: Vectors, wanted: NDArray[np.int64]) -> Vectors:
    """Return the cosine of each query with some rows; of no others."""
    scores = np.empty((len(queries), len(wanted)), np.float32)
    for start in range(0, len(wanted), GATHERED_AT_ONCE):
        some = slice(start, start + GATHERED_AT_ONCE)
        _multiply(queries, rows.gather(wanted[some]), scores[:, some])
    return scores


def _scan_all(rows: Rows, queries: Vectors, wanted: NDArray[np.int64]) -> Vectors:
    """Return the cosine of each query with some rows, which are so many that all are compared."""
    scores = _scan(rows, queries)
    in_order = len(wanted) == rows.end and bool((wanted[1:] > wanted[:-1]).all())
    return scores if in_order else scores[:, wanted]


def _scan(rows: Rows, queries: Vectors) -> Vectors:
    """Return the cosine of each query with each row, at the row's address; what lies between blocks is undefined."""
    scores = np.empty((len(queries), rows.end), np.float32)
    for block, start in zip(rows.blocks, rows.starts.tolist(), strict=True):
        _multiply(queries, block, scores[:, start : start + len(block)])
    return scores


def _multiply(queries: Vectors, vectors: Vectors, scores: Vectors) -> None:
    """Write the product of each query with each vector into `scores`, float32 `(queries, vectors)`.

    Few queries stay in their thread: that is as fast as memory is, and faster than BLAS, whose threads go on spinning
    after such a product, and take the processor from writers and other searches.
    """
    if len(queries) > FEW_QUERIES:
        np.matmul(queries, vectors.T, out=scores)
        return
    for query, row in zip(queries, scores, strict=True):
        np.einsum("ij,j->i", vectors, query, out=row)


def _highest(scores: NDArray[Float], counts: NDArray[np.int64]) -> NDArray[Float]:
    if counts.sum() == len(counts):
        return scores
    starts = np.cumsum(counts) - counts
    highest: NDArray[Float] = np.maximum.reduceat(scores, starts, axis=1)
    return highest


def refine(rows: Rows, query: Vectors, documents: NDArray[np.int64], scores: Vectors, k: int) -> Scored:
    """Return those of some documents that are the best by their cosines in double precision.

    Args:
        rows: The vectors.
        query: float32 `(d,)`.
        documents: int64 `(n,)`, rising, at least one.
        scores: float32 `(n,)`, their cosines as single precision has them.
        k: How many; all that tie with the k-th come, too.
    """
    _check_lengths(scores, query)
    if k < len(scores):
        documents = documents[_may_be_best(scores, k)]
    return _cut(documents, document_scores(rows, query, documents), k)


def rescore(rows: Rows, query: Vectors, documents: NDArray[np.int64], k: int, *, single: bool = False) -> Scored:
    """Return the best of a few documents by their cosines in double precision, as `refine` does; reads each row once.

    Args:
        rows: The vectors.
        query: float32 `(d,)`.
        documents: int64 `(n,)`, in any order.
        k: How many; all that tie with the k-th come, too.
        single: Each of these is known to have one row.
    """
    if not len(documents):
        return documents, np.empty(0)
    if len(documents) > GATHERED_AT_ONCE:
        return best_documents(rows, query[np.newaxis], k, np.sort(documents))[0]
    wanted = rows.firsts[documents] if single else rows.of(documents)
    vectors = rows.gather(wanted)
    # BLAS is quicker for few rows; for many, its threads would go on spinning.
    scores = vectors.dot(query) if len(vectors) <= FEW_ROWS else np.einsum("ij,j->i", vectors, query)
    if len(wanted) > len(documents):
        return refine(rows, query, documents, _highest(scores[np.newaxis], rows.counts[documents])[0], k)
    rising = np.sort(scores)  # one step instead of three, for the least, the highest and the k-th
    if not (rising[-1] <= LONGEST and rising[0] >= -LONGEST):  # as the query is of unit length; NaN comes last
        _check_lengths(scores, query)
    chosen = (scores >= rising[-min(k, len(rising))] - ROUNDING).nonzero()[0]
    exact = np.einsum("ij,j->i", vectors[chosen].astype(np.float64), query.astype(np.float64))
    return _cut(documents[chosen], exact, k)


def _may_be_best(scores: Vectors, k: int) -> NDArray[np.bool_]:
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    chosen: NDArray[np.bool_] = scores >= threshold - ROUNDING
    return chosen


def _cut(documents: NDArray[np.int64], exact: NDArray[np.float64], k: int) -> Scored:
    exact = np.minimum(np.maximum(exact, -1.0), 1.0)  # a third of np.clip's time for a few
    if k < len(exact):
        kept = exact >= np.partition(exact, len(exact) - k)[len(exact) - k]
        documents, exact = documents[kept], exact[kept]
    return documents, exact


def _check_lengths(scores: Vectors, query: Vectors) -> None:
    limit = LONGEST * float(np.linalg.norm(query.astype(np.float64)))
    if not (scores.min() >= -limit and scores.max() <= limit):  # which NaN fails, too
        raise CorruptCollection(
            "a stored vector is longer than 1 or not finite, though none such is ever written; `nearfield check` names "
            "the file"
        )


def document_scores(rows: Rows, query: Vectors, documents: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the highest cosine of each document's rows with a query, in double precision.

    Args:
        rows: The vectors.
        query: float32 `(d,)`.
        documents: int64 `(n,)`, rising, at least one.
    """
    vectors = rows.gather(rows.of(documents)).astype(np.float64)
    scores = np.einsum("ij,j->i", vectors, query.astype(np.float64))
    highest: NDArray[np.float64] = _highest(scores[np.newaxis], rows.counts[documents])[0]
    return highest
