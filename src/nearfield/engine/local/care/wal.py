"""Looking through SQLite's write-ahead log, of which a damaged frame ends the reading without a word.

The format: https://www.sqlite.org/fileformat2.html, section 4. Each frame's checksum goes on from that of the frame
before, and is linear in its words modulo 2^32; so all frames are checked at once, each from what the one before says.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER = 32
_FRAME_HEADER = 24
_BIG_ENDIAN = 0x377F0683
_LITTLE_ENDIAN = 0x377F0682

Words = NDArray[np.uint64]


def damage(file: Path) -> str:
    """Return what is wrong with a write-ahead log; "" for nothing, or if there is none.

    A transaction may be torn that was cut off by a loss of power, and is not there then; that is no damage. But frames
    that are followed by those of a later transaction were on disk.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return ""
    if len(content) < _HEADER + _FRAME_HEADER:
        return ""
    magic, _, page, _, *salts = np.frombuffer(content, ">u4", 6).tolist()
    if magic not in (_BIG_ENDIAN, _LITTLE_ENDIAN) or not 512 <= page <= 65536 or page & (page - 1):
        return "does not begin as a write-ahead log; what was committed in it is lost"
    header = np.frombuffer(content, ">u4" if magic == _BIG_ENDIAN else "<u4", 6).astype(np.uint64)[np.newaxis]
    told = np.frombuffer(content, ">u4", 2, 24).astype(np.uint64)
    if not np.array_equal(_sums(header, np.zeros((1, 2), np.uint64))[0], told):
        return "has a damaged header; what was committed in it is lost"
    count = (len(content) - _HEADER) // (_FRAME_HEADER + page)
    frames = np.frombuffer(content, np.uint8, count * (_FRAME_HEADER + page), _HEADER).reshape(
        count, _FRAME_HEADER + page
    )
    heads = frames[:, :_FRAME_HEADER].copy().view(">u4")
    order = ">u4" if magic == _BIG_ENDIAN else "<u4"
    ours = (heads[:, 2:4] == salts).all(axis=1)  # others are of a log that was there before
    if not ours.any():
        return ""
    end = int(np.flatnonzero(ours)[-1]) + 1
    whole = ours[:end] & _whole(frames[:end], heads[:end], order, told)
    commits = np.flatnonzero(ours[:end] & _committing(heads[:end, :2].astype(np.int64), whole))
    bad = np.flatnonzero(~whole)
    if len(bad) and ((commits >= bad[0]) & (commits < end - 1)).any():
        return f"is damaged from its frame {int(bad[0]) + 1} of {end} on; what was committed in these is lost"
    return ""


def _committing(says: NDArray[np.int64], whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which frames end a transaction.

    What a torn frame says may be litter, both numbers at once, since no sector begins between them. It is believed if
    one of them can be.

    Args:
        says: The page of each frame, and the database's size after a transaction, in pages, 0 within one.
        whole: Which frames have the checksum that they say.
    """
    pages, sizes = says.T
    known = sizes[whole & (sizes > 0)]
    if not len(known):
        return np.zeros(len(sizes), np.bool_)
    near = np.abs(sizes[:, np.newaxis] - known[[0, -1]]).min(axis=1) <= len(sizes)
    possible = (pages >= 1) & (pages <= known.max() + len(sizes))
    return np.asarray((sizes > 0) & (near | possible), np.bool_)


def _whole(frames: NDArray[np.uint8], heads: NDArray[Any], order: str, told: Words) -> NDArray[np.bool_]:
    stated = heads[:, 4:6].astype(np.uint64)
    before = np.concatenate((told[np.newaxis], stated[:-1]))
    words = np.concatenate((frames[:, :8], frames[:, _FRAME_HEADER:]), axis=1).view(order).astype(np.uint64)
    return np.asarray((_sums(words, before) == stated).all(axis=1), np.bool_)


def _sums(words: Words, before: Words) -> Words:
    """Return the checksums of some rows of words, each going on from another."""
    weights, carried = _weights(words.shape[1])
    return (words @ weights + before @ carried) & np.uint64(0xFFFFFFFF)


@functools.cache
def _weights(count: int) -> tuple[Words, Words]:
    """Return by what each word, and each part of the checksum before, enters a checksum; modulo 2^32."""
    mask = (1 << 32) - 1
    # s0 += x0 + s1; s1 += x1 + s0, from the last pair of words to the first.
    (a, b), (c, d) = (1, 0), (0, 1)  # what s0 and s1 give to the two sums
    weights = np.zeros((count, 2), np.uint64)
    for pair in range(count // 2 - 1, -1, -1):
        # s0' = s0 + x0 + s1 gives itself and s1'; s1' = s1 + x1 + s0'.
        weights[2 * pair] = ((a + c) & mask, (b + d) & mask)
        weights[2 * pair + 1] = (c, d)
        (a, b), (c, d) = ((a + c) & mask, (b + d) & mask), ((a + 2 * c) & mask, (b + 2 * d) & mask)
    return weights, np.array([[a, b], [c, d]], np.uint64)
