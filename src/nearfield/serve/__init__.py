"""A collection over HTTP: `create_app` returns the application, `run` serves it.

It needs the extra `serve` (FastAPI, uvicorn, prometheus-client).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfield.extras import load_extra

if TYPE_CHECKING:
    from fastapi import FastAPI

    from nearfield.collection import Collection
    from nearfield.encode.protocol import Encoder

__all__ = ["create_app", "run"]


def create_app(
    collection: Collection,
    *,
    cache_size: int = 1024,
    cache_bytes: int = 64 * 2**20,
    max_body: int = 16 * 2**20,
    max_k: int = 10_000,
    max_queries: int = 100,
    max_query_length: int = 10_000,
    max_documents: int = 10_000,
    read_only: bool = False,
) -> FastAPI:
    """Return an ASGI application that serves a collection; docs/http.md lists its addresses.

    The collection stays the caller's, who closes it. There is no authentication.

    Args:
        collection: What is served. What other processes and threads write to it is seen at once.
        cache_size: Most answers to keep; 0 keeps none. An answer is never given for another generation than
            its own.
        cache_bytes: Most bytes of answers to keep.
        max_body: Most bytes of a request's body; a longer one gets 413.
        max_k: Most hits to ask for.
        max_queries: Most queries in one batch.
        max_query_length: Most characters of a query.
        max_documents: Most documents (or doc_ids) in one batch.
        read_only: Refuse to add, replace and delete.

    Raises:
        InvalidInput: a limit is not an int, or too small.
        MissingDependency: the extra `serve` is not installed.
    """
    _require()
    from nearfield.serve.app import build
    from nearfield.serve.service import Limits, Service

    limits = Limits(body=max_body, k=max_k, queries=max_queries, query_length=max_query_length, documents=max_documents)
    return build(Service(collection, limits, cache_size=cache_size, cache_bytes=cache_bytes, read_only=read_only))


def run(
    path_or_collection: str | Path | Collection,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    encoder: Encoder | str | None = None,
    vector_cache: bool | str | Path = False,
    announce: Callable[[str], None] | None = None,
    **options: Any,
) -> None:
    """Serve a collection until SIGINT or SIGTERM, then finish the requests in progress and return.

    One line with the address is printed once the server listens. A path is opened here and closed at the end;
    a collection that was passed stays open.

    Args:
        path_or_collection: A collection, or the path of one that exists.
        host: Address to listen on. Anyone who reaches it can read and write: there is no authentication.
        port: Port to listen on; 0 takes a free one, and the line says which.
        encoder: Of the collection, when it is opened from a path.
        vector_cache: Likewise: True or a folder keeps the vectors of queries and documents on disk.
        announce: Called with the line instead of printing it.
        options: Of `create_app`.

    Raises:
        InvalidInput: an option is unknown or out of range, or the address can't be listened on.
        NotFound: there is no collection at the path.
        MissingDependency: the extra `serve` is not installed.
    """
    _require()
    from nearfield.serve.server import serve

    serve(
        path_or_collection,
        host=host,
        port=port,
        encoder=encoder,
        vector_cache=vector_cache,
        announce=announce,
        options=options,
    )


def _require() -> None:
    for package in ("fastapi", "prometheus_client", "uvicorn"):
        load_extra(package, "serve", "serving over HTTP")
