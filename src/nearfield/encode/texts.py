"""What an encoder accepts as texts."""

from __future__ import annotations

from collections.abc import Iterable

from nearfield.errors import InvalidInput


def check_texts(texts: Iterable[str]) -> list[str]:
    """Return the texts as a list, after a check that each can be encoded.

    Raises:
        InvalidInput: one str instead of a sequence, something else than a str, or a lone surrogate; names the place.

    >>> check_texts(("Learn Python.", ""))
    ['Learn Python.', '']
    """
    if isinstance(texts, str | bytes):
        raise InvalidInput(f"texts must be a sequence of str, got one {type(texts).__name__}; put it in a list")
    try:
        checked = list(texts)
    except TypeError:
        raise InvalidInput(f"texts must be a sequence of str, got {type(texts).__name__}") from None
    for place, text in enumerate(checked):
        if not isinstance(text, str):
            raise InvalidInput(f"texts[{place}] must be a str, got {type(text).__name__}; convert it before encoding")
        if not text.isascii():
            _check_unicode(text, place)
    return checked


def _check_unicode(text: str, place: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"texts[{place}] has a lone surrogate, {text[error.start]!r}, at character {error.start}, which is no "
            "Unicode text; decode its source with errors='replace'"
        ) from None
