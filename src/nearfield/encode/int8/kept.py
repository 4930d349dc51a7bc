"""Where the ranges of a model are kept: shipped for the default model, in the user's cache folder for others."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from nearfield.encode.cache_files import cache_folder
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
    name = f"{weights[:16]}-{tokenizer[:16]}"
    with suppress(OSError, ValueError, KeyError, TypeError):
        return read_ranges(SHIPPED / f"{name}.json")
    # RuntimeError: a user without a home.
    with suppress(OSError, RuntimeError, ValueError, KeyError, TypeError):
        return read_ranges(cache_folder() / "int8" / f"{name}-{VERSION}.json")
    ranges = measure()
    with suppress(OSError, RuntimeError):  # a folder that can't be written: they are measured again the next time
        _keep(cache_folder() / "int8" / f"{name}-{VERSION}.json", ranges)
    return ranges


def _keep(file: Path, ranges: Sequence[Ranges]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Others may be making the same.
    own = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        write_ranges(own, ranges)
        own.replace(file)
    finally:
        own.unlink(missing_ok=True)
