"""`import_into`: the documents of an exported file stored in a collection, with their vectors as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from nearfield.encode.protocol import Encoder
from nearfield.engine.open import open_engine
from nearfield.engine.protocol import Engine, Record, Settings
from nearfield.errors import Conflict, MissingDependency, NearfieldError, NotFound, Unavailable
from nearfield.parquet.exports import ExportFile

BATCH = 16_384
"""Documents that are committed together, at most."""

BATCH_BYTES = 32 << 20
"""Of documents and vectors that are committed together, about."""


def engine_for(location: str | Path, source: ExportFile) -> Engine:
    """Return the engine of a collection; one that isn't there is made with the settings of the exported one.

    A collection is made only once every row of the file is found good. Its encoder needn't be on this machine: no text
    is encoded.

    Raises:
        InvalidInput: there is something else at the path, or a row can't be taken.
    """
    try:
        return open_engine(location, None)
    except NotFound:
        source.check()
        return open_engine(location, source.settings)


def import_into(
    engine: Engine,
    encoder: Callable[[], Encoder],
    source: ExportFile,
    *,
    replace: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Store the documents of an exported file, in its order, and return how many there were.

    Every row is checked before the first is stored; then each batch is committed on its own.

    Args:
        engine: Where the collection lives.
        encoder: Gives the collection's encoder; asked only if the collection has no encoded vectors yet.
        source: The file.
        replace: Replace documents whose doc_id exists.
        progress: Called with (stored, total) documents.

    Raises:
        InvalidInput: a row can't be taken, a doc_id occurs twice, or the file is damaged; nothing was stored.
        Conflict: the file's vectors come from another encoder or have another dimension than the collection's, or a
            doc_id exists and `replace` is false; nothing was stored.
        NearfieldError: writing failed; the message ends with how much is stored.
    """
    source.check()
    _check_vectors(engine, encoder, source)
    if not replace:
        _refuse_existing(engine, source)
    stored = 0
    try:
        for records, encoded in _batches(source):
            given = source.settings if encoded else None
            fingerprint, identity = (given.fingerprint, given.identity) if given is not None else (None, None)
            stored += len(engine.write(records, replace=replace, fingerprint=fingerprint, identity=identity))
            if progress is not None:
                progress(stored, len(source))
    except NearfieldError as error:
        kept = f" ({stored:,} of the {len(source):,} documents are stored)" if stored else ""
        raise type(error)(f"{error}{kept}") from error
    return stored


def _check_vectors(engine: Engine, encoder: Callable[[], Encoder], source: ExportFile) -> None:
    given, kept = source.settings, engine.settings
    if None not in (given.dimension, kept.dimension) and given.dimension != kept.dimension:
        raise Conflict(
            f"{source.path}: its vectors have {given.dimension} dimensions, and the collection's {kept.dimension}; "
            "import it into a new collection"
        )
    if given.fingerprint is None:
        return
    wanted = kept.fingerprint or _fingerprint(encoder, kept, given)
    if wanted != given.fingerprint:
        raise Conflict(
            f"{source.path}: its vectors come from the encoder {given.encoder!r} (fingerprint {given.fingerprint}), "
            f"and the collection is for {kept.encoder!r} (fingerprint {wanted}); import it into a new collection, made "
            "for that encoder"
        )


def _fingerprint(encoder: Callable[[], Encoder], kept: Settings, given: Settings) -> str:
    """Return the fingerprint of the encoder that a collection without encoded vectors is for."""
    try:
        return encoder().fingerprint
    except (MissingDependency, Unavailable):
        if kept.encoder != given.encoder:
            raise
        # Vectors can be brought back on a machine that has no such model; when it comes, it is compared with them.
        return str(given.fingerprint)


def _refuse_existing(engine: Engine, source: ExportFile) -> None:
    with engine.view() as view:
        taken = [
            name
            for names in source.doc_ids()
            for name, key in zip(names, view.find(names), strict=True)
            if key is not None
        ]
    if taken:
        raise Conflict(
            f"{source.path}: doc_id {taken[0]!r} exists already ({len(taken):,} of the {len(source):,} do); nothing "
            "was stored; replace=True (--replace) replaces them"
        )


def _batches(source: ExportFile) -> Iterator[tuple[list[Record], bool]]:
    """Yield records to be written together, and whether they are encoded.

    A batch is of one kind, as every batch was that made the collection: so there are not many more of them.
    """
    held: list[Record] = []
    kind, size = False, 0
    for row in source.rows():
        if held and (row.encoded != kind or len(held) == BATCH or size >= BATCH_BYTES):
            yield held, kind
            held, size = [], 0
        held.append(row.record)
        kind, size = row.encoded, size + row.size
    if held:
        yield held, kind
