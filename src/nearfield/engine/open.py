"""From a path or a URL to its engine."""

from __future__ import annotations

from pathlib import Path

from nearfield.engine.protocol import Engine, Settings
from nearfield.errors import InvalidInput


def open_engine(location: str | Path, settings: Settings | None) -> Engine:
    """Return the engine of a collection; a path is the local engine's.

    Args:
        location: A path. URLs are for the engines of servers, of which this version has none.
        settings: Makes a new collection with these if there is none; None: there must be one.

    Raises:
        InvalidInput: a URL, or something else than a collection at the path.
        NotFound: no collection, and no settings to make one.
    """
    from nearfield.engine.local import LocalEngine

    try:
        return LocalEngine(folder_of(location), settings)
    except (OSError, RuntimeError) as error:  # a name too long, an unknown user
        raise InvalidInput(f"a collection can't be opened at {location}: {error}") from error


def folder_of(location: str | Path) -> Path:
    """Return the folder of a collection's location; absolute, since the process may change its own.

    Raises:
        InvalidInput: it is a URL, or no path.
    """
    if isinstance(location, str) and "://" in location:
        raise InvalidInput(f"no engine for {location!r}: this version keeps collections in folders; give a path")
    if not isinstance(location, str | Path) or not str(location).strip() or "\0" in str(location):
        raise InvalidInput(f"a collection's location must be a non-empty path, got {location!r}")
    try:
        return Path(location).expanduser().absolute()
    except (OSError, RuntimeError) as error:
        raise InvalidInput(f"{location} is no path: {error}") from error
