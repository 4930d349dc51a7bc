"""`read_documents`: documents from strings, dicts, frames and iterables of them, checked as one batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from nearfield.documents.document import Document
from nearfield.documents.frames import frame_rows, is_frame
from nearfield.errors import InvalidInput

One: TypeAlias = str | Mapping[str, Any] | Document

# A pandas DataFrame has no type of its own here: naming it would import pandas; so do Arrow tables.
Documents: TypeAlias = One | Iterable[One] | Any
"""What `Collection.add` takes: a str, a dict, a `Document`, an iterable of these, or a data frame."""

ID_FIELDS = ("doc_id", "id", "_id")
"""The keys of which a dict may have one, to name its document."""

_OWN_KEYS = frozenset((*ID_FIELDS, "text", "title", "metadata"))
_EXPECTED = "a str, a dict or a nearfield.Document"


def read_documents(documents: Documents) -> list[Document]:
    """Return the documents in the order given; no iterable is read twice, and nothing is returned unless all are good.

    Args:
        documents: One of these, or an iterable of them: a str (the text), a `Document`, or a dict, whose keys are
            "text", "title", one of "doc_id", "id" and "_id", and "metadata" (a dict); every other key is metadata too.
            Or a pandas or polars DataFrame, or an Arrow Table or RecordBatch, whose columns are such keys: cells that
            are null or NaN are left out, NumPy values become Python's, dates and times ISO 8601 strings.

    Raises:
        InvalidInput: a document can't be taken, or two have the same doc_id; the message says which, counting from 0.

    >>> read_documents({"id": 2, "text": "Building recommendation systems", "year": 2024})
    [Document(text='Building recommendation systems', doc_id='2', title='', metadata={'year': 2024})]
    """
    found: list[Document] = []
    rows: dict[str | int, int] = {}
    for row, item in enumerate(each(documents)):
        document = read_document(item, row)
        doc_id = document.doc_id
        if doc_id is not None and rows.setdefault(doc_id, row) != row:
            raise InvalidInput(
                f"documents {rows[doc_id]} and {row} have the same doc_id {doc_id!r}; a batch holds each doc_id once"
            )
        found.append(document)
    return found


def read_document(item: Any, row: int) -> Document:
    """Return one of what `each` gives as a document.

    Raises:
        InvalidInput: it can't be taken; the message names its row.
    """
    try:
        # A Document is checked again, since its metadata may have been changed after it was made.
        return replace(item) if type(item) is Document else _document(item)
    except InvalidInput as error:
        raise InvalidInput(f"document {row}{_named(item)}: {error}") from None


def each(documents: Documents) -> Iterable[Any]:
    """Return what is to be read as one document each; nothing is read yet.

    Raises:
        InvalidInput: it is nothing that has documents.
    """
    if isinstance(documents, str | Mapping | Document):
        return (documents,)
    if is_frame(documents):
        return frame_rows(documents, ID_FIELDS)
    hint = ""
    if isinstance(documents, bytes | bytearray | memoryview):
        hint = "; decode it first"
    elif isinstance(documents, set | frozenset):
        hint = "; a set has no order, make it a list"
    elif hasattr(documents, "__fspath__"):
        hint = "; nearfield.read_files reads documents from files"
    elif isinstance(documents, Iterable):
        return documents
    raise InvalidInput(f"documents must be {_EXPECTED}, an iterable of these or a frame, got {_shown(documents)}{hint}")


def _document(item: Any) -> Document:
    if isinstance(item, str):
        return Document(item)
    # dict first: asking the abstract class costs a microsecond a document.
    if isinstance(item, dict) or isinstance(item, Mapping):  # noqa: SIM101
        return _from_mapping(item)
    if isinstance(item, Document):
        return item
    raise InvalidInput(f"expected {_EXPECTED}, got {_shown(item)}")


def _from_mapping(item: Mapping[str, Any]) -> Document:
    if "text" not in item and "title" not in item:
        keys = ", ".join(map(repr, item)) or "no keys"
        raise InvalidInput(f"a dict must have a 'text' (or a 'title'), got {keys}")
    ids = [name for name in ID_FIELDS if name in item]
    if len(ids) > 1:
        raise InvalidInput(f"a dict must have one of 'doc_id', 'id' and '_id', got {' and '.join(map(repr, ids))}")
    metadata = {key: value for key, value in item.items() if key not in _OWN_KEYS}
    if "metadata" in item:
        metadata = merge(item["metadata"], metadata)
    return Document(item.get("text", ""), item[ids[0]] if ids else None, item.get("title", ""), metadata)


def merge(metadata: Any, others: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a "metadata" object followed by the other fields.

    Raises:
        InvalidInput: it is not a mapping, or a field is in both.

    >>> merge({"year": 2024}, {"kind": "book"})
    {'year': 2024, 'kind': 'book'}
    """
    if not isinstance(metadata, Mapping):
        raise InvalidInput(f"metadata must be a dict of JSON values, got {_shown(metadata)}")
    twice = sorted(repr(key) for key in others if key in metadata)
    if twice:
        raise InvalidInput(f"the field {twice[0]} is given twice: beside 'metadata', and in it")
    return {**metadata, **others}


def _named(item: Any) -> str:
    if not isinstance(item, Mapping):
        return ""
    ids = [item[name] for name in ID_FIELDS if name in item]
    return f" (doc_id {ids[0]!r})" if len(ids) == 1 and isinstance(ids[0], str | int) and len(str(ids[0])) < 80 else ""


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
