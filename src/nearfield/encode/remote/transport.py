"""HTTP requests over connections that are kept open, each with a deadline for all of it.

The standard library's `http.client`, with what it lacks: a deadline that a server can't extend by sending a byte now
and then, a bound on the answer's size, and a pool. Redirects are not followed: they could lead the key elsewhere.
"""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from nearfield.encode.remote.bulk import Call
from nearfield.errors import InvalidInput

CONNECT_SECONDS = 10.0

IDLE_SECONDS = 30.0
"""How long a connection is kept: a router may drop one that is idle, without a word to either end."""


class TooLong(Exception):
    """An answer is longer than any right one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class _Timed(io.RawIOBase):
    """What a socket receives, until the deadline and up to so many bytes."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self._raw: Any = wire.sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._wire.set_timeout()
        count = int(self._raw.readinto(buffer) or 0)
        self._wire.room -= count
        if self._wire.room < 0:
            raise TooLong
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Wire:
    """What `http.client` needs of a socket, with a deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deadline, self.room = 0.0, 0

    def set_timeout(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not come in time")
        self.sock.settimeout(left)

    def sendall(self, data: Any) -> None:
        self.set_timeout()
        self.sock.sendall(data)

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        return io.BufferedReader(_Timed(self))

    def close(self) -> None:
        self.sock.close()


class Transport:
    """Requests to one address, from any number of threads."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._lock = threading.Lock()
        self._idle: list[tuple[float, HTTPConnection]] = []
        weakref.finalize(self, _close, self._idle)

    def post(self, body: bytes, headers: Mapping[str, str], *, deadline: float, most: int, call: Call) -> Reply:
        """Return the answer to a request, whatever its status.

        Args:
            body: What is sent.
            headers: Sent with it.
            deadline: When the whole answer must be there, as of `time.monotonic`.
            most: How many bytes it may have.
            call: What can break it off.

        Raises:
            OSError, HTTPException: no whole answer came.
            TooLong: it has more bytes.
        """
        while True:
            connection = self._kept()
            kept = connection is not None
            connection = connection or self._connect(deadline)
            try:
                return self._exchange(connection, body, headers, deadline, most, call)
            except ConnectionError:
                # The server may close an idle connection at any time; that says nothing about a new one.
                if not kept or call.stopped():
                    raise

    def _exchange(
        self,
        connection: HTTPConnection,
        body: bytes,
        headers: Mapping[str, str],
        deadline: float,
        most: int,
        call: Call,
    ) -> Reply:
        wire: Any = connection.sock
        wire.deadline, wire.room = deadline, most + 65_536  # with the headers
        call.using(wire.sock)
        whole = False
        try:
            connection.request("POST", self._target, body, {**self._proxy_headers, **headers})
            with connection.getresponse() as response:
                reply = Reply(response.status, response.reason, dict(response.headers), _read(response, most))
            whole = not response.will_close
        finally:
            call.done_with(wire.sock)
            if not whole:
                connection.close()
        with self._lock:
            self._idle.append((time.monotonic(), connection))
        return reply

    def _kept(self) -> HTTPConnection | None:
        """Return a connection that was used a moment ago; if the last one is too old, all are."""
        with self._lock:
            if self._idle and time.monotonic() - self._idle[-1][0] < IDLE_SECONDS:
                return self._idle.pop()[1]
            _close(self._idle)
            return None

    @cached_property
    def _proxy(self) -> SplitResult | None:
        """The proxy that the environment (or the system) names for this address."""
        proxy = getproxies().get(self._parts.scheme)
        if not proxy or proxy_bypass(self._parts.netloc):
            return None
        parts = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
        if parts.scheme != "http" or not parts.hostname:
            raise InvalidInput(
                f"the proxy that the environment names for {self._parts.scheme} must be an http:// address of a host; "
                "set the variable to one, or add the endpoint's host to NO_PROXY"
            )
        return parts

    @cached_property
    def _proxy_headers(self) -> dict[str, str]:
        """Who we are for a proxy that forwards; one that tunnels is told with CONNECT."""
        return _authorization(self._proxy) if self._parts.scheme == "http" else {}

    @cached_property
    def _target(self) -> str:
        forwarded = self._proxy is not None and self._parts.scheme == "http"
        return self._parts.geturl() if forwarded else self._parts.path or "/"

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def _connect(self, deadline: float) -> HTTPConnection:
        at = self._proxy or self._parts
        seconds = min(CONNECT_SECONDS, max(0.001, deadline - time.monotonic()))
        host, port = str(at.hostname), at.port or (443 if at.scheme == "https" else 80)
        connection: HTTPConnection
        if self._parts.scheme == "https":
            connection = HTTPSConnection(host, port, timeout=seconds, context=self._trust)
            if self._proxy is not None:
                connection.set_tunnel(str(self._parts.hostname), self._parts.port or 443, _authorization(self._proxy))
        else:
            connection = HTTPConnection(host, port, timeout=seconds)
        connection.connect()
        connection.sock = _Wire(connection.sock)
        return connection


def _read(response: HTTPResponse, most: int) -> bytes:
    if response.length is not None and response.length > most:
        raise TooLong
    try:
        return response.read()
    except (ValueError, OverflowError, MemoryError) as error:  # chunks of an impossible length
        raise HTTPException(f"its chunks can't be read: {error}") from None


def _authorization(proxy: SplitResult | None) -> dict[str, str]:
    if proxy is None or proxy.username is None:
        return {}
    words = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(words.encode()).decode()}


def _close(idle: list[tuple[float, HTTPConnection]]) -> None:
    while idle:
        with contextlib.suppress(OSError):
            idle.pop()[1].close()
