"""How far the ingestion of a named source has come, and whether what is given now is what was stored then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from nearfield.documents import Document
from nearfield.engine.protocol import Bookmark, Engine


class Digest:
    """A digest of documents, and of their vectors if they are given, that grows with each of them."""

    def __init__(self) -> None:
        # Two, so that the digest doesn't depend on how the documents were grouped.
        self._documents = hashlib.sha256()
        self._vectors = hashlib.sha256()

    def add(self, documents: Sequence[Document], vectors: Any = None) -> None:
        """Take more documents in."""
        for document in documents:
            fields = [document.doc_id, document.title, document.text, document.metadata]
            self._documents.update(json.dumps(fields).encode("ascii") + b"\n")
        if vectors is not None:
            self._vectors.update(np.asarray(vectors, dtype="<f8").tobytes())

    def text(self) -> str:
        """Return the digest so far, in hexadecimal."""
        return hashlib.sha256(self._documents.digest() + self._vectors.digest()).hexdigest()


class Place:
    """A source's bookmark, which is stored in the same step as each batch.

    Args:
        engine: Where the collection lives.
        source: The source's name.
    """

    def __init__(self, engine: Engine, source: str) -> None:
        self._engine = engine
        self._source = source
        self._known = engine.bookmark(source) or Bookmark(source, 0)

    @property
    def position(self) -> int:
        """How many documents an earlier ingestion has stored."""
        return self._known.position

    def holds(self, digest: Digest) -> bool:
        """Return whether the documents up to the position had this digest."""
        return self._known.digest == digest.text()

    def at(self, position: int, digest: Digest) -> Bookmark:
        """Return the bookmark to be stored with the batch that ends at a position."""
        return Bookmark(self._source, position, digest.text())

    def forget(self) -> None:
        """Remove the bookmark."""
        self._engine.remove_bookmark(self._source)
