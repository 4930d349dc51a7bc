"""What a remote encoder is told besides the address and the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict

from nearfield import checks
from nearfield.errors import InvalidInput

ENCODINGS = ("base64", "float")


class RemoteKeywords(TypedDict, total=False):
    """The options of `RemoteEncoder`, by name."""

    dimension: int | None
    max_tokens: int | None
    query_prompt: str
    document_prompt: str
    api_key_env: str | None
    batch_size: int
    concurrency: int
    timeout: float
    total_timeout: float
    max_retries: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    encoding_format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions:
    """Checked options; `RemoteEncoder` describes them.

    Raises:
        InvalidInput: one is out of range.
    """

    dimension: int | None = None
    max_tokens: int | None = 8191
    query_prompt: str = ""
    document_prompt: str = ""
    api_key_env: str | None = None
    batch_size: int = 32
    concurrency: int = 8
    timeout: float = 60.0
    total_timeout: float = 180.0
    max_retries: int = 6
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    encoding_format: str = "base64"

    def __post_init__(self) -> None:
        for what in ("dimension", "max_tokens", "requests_per_minute", "tokens_per_minute"):
            if getattr(self, what) is not None:
                checks.count(getattr(self, what), what)
        for what in ("batch_size", "concurrency"):
            checks.count(getattr(self, what), what)
        checks.count(self.max_retries, "max_retries", 0)
        for what in ("timeout", "total_timeout"):
            _check_seconds(getattr(self, what), what)
        for what in ("query_prompt", "document_prompt"):
            check_words(getattr(self, what), what)
        checks.choice(self.encoding_format, "encoding_format", ENCODINGS)
        if self.api_key_env is not None:
            _check_variable(self.api_key_env)
        if self.room is not None and self.room < 1:
            raise InvalidInput(f"max_tokens must leave room beside the prompts, and {self.max_tokens} leaves none")

    @property
    def room(self) -> int | None:
        """How many tokens the longer prompt leaves to a text; None: any number."""
        longest = max(len(self.query_prompt.encode()), len(self.document_prompt.encode()))
        return None if self.max_tokens is None else self.max_tokens - longest


def check_words(value: object, what: str) -> str:
    """Return a str that is Unicode text.

    Raises:
        InvalidInput: something else, or a lone surrogate.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{what} must be a str, got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} must be Unicode text, and has a lone surrogate") from None
    return value


def _check_seconds(value: object, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidInput(f"{what} must be a number of seconds above 0, got {value!r}")


def _check_variable(name: object) -> None:
    # The value is not repeated: it may be the key itself, put in the wrong place.
    if not isinstance(name, str) or not name.isidentifier():
        raise InvalidInput(
            "api_key_env must be the name of an environment variable that holds the key, such as 'OPENAI_API_KEY', and "
            "never the key itself"
        )
