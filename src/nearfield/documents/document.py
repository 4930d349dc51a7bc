"""`Document`, and the checks that every document passes before anything is stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, TypeAlias

from nearfield.errors import InvalidInput

JSON: TypeAlias = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]

MAX_BITS = 1024
"""Of an integer in metadata or a doc_id; Python itself refuses to print integers of over 4,300 digits."""

MAX_DEPTH = 64
"""Nesting that metadata may have; deeper values are refused before they exhaust a recursion limit."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text with an id, a title and metadata; what is added, and what is returned.

    Args:
        text: What is searched. May be empty only if there is a title.
        doc_id: A non-empty string that names the document; an int means its decimal string. None: the collection
            numbers the document.
        title: Encoded and searched together with the text.
        metadata: A JSON object: its fields can be used in `where`.

    Raises:
        InvalidInput: a field has another type, there is no text, or a string holds a NUL character or a lone
            surrogate; the message names the field.

    >>> Document("Learn Python for data science.", doc_id=0, metadata={"category": "beginner"}).doc_id
    '0'
    """

    text: str
    doc_id: str | int | None = None
    title: str = ""
    metadata: dict[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_text(self.text, "text")
        check_text(self.title, "title")
        if not self.text.strip() and not self.title.strip():
            raise InvalidInput("text must have at least one visible character (or the document a title), got none")
        if self.doc_id is not None:
            object.__setattr__(self, "doc_id", check_doc_id(self.doc_id))
        object.__setattr__(self, "metadata", check_metadata(self.metadata))


def check_doc_id(doc_id: object) -> str:
    """Return a doc_id as the string it is stored as; an int becomes its decimal string.

    Raises:
        InvalidInput: it is neither a non-empty str nor an int.

    >>> check_doc_id(7)
    '7'
    """
    # str first: asking the abstract class costs half a microsecond a document.
    if not isinstance(doc_id, str) and isinstance(doc_id, Integral) and not isinstance(doc_id, bool):
        return str(check_integer(int(doc_id), "doc_id"))
    if not isinstance(doc_id, str):
        raise InvalidInput(f"doc_id must be a non-empty str or an int, got {_shown(doc_id)}")
    if not doc_id:
        raise InvalidInput("doc_id must be a non-empty str or an int, got an empty str")
    return check_text(doc_id, "doc_id")


def check_integer(value: int, what: str) -> int:
    """Return an integer of a size that every JSON reader can write down.

    Raises:
        InvalidInput: it has more than some 300 digits.
    """
    if value.bit_length() > MAX_BITS:
        raise InvalidInput(f"{what} must be an integer of at most {MAX_BITS} bits, got one of {value.bit_length()}")
    return value


def check_text(text: object, what: str) -> str:
    """Return a string that can be stored as UTF-8 text without loss.

    Raises:
        InvalidInput: it is not a str, or holds a NUL character or a lone surrogate.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"{what} must be a str, got {_shown(text)}")
    if "\0" in text:
        raise InvalidInput(f"{what} holds a NUL character at position {text.index(chr(0))}; remove it first")
    # isascii is a flag of the string, so that most texts are not encoded just to be checked.
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"{what} holds a lone surrogate at position {error.start}, which is no Unicode text; decode its source "
                "with errors='replace' or another encoding"
            ) from None
    return text


def check_metadata(metadata: object) -> dict[str, JSON]:
    """Return metadata as a JSON object that shares nothing with the argument; tuples become lists.

    Raises:
        InvalidInput: a key is not a str, or a value is not JSON (NaN and infinities are not); names the field.
    """
    if not isinstance(metadata, Mapping):
        raise InvalidInput(f"metadata must be a dict of JSON values, got {_shown(metadata)}")
    return {
        (key if type(key) is str and _is_plain(key) else _key(key, "metadata")): (
            value if _is_plain(value) else _json(value, f"metadata[{key!r}]", 1)
        )
        for key, value in metadata.items()
    }


def _is_plain(value: Any) -> bool:
    """Whether a value needs no further check; nearly all are such, and a message's words cost more than this."""
    kind = type(value)
    if kind is int:
        return value.bit_length() <= MAX_BITS  # type: ignore[no-any-return]
    return value is None or kind is bool or (kind is str and value.isascii() and "\0" not in value)


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise InvalidInput(f"the keys of {where} must be str, got {_shown(key)}")
    return check_text(key, f"a key of {where}")


def _json(value: Any, where: str, depth: int) -> JSON:
    if value is None or type(value) is bool:
        return value
    if type(value) is int:
        return check_integer(value, where)
    if isinstance(value, str):
        return check_text(value, where)
    if type(value) is float:
        if not math.isfinite(value):
            raise InvalidInput(f"{where} must be a JSON value, got {value}; leave the field out or use None")
        return value
    if depth >= MAX_DEPTH:
        raise InvalidInput(f"{where} is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {_key(k, where): _json(v, f"{where}[{k!r}]", depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_json(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
    hint = "; use .isoformat()" if hasattr(value, "isoformat") else "; use .item()" if hasattr(value, "item") else ""
    raise InvalidInput(
        f"{where} must be a JSON value (None, bool, int, float, str, list, dict), got {_shown(value)}{hint}"
    )


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
