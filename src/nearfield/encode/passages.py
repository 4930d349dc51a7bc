"""Splitting documents into passages that an encoder takes whole.

A passage is a run of whole sentences; the sentences of a document are spread evenly over as few passages as the
encoder's limit allows. A sentence beyond the limit is cut at lines, else at clauses, else at words, and a word beyond
it anywhere.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

from nearfield.encode.protocol import Encoder
from nearfield.encode.sentences import UNITS, cut
from nearfield.encode.texts import check_texts
from nearfield.errors import InvalidInput

Span: TypeAlias = tuple[int, int]
"""(start, end): characters `text[start:end]`."""

TITLE_BYTES = 180
"""How much of a title is repeated with each passage, in bytes of UTF-8: about 45 tokens of English."""


def passage_input(title: str, passage: str) -> str:
    """Return what is encoded for a passage: its document's title, a line break, and the passage.

    Of a title longer than `TITLE_BYTES`, the leading words that fit are taken; lexical search has all of it.

    >>> passage_input("A study in scarlet", "In the year 1878 I took my degree.")
    'A study in scarlet\\nIn the year 1878 I took my degree.'
    >>> passage_input("", "In the year 1878 I took my degree.")
    'In the year 1878 I took my degree.'
    """
    title = _short_title(title)
    return f"{title}\n{passage}" if title else passage


def _short_title(title: str) -> str:
    title = title.strip()
    if len(title) * 4 <= TITLE_BYTES or len(title.encode()) <= TITLE_BYTES:
        return title
    head = title.encode()[:TITLE_BYTES].decode(errors="ignore")
    words = head if title[len(head)].isspace() else head.rpartition(" ")[0]
    return words.rstrip() or head


def split_passages(text: str, encoder: Encoder, *, title: str = "") -> list[Span]:
    """Return the passages of a text as (start, end), in order; see `split_many`.

    >>> from nearfield.encode import load_encoder
    >>> text = "The first sentence of many. " * 60
    >>> split_passages(text, load_encoder())
    [(0, 839), (840, 1679)]
    """
    return split_many([text], encoder, titles=[title])[0]


def split_many(texts: Sequence[str], encoder: Encoder, *, titles: Sequence[str] | None = None) -> list[list[Span]]:
    """Return the passages of each text as (start, end), in the texts' order.

    A text that fits is one passage, `(0, len(text))`, and so is an empty one. Otherwise passages start and end
    without white space, don't overlap, and hold every other character of the text. `passage_input(title, passage)`
    has at most `encoder.max_tokens` tokens. Only what has no place to cut may exceed it: a single character.

    Args:
        texts: The documents' texts.
        encoder: Whose limit holds; one without a limit gives one passage for each text.
        titles: Titles that go with each passage; none if not given.

    Raises:
        InvalidInput: a text is not a str or has a lone surrogate; not as many titles as texts; a title leaves
            less than a quarter of the limit to the text.
    """
    texts = check_texts(texts)
    titles = check_texts(titles) if titles is not None else [""] * len(texts)
    if len(titles) != len(texts):
        raise InvalidInput(f"there must be one title for each text, got {len(titles)} for {len(texts)} texts")
    spans: list[list[Span]] = [[(0, len(text))] for text in texts]
    limit = encoder.max_tokens
    if limit is None:
        return spans
    long = _too_long([passage_input(*pair) for pair in zip(titles, texts, strict=True)], encoder, limit)
    for row, room in zip(long, _rooms([titles[row] for row in long], encoder, limit), strict=True):
        spans[row] = _split(texts[row], titles[row], encoder, limit, room)
    return spans


def _too_long(inputs: list[str], encoder: Encoder, limit: int) -> list[int]:
    """Return the rows that exceed the limit; most texts are so short that nobody need count their tokens."""
    at_most = getattr(encoder, "tokens_at_most", None)
    rows: list[int] = []
    for row, text in enumerate(inputs):
        most = at_most(text) if at_most is not None else None
        if most is None or most > limit:
            rows.append(row)
    counts = encoder.count_tokens([inputs[row] for row in rows]) if rows else []
    return [row for row, count in zip(rows, counts, strict=True) if count > limit]


def _rooms(titles: list[str], encoder: Encoder, limit: int) -> list[int]:
    """Return how many tokens each title leaves to a passage."""
    heads = [passage_input(title, "") for title in titles]
    rooms = [limit - count for count in encoder.count_tokens(heads)] if heads else []
    for title, room in zip(titles, rooms, strict=True):
        if room * 4 < limit or room < 1:
            raise InvalidInput(
                f"a title must leave at least a quarter of the encoder's {limit} tokens to the text, and "
                f"{title[:40]!r}… leaves {room}; shorten it, or make it part of the text"
            )
    return rooms


def _split(text: str, title: str, encoder: Encoder, limit: int, room: int) -> list[Span]:
    """Return the passages of one text that is too long.

    The tokens of two neighbours together may be more than the sum of theirs (not with WordPiece, but with tokenizers
    that join characters across spaces); then the split is repeated with less room.
    """
    while True:
        pieces, counts = _pieces(text, encoder, room)
        spans = [_strip(text, pieces[a][0], pieces[b - 1][1]) for a, b in _pack(counts, room)]
        spans = [span for span in spans if span[0] < span[1]] or [(0, len(text))]
        excess = max(encoder.count_tokens([passage_input(title, text[a:b]) for a, b in spans])) - limit
        if excess <= 0 or room == 1:
            return spans
        room = max(1, room - excess)


def _pieces(text: str, encoder: Encoder, room: int) -> tuple[list[Span], list[int]]:
    """Return the largest units of a text that have at most `room` tokens each, and how many they have."""
    pieces, counts = [(0, len(text))], [room + 1]
    for unit in range(len(UNITS) + 1):
        finer: list[Span] = []
        for (start, end), count in zip(pieces, counts, strict=True):
            if count <= room:
                finer.append((start, end))
            elif unit < len(UNITS):
                finer.extend(cut(text, start, end, unit))
            else:
                finer.extend(_cut_word(text, start, end, encoder, room))
        pieces, counts = finer, encoder.count_tokens([text[start:end] for start, end in finer])
        if max(counts) <= room:
            break
    return pieces, counts


def _cut_word(text: str, start: int, end: int, encoder: Encoder, room: int) -> list[Span]:
    """Return the fewest equal parts of a word without a break that have at most `room` tokens."""
    (count,) = encoder.count_tokens([text[start:end]])
    if count <= room or end - start == 1:
        return [(start, end)]
    parts = min(-(-count // room), end - start)
    size = -(-(end - start) // parts)
    stops = [_before_mark(text, stop) for stop in range(start + size, end, size)]
    bounds = sorted({start, end, *(stop for stop in stops if stop > start)})
    if len(bounds) == 2:  # nothing but combining marks
        bounds = [start, (start + end) // 2, end]
    return [part for a, b in pairwise(bounds) for part in _cut_word(text, a, b, encoder, room)]


def _before_mark(text: str, stop: int) -> int:
    """Return the nearest place at or before `stop` that doesn't part a combining mark from its letter."""
    while stop > 0 and (
        unicodedata.combining(text[stop]) or text[stop] in "\u200d\ufe0f" or text[stop - 1] == "\u200d"
    ):
        stop -= 1
    return stop


def _strip(text: str, start: int, end: int) -> Span:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _pack(counts: list[int], room: int) -> list[Span]:
    """Return runs of pieces as (first, end): as few as `room` allows, the largest as small as can be."""
    fewest = len(_runs(counts, room))
    low, high = max(*counts, -(-sum(counts) // fewest), 1), room
    while low < high:
        middle = (low + high) // 2
        if len(_runs(counts, middle)) <= fewest:
            high = middle
        else:
            low = middle + 1
    return _runs(counts, max(low, 1))


def _runs(counts: list[int], room: int) -> list[Span]:
    runs, first, total = [], 0, 0
    for place, count in enumerate(counts):
        if total + count > room and place > first:
            runs.append((first, place))
            first, total = place, 0
        total += count
    return [*runs, (first, len(counts))]
