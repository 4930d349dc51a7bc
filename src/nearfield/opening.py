"""`nearfield.open`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from nearfield.collection import Collection
from nearfield.encode import DEFAULT_ENCODER
from nearfield.encode.models import find_model
from nearfield.engine.open import open_engine
from nearfield.engine.protocol import Settings
from nearfield.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from nearfield.encode.protocol import Encoder

INDEXES = ("auto", "exact")


def open(  # the word that users know, as in gzip.open
    location: str | Path,
    *,
    encoder: str | Path | Encoder | None = None,
    index: str | None = None,
    recall: float | None = None,
    create: bool = True,
) -> Collection:
    """Return the collection at a path, made if there is none.

    The encoder, the index and the recall target are fixed when a collection is made; later they need not be named.

    Args:
        location: A folder.
        encoder: A model's name, a model's folder, or an `Encoder`. "all-MiniLM-L6-v2" if not given.
        index: "auto" or "exact". This version scans exactly at every size, so "auto" (if not given) chooses that.
        recall: Share of the true nearest neighbours that a search must find, in (0, 1]; 0.95 if not given. The exact
            scan finds all of them.
        create: False: there must be a collection.

    Raises:
        InvalidInput: an argument is out of range, or there is something else at the path.
        NotFound: `create` is false, and there is no collection.
        MissingDependency: a new collection is to be made with a model that is not on this machine.
        Conflict: an argument differs from what the collection was made with.
        IncompatibleFormat: a newer version wrote the collection.
        CorruptCollection: its files can't be read.

    >>> import tempfile
    >>> with open(tempfile.mkdtemp() + "/articles.nf") as col:
    ...     len(col)
    0
    """
    _check(index, recall)
    name = name_of(encoder)
    try:
        engine = open_engine(location, None)
    except NotFound:
        if not create:
            raise
        if isinstance(encoder, str | Path):
            find_model(str(name))  # a misspelt name must not be fixed in a new collection
        wanted = Settings(name or DEFAULT_ENCODER, index or "auto", 0.95 if recall is None else float(recall))
        engine = open_engine(location, wanted)
    try:
        _check_same(engine.settings, name, index, recall)
    except Conflict:
        engine.close()
        raise
    return Collection(engine, name if isinstance(encoder, str | Path) else encoder)


def name_of(encoder: str | Path | Encoder | None) -> str | None:
    """Return what a collection records: a folder by its absolute path, so that it is found from everywhere."""
    if encoder is None:
        return None
    name = str(encoder) if isinstance(encoder, str | Path) else encoder.name
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name


def _check(index: str | None, recall: float | None) -> None:
    if index is not None and index not in INDEXES:
        raise InvalidInput(f"index must be one of {', '.join(map(repr, INDEXES))} in this version, got {index!r}")
    if recall is None:
        return
    if isinstance(recall, bool) or not isinstance(recall, int | float) or not 0 < recall <= 1 or math.isnan(recall):
        raise InvalidInput(f"recall must be a number in (0, 1], got {recall!r}")


def _check_same(settings: Settings, encoder: str | None, index: str | None, recall: float | None) -> None:
    for what, given, kept in (
        ("encoder", encoder, settings.encoder),
        ("index", index, settings.index),
        ("recall", recall, settings.recall),
    ):
        if given is not None and given != kept:
            raise Conflict(
                f"the collection was made with {what}={kept!r}, and {what}={given!r} was given; leave it out, or make "
                "a new collection"
            )
