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
            self._vectors.update(np.asarray(vectors).tobytes())

    def number(self) -> int:
        """Return the digest so far as an int that fits a bookmark."""
        whole = hashlib.sha256(self._documents.digest() + self._vectors.digest())
        return int.from_bytes(whole.digest()[:8], "big") >> 1


class Place:
    """A source's bookmarks.

    One, by the source's name, is stored in the same step as each batch, and says how many documents are stored. Two
    more hold digests of the documents up to there, for the newest batch and the one before, in turns: a digest is
    stored just before its batch, so that there is always one for the position that is stored.

    Args:
        engine: Where the collection lives.
        source: The source's name.
    """

    def __init__(self, engine: Engine, source: str) -> None:
        self._engine = engine
        self._source = source
        self._digests = (f"{source}\ndigest 0", f"{source}\ndigest 1")
        self._next = 0

    def position(self) -> int:
        """Return how many documents are stored."""
        return self._engine.bookmark(self._source)

    def holds(self, digest: Digest) -> bool:
        """Return whether the documents up to the position had this digest."""
        known = [self._engine.bookmark(name) for name in self._digests]
        if digest.number() not in known:
            return False
        self._next = 1 - known.index(digest.number())
        return True

    def move(self, position: int, digest: Digest) -> Bookmark:
        """Return the bookmark to be stored with the batch that ends at a position."""
        self._engine.write((), replace=True, bookmark=Bookmark(self._digests[self._next], digest.number()))
        self._next = 1 - self._next
        return Bookmark(self._source, position)

    def forget(self) -> None:
        """Remove the bookmarks, first the one that tells of the others."""
        for name in (self._source, *self._digests):
            self._engine.remove_bookmark(name)
