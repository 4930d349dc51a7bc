"""What a request that fails is answered: `{"error": {"type": …, "message": …}}`, whatever went wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from nearfield.errors import HTTP_CODES, NearfieldError, http_code

log = logging.getLogger("nearfield.serve")

# What has no error of nearfield's own, since it happens in HTTP only.
_TYPES = {
    400: "InvalidInput",
    403: "ReadOnly",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "TooLarge",
    415: "UnsupportedMediaType",
    422: "InvalidInput",
    503: "Busy",
}
_SHOWN_ERRORS = 5
_INTERNAL = "the server failed to answer; the reason is in its log"


def failure(status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer to a request that failed."""
    return JSONResponse({"error": {"type": kind, "message": message}}, status, dict(headers or {}))


def internal_failure(request: str) -> Response:
    """Return the answer to a request that failed by no fault of its own; the exception is logged only."""
    log.exception("%s failed", request)
    return failure(500, "InternalError", _INTERNAL)


def handle_failures(app: FastAPI) -> None:
    """Have the app answer every expected exception with a failure; the rest is `internal_failure`'s."""
    app.add_exception_handler(NearfieldError, _nearfield)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


def _nearfield(request: Request, error: Exception) -> Response:
    kind = next((kind for kind in HTTP_CODES if isinstance(error, kind)), NearfieldError)
    code = http_code(error) if isinstance(error, NearfieldError) else 500
    if code != 500:
        return failure(code, kind.__name__, str(error))
    # The message names files of the server.
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return failure(code, kind.__name__, _INTERNAL)


def _validation(_: Request, error: Exception) -> Response:
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    return failure(422, "InvalidInput", describe(errors))


def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = error.detail if isinstance(error, HTTPException) else _INTERNAL
    if message == HTTPStatus(status).phrase:  # the framework's own, which says too little
        message = f"there is no {request.method} {request.url.path}; /openapi.json lists every address"
    headers = error.headers if isinstance(error, HTTPException) else None
    return failure(status, _TYPES.get(status, "HTTPError"), message, headers)


def describe(errors: Iterable[Mapping[str, Any]]) -> str:
    """Return one message for pydantic's list of errors: where, what was expected, and what was given.

    >>> describe([{"type": "int_type", "loc": ("body", "k"), "msg": "Should be an integer", "input": "3"}])
    "k: should be an integer, got '3'"
    >>> describe([{"type": "extra_forbidden", "loc": ("query", "kk"), "msg": "", "input": "3"}])
    'kk: there is no such option'
    """
    texts = [_describe(error) for error in errors]
    more = len(texts) - _SHOWN_ERRORS
    return "; ".join(texts[:_SHOWN_ERRORS]) + (f"; and {more} more" if more > 0 else "")


def _describe(error: Mapping[str, Any]) -> str:
    place = _place(error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{place}: there is no such option"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    if error["type"] in ("missing", "value_error") or isinstance(given, dict | list | bytes):
        got = ""
    else:
        got = f", got {_short(repr(given))}"
    return f"{place}: {message[:1].lower()}{message[1:]}{got}"


def _place(path: Iterable[str | int]) -> str:
    source, *steps = path
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
    return _short(place) or str(source)


def _short(text: str, width: int = 80) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
