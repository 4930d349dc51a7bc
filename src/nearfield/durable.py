"""Files and folders that are on disk when a function returns, and JSON files that know when they are damaged."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHECKSUM = "crc32"
"""Name of the checksum in a JSON file: of the other members, as `json.dumps(…, sort_keys=True)` writes them."""


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are absent, with their names on disk."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
    if folder.parent != folder and os.access(folder.parent, os.R_OK):
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Replace a file by an object and its checksum: whatever happens, it holds either the old content or the new."""
    temporary = file.with_name(file.name + ".new")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump({**content, CHECKSUM: _checksum(content)}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
    sync_folder(file.parent)


def read_json(file: Path) -> dict[str, Any]:
    """Return the object that `write_json` wrote.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it is damaged.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    if content.pop(CHECKSUM, None) != _checksum(content):
        raise ValueError("its checksum differs")
    return content


def _checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def checksum_of(file: Path) -> int:
    """Return the CRC-32 of a file."""
    checksum = 0
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum
