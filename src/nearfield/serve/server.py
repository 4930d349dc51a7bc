"""`serve`: uvicorn, from the socket to the last answer."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from nearfield.errors import InvalidInput, MissingDependency, Unavailable
from nearfield.opening import open as open_collection
from nearfield.serve import create_app

if TYPE_CHECKING:
    from nearfield.collection import Collection
    from nearfield.encode.protocol import Encoder

log = logging.getLogger("nearfield.serve")

_PATIENCE = 30
"""Seconds that requests in progress have to finish once the server is asked to end."""


def serve(
    path_or_collection: str | Path | Collection,
    *,
    host: str,
    port: int,
    encoder: Encoder | str | None,
    vector_cache: bool | str | Path,
    announce: Callable[[str], None] | None,
    options: Mapping[str, Any],
) -> None:
    """Serve a collection until a signal; `nearfield.serve.run` says what the arguments mean."""
    with ExitStack() as stack:
        if isinstance(path_or_collection, str | Path):
            collection = stack.enter_context(
                open_collection(path_or_collection, encoder=encoder, create=False, cache=vector_cache)
            )
        else:
            collection = path_or_collection
        try:
            app = create_app(collection, **options)
        except TypeError as error:
            raise InvalidInput(f"no such option of the server: {error}") from None
        listener = stack.enter_context(_listen(host, port))
        _load_encoder(collection)
        config = uvicorn.Config(
            app, lifespan="off", log_level="warning", access_log=False, timeout_graceful_shutdown=_PATIENCE
        )
        with _signals_end_quietly():
            _Server(config, announce or _print, _address(listener)).run([listener])


class _Server(uvicorn.Server):
    """uvicorn, which says when it listens."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[str], None], address: str) -> None:
        super().__init__(config)
        self._announce = announce
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce(f"nearfield serves {self._address} (end with Ctrl-C)")


def _listen(host: str, port: int) -> socket.socket:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 2**16:
        raise InvalidInput(f"port must be an int from 0 to 65535, got {port!r}")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise InvalidInput(f"can't listen on {host!r}, port {port}: {error}; choose another, or port 0") from None


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _load_encoder(collection: Collection) -> None:
    """Load the encoder, so that the first query doesn't wait for it; lexical search does without."""
    try:
        _ = collection.encoder
    except (MissingDependency, Unavailable) as error:
        log.warning("Serving without an encoder: %s", error)


@contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """Return a context in which a signal that ends the server does not end the process too.

    uvicorn finishes what is in progress and then raises the signal again, for the handler that was there
    before it: the default one would end the process before the collection is closed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
