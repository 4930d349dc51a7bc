"""Reading requests: bytes that are not what they claim to be are refused before anything looks at them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def loads(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is no JSON (NaN and Infinity are none), a key occurs twice in an object, a string holds
            a lone surrogate, an integer has thousands of digits, or it is nested too deeply.

    >>> loads('{"k": 3}')
    {'k': 3}
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_distinct)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("a string holds a lone surrogate, which is no Unicode text") from None
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON; leave the field out or use null")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!a} occurs twice in one object")
    return found


def check_address(scope: Scope) -> None:
    """Check that a request's address is UTF-8 and gives each parameter once.

    Raises:
        HTTPException: 400 or 422; the server would otherwise replace bytes, and take the last of several
            values.
    """
    query = scope["query_string"]
    try:
        unquote_to_bytes(scope.get("raw_path") or b"").decode()
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise HTTPException(400, "the address is not UTF-8; percent-encode the bytes of UTF-8 text") from None
    except ValueError as error:
        raise HTTPException(400, f"the address has too many parameters: {error}") from None
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise HTTPException(422, f"the parameter {name[:80]!r} is given {count} times; give it once")


class StrictRequest(Request):
    """A request whose body is JSON of limited size."""

    async def body(self) -> bytes:
        """Return the body.

        Raises:
            HTTPException: 413 as soon as it is larger than the app's `max_body`, 415 if it is not JSON.
        """
        if not hasattr(self, "_body"):
            self._check_type()
            self._body = await self._read(self.app.state.max_body)
        return self._body

    def _check_type(self) -> None:
        header = Message()
        header["content-type"] = given = self.headers.get("content-type", "")
        subtype = header.get_content_subtype() if given else ""
        charset = str(header.get_param("charset") or "utf-8").lower()
        if header.get_content_maintype() != "application" or not (subtype == "json" or subtype.endswith("+json")):
            raise HTTPException(415, f"the body must be JSON, with Content-Type: application/json; got {given!r}")
        if charset not in ("utf-8", "utf8"):
            raise HTTPException(415, f"the body must be JSON in UTF-8, got charset {charset!r}")
        if (coding := self.headers.get("content-encoding", "identity")) != "identity":
            raise HTTPException(415, f"the body must be sent as it is, got Content-Encoding {coding!r}")

    async def _read(self, most: int) -> bytes:
        length = self.headers.get("content-length", "0")
        message = f"the body must have at most {most} bytes"
        if length.isascii() and length.isdigit() and int(length[:20]) > most:
            raise HTTPException(413, f"{message}, got {length[:20]}; send it in parts", {"Connection": "close"})
        found = bytearray()
        async for chunk in self.stream():  # a body sent in chunks states no length
            found += chunk
            if len(found) > most:
                raise HTTPException(413, f"{message}, got more; send it in parts", {"Connection": "close"})
        return bytes(found)

    async def json(self) -> Any:
        """Return the body's value.

        Raises:
            HTTPException: 400, with the reason.
        """
        try:
            return loads((await self.body()).decode())
        except UnicodeDecodeError as error:
            raise HTTPException(400, f"the body is not UTF-8: byte {error.start} can't be read") from None
        except ValueError as error:
            raise HTTPException(400, f"the body can't be read as JSON: {error}") from None


class StrictRoute(APIRoute):
    """A route whose requests are strict."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler that is given strict requests."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict


def no_parameters(request: Request) -> None:
    """Refuse parameters at an address that takes none: they would be options without effect.

    Raises:
        HTTPException: 422, naming them.
    """
    if request.query_params:
        names = ", ".join(map(repr, request.query_params))[:200]
        raise HTTPException(422, f"this address takes no parameters after a question mark, got {names}")


def refuse(reason: str) -> Callable[[], None]:
    """Return a dependency that refuses every request with 403 and a reason."""

    def refusal() -> None:
        raise HTTPException(403, reason)

    return refusal
