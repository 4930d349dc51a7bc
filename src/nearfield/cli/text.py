"""Text of documents made safe for a terminal."""

from __future__ import annotations

import re

# C0 and C1 controls can move the cursor or rename a window; the others reorder the text around them.
_UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""Return a text without control characters other than the newline; each becomes a space.

    >>> visible("Learn\n\x1b[31m Python")
    'Learn\n [31m Python'
    """
    return _UNSAFE.sub(" ", text)


def one_line(text: str, width: int | None = None) -> str:
    r"""Return a text as one line without control characters, cut to a width with an ellipsis.

    >>> one_line("Learn\n\x1b[31mPython", 12)
    'Learn [31mP…'
    """
    line = " ".join(visible(text).split())
    return line if width is None or len(line) <= width else line[: width - 1].rstrip() + "…"
