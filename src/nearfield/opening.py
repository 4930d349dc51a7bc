"""`nearfield.open`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from inspect import getattr_static
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nearfield import checks
from nearfield.collection import Collection
from nearfield.encode import DEFAULT_ENCODER
from nearfield.encode.cache import check_cache
from nearfield.encode.identity import check_same, what_differs
from nearfield.encode.load import as_encoder, load_encoder, name_of
from nearfield.encode.models import find_model
from nearfield.encode.remote.names import is_remote
from nearfield.engine.open import open_engine
from nearfield.engine.protocol import Settings
from nearfield.errors import Conflict, InvalidInput, NearfieldError, NotFound
from nearfield.index.kinds import check_kind

if TYPE_CHECKING:
    from nearfield.encode.protocol import Encoder


def open(  # the word that users know, as in gzip.open
    location: str | Path,
    *,
    encoder: str | Path | Encoder | None = None,
    index: str | None = None,
    recall: float | None = None,
    memory: int | None = None,
    create: bool = True,
    cache: bool | str | Path = False,
) -> Collection:
    """Return the collection at a path, made if there is none.

    The encoder, the index and the recall target are fixed when a collection is made; later they need not be named.

    Args:
        location: A folder.
        encoder: A model's name, a model's folder, or an object with the methods `encode_documents` and
            `encode_queries`, such as an `Encoder`. "all-MiniLM-L6-v2" if not given.
        index: "auto" (if not given) scans while there are few vectors, and then builds an index that suits their
            number and dimension; "exact" always scans; others are the names in `nearfield.index.kinds.NAMES`, such as
            "hnsw" and "ivf-flat", and FAISS's factory strings, such as "IVF1024,PQ32". `Collection.stats` says what
            there is, and why.
        recall: Share of the true nearest neighbours that a search must find on average, in (0, 1]; 0.95 if not given.
            The index measures itself, and looks at as much as that takes. An exact scan finds all of them.
        memory: Bytes that an index that "auto" chooses may take; None: as many as the best one takes.
        create: False: there must be a collection.
        cache: True: keep the encoder's vectors on disk, in a folder of the user's caches or the one that is given, so
            that a text that any collection with the same encoder has had isn't encoded again;
            `nearfield.encode.cache.CachedEncoder` tells more. It is a choice of this opening, not of the collection.

    Raises:
        InvalidInput: an argument is out of range, or there is something else at the path.
        NotFound: `create` is false, and there is no collection.
        MissingDependency: a new collection is to be made with a model that is not on this machine.
        Conflict: an argument differs from what the collection was made with. The same model by another name or path is
            no other encoder. What isn't known of an encoder without computing it, is compared before its first use.
        IncompatibleFormat: a newer version wrote the collection.
        CorruptCollection: its files can't be read.

    >>> import tempfile
    >>> with open(tempfile.mkdtemp() + "/articles.nf") as col:
    ...     len(col)
    0
    """
    _check(index, recall, memory)
    check_cache(cache)
    given = encoder if encoder is None or isinstance(encoder, str | Path) else as_encoder(encoder)
    name = name_of(given)
    try:
        engine = open_engine(location, None)
    except NotFound:
        if not create:
            raise
        if isinstance(encoder, str | Path) and not is_remote(str(name)):
            find_model(str(name))  # a misspelt name must not be fixed in a new collection
        target = 0.95 if recall is None else float(recall)
        wanted = Settings(name or DEFAULT_ENCODER, index or "auto", target, memory=memory)
        engine = open_engine(location, wanted)
    try:
        _check_same(engine.settings, index=index, recall=recall, memory=memory)
        loaded = _check_encoder(engine.settings, given)
    except NearfieldError:
        engine.close()
        raise
    choice = name if given is None or isinstance(given, str | Path) else given
    return Collection(engine, choice, loaded=loaded, cache=cache)


def _check(index: str | None, recall: float | None, memory: int | None) -> None:
    if index is not None:
        check_kind(index)
    if memory is not None:
        checks.count(memory, "memory")
        if index not in (None, "auto"):
            raise InvalidInput(f"memory limits the index that 'auto' chooses; index={index!r} takes what it takes")
    if recall is None:
        return
    if isinstance(recall, bool) or not isinstance(recall, int | float) or not 0 < recall <= 1 or math.isnan(recall):
        raise InvalidInput(f"recall must be a number in (0, 1], got {recall!r}")


def _check_same(settings: Settings, **given: object) -> None:
    for what, value in given.items():
        if value is not None and value != getattr(settings, what):
            raise _made_with(what, getattr(settings, what), value)


def _check_encoder(settings: Settings, given: str | Path | Encoder | None) -> Encoder | None:
    """Return the encoder if it had to be loaded to know that it is the collection's by another name.

    Raises:
        Conflict: it is another, as far as that costs nothing to know.
    """
    if given is None:
        return None
    name, is_object = name_of(given), not isinstance(given, str | Path)
    if name == settings.encoder:
        # A property may have to hash a model's files; what stands in the object doesn't.
        if is_object and isinstance(getattr_static(given, "fingerprint", None), str):
            check_same(settings, cast("Encoder", given), probe=False)
        return None
    try:
        loaded = load_encoder(given if is_object else str(name))
        own = settings.fingerprint or load_encoder(settings.encoder).fingerprint
        same = own == loaded.fingerprint
    except NearfieldError:  # not on this machine, so that the name is all there is to compare
        raise _made_with("encoder", settings.encoder, name) from None
    if not same:
        raise _made_with("encoder", settings.encoder, name, what_differs(settings, loaded, probe=False))
    return loaded


def _made_with(what: str, kept: object, given: object, differing: Sequence[str] = ()) -> Conflict:
    listed = f" ({'; '.join(differing)})" if differing else ""
    migrate = ", or Collection.migrate(encoder=...) encodes its documents again" if what == "encoder" else ""
    return Conflict(
        f"the collection was made with {what}={kept!r}, and {what}={given!r} was given{listed}; leave it out, or make "
        f"a new collection{migrate}"
    )
