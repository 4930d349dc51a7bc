"""Reading model.safetensors: a length, a JSON header, and the tensors' bytes (huggingface/safetensors, README)."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.errors import InvalidInput

_MAX_HEADER = 100_000_000  # the format's own bound
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_INTEGERS = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1"}
_STORED = _FLOATS | _INTEGERS


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
        """The file's tensors of fractions by name, as float32; those that are stored so share the file's memory.

        Raises:
            InvalidInput: the file can't be read, is truncated, or is not in the format.
        """
        return {name: _as_float32(stored, dtype) for name, (stored, dtype) in self._stored.items() if dtype in _FLOATS}

    @property
    def integers(self) -> dict[str, NDArray[np.integer[Any]]]:
        """The file's tensors of integers by name, in their stored type; they share its memory.

        Raises:
            InvalidInput: as for `tensors`.
        """
        return {name: stored for name, (stored, dtype) in self._stored.items() if dtype in _INTEGERS}

    @cached_property
    def _stored(self) -> dict[str, tuple[NDArray[Any], str]]:
        self._read.wait()
        header, data = _header(self._checked_buffer(), self._path)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        try:
            _check_places(entries, len(data))
            stored = {name: (_tensor(name, entry, data), entry["dtype"]) for name, entry in entries.items()}
        except ValueError as error:
            raise InvalidInput(f"{self._path} is truncated or damaged: {error}; fetch it again") from None
        return {name: (tensor, dtype) for name, (tensor, dtype) in stored.items() if tensor is not None}

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
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is no safetensors file: its header is not JSON ({error}); fetch it again") from None
    if not isinstance(header, dict):
        raise InvalidInput(f"{path} is no safetensors file: its header is no JSON object; fetch it again")
    return header, buffer[8 + length :]


def _check_places(entries: dict[str, Any], size: int) -> None:
    """Raise unless the tensors fill the bytes without gaps and without sharing any, as the format demands."""
    places = []
    for name, entry in entries.items():
        place = entry.get("data_offsets") if isinstance(entry, dict) else None
        if not isinstance(place, list) or [type(offset) for offset in place] != [int, int] or place[0] > place[1]:
            raise ValueError(f"tensor {name!r} is at bytes {place!r}")
        places.append((*place, name))
    expected = 0
    for start, end, name in sorted(places):
        if start != expected or end > size:
            raise ValueError(f"tensor {name!r} is at bytes {start} to {end} of {size}, and must begin at {expected}")
        expected = end
    if expected != size:
        raise ValueError(f"it has {size} bytes of tensors, and names {expected}")


def _tensor(name: str, entry: dict[str, Any], data: NDArray[np.uint8]) -> NDArray[Any] | None:
    """Return the stored tensor; None if it is of a type that no model here has."""
    (start, end), shape, dtype = entry["data_offsets"], entry.get("shape"), entry.get("dtype")
    if not isinstance(dtype, str) or not isinstance(shape, list) or any(type(length) is not int for length in shape):
        raise ValueError(f"tensor {name!r} has dtype {dtype!r} and shape {shape!r}")
    if dtype not in _STORED:
        return None
    if min(shape, default=1) < 0 or math.prod(shape) * np.dtype(_STORED[dtype]).itemsize != end - start:
        raise ValueError(f"tensor {name!r} has {end - start} bytes, which are no {dtype} of shape {shape}")
    return data[start:end].view(_STORED[dtype]).reshape(shape)


def _as_float32(stored: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    if dtype == "BF16":  # the upper half of a float32
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(stored, dtype=np.float32)
