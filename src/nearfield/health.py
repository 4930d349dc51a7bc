"""`nearfield.check`, `nearfield.repair` and `nearfield.restore`: for collections that may not open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nearfield.engine.open import folder_of
from nearfield.engine.protocol import Settings
from nearfield.engine.reports import Health, Repair, Snapshot
from nearfield.errors import NearfieldError

if TYPE_CHECKING:
    from nearfield.encode.protocol import Encoder


def check(location: str | Path) -> Health:
    """Return what is wrong with a collection's files, if anything; it need not be one that can be opened.

    Every file is read: checksums, counts, lengths of vectors, and the derived index and columns against the documents.
    It looks at one committed state in bounded memory, changes nothing, and may run beside a writer.

    Args:
        location: A folder.

    Raises:
        NotFound: there is no collection.
        InvalidInput: there is something else at the path.
        IncompatibleFormat: it has another format than this version writes.
        NearfieldError: a file can't be read, for lack of the right to.

    >>> import tempfile, nearfield as nf
    >>> folder = tempfile.mkdtemp() + "/articles.nf"
    >>> with nf.open(folder) as col:
    ...     _ = col.add(["Learn Python.", "Learn Rust."], vectors=[[1, 0], [0, 1]])
    >>> health = nf.check(folder)
    >>> health.ok, health.documents, health.problems
    (True, 2, [])
    """
    from nearfield.engine.local.care.check import check as check_folder

    folder = folder_of(location)
    with _told_failures(folder):
        return check_folder(folder)


def restore(snapshot: str | Path, location: str | Path) -> Snapshot:
    """Make a collection from a snapshot, and return what it holds.

    Everything is compared with its checksums. The new collection opens and searches at once: its index is built. It is
    the collection of the snapshot, with the same identity, and can go on with that snapshot where the lost one ended.

    Args:
        snapshot: A snapshot's folder; any other collection's will do.
        location: A folder that is absent or empty.

    Raises:
        NotFound: there is no snapshot.
        InvalidInput: there is something at the location.
        CorruptCollection: the snapshot is damaged (the message names the file); nothing was made.
        NearfieldError: writing failed; nothing was made.
    """
    from nearfield.engine.local import LocalEngine
    from nearfield.engine.local.care.snapshot import restore as restore_folder

    folder = folder_of(location)
    with _told_failures(folder):
        restored = restore_folder(folder_of(snapshot), folder)
        with closing(LocalEngine(folder)) as engine:
            engine.settle()
    return restored


def repair(location: str | Path, encoder: str | Path | Encoder | None = None) -> Repair:
    """Mend a collection, and return what was made anew and what was lost; one without damage is left as it is.

    What is derived is built again. A document whose text is whole and whose vectors are damaged is encoded again, if
    its vectors came from the encoder. One that can't be kept is removed, and named in `lost`. Nothing is thrown away:
    files that were replaced, and what can be read of the lost documents, lie in the folder `remains` afterwards.

    Nobody should have the collection open meanwhile; a process that has must open it again.

    Args:
        location: A folder.
        encoder: The collection's encoder, if it is an object, or has moved; else it is loaded by its name.

    Raises:
        NotFound: there is no collection.
        InvalidInput: there is something else at the path.
        IncompatibleFormat: it has another format than this version writes.
        Locked: another process is writing.
        CorruptCollection: it can't be mended, since its database is missing, or is another collection's.
        NearfieldError: a file can't be read or written.
    """
    from nearfield.encode import DEFAULT_ENCODER, load_encoder
    from nearfield.encode.identity import check_same
    from nearfield.encode.load import as_encoder, name_of
    from nearfield.engine.local.care.repair import repair as repair_folder

    given = encoder if encoder is None or isinstance(encoder, str | Path) else as_encoder(encoder)

    def load(settings: Settings) -> Encoder:
        loaded = load_encoder(settings.encoder if given is None else given)
        check_same(settings, loaded)
        return loaded

    folder = folder_of(location)
    with _told_failures(folder):
        return repair_folder(folder, load, name_of(given) or DEFAULT_ENCODER)


@contextmanager
def _told_failures(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NearfieldError(f"{folder} can't be read or written: {error}") from error
