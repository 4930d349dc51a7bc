"""One batch: its documents stored, all or nothing, and no text encoded that is stored with its vectors already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nearfield.documents import Document
from nearfield.encode.identity import identify
from nearfield.encode.protocol import Encoder
from nearfield.engine.protocol import Bookmark, Engine, Record, View
from nearfield.errors import Conflict
from nearfield.ingest.records import attach, encode
from nearfield.ingest.unchanged import settled

Encoded = Callable[[int, int], None]
"""Called with how many documents of a batch are encoded, and how many it has."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch.

    Args:
        doc_ids: Of all its documents, in their order.
        unchanged: How many of them the collection had just so; they were not written.
    """

    doc_ids: list[str]
    unchanged: int = 0


def write(
    engine: Engine,
    encoder: Callable[[], Encoder],
    batch: Sequence[Document],
    vectors: object = None,
    *,
    replace: bool,
    bookmark: Bookmark | None = None,
    progress: Encoded | None = None,
) -> Written:
    """Store a batch, all or nothing; when it returns, it is on disk.

    Without `vectors`, a document that replaces one of the same title and text keeps the vectors that the encoder made
    for that; one that is the same in metadata as well is not written.

    Args:
        engine: Where the collection lives.
        encoder: Gives the collection's encoder; not asked if there are `vectors`.
        batch: The documents, no doc_id twice.
        vectors: A vector for each document, to be stored instead of encoding the texts.
        replace: Replace documents whose doc_id exists.
        bookmark: To be stored with the batch, also if no document is written.
        progress: Called during encoding.

    Raises:
        InvalidInput: the vectors can't be taken; nothing was stored.
        Conflict: a doc_id exists and `replace` is false, or the vectors come from another encoder; nothing was stored.
        Locked: another process is writing.
    """
    if not replace:
        with engine.view() as view:
            refuse_existing(batch, view)
    if vectors is not None:
        given = attach(batch, vectors, engine.settings.dimension)
        return Written(engine.write(given, replace=replace, bookmark=bookmark))
    chosen = encoder()
    try:
        return _write_encoded(engine, chosen, batch, replace=replace, bookmark=bookmark, progress=progress)
    except Conflict:
        with engine.view() as view:
            if view.fingerprint in (None, chosen.fingerprint):
                raise
    # The collection has got another encoder's vectors since, which may be one that it can load.
    return _write_encoded(engine, encoder(), batch, replace=replace, bookmark=bookmark, progress=progress)


def _write_encoded(
    engine: Engine,
    chosen: Encoder,
    batch: Sequence[Document],
    *,
    replace: bool,
    bookmark: Bookmark | None,
    progress: Encoded | None,
) -> Written:
    records: Sequence[Record | None]
    records = _renew(batch, engine, chosen, progress) if replace else encode(batch, chosen, progress)
    changed = [record for record in records if record is not None]
    written: Iterable[str] = ()
    if changed or bookmark is not None:
        # As long as the collection has none; the texts of the probe are encoded once in a process.
        identity = identify(chosen) if changed and engine.settings.identity is None else None
        written = engine.write(
            changed, replace=replace, fingerprint=chosen.fingerprint, identity=identity, bookmark=bookmark
        )
    new = iter(written)
    doc_ids = [
        str(document.doc_id) if record is None else next(new) for document, record in zip(batch, records, strict=True)
    ]
    return Written(doc_ids, len(batch) - len(changed))


def refuse_existing(batch: Sequence[Document], view: View) -> None:
    """Raise Conflict if a document of a batch is in the collection, before any work is done on it."""
    doc_ids = [str(document.doc_id) for document in batch if document.doc_id is not None]
    taken = [doc_id for doc_id, key in zip(doc_ids, view.find(doc_ids), strict=True) if key is not None]
    if taken:
        raise Conflict(
            f"doc_id {taken[0]!r} exists already ({len(taken)} of the batch do); use upsert to replace them, which "
            "doesn't encode unchanged texts again"
        )


def _renew(
    batch: Sequence[Document], engine: Engine, encoder: Encoder, progress: Encoded | None
) -> list[Record | None]:
    """Return a record for each document; None for one that the collection has just so."""
    encoded: dict[int, Record] = {}
    state = None
    while True:
        with engine.view() as view:
            if view.generation == state:
                break
            # Another thread may have written while texts were encoded, so that they are compared once more.
            state = view.generation
            known = settled(batch, view) if view.fingerprint == encoder.fingerprint else {}
        missing = [place for place in range(len(batch)) if place not in known and place not in encoded]
        if not missing:
            break
        records = encode([batch[place] for place in missing], encoder, _beside(len(batch) - len(missing), progress))
        encoded |= dict(zip(missing, records, strict=True))
    return [known[place] if place in known else encoded[place] for place in range(len(batch))]


def _beside(others: int, progress: Encoded | None) -> Encoded | None:
    """Return what counts some documents as encoded already."""
    if progress is None:
        return None
    return lambda done, total: progress(others + done, others + total)
