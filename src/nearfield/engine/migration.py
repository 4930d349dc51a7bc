"""The seam between engines and `nearfield.migrate`: a collection's vectors made anew by another encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from nearfield.engine.protocol import Keys, Record, Settings, Stored, View


class Migration(Protocol):
    """Vectors of another encoder in the making: on disk beside those that are searched, until they take their place.

    Reads and writes of the collection go on meanwhile, by all processes. One process at a time holds a migration; if
    it ends, however it does, the next one goes on with what was stored. For use from one thread at a time.
    """

    @property
    def settings(self) -> Settings:
        """What the collection is to have."""
        ...

    def pending(self) -> Keys:
        """Return the keys of the documents of the newest state that have no new vectors, in the order of addition."""
        ...

    def given(self) -> int:
        """Return how many documents of the newest state have vectors that were given."""
        ...

    def read(self, keys: Keys) -> list[Stored]:
        """Return those of some documents that are still there."""
        ...

    def store(self, documents: Sequence[Stored], records: Sequence[Record]) -> None:
        """Keep the new passages and vectors of documents; when it returns, they are on disk.

        Those that were deleted or replaced since they were read are passed over.
        """
        ...

    def view(self) -> AbstractContextManager[View]:
        """Return a context in which the newest state can be read with the new vectors.

        It has the documents that have new vectors, and no others.
        """
        ...

    def switch(self, encode: Callable[[Sequence[Stored]], Sequence[Record]]) -> None:
        """Put the new vectors in the place of the old ones, in one step, and end the migration.

        A view has all of the old ones or all of the new ones. All documents are then the encoder's (`encoded`).

        Args:
            encode: Makes records of the documents that were written since the last `store`, while writers wait.

        Raises:
            Locked: another process is writing; nothing was changed.
        """
        ...

    def give_up(self) -> None:
        """Remove what was made, and end the migration."""
        ...

    def close(self) -> None:
        """Let go of the migration; what was made stays for the next one, unless it was switched or given up."""
        ...
