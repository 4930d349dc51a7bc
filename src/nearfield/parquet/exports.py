"""`open_export`: an exported file, and the checks of all that it holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.documents import Document
from nearfield.encode.protocol import Vectors
from nearfield.engine.protocol import Record, Settings
from nearfield.errors import InvalidInput
from nearfield.parquet import layout

READ_AT_ONCE = 512
"""Rows decoded together: long documents have hundreds of passages."""

BUFFER = 1 << 20
"""Bytes of a column read ahead, so that the size of row groups doesn't decide how much memory reading takes."""

UNIT = 1e-5
"""How far from 1 the length of a vector may be; rounding its entries to float32 moves it by less than a millionth."""


@dataclass(frozen=True, slots=True)
class Row:
    """A document of an exported file.

    Args:
        record: The document with its passages and vectors.
        encoded: Whether its vectors came from the collection's encoder.
        size: About how many bytes it takes.
    """

    record: Record
    encoded: bool
    size: int


class ExportFile:
    """An open file with the documents of a collection; `open_export` makes one.

    Args:
        path: Names it in messages.
        parquet: pyarrow's ParquetFile.

    Raises:
        InvalidInput: it has other columns than an export.
        IncompatibleFormat: a newer version wrote it.
    """

    def __init__(self, path: str, parquet: Any) -> None:
        self.path = path
        self._parquet = parquet
        self._checked = False
        self.settings: Settings = layout.settings_of(parquet.schema_arrow.metadata, path)
        self._check_columns()

    def __len__(self) -> int:
        """Number of documents."""
        return int(self._parquet.metadata.num_rows)

    def _check_columns(self) -> None:
        schema = self._parquet.schema_arrow
        if sorted(schema.names) != sorted(layout.COLUMNS):
            raise InvalidInput(
                f"{self.path}: must have the columns {', '.join(layout.COLUMNS)}, got {', '.join(schema.names)}"
            )
        for name, expected in layout.COLUMNS.items():
            found = layout.kind_of(schema.field(name).type)
            if found != expected:
                raise InvalidInput(f"{self.path}: the column {name} must be {expected}, got {found}")

    def doc_ids(self) -> Iterator[list[str]]:
        """Yield the doc_ids in the order of the rows, some at a time."""
        for row, batch in self._batches(1 << 14, ["doc_id"]):
            yield self._texts(batch, "doc_id", row)

    def rows(self) -> Iterator[Row]:
        """Yield every document.

        Raises:
            InvalidInput: a row can't be taken, or the file is damaged; names the file and the row, counting from 1.
        """
        for row, batch in self._batches(READ_AT_ONCE, list(layout.COLUMNS)):
            yield from self._rows(batch, row)

    def check(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Return once every row has been read and found good; once is enough.

        Args:
            progress: Called with (checked, total) documents.

        Raises:
            InvalidInput: a row can't be taken, a doc_id occurs twice, or the file is damaged; names the rows.
        """
        if self._checked:
            return
        self._check_distinct()
        for number, _ in enumerate(self.rows(), 1):
            if progress is not None and (number % READ_AT_ONCE == 0 or number == len(self)):
                progress(number, len(self))
        self._checked = True

    def _check_distinct(self) -> None:
        # The hashes alone are kept, 8 bytes a document; equal ones say where to look.
        hashes = np.fromiter(map(hash, chain.from_iterable(self.doc_ids())), np.int64, len(self))
        values, counts = np.unique(hashes, return_counts=True)
        suspected = set(values[counts > 1].tolist())
        seen: dict[str, int] = {}
        for row, name in enumerate(chain.from_iterable(self.doc_ids()) if suspected else (), 1):
            if hash(name) in suspected and seen.setdefault(name, row) != row:
                raise InvalidInput(f"{self.path}: rows {seen[name]} and {row} have the same doc_id {name!r}")

    def _batches(self, size: int, columns: list[str]) -> Iterator[tuple[int, Any]]:
        """Yield record batches, each with the number of its first row."""
        row = 1
        with _readable(self.path):
            for batch in self._parquet.iter_batches(batch_size=size, columns=columns):
                yield row, batch
                row += batch.num_rows
        if row != len(self) + 1:
            raise InvalidInput(f"{self.path}: damaged: it has {row - 1} of its {len(self)} rows")

    def _rows(self, batch: Any, row: int) -> Iterator[Row]:
        texts = [self._texts(batch, name, row) for name in ("text", "doc_id", "title", "metadata")]
        encoded = self._column(batch, "encoded", row).to_pylist()
        numbers = np.arange(row, row + batch.num_rows)
        spans, span_counts = self._spans(self._column(batch, "spans", row), numbers)
        vectors, vector_counts = self._vectors(self._column(batch, "vectors", row), numbers)
        self._refuse(
            (span_counts != vector_counts) | (span_counts == 0),
            numbers,
            "must have a vector for each span, and at least one",
        )
        end = 0
        for number, text, *others, by_encoder, count in zip(numbers, *texts, encoded, span_counts, strict=True):
            document = self._document(number, text, *others)
            start, end = end, end + count
            parts = [(int(a), int(b)) for a, b in spans[start:end]]
            if not all(0 <= a <= b <= len(text) for a, b in parts):
                raise self._wrong(number, f"spans must lie within the text of {len(text)} characters, got {parts}")
            if by_encoder and self.settings.fingerprint is None:
                raise self._wrong(number, "is said to be encoded, and the file names no encoder's fingerprint")
            record = Record(document, parts, vectors[start:end])
            yield Row(record, by_encoder, record.vectors.nbytes + len(text) + sum(map(len, others)))

    def _document(self, number: int, text: str, doc_id: str, title: str, metadata: str) -> Document:
        try:
            fields = json.loads(metadata)
        except (ValueError, RecursionError) as error:
            raise self._wrong(number, f"metadata must be a JSON object, got {metadata[:60]!r}: {error}") from None
        try:
            return Document(text, doc_id, title, fields)
        except InvalidInput as error:
            raise self._wrong(number, str(error)) from None

    def _spans(self, lists: Any, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the spans of all rows, int64 `(n, 2)`, and how many each row has."""
        spans, rows, counts = self._flat(lists, numbers, "spans")
        ends = []
        for name in ("start", "end"):
            values = spans.field(name)
            self._refuse_nulls(values, rows, "spans")
            ends.append(values.to_numpy(zero_copy_only=False).astype(np.int64))
        return np.column_stack(ends), counts

    def _vectors(self, lists: Any, numbers: NDArray[np.int64]) -> tuple[Vectors, NDArray[np.int64]]:
        """Return the vectors of all rows, float32 `(n, d)`, and how many each row has."""
        vectors, rows, counts = self._flat(lists, numbers, "vectors")
        dimension = self.settings.dimension or 0
        values, _, lengths = self._flat(vectors, rows, "vectors")
        self._refuse(lengths != dimension, rows, f"vectors must have the file's {dimension} dimensions")
        matrix: Vectors = values.to_numpy().reshape(-1, dimension)
        squares = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
        self._refuse(~np.isfinite(squares), rows, "vectors must be finite, one has NaN or an infinity")
        self._refuse(
            (np.abs(np.sqrt(squares) - 1) > UNIT) & (squares > 0), rows, "vectors must have unit length (or be zero)"
        )
        return matrix, counts

    def _flat(
        self, lists: Any, numbers: NDArray[np.int64], what: str
    ) -> tuple[Any, NDArray[np.int64], NDArray[np.int64]]:
        """Return the elements of all lists, the number of each element's row, and how many elements each list has."""
        compute = layout.arrow_compute()
        counts = compute.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
        elements = compute.list_flatten(lists)
        rows = np.repeat(numbers, counts)
        self._refuse_nulls(elements, rows, what)
        return elements, rows, counts

    def _texts(self, batch: Any, name: str, row: int) -> list[str]:
        column = self._column(batch, name, row)
        try:
            texts: list[str] = column.to_pylist()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{self.path}: the column {name} is damaged: {error}") from None
        return texts

    def _column(self, batch: Any, name: str, row: int) -> Any:
        column = batch.column(name)
        self._refuse_nulls(column, np.arange(row, row + batch.num_rows), name)
        return column

    def _refuse_nulls(self, values: Any, numbers: NDArray[np.int64], what: str) -> None:
        if values.null_count:
            self._refuse(values.is_null().to_numpy(zero_copy_only=False), numbers, f"{what} must not be null")

    def _refuse(self, bad: NDArray[np.bool_], numbers: NDArray[np.int64], expected: str) -> None:
        if bad.any():
            raise self._wrong(numbers[int(bad.argmax())], expected)

    def _wrong(self, number: int, what: str) -> InvalidInput:
        return InvalidInput(f"{self.path}: row {number}: {what}")


@contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except (layout.arrow().ArrowException, OSError, UnicodeDecodeError) as error:  # the last one for damaged names
        reason = str(error).partition("\n")[0]
        raise InvalidInput(f"{path}: not a readable Parquet file, or damaged ({reason})") from None


@contextmanager
def open_export(file: str | Path) -> Iterator[ExportFile]:
    """Give an exported file; of its rows none has been read.

    Raises:
        InvalidInput: there is no such file, or it is no export.
        IncompatibleFormat: a newer version wrote it.
        MissingDependency: pyarrow is not installed.
    """
    parquet = layout.arrow_parquet()
    if not isinstance(file, str | Path) or not str(file).strip() or "\0" in str(file):
        raise InvalidInput(f"the file to import must be a non-empty path, got {file!r}")
    path = Path(file).expanduser()
    if not path.is_file():
        raise InvalidInput(f"no file {str(file)!r}; check the path")
    with _readable(str(file)):
        # Reading ahead would bring the whole file into memory.
        opened = parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False, page_checksum_verification=True)
    with opened:
        yield ExportFile(str(file), opened)
