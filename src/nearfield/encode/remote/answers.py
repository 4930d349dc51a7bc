"""What is asked of `/v1/embeddings`, and reading what it answers: the right vectors, or an error."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors

_SHOWN = 200
"""Characters of a server's message that are repeated in ours."""


class BadAnswer(Exception):
    """An answer that can't be right; says why."""


def question(model: str, texts: Sequence[str], dimension: int | None, encoding: str) -> bytes:
    """Return a request's body; `dimensions` is in it only if it is given."""
    asked: dict[str, Any] = {"model": model, "input": list(texts), "encoding_format": encoding}
    if dimension is not None:
        asked["dimensions"] = dimension
    return json.dumps(asked).encode()


def read_answer(body: bytes, texts: int) -> tuple[Vectors, int | None]:
    """Return the vectors of so many texts, in the texts' order, and how many tokens the server counted, if it says.

    Raises:
        BadAnswer: it is no JSON of the right form, has fewer or more vectors, or places that are missing or given
            twice, or vectors of several lengths, or with what is no finite number.
    """
    answer = _parse(body)
    listed = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        raise BadAnswer(f"a JSON object without the list 'data': {said(body)!r}")
    if len(listed) != texts:
        raise BadAnswer(f"{len(listed)} vectors for {texts} texts")
    rows: list[NDArray[np.float32] | None] = [None] * texts
    for entry in listed:
        place = entry.get("index") if isinstance(entry, dict) else None
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < texts:
            raise BadAnswer(
                f"a vector whose index is {repr(place)[:40]}, where it must be an int from 0 to {texts - 1}"
            )
        if rows[place] is not None:
            raise BadAnswer(f"two vectors with the index {place}")
        rows[place] = _vector(entry.get("embedding"), place)
    lengths = sorted({len(row) for row in rows if row is not None})
    if len(lengths) != 1:
        raise BadAnswer(f"vectors of {lengths[0]} and of {lengths[-1]} dimensions at once")
    return np.array(rows, np.float32), _tokens(answer.get("usage"))


def said(body: bytes) -> str:
    """Return what a server says of a failure, in one short line that can be printed."""
    text = body[: _SHOWN * 20].decode(errors="replace")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    for _ in range(2):  # {"error": {"message": "…"}}, {"error": "…"}, {"message": "…"} and {"detail": "…"}
        if isinstance(found, dict):
            found = next((found[key] for key in ("error", "message", "detail") if found.get(key)), None)
    if isinstance(found, str):
        text = found
    line = printable(" ".join(text.split()))
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def printable(text: str) -> str:
    """Return a text with spaces for what would be no letter on a terminal, but a command to it."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadAnswer(f"no JSON: {said(body)!r}") from None


def _vector(given: object, place: int) -> NDArray[np.float32]:
    if isinstance(given, str):
        try:
            vector = np.frombuffer(base64.b64decode(given, validate=True), "<f4")
        except ValueError:
            raise BadAnswer(f"the vector {place} is no base64 of 4-byte floats") from None
    elif isinstance(given, list) and all(type(number) in (float, int) for number in given):
        try:
            with np.errstate(over="ignore"):  # found below
                vector = np.array(given, np.float64).astype(np.float32)
        except OverflowError:
            raise BadAnswer(f"the vector {place} has a number beyond all floats") from None
    else:
        raise BadAnswer(f"the vector {place} is neither a list of numbers nor base64")
    if not len(vector):
        raise BadAnswer(f"the vector {place} is empty")
    if not np.isfinite(vector).all():
        raise BadAnswer(f"the vector {place} has NaN or an infinity")
    return vector.astype(np.float32)


def _tokens(usage: object) -> int | None:
    """Return the tokens that count for the limits; a server that counts none says 0, or nothing."""
    found = usage.get("total_tokens") if isinstance(usage, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None
