"""`read_files`: documents from files of any usual format, one at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from nearfield.documents.coerce import ID_FIELDS, merge
from nearfield.documents.document import Document
from nearfield.documents.formats import NumberCell, Row, count_rows, read_rows
from nearfield.documents.sources import Source, find_sources
from nearfield.errors import InvalidInput

Paths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

TEXT_FIELDS = ("content", "contents", "body", "abstract", "passage", "sentence", "description", "summary")
"""Where the text is in a row without a field "text", if it has one of these and only one."""

_SAME_FIELDS = ("csv", "tsv", "parquet")
_JSON = ("jsonl", "json", "")
_SINGLE = ("text", "markdown")


def read_files(
    paths: Paths,
    *,
    doc_id: str | None = None,
    text: str | None = None,
    title: str | None = None,
    metadata: Sequence[str] | None = None,
    format: str | None = None,  # noqa: A002
    limit: int | None = None,
    on_empty: Callable[[str], object] | None = None,
) -> Iterator[Document]:
    """Return the documents of files, read one by one as they are asked for.

    Formats: "jsonl" (an object or a string a line; .jsonl, .ndjson), "json" (a list of these), "csv" and "tsv" (with a
    header), "parquet", "text" (.txt, a document a file), "lines" (a document a line that isn't blank), "markdown" (.md;
    the title from simple front matter, else the first heading). All may be gzipped. Text must be UTF-8.

    In CSV and TSV, empty cells are left out, and the metadata of a column of which every cell in the file is a number
    is numbers, so that `where` can compare it; codes such as "007" and whole numbers over 15 digits stay strings. In
    JSON and Parquet, null fields are left out. A "metadata" field that is an object is merged with the others.

    Args:
        paths: One or several files, folders (their files at every depth, sorted, hidden ones left out), or "-" for
            stdin (JSON or JSON lines, unless `format` is given).
        doc_id: The field with the ids; every row must have it. None: the one of "doc_id", "id" and "_id" that there
            is; without it the collection numbers the documents. A text or Markdown file has its path, relative to the
            folder that was named, as its doc_id, and its path as the metadata field "path".
        text: The field with the text. None: "text", or the only one of `TEXT_FIELDS`.
        title: The field with the title. None: "title", if there is one.
        metadata: The fields to keep as metadata. None: all others.
        format: The format of every file, whatever its name. None: each file's suffix tells.
        limit: Read no more documents than this.
        on_empty: Called with the place ("file:line") of each row that has neither text nor title, which is then left
            out. None: such a row is an error.

    Raises:
        InvalidInput: A path doesn't exist or has nothing to read, an option is wrong (at the call); a file is malformed
            or a row can't be a document (when it is reached); the message names the file and the line.
        MissingDependency: A Parquet file, and pyarrow is not installed.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp(), "articles.csv")
    >>> path.write_text("id,body,year\\na,Learn Python,2024\\n")
    33
    >>> next(read_files(path))
    Document(text='Learn Python', doc_id='a', title='', metadata={'year': 2024})
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise InvalidInput(f"limit must be an int, at least 1, got {limit!r}")
    if isinstance(metadata, str):
        raise InvalidInput(f"metadata must be a list of fields, got the str {metadata!r}")
    names = [name for name in (doc_id, text, title, *(metadata or ())) if name is not None]
    if not all(isinstance(name, str) and name for name in names):
        raise InvalidInput(f"a field must be named by a non-empty str, got {names}")
    sources = find_sources(_several(paths), format)
    return _documents(sources, _Fields(doc_id, text, title, metadata), limit, on_empty)


def count_documents(paths: Paths, *, format: str | None = None) -> int | None:  # noqa: A002
    """Return how many documents files have; None if that isn't known before they are read (stdin, a JSON list).

    Raises:
        InvalidInput: as `read_files`, of which nothing but the form of the files is checked.
    """
    total = 0
    for source in find_sources(_several(paths), format):
        count = count_rows(source)
        if count is None:
            return None
        total += count
    return total


def _several(paths: Paths) -> Iterable[str | os.PathLike[str]]:
    if isinstance(paths, str | os.PathLike):
        return (paths,)
    if not isinstance(paths, Iterable):
        raise InvalidInput(f"paths must be a path or an iterable of paths, got {paths!r} ({type(paths).__name__})")
    found = list(paths)
    for path in found:
        if not isinstance(path, str | os.PathLike):
            raise InvalidInput(f"a path must be a str or a Path, got {path!r} ({type(path).__name__})")
    return found


def _documents(
    sources: list[Source], fields: _Fields, limit: int | None, on_empty: Callable[[str], object] | None
) -> Iterator[Document]:
    count = 0
    unseen = set(fields.metadata or ())
    for source in sources:
        for place, row in read_rows(source):
            try:
                if on_empty is not None and fields.is_empty(row):
                    on_empty(place)
                    continue
                document = fields.document(row, source.format)
            except InvalidInput as error:
                raise InvalidInput(f"{place}: {error}") from None
            unseen.difference_update(document.metadata)
            yield document
            count += 1
            if count == limit:
                return
    if unseen:
        named = ", ".join(sorted(map(repr, unseen)))
        raise InvalidInput(f"no document has the metadata field {named}; the documents were read without it")


@dataclass(frozen=True, slots=True)
class _Fields:
    """Which field of a row is what."""

    doc_id: str | None
    text: str | None
    title: str | None
    metadata: Sequence[str] | None

    def is_empty(self, row: Row) -> bool:
        """Return whether a row has fields for text or title, and both hold nothing to see."""
        values = [row[name] for name in (self._text_field(row), self.title or "title") if name in row]
        return bool(values) and all(value is None or (isinstance(value, str) and not value.strip()) for value in values)

    def document(self, row: Row, kind: str) -> Document:
        self._check_named(row, kind)
        id_field, text, title = self._id_field(row, kind), self._text_field(row), self.title or "title"
        if id_field is not None and row.get(id_field) in (None, ""):
            raise InvalidInput(f"the field {id_field!r} has no doc_id; every row needs one")
        others = {
            name: value.number if isinstance(value, NumberCell) else value
            for name, value in row.items()
            if value is not None and name not in (id_field, text, title)
        }
        if isinstance(others.get("metadata"), Mapping):
            others = merge(others.pop("metadata"), others)
        if self.metadata is not None:
            others = {name: others[name] for name in self.metadata if name in others}
        return Document(_value(row, text, ""), id_field and _value(row, id_field, None), _value(row, title, ""), others)

    def _check_named(self, row: Row, kind: str) -> None:
        """Refuse a field that the caller named and the row lacks; objects of a JSON file needn't have the same ones."""
        wanted = [self.doc_id] if kind in _JSON else [self.doc_id, self.text, self.title]
        if kind in _SAME_FIELDS:
            wanted += self.metadata or ()
        for name in wanted:
            if name is not None and name not in row:
                raise InvalidInput(f"there is no field {name!r}; the fields are {_listed(row)}")

    def _text_field(self, row: Row) -> str:
        has_title = bool(row.get(self.title or "title"))
        if self.text is not None or "text" in row:
            field = self.text or "text"
            if field not in row and not has_title:
                raise InvalidInput(f"there is no field {field!r}; the fields are {_listed(row)}")
            return field
        found = [name for name in TEXT_FIELDS if name in row]
        if len(found) > 1:
            raise InvalidInput(f"{_listed(found)} may both be the text; name it (text=, --text)")
        if not found and not has_title:
            raise InvalidInput(f"which field is the text? Name it (text=, --text); the fields are {_listed(row)}")
        return found[0] if found else "text"

    def _id_field(self, row: Row, kind: str) -> str | None:
        if self.doc_id is not None or kind in _SINGLE:
            return self.doc_id or "doc_id"
        found = [name for name in ID_FIELDS if name in row]
        if len(found) > 1:
            raise InvalidInput(f"{_listed(found)} may both be the doc_id; name it (doc_id=, --doc-id)")
        return found[0] if found else None


def _value(row: Row, name: str, default: Any) -> Any:
    value = row.get(name)
    if value is None:
        return default
    return str(value) if isinstance(value, NumberCell) else value


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
