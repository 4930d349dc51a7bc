"""Reading model.safetensors: a length, a JSON header, and the tensors' bytes (huggingface/safetensors, README)."""

from __future__ import annotations

import hashlib
import json
import mmap
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.errors import InvalidInput

_MAX_HEADER = 100_000_000  # the format's own bound
_STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class Weights:
    """The tensors of one file, mapped into memory; the digest is taken from the very bytes that are used.

    Reading and hashing run in a thread of their own, so that libraries are imported and the graph is compiled in the
    meantime.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._buffer: NDArray[np.uint8] | None = None
        self._mapping: Any = None
        self._error: OSError | None = None
        self._digest = ""
        self._read = threading.Event()
        self._hasher = threading.Thread(target=self._read_and_hash, name="nearfield-weights", daemon=True)
        self._hasher.start()

    def _read_and_hash(self) -> None:
        try:
            # Writable for OpenVINO's sake, and private: nothing ever reaches the file.
            if self._path.stat().st_size:
                mapped = np.memmap(self._path, dtype=np.uint8, mode="c")
                self._mapping, self._buffer = mapped.base, np.asarray(mapped)
            else:  # which can't be mapped
                self._buffer = np.empty(0, np.uint8)
        except OSError as error:
            self._error = error
            return
        finally:
            self._read.set()
        self._digest = hashlib.sha256(self._buffer.data).hexdigest()

    @property
    def digest(self) -> str:
        """The file's SHA-256, in hexadecimal; waits until it is known.

        Raises:
            InvalidInput: the file can't be read.
        """
        self._hasher.join()
        self._checked_buffer()
        return self._digest

    @cached_property
    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The file's tensors by name, float32 whatever their stored type; those of float32 share the file's memory.

        Raises:
            InvalidInput: the file can't be read, is truncated, or is not in the format.
        """
        self._read.wait()
        buffer = self._checked_buffer()
        header, data = _header(buffer, self._path)
        return {
            name: _tensor(name, entry, data, self._path)
            for name, entry in header.items()
            if name != "__metadata__" and isinstance(entry, dict) and entry.get("dtype") in _STORED
        }

    def let_go(self) -> None:
        """Give the memory back to the system; a tensor that is used again is read from the file again."""
        self._hasher.join()
        if self._mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)

    def _checked_buffer(self) -> NDArray[np.uint8]:
        if self._buffer is None:
            raise InvalidInput(f"{self._path} can't be read: {self._error}") from self._error
        return self._buffer


def _header(buffer: NDArray[np.uint8], path: Path) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    length = int(buffer[:8].view("<u8")[0]) if len(buffer) >= 8 else 0
    if not 2 <= length <= min(_MAX_HEADER, len(buffer) - 8):
        raise InvalidInput(f"{path} is no safetensors file, or a truncated one ({len(buffer)} bytes); fetch it again")
    try:
        header = json.loads(buffer[8 : 8 + length].tobytes())
    except ValueError as error:
        raise InvalidInput(f"{path} is no safetensors file: its header is not JSON ({error}); fetch it again") from None
    if not isinstance(header, dict):
        raise InvalidInput(f"{path} is no safetensors file: its header is no JSON object; fetch it again")
    return header, buffer[8 + length :]


def _tensor(name: str, entry: dict[str, Any], data: NDArray[np.uint8], path: Path) -> NDArray[np.float32]:
    try:
        start, end = entry["data_offsets"]
        if not 0 <= start <= end <= len(data):
            raise ValueError(f"bytes {start} to {end} of {len(data)}")
        stored = data[start:end].view(_STORED[entry["dtype"]]).reshape(entry["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path} is truncated or damaged: tensor {name!r} has {error}; fetch it again") from None
    if entry["dtype"] == "BF16":  # the upper half of a float32
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(stored, dtype=np.float32)
