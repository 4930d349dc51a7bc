"""Documents of any number, taken batch by batch, with their vectors if these are given."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

from nearfield.documents import Document, Documents, each, read_document
from nearfield.ingest.place import Digest
from nearfield.ingest.rows import Rows

CHARACTERS = 1 << 24
"""Of a batch, about: it ends earlier if its texts are longer."""


class Stream:
    """Documents that are read as they are needed.

    Args:
        documents: As for `Collection.ingest`.
        vectors: As for `Collection.ingest`.
        digested: Keep a digest of what was read.

    Attributes:
        total: How many documents there are; None: not known.
        position: How many were read.
        vectors: Of the newest batch; None if none are given.
        digest: Of what was read.
        unnamed: Whether one of those that were read has no doc_id.
    """

    def __init__(self, documents: Documents, vectors: Any, *, digested: bool) -> None:
        items = each(documents)
        self.total = next((len(known) for known in (items, documents) if isinstance(known, Sized)), None)
        self.position = 0
        self.vectors: Any = None
        self.digest = Digest()
        self.unnamed = False
        self._digested = digested
        self._rows = None if vectors is None else Rows(vectors, self.total)
        self._documents = (read_document(item, row) for row, item in enumerate(items))
        self._held: Document | None = None

    def again(self, documents: Documents, vectors: Any) -> Stream | None:
        """Return a stream that begins with the first document; None if the arguments can be read once only."""
        if isinstance(documents, Iterator) or isinstance(vectors, Iterator):
            return None
        return Stream(documents, vectors, digested=self._digested)

    def read(self, most: int) -> list[Document]:
        """Return the next documents, none at the end; a batch ends before a doc_id that it has already.

        Raises:
            InvalidInput: a document can't be taken, or there are more documents than vectors, or fewer.
        """
        batch: list[Document] = []
        doc_ids = set()
        characters = 0
        while len(batch) < most and characters < CHARACTERS:
            document = self._next()
            if document is None:
                break
            if document.doc_id is not None and document.doc_id in doc_ids:
                self._held = document
                break
            batch.append(document)
            doc_ids.add(document.doc_id)
            characters += len(document.text) + len(document.title)
        self.unnamed = self.unnamed or None in doc_ids
        self._follow(batch, ended=document is None)
        return batch

    def _next(self) -> Document | None:
        held, self._held = self._held, None
        return held or next(self._documents, None)

    def _follow(self, batch: list[Document], *, ended: bool) -> None:
        """Bring the vectors, the position and the digest to the end of a batch."""
        if self._rows is not None:
            self.vectors = self._rows.take(len(batch))
            if ended:
                self._rows.end()
        self.position += len(batch)
        if self._digested:
            self.digest.add(batch, self.vectors)
