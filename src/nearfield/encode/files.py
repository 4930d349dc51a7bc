"""Reading the JSON files of a model's folder, and refusing what only sentence-transformers can run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nearfield.errors import InvalidInput, MissingDependency


def read_object(path: Path, *, missing_is_empty: bool = False) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Raises:
        InvalidInput: the file is missing, can't be read, or holds something else.
    """
    value = read_json(path, {} if missing_is_empty else None)
    if not isinstance(value, dict):
        raise InvalidInput(f"{path} must hold a JSON object, and has {type(value).__name__}; fetch it again")
    return value


def read_json(path: Path, default: object = None) -> object:
    """Return what a JSON file holds; `default`, unless that is None, if there is no such file.

    Raises:
        InvalidInput: the file is missing and there is no default, or it can't be read.
    """
    if default is not None and not path.exists():
        return default
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} can't be read as JSON: {error}; fetch it again") from None


def unsupported(what: str, given: object, known: object, path: Path) -> MissingDependency:
    """Return the error for a model that only sentence-transformers can run."""
    return MissingDependency(
        f"the built-in runtime has {what} {known}, and {path} asks for {given!r}; install the extra "
        "nearfield[sentence-transformers], and pass encoder=nearfield.load_encoder(folder, "
        "runtime='sentence-transformers')"
    )
