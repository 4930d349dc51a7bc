"""Documents of any number stored batch by batch, and how that goes on after it was cut off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nearfield import checks
from nearfield.documents import Documents
from nearfield.documents.document import check_text
from nearfield.encode.protocol import Encoder
from nearfield.engine.protocol import Engine
from nearfield.errors import Conflict, InvalidInput, NearfieldError
from nearfield.ingest.batch import write
from nearfield.ingest.place import Place
from nearfield.ingest.stream import Stream

Progress = Callable[[int, int | None], None]
"""Called with how many documents are done, and how many there are; None: not known."""

ENCODED_TOGETHER = 2048
"""Documents of a batch that is encoded: what is lost at most when the process is killed."""

GIVEN_TOGETHER = 8192
"""Documents of a batch whose vectors are given: so many that a commit costs little beside them."""

PASSED_TOGETHER = 1024


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of the documents of an ingestion; the three together are all that were given.

    Args:
        written: Stored by this call.
        unchanged: Not written, since the collection had them just so.
        resumed: Passed over, since an earlier call with the same source stored them before it was cut off.
    """

    written: int
    unchanged: int
    resumed: int


@dataclass(frozen=True, slots=True)
class Manner:
    """How to ingest; see `Collection.ingest`."""

    replace: bool = False
    batch_size: int | None = None
    source: str | None = None
    restart: bool = False

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            checks.count(self.batch_size, "batch_size")
        if self.source is not None and not check_text(self.source, "source").strip():
            raise InvalidInput("source must be a name, got an empty str")
        if self.restart and self.source is None:
            raise InvalidInput("restart is for a source; name it")


def run(
    engine: Engine,
    encoder: Callable[[], Encoder],
    documents: Documents,
    vectors: Any,
    manner: Manner,
    progress: Progress | None = None,
) -> Ingested:
    """Store documents batch by batch, and return what became of them; see `Collection.ingest`."""
    stream = Stream(documents, vectors, digested=manner.source is not None)
    place = None if manner.source is None else Place(engine, manner.source)
    if place is not None:
        stream = _resumed(stream, place, documents, vectors, manner)
    resumed = stored = stream.position
    unchanged = 0

    def show(done: int, _: int) -> None:
        if progress is not None:
            progress(stored + done, stream.total)

    try:
        while batch := stream.read(manner.batch_size or (ENCODED_TOGETHER if vectors is None else GIVEN_TOGETHER)):
            bookmark = None if place is None else place.at(stream.position, stream.digest)
            done = write(
                engine, encoder, batch, stream.vectors, replace=manner.replace, bookmark=bookmark, progress=show
            )
            unchanged += done.unchanged
            stored = stream.position
            show(0, 0)
    except NearfieldError as error:
        raise type(error)(str(error) + _kept(stored)) from error
    except Exception as error:
        error.add_note(f"The ingestion ended{_kept(stored)}.")
        raise
    if place is not None and stored:
        place.forget()
    return Ingested(stored - resumed - unchanged, unchanged, resumed)


def _kept(stored: int) -> str:
    return f" ({stored:,} documents before it are stored)" if stored else ""


def _resumed(stream: Stream, place: Place, documents: Documents, vectors: Any, manner: Manner) -> Stream:
    """Return a stream whose next document is the first that an earlier call with the same source didn't store.

    Raises:
        Conflict: the documents before that one are not those that the earlier call stored.
    """
    position = place.position
    if not position:
        return stream
    if manner.restart:
        place.forget()
        return stream
    while stream.position < position and stream.read(min(PASSED_TOGETHER, position - stream.position)):
        pass
    if stream.position == position and place.holds(stream.digest):
        return stream
    if manner.replace and not stream.unnamed and (first := stream.again(documents, vectors)):
        place.forget()  # those that are unchanged are passed over all the same, and the others replaced
        return first
    raise Conflict(
        f"an earlier run stored the first {position:,} documents of {manner.source!r} before it was cut off, and these "
        "have changed since, or are read in another way; restart=True (--restart) begins with the first document: then "
        "documents without a doc_id are stored once more, and upsert doesn't encode those again that are unchanged"
    )
