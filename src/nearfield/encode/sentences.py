"""Where a text may be cut: at sentences first, then at ever smaller units."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# What ends with a full stop and doesn't end a sentence.
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|Rev|Gen|Sen|Rep|Gov|Capt|Col|Lt|Sgt|No|Nos|Fig|Figs|Eq|Eqs|Ref|Refs|"
    r"Sec|Ch|Vol|pp|ed|eds|cf|vs|etc|approx|ca|al|Inc|Ltd|Co|Corp|dept|est|incl|resp|viz|"
    r"Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec)|\b(?:[A-Za-z]\.)+[A-Za-z]|(?:^|\n)[ \t]*\d{1,3})\.$"
)
_LONGEST_ABBREVIATION = 12

# A run of stops or spaces is tried from its first character only: otherwise long ones take quadratic time.
_SENTENCE_END = re.compile(
    r"""
      ^[ \t]*\#{1,6}[ \t][^\n]*\n              # a heading's line
    | (?<![.!?…‽؟۔։।॥])[.!?…‽؟۔։।॥]++["'”’»)\]*_`]*+\s+   # Western, Arabic, Armenian, Indic: a space must follow
    | [。！？｡．][。！？｡．”’」』）】》]*\s*     # Chinese, Japanese: none is needed
    | \n[ \t]*(?:\n\s*)+                     # a blank line
    | \n(?=[ \t]*(?:[-*+•]|\d{1,3}[.)]|\#{1,6}|>|```|\|)[ \t`\w|])   # a list's item, a heading, a quotation, a table
    """,
    re.VERBOSE | re.MULTILINE,
)
_LINE = re.compile(r"\n")
_CLAUSE = re.compile(r"[,;:—–](?:[\"'”’»)\]]*\s+)|[，；：、،؛]\s*|(?<!\s)\s++[—–-]++\s+")
_WORD = re.compile(r"\s+")


def sentence_ends(text: str, start: int, end: int) -> Iterator[int]:
    """Yield where sentences of `text[start:end]` end, the space after them included; the last end may be missing."""
    for found in _SENTENCE_END.finditer(text, start, end):
        if found[0].startswith(".") and _goes_on(text, found.start(), found.end(), end):
            continue
        yield found.end()


def _goes_on(text: str, stop: int, following: int, end: int) -> bool:
    """Return whether a full stop belongs to an abbreviation or a list's number, or dots merely pause."""
    if "\n\n" in text[stop:following]:
        return False
    if text.startswith("..", stop):
        return following < end and text[following].islower()
    return _ABBREVIATION.search(text[max(0, stop - _LONGEST_ABBREVIATION) : stop + 1]) is not None


def _ends_of(pattern: re.Pattern[str]) -> Callable[[str, int, int], Iterator[int]]:
    def ends(text: str, start: int, end: int) -> Iterator[int]:
        return (found.end() for found in pattern.finditer(text, start, end))

    return ends


UNITS: tuple[Callable[[str, int, int], Iterator[int]], ...] = (
    sentence_ends,
    _ends_of(_LINE),
    _ends_of(_CLAUSE),
    _ends_of(_WORD),
)
"""Sentences, lines, clauses, words: each yields the ends of its units in `text[start:end]`."""


def cut(text: str, start: int, end: int, unit: int) -> list[tuple[int, int]]:
    """Return the units that make up `text[start:end]` without a gap, as (start, end).

    >>> cut("One. Two, e.g. three. Four", 0, 26, 0)
    [(0, 5), (5, 22), (22, 26)]
    """
    pieces = []
    for stop in UNITS[unit](text, start, end):
        if start < stop < end:
            pieces.append((start, stop))
            start = stop
    return [*pieces, (start, end)]
