"""Where the ranges of a model are kept: shipped for the default model, in the user's cache folder for others."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from nearfield.encode.int8.ranges import VERSION, Ranges, read_ranges, write_ranges

SHIPPED = Path(__file__).parent / "shipped"
"""Files by the first 16 digits of the weights' SHA-256; scripts/make_int8_ranges.py writes them."""


def ranges_of(weights: str, tokenizer: str, measure: Callable[[], Sequence[Ranges]]) -> Sequence[Ranges]:
    """Return the ranges of a model: those that are kept, or else measured now and kept, if there is room for them.

    A file that is missing, damaged or of another version is made again.

    Args:
        weights: Their SHA-256, in hexadecimal.
        tokenizer: The SHA-256 of tokenizer.json.
        measure: Measures them, which takes some seconds.
    """
    kept = cache_folder() / "int8" / f"{weights[:16]}-{tokenizer[:16]}-{VERSION}.json"
    for file in (SHIPPED / f"{weights[:16]}-{tokenizer[:16]}.json", kept):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return read_ranges(file)
    ranges = measure()
    with suppress(OSError):  # a folder that can't be written: they are measured again the next time
        _keep(kept, ranges)
    return ranges


def cache_folder() -> Path:
    """Return the user's folder for what nearfield can make again."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "nearfield"


def _keep(file: Path, ranges: Sequence[Ranges]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    own = file.with_name(f"{file.name}.{os.getpid()}")  # another process may be making the same
    try:
        write_ranges(own, ranges)
        own.replace(file)
    finally:
        own.unlink(missing_ok=True)
