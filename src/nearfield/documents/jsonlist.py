"""A JSON list read element by element, with no more of it in memory than the element at hand needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from nearfield.errors import InvalidInput

_BLANK = re.compile(r"[ \t\r\n]*")
_decode = json.JSONDecoder().raw_decode


class JsonList:
    """Iterates over a list's elements, each with the line where it starts.

    Elements must be objects or strings: the end of a number can't be told at the end of a chunk.

    Raises:
        InvalidInput: the text is no such list, or ends early; names the file and the line.

    >>> list(JsonList(iter(['[{"text": "Learn', ' Python"},\\n "Hello"]']), "a.json"))
    [(1, {'text': 'Learn Python'}), (2, 'Hello')]
    """

    def __init__(self, chunks: Iterator[str], path: str) -> None:
        self._chunks = chunks
        self._path = path
        self._text = ""
        self._at = 0
        self._line = 1

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        self._expect("[", "a list of objects")
        if self._next() != "]":
            yield self._element()
        while self._next() != "]":
            self._expect(",", "',' or ']'")
            yield self._element()
        self._advance(self._at + 1)
        if self._next():
            raise self._error("nothing after the list")

    def _next(self) -> str:
        """Return the next character that isn't blank, "" at the end."""
        while True:
            blank = _BLANK.match(self._text, self._at)
            self._advance(blank.end() if blank else self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(1):
                return ""

    def _expect(self, character: str, what: str) -> None:
        if self._next() != character:
            raise self._error(what)
        self._advance(self._at + 1)

    def _element(self) -> tuple[int, Any]:
        if self._next() not in ("{", '"'):
            raise self._error("an object with a field for the text")
        line = self._line
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except RecursionError:
                raise InvalidInput(f"{self._path}:{line}: nested too deeply") from None
            except ValueError as error:
                # Doubling the text keeps the cost of the retries linear.
                if not self._may_go_on(error) or not self._more(len(self._text) - self._at):
                    reason = error.msg if isinstance(error, json.JSONDecodeError) else error
                    raise InvalidInput(f"{self._path}:{line}: not valid JSON: {reason}") from None
            else:
                self._advance(end)
                return line, value

    def _may_go_on(self, error: ValueError) -> bool:
        """Return whether more text could mend an error: one at the end, or an open string, reported at its start."""
        if not isinstance(error, json.JSONDecodeError):
            return False
        return error.msg.startswith("Unterminated string") or error.pos > len(self._text) - 16

    def _advance(self, end: int) -> None:
        self._line += self._text.count("\n", self._at, end)
        self._at = end

    def _more(self, size: int) -> bool:
        parts = [self._text[self._at :]]
        while size > 0 and (chunk := next(self._chunks, "")):
            parts.append(chunk)
            size -= len(chunk)
        self._text, self._at = "".join(parts), 0
        return len(parts) > 1

    def _error(self, expected: str) -> InvalidInput:
        rest = self._text[self._at : self._at + 20]
        got = repr(rest) if rest else "the end of the file, which is truncated"
        return InvalidInput(f"{self._path}:{self._line}: expected {expected}, got {got}")
