"""From documents to records with passages and vectors, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from nearfield import checks
from nearfield.documents import Document
from nearfield.encode import split_many
from nearfield.encode.passages import passage_input
from nearfield.encode.protocol import Encoder, Vectors
from nearfield.engine.protocol import Engine, Record, Span, Stored

ENCODED_AT_ONCE = 4096
"""Passages given to the encoder in one call: enough to sort by length, few enough to show progress."""

READ_AT_ONCE = 500


def encode(
    batch: Sequence[Document], encoder: Encoder, progress: Callable[[int, int], None] | None = None
) -> list[Record]:
    """Return a record for each document: its passages and their vectors.

    Args:
        batch: The documents.
        encoder: Makes the vectors.
        progress: Called with (encoded, total) documents.
    """
    spans = split_many([doc.text for doc in batch], encoder, titles=[doc.title for doc in batch])
    inputs = [
        passage_input(document.title, document.text[start:end])
        for document, parts in zip(batch, spans, strict=True)
        for start, end in parts
    ]
    ends = np.cumsum([len(parts) for parts in spans])
    vectors = []
    for start in range(0, len(inputs), ENCODED_AT_ONCE):
        texts = inputs[start : start + ENCODED_AT_ONCE]
        encoded = encoder.encode_documents(texts)
        vectors.append(checks.unit_vectors(encoded, len(texts), encoder.dimension, "the encoder's vectors"))
        if progress is not None:
            progress(int(np.searchsorted(ends, start + len(encoded), side="right")), len(batch))
    return _records(batch, spans, np.concatenate(vectors))


def attach(batch: Sequence[Document], vectors: object, dimension: int | None) -> list[Record]:
    """Return a record for each document, of one passage, with a given vector.

    Raises:
        InvalidInput: the vectors have another shape than `(len(batch), dimension)`, or are not finite.
    """
    checked = checks.unit_vectors(vectors, len(batch), dimension)
    return _records(batch, [[(0, len(document.text))] for document in batch], checked)


def _records(batch: Sequence[Document], spans: Sequence[list[Span]], vectors: Vectors) -> list[Record]:
    records, row = [], 0
    for document, parts in zip(batch, spans, strict=True):
        records.append(Record(document, parts, vectors[row : row + len(parts)]))
        row += len(parts)
    return records


def document(stored: Stored) -> Document:
    """Return a stored document as users know it."""
    return Document(stored.text, stored.doc_id, stored.title, stored.metadata)


def iterate(engine: Engine) -> Iterator[Document]:
    """Yield every document of the state that is newest at the first step."""
    with engine.view() as view:
        keys = view.keys()
        for start in range(0, len(keys), READ_AT_ONCE):
            yield from map(document, view.read(keys[start : start + READ_AT_ONCE]))
