"""`Service`: what every address shares: the collection, the limits, the cache and the metrics."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from fastapi import Response
from starlette.exceptions import HTTPException

from nearfield.errors import InvalidInput
from nearfield.filters import parse
from nearfield.monitor.metrics import Metrics
from nearfield.serve.cache import ResultCache
from nearfield.stages import stage

if TYPE_CHECKING:
    from nearfield.collection import Collection


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one request may ask for."""

    body: int
    k: int
    queries: int
    query_length: int
    documents: int

    def __post_init__(self) -> None:
        for limit in fields(self):
            at_least(getattr(self, limit.name), f"max_{limit.name}", 1)


def at_least(value: object, what: str, least: int) -> int:
    """Return an int that is not too small."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInput(f"{what} must be an int of at least {least}, got {value!r}")
    return value


class Service:
    """A collection, and how it is served.

    Args:
        collection: What is served; it stays open.
        limits: The most that one request may ask for.
        cache_size: Most answers to keep.
        cache_bytes: Most bytes of answers to keep.
        read_only: Refuse to add, replace and delete.
    """

    def __init__(
        self, collection: Collection, limits: Limits, *, cache_size: int, cache_bytes: int, read_only: bool
    ) -> None:
        self.collection = collection
        self.limits = limits
        self.cache = ResultCache(at_least(cache_size, "cache_size", 0), at_least(cache_bytes, "cache_bytes", 0))
        self.metrics = Metrics(collection.stats, self.cache.figures, lambda: collection.cache_stats)
        self.read_only = read_only
        self._clustering = threading.Lock()

    def answer(self, name: str, request: Mapping[str, Any], compute: Callable[[], Any]) -> Response:
        """Return the answer to a question, from the cache if nothing was written since it was last asked.

        The generation is read before and after the answer is computed. It only grows, so if it is the same,
        the answer was computed from that generation alone; otherwise the answer is given, but not kept.

        Args:
            name: Of the question.
            request: Every option of it, defaults too, as JSON values: with the name, what the answer depends
                on.
            compute: Returns the answer as a JSON value.
        """
        parse(request.get("where"))  # checks its depth too, before the key is made of it
        key = json.dumps([name, request], sort_keys=True, separators=(",", ":"))
        generation = self.collection.generation
        found = self.cache.get(generation, key)
        if found is not None:
            return _json(found, "hit")
        with stage("compute"):
            value = compute()
        with stage("render"):
            body = render(value)
        if self.collection.generation == generation:
            self.cache.put(generation, key, body)
        return _json(body, "miss")

    def check_k(self, k: int) -> None:
        """Check how many hits are asked for."""
        _at_most(k, self.limits.k, "k")

    def check_query(self, query: str | Sequence[str] | None) -> None:
        """Check how many queries there are, and how long."""
        queries = [query] if isinstance(query, str) else query or []
        _at_most(len(queries), self.limits.queries, "the number of queries")
        for text in queries:
            _at_most(len(text), self.limits.query_length, "the length of a query")

    def check_batch(self, batch: Sequence[object], what: str) -> None:
        """Check how many documents, or doc_ids, there are."""
        _at_most(len(batch), self.limits.documents, f"the number of {what}")

    @contextmanager
    def one_clustering(self) -> Iterator[None]:
        """Return a context that one thread at a time may enter: a linkage may take gigabytes.

        Raises:
            HTTPException: 503, another is in it; waiting for it would take the threads that searches need.
        """
        if not self._clustering.acquire(blocking=False):
            raise HTTPException(503, "another clustering is in progress; try again later", {"Retry-After": "5"})
        try:
            yield
        finally:
            self._clustering.release()


def render(value: Any) -> bytes:
    """Return a JSON value as bytes."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _json(body: bytes, cache: str) -> Response:
    return Response(body, media_type="application/json", headers={"X-Cache": cache})


def _at_most(value: int, most: int, what: str) -> None:
    if value > most:
        raise InvalidInput(f"{what} must be at most {most} on this server, got {value}")
