"""The names of remote encoders: `https://host/v1#model`, with options that change what is stored after a `?`.

A name says all that a collection needs to make its vectors again, and no secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, cast
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from nearfield.encode.remote.options import RemoteKeywords, RemoteOptions
from nearfield.errors import InvalidInput

Options: TypeAlias = dict[str, int | str | None]

_EXAMPLE = "'https://api.openai.com/v1#text-embedding-3-small'"
_NUMBERS = ("dimension", "max_tokens")
_PROMPTS = ("query_prompt", "document_prompt")
_NO_LIMIT = "none"
_PLAIN = "/:@"  # what model names have besides letters and digits


def is_remote(name: str) -> bool:
    """Return whether a name is that of a remote encoder."""
    return name.lower().startswith(("http://", "https://"))


def check_url(url: object) -> str:
    """Return an endpoint's address in its one form: scheme and host in lower case, no slash at the end.

    Raises:
        InvalidInput: no http or https address of a host, or one with a user, a password, a query or a fragment. The
            message holds none of these.

    >>> check_url("HTTP://LocalHost:8080/v1/")
    'http://localhost:8080/v1'
    """
    if not isinstance(url, str):
        raise InvalidInput(f"url must be a str, as 'https://api.openai.com/v1', got {type(url).__name__}")
    if not is_remote(url):  # which is not repeated in messages: it may hold a password
        raise InvalidInput("url must begin with http:// or https://, as 'https://api.openai.com/v1' does")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput("url must be printable ASCII without spaces; write other characters as %XX, hosts in IDNA")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")  # as looking it up will
    except ValueError:
        raise InvalidInput("url must have a host and, if any, a port from 0 to 65535") from None
    if "@" in parts.netloc:
        raise InvalidInput("url must have no user and password; put the key into an environment variable")
    if not host:
        raise InvalidInput("url must have a host, as 'https://api.openai.com/v1' has")
    if "?" in url or "#" in url:
        raise InvalidInput("url must have no query and no fragment; the model's name is an argument of its own")
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def format_name(url: str, model: str, options: Mapping[str, int | str | None]) -> str:
    """Return the name of an encoder; options that are as they are by themselves are left out.

    >>> format_name("https://api.openai.com/v1", "text-embedding-3-small", {"dimension": 256, "query_prompt": ""})
    'https://api.openai.com/v1#text-embedding-3-small?dimension=256'
    """
    usual = RemoteOptions()
    given = {
        key: _NO_LIMIT if options[key] is None else options[key]
        for key in (*_NUMBERS, *_PROMPTS)
        if key in options and options[key] != getattr(usual, key)
    }
    query = "?" + urlencode(given, quote_via=quote) if given else ""
    return f"{url}#{quote(model, safe=_PLAIN)}{query}"


def parse_name(name: str) -> tuple[str, str, Options]:
    """Return the address, the model and the options that a name holds.

    Raises:
        InvalidInput: the address can't be taken, there is no model, or an option is unknown, given twice or no number.

    >>> parse_name("http://127.0.0.1:8080/v1#BAAI/bge-m3?max_tokens=8192&query_prompt=query%3A%20")
    ('http://127.0.0.1:8080/v1', 'BAAI/bge-m3', {'max_tokens': 8192, 'query_prompt': 'query: '})
    """
    address, _, fragment = name.partition("#")
    url = check_url(address)
    model, _, query = fragment.partition("?")
    if not model:
        raise InvalidInput(f"a remote encoder's name must have the model after a '#', as in {_EXAMPLE}; got {url!r}")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        pairs = [(query, "")]
    options: Options = {}
    for key, value in pairs:
        if key in options or key not in (*_NUMBERS, *_PROMPTS):
            raise InvalidInput(
                f"after the model, {url}#{model}? may have {', '.join((*_NUMBERS, *_PROMPTS))}, once each; got {key!r}"
            )
        unlimited = (key, value) == ("max_tokens", _NO_LIMIT)
        options[key] = None if unlimited else _number(key, value) if key in _NUMBERS else value
    return url, unquote(model), options


def canonical(name: str) -> str:
    """Return a name in the one form that a collection records, or as it is if it isn't a remote encoder's.

    Raises:
        InvalidInput: it is a remote encoder's, and no encoder can be made of it.
    """
    if not is_remote(name):
        return name
    url, model, options = parse_name(name)
    RemoteOptions(**cast(RemoteKeywords, options))
    return format_name(url, model, options)


def _number(key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value)):
        raise InvalidInput(f"{key} in a remote encoder's name must be a whole number from 1, got {value!r}")
    return int(value)
