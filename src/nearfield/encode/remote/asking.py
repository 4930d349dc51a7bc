"""Asking an endpoint, and asking again after failures that pass."""

from __future__ import annotations

import os
import random
import socket
import ssl
import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from urllib.parse import urlsplit

from nearfield._version import __version__
from nearfield.encode.remote.answers import printable, said
from nearfield.encode.remote.bulk import Call
from nearfield.encode.remote.limits import Limits, Use
from nearfield.encode.remote.transport import Reply, TooLong, Transport
from nearfield.errors import InvalidInput, Unavailable

PASSING = (408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
"""Statuses of failures that may pass; the last ones are those of Cloudflare, and of servers with too much to do."""

_HOPELESS = b"insufficient_quota"
"""What OpenAI says beside 429 when it is not the minute's limit that is used up, but the money."""

FIRST_DELAY, LONGEST_DELAY = 0.5, 20.0
_SHOWN = 200
"""Characters of an address that is repeated."""

_SECRET = 8
"""Characters that a key has at least, of a server that has secret ones."""

_OPENAI = "https://api.openai.com/v1"
_OPENAI_KEY = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an endpoint is waited for: seconds for one attempt, seconds for all of them, and how many follow."""

    timeout: float
    total_timeout: float
    max_retries: int


class Endpoint:
    """One address, with its key, its limits and our patience.

    Args:
        url: The base, such as https://api.openai.com/v1.
        key_variable: The environment variable that holds the key. None: OPENAI_API_KEY if the address is OpenAI's or
            that of OPENAI_BASE_URL, and no key for any other.
        limits: What the server allows in a minute.
        patience: How long it is waited for.
    """

    def __init__(self, url: str, key_variable: str | None, limits: Limits, patience: Patience) -> None:
        self.url = f"{url}/embeddings"
        self._key_variable, self._limits, self._patience = key_variable, limits, patience
        self._transport = Transport(self.url)

    def ask(self, body: bytes, *, tokens: int, most: int, call: Call) -> tuple[Reply, Use]:
        """Return the answer to a request, and its use of the limits; failures that may pass are no answers.

        Raises:
            Unavailable: they did not pass, or the certificate, the host's name or the answer's length is wrong.
            InvalidInput: the key or the proxy is none.
        """
        headers = self._headers()
        end = time.monotonic() + self._patience.total_timeout
        for attempt in range(self._patience.max_retries + 1):
            began = time.monotonic()
            use = None if call.stopped() else self._limits.take(tokens, call.stopped)
            if use is None:
                break
            now = time.monotonic()
            end += now - began  # the server isn't to blame for our limits
            asked = 0.0
            try:
                deadline = min(now + self._patience.timeout, end)
                reply = self._without_key(self._transport.post(body, headers, deadline=deadline, most=most, call=call))
            except (OSError, HTTPException, TooLong) as error:
                failure = _describe(error)
                if _is_final(error):
                    raise self.error(failure) from None
            else:
                if reply.status not in PASSING or _HOPELESS in reply.body:
                    return reply, use
                failure, asked = _told(reply), _retry_after(reply)
            finally:
                self._limits.settle(use, None)
            wait = asked + random.uniform(0, min(LONGEST_DELAY, FIRST_DELAY * 2**attempt))
            if attempt == self._patience.max_retries or time.monotonic() + wait >= end:
                raise self._gave_up(failure, attempt + 1, asked)
            call.sleep(wait)
        raise self.error("was not asked: the call was broken off")

    def settle(self, use: Use, tokens: int | None) -> None:
        """Say how many tokens a request had as the server counts them."""
        self._limits.settle(use, tokens)

    def _without_key(self, reply: Reply) -> Reply:
        """Return an answer without the key, before it is shortened, which could leave a part."""
        secret = self._secret().encode()
        return replace(reply, body=reply.body.replace(secret, b"...")) if secret else reply

    def error(self, failure: str) -> Unavailable:
        """Return the error for a failure, without the key and with nothing that a terminal would obey."""
        secret = self._secret()
        return Unavailable(printable(f"{self.url} {failure.replace(secret, '...') if secret else failure}"))

    def refusal(self, reply: Reply) -> Unavailable:
        """Return the error for an answer that is a refusal."""
        hint = ""
        if reply.status in (401, 403):
            hint = self._key_hint()
        elif reply.status in (404, 405):
            hint = "check the address (most end with /v1) and the model's name"
        elif 300 <= reply.status < 400:
            hint = f"redirects are not followed; name the address itself ({_destination(reply)})"
        elif reply.status in (400, 413, 422):
            hint = "check the model's name, its dimension, and how many tokens it takes (max_tokens)"
        return self.error(f"{_told(reply)}; {hint}" if hint else _told(reply))

    def _gave_up(self, failure: str, attempts: int, asked: float) -> Unavailable:
        times = "once" if attempts == 1 else f"{attempts} times"
        longer = f", and asks to wait {asked:.0f} s" if asked else ""
        return self.error(
            f"{failure} (tried {times}{longer}); see whether the server is up and has no more to do than it "
            "can, and try again; ingest with a source goes on where it stopped"
        )

    def _headers(self) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"nearfield/{__version__}",
        }
        key = self._key()
        if self._key_variable is not None and not key:
            raise InvalidInput(f"the environment variable {self._key_variable} must hold the key for {self.url}")
        # http.client's own error would quote it.
        if not key.isascii() or not key.isprintable() or " " in key:
            raise InvalidInput(
                f"the environment variable {self._key_variable or _OPENAI_KEY} must hold a key of printable ASCII "
                "without spaces"
            )
        return {**headers, "Authorization": f"Bearer {key}"} if key else headers

    def _key(self) -> str:
        """Return the key as the environment has it now; empty if there is none for this address."""
        variable = self._key_variable or (_OPENAI_KEY if self._is_keys_own() else "")
        return os.environ.get(variable, "").strip() if variable else ""

    def _secret(self) -> str:
        """Return the key if it is one: servers without keys are given a word, which may be part of any answer."""
        key = self._key()
        return key if len(key) >= _SECRET else ""

    def _is_keys_own(self) -> bool:
        """Return whether OPENAI_API_KEY is meant for this host.

        Whoever makes a collection chooses its address, so it must not be the address that a key is sent to.
        """
        own = urlsplit(os.environ.get("OPENAI_BASE_URL") or _OPENAI)
        here = urlsplit(self.url)
        return (own.scheme.lower(), own.netloc.lower()) == (here.scheme, here.netloc)

    def _key_hint(self) -> str:
        if self._key_variable is not None:
            return f"the key is that of the environment variable {self._key_variable}"
        if self._key():
            return f"the key is that of the environment variable {_OPENAI_KEY}"
        return (
            f"no key was sent: set {_OPENAI_KEY} (and OPENAI_BASE_URL to this address, unless it is OpenAI's), or pass "
            "encoder=RemoteEncoder(…, api_key_env=…)"
        )


def _is_final(error: Exception) -> bool:
    if isinstance(error, socket.gaierror):
        return error.errno != socket.EAI_AGAIN
    return isinstance(error, TooLong | ssl.SSLCertVerificationError)


def _describe(error: Exception) -> str:
    if isinstance(error, TooLong):
        return "answered with more than so many vectors can need; check that it is an embeddings endpoint"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that can't be verified ({error.verify_message}); SSL_CERT_FILE names others to trust"
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    if isinstance(error, socket.gaierror):
        return f"can't be reached: its host's name is not known ({error.strerror})"
    return f"can't be reached, or broke off its answer: {type(error).__name__}: {str(error)[:_SHOWN]}"


def _told(reply: Reply) -> str:
    """Return what a server said with its refusal, shortened."""
    status, message = f"answered {reply.status} {reply.reason[:40]}".rstrip(), said(reply.body)
    return f"{status}: {message!r}" if message else status


def _header(reply: Reply, name: str) -> str:
    return next((value.strip() for key, value in reply.headers.items() if key.lower() == name), "")


def _destination(reply: Reply) -> str:
    """Return where a redirect leads, without what could be secret in it."""
    try:
        parts = urlsplit(_header(reply, "location"))
    except ValueError:
        return "its Location is no URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:_SHOWN]


def _retry_after(reply: Reply) -> float:
    """Return how many seconds a server asks to wait, as a number or until a date; 0 if it doesn't."""
    asked = _header(reply, "retry-after")
    if asked.isascii() and asked.isdigit():
        return float(asked[:9])
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        return 0.0
