"""Opening the collection that a command names."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from nearfield.errors import NearfieldError

if TYPE_CHECKING:
    from nearfield.collection import Collection


@contextmanager
def existing(path: str, *, encoding: bool = False) -> Iterator[Collection]:
    """Open a collection that must exist.

    Args:
        path: Its folder.
        encoding: The command will encode a query: the model is loaded beside what else there is to do.

    Raises:
        NotFound: there is none.
    """
    from nearfield.opening import open as open_collection

    with open_collection(path, create=False) as collection:
        if encoding:
            threading.Thread(target=_load, args=(collection,)).start()
        yield collection


def _load(collection: Collection) -> None:
    from nearfield.encode.remote.names import is_remote

    # An error is not lost: the search asks for the encoder again, and gets it again.
    with suppress(NearfieldError):
        # There is nothing to load of an endpoint, and this thread would wait for it after an interrupt.
        if not is_remote(collection.stats().encoder):
            _ = collection.encoder
