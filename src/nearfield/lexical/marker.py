"""What an index holds, and the checksums of its files: the file marker.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from nearfield.durable import read_json, write_json
from nearfield.errors import CorruptCollection
from nearfield.lexical.analysis import VERSION

REMEDY = "`nearfield repair` builds the BM25 index again from the documents"


@dataclass(frozen=True, slots=True)
class Marker:
    """What an index holds: every document below `next_key` that the collection had at `generation`, and older ones.

    Args:
        folder: Name of the folder; "" for no index.
        generation: Of the collection when the index was brought up to date.
        next_key: The key that the next document gets.
        documents: How many it holds, those included that were deleted since they went in.
        average: Their mean number of terms.
        session: Who wrote that generation. A database that was restored from a backup has another, and the index then
            speaks of documents that are not there.
        analysis: Version of the analysis that made its terms.
        files: Size and CRC-32 of each file in the folder.
    """

    folder: str = ""
    generation: int = 0
    next_key: int = 1
    documents: int = 0
    average: float = 0.0
    session: str = ""
    analysis: int = VERSION
    files: Mapping[str, tuple[int, int]] = field(default_factory=dict)


NONE = Marker()
"""Of an index that is not there."""


def read_marker(file: Path) -> Marker:
    """Return what a file records: nothing, if it is missing or of another version.

    Raises:
        CorruptCollection: it is damaged.
    """
    try:
        if '"purged"' in file.read_text(encoding="utf-8"):  # written by a version that had one folder
            return NONE
        content = read_json(file)
        if content["analysis"] != VERSION or set(content) != {part.name for part in fields(Marker)}:
            return NONE
    except FileNotFoundError:
        return NONE
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptCollection(f"{file} can't be read ({error}); {REMEDY}") from error
    files = {name: (size, checksum) for name, (size, checksum) in content.pop("files").items()}
    return Marker(**content, files=files)


def write_marker(file: Path, marker: Marker) -> None:
    """Replace a file by what it shall record, durably."""
    write_json(file, asdict(marker))
