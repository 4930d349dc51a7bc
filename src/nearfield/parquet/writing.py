"""`export`: a collection written to one Parquet file."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

import numpy as np

from nearfield.encode.protocol import Vectors
from nearfield.engine.protocol import Engine, Settings, Stored, View
from nearfield.errors import Conflict, InvalidInput, NearfieldError
from nearfield.filters import Where, parse
from nearfield.parquet import layout

READ_AT_ONCE = 256
"""Documents read together: long ones have hundreds of passages."""

GROUP_BYTES = 32 << 20
"""Of a row group, before compression: what is held in memory, twice."""

MAGIC = b"PAR1"
"""How every Parquet file begins."""


def export(
    engine: Engine,
    file: str | Path,
    where: Where | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the documents that match, with their vectors, to a Parquet file, and return how many there are.

    It is one committed state, in the order of addition. The file appears under its name when it is whole and on disk; a
    file that was there before is replaced then, and stays if anything fails.

    Args:
        engine: Where the collection lives.
        file: Where to write; its folder must exist.
        where: A condition on the metadata; None: every document.
        progress: Called with (written, total) documents.

    Raises:
        InvalidInput: there is no such folder, or something else than a Parquet file at the path.
        MissingDependency: pyarrow is not installed.
        NearfieldError: writing failed, for want of space, say.
    """
    layout.arrow_parquet()
    condition = parse(where)
    target = _target(file, engine.location)
    with engine.view() as view:
        keys = view.keys(condition)
        settings = engine.settings
        if settings.fingerprint != view.fingerprint and len(view):
            raise Conflict("the collection got the vectors of another encoder at this moment; export it again")
        try:
            with _replacing(target) as stream:
                _write(stream, view, keys, settings, progress or (lambda *_: None))
        except OSError as error:
            raise NearfieldError(
                f"exporting to {target} failed: {error.strerror or error}; no part of a file is left there"
            ) from error
    return len(keys)


def _target(file: str | Path, location: str) -> Path:
    if not isinstance(file, str | Path) or not str(file).strip() or "\0" in str(file):
        raise InvalidInput(f"the file to export to must be a non-empty path, got {file!r}")
    try:
        # Resolved, so that a link stays one, and the file that it names is replaced.
        path = Path(file).expanduser().resolve()
        home = Path(location).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links, an unknown user
        raise InvalidInput(f"can't export to {file}: {error}") from None
    if home in (path, *path.parents):
        raise InvalidInput(f"can't export to {file}: it is in the collection's own folder; name a file elsewhere")
    if path.exists() and not path.is_file():
        raise InvalidInput(f"can't export to {file}: there is something else than a file; name a file")
    if path.exists() and not _replaceable(path):
        raise InvalidInput(f"can't export to {file}: there is a file that is not Parquet; remove it, or name another")
    if not path.parent.is_dir():
        raise InvalidInput(f"can't export to {file}: there is no folder {path.parent}; make it first")
    return path


def _replaceable(path: Path) -> bool:
    """Return whether a file may be replaced: an empty one or a Parquet file, but not a collection's database, say."""
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) in (MAGIC, b"")


@contextmanager
def _replacing(target: Path) -> Iterator[IO[bytes]]:
    """Give a stream whose bytes are on disk under the target's name when the context ends, or not at all."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder can't be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write(stream: IO[bytes], view: View, keys: Any, settings: Settings, progress: Callable[[int, int], None]) -> None:
    schema = layout.schema(settings)
    options: dict[str, Any] = {
        # Measured on 384 dimensions: with the bytes of floats in separate streams zstd saves a sixth of the vectors.
        "compression": "zstd",
        "compression_level": 3,
        "use_byte_stream_split": [layout.VALUES_OF_VECTORS],
        "use_dictionary": ["title", "metadata"],
        "write_statistics": ["doc_id"],
        "write_page_checksum": True,
    }
    with layout.arrow_parquet().ParquetWriter(stream, schema, **options) as writer:
        for group in _groups(view, keys, schema, progress):
            writer.write_table(group)


def _groups(view: View, keys: Any, schema: Any, progress: Callable[[int, int], None]) -> Iterator[Any]:
    """Yield tables of about `GROUP_BYTES`, each a row group."""
    from_batches = layout.arrow().Table.from_batches
    held: list[Any] = []
    size = 0
    for start in range(0, len(keys), READ_AT_ONCE):
        part = keys[start : start + READ_AT_ONCE]
        held.append(_batch(view.read(part), view.passage_vectors(part), schema))
        size += held[-1].nbytes
        if size >= GROUP_BYTES:
            yield from_batches(held)
            held, size = [], 0
        progress(start + len(part), len(keys))
    if held:
        yield from_batches(held)


def _batch(documents: Sequence[Stored], vectors: Sequence[Vectors], schema: Any) -> Any:
    """Return documents as an Arrow RecordBatch."""
    pa = layout.arrow()
    offsets = pa.array([0, *accumulate(len(document.spans) for document in documents)], pa.int32())
    spans = np.array([span for document in documents for span in document.spans], dtype=np.int64)
    values = pa.array(np.concatenate(vectors).ravel())
    span_lists, vector_lists = schema.field("spans").type, schema.field("vectors").type
    starts_ends = pa.StructArray.from_arrays([spans[:, 0], spans[:, 1]], fields=list(span_lists.value_type))
    columns = [
        *(pa.array([getattr(document, name) for document in documents]) for name in ("doc_id", "title", "text")),
        pa.array([json.dumps(document.metadata, ensure_ascii=False) for document in documents]),
        pa.ListArray.from_arrays(offsets, starts_ends, type=span_lists),
        pa.ListArray.from_arrays(
            offsets, pa.FixedSizeListArray.from_arrays(values, type=vector_lists.value_type), type=vector_lists
        ),
        pa.array([document.encoded for document in documents]),
    ]
    return pa.record_batch(columns, schema=schema)
