"""What an upsert need not do: documents that the collection has with the same text."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from nearfield.documents import JSON, Document
from nearfield.engine.protocol import Record, View

COMPARED_AT_ONCE = 500
"""Stored documents held in memory beside the batch."""


def settled(batch: Sequence[Document], view: View) -> dict[int, Record | None]:
    """Return what is to be stored for those documents of a batch whose text needn't be encoded, by their places.

    They are those that the collection has with the same title and text and with the encoder's vectors: None if the
    metadata are the same as well, so that nothing is to be stored, else a record with the spans and vectors that are
    there.
    """
    places = [place for place, document in enumerate(batch) if document.doc_id is not None]
    keys = view.find([str(batch[place].doc_id) for place in places])
    known = [(place, key) for place, key in zip(places, keys, strict=True) if key is not None]
    found: dict[int, Record | None] = {}
    for start in range(0, len(known), COMPARED_AT_ONCE):
        found |= _compare(dict(known[start : start + COMPARED_AT_ONCE]), batch, view)
    return found


def _compare(keys: dict[int, int], batch: Sequence[Document], view: View) -> dict[int, Record | None]:
    stored = view.read(np.array(list(keys.values()), np.int64))
    found: dict[int, Record | None] = {}
    renewed = []
    for place, old in zip(keys, stored, strict=True):
        new = batch[place]
        if old.encoded and (old.title, old.text) == (new.title, new.text):
            found[place] = None
            if _as_stored(old.metadata) != _as_stored(new.metadata):
                renewed.append((place, old))
    vectors = view.passage_vectors(np.array([old.key for _, old in renewed], np.int64))
    for (place, old), rows in zip(renewed, vectors, strict=True):
        found[place] = Record(batch[place], old.spans, rows)
    return found


def _as_stored(metadata: dict[str, JSON]) -> str:
    """Return metadata as text, since 1, 1.0 and True are equal in Python, and different in JSON and for `where`."""
    return json.dumps(metadata, ensure_ascii=False)
