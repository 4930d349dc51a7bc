"""`Metrics`: what a server counts and measures, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from nearfield.encode.cache import CacheStats
from nearfield.engine.protocol import Stats

# From a cache hit (well below a millisecond) to a clustering of many documents.
_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STAGE_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)


class Metrics:
    """The metrics of one server, in a registry of their own: two servers in one process don't mix.

    Args:
        stats: Returns the collection's figures; called at each scrape.
        cache: Returns the cache's hits, misses, entries and bytes; called at each scrape.
        vectors: Returns the figures of the encoder's cache of vectors, None if there is none; called at each scrape.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(
        self,
        stats: Callable[[], Stats],
        cache: Callable[[], tuple[int, int, int, int]],
        vectors: Callable[[], CacheStats | None] = lambda: None,
    ) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "nearfield_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "nearfield_request_seconds",
            "Time from a request's head to the end of its answer.",
            ["route"],
            buckets=_REQUEST_BUCKETS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "nearfield_stage_seconds",
            "Time that each stage of a request takes.",
            ["route", "stage"],
            buckets=_STAGE_BUCKETS,
            registry=self._registry,
        )
        self.in_progress = Gauge(
            "nearfield_requests_in_progress", "Requests that wait for their answer.", registry=self._registry
        )
        self._registry.register(_State(stats, cache, vectors))

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request; `route` is the template of its address, never the address itself."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def stage(self, route: str, name: str, seconds: float) -> None:
        """Record how long a stage took."""
        self._stages.labels(route, name).observe(seconds)

    def render(self) -> bytes:
        """Return every metric in Prometheus' text format."""
        return generate_latest(self._registry)


class _State(Collector):
    """What is read at each scrape instead of being counted."""

    def __init__(
        self,
        stats: Callable[[], Stats],
        cache: Callable[[], tuple[int, int, int, int]],
        vectors: Callable[[], CacheStats | None],
    ) -> None:
        self._stats = stats
        self._cache = cache
        self._vectors = vectors

    def describe(self) -> Iterable[Metric]:
        # Without this, registering would scrape the collection to learn the names.
        return ()

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        yield _gauge("nearfield_documents", "Documents that can be found.", stats.documents)
        yield _gauge("nearfield_passages", "Passages of these documents.", stats.passages)
        yield _gauge("nearfield_dead_passages", "Passages of deleted documents still on disk.", stats.dead_passages)
        yield _gauge("nearfield_generation", "Number of the newest committed state.", stats.generation)
        size = GaugeMetricFamily("nearfield_bytes", "Bytes on disk by part.", labels=["part"])
        for part, count in stats.bytes.items():
            size.add_metric([part], count)
        yield size
        yield from _index(stats.index)
        hits, misses, entries, held = self._cache()
        yield CounterMetricFamily("nearfield_cache_hits", "Answers that came from the cache.", hits)
        yield CounterMetricFamily("nearfield_cache_misses", "Answers that had to be computed.", misses)
        yield _gauge("nearfield_cache_entries", "Answers in the cache.", entries)
        yield _gauge("nearfield_cache_bytes", "Bytes of these answers and their keys.", held)
        if (vectors := self._vectors()) is not None:
            yield from _vector_cache(vectors)


def _index(told: Mapping[str, Any]) -> Iterator[Metric]:
    low, high = told["recall_interval"]
    yield _gauge("nearfield_recall_target", "Share of the true nearest that searches must find.", told["recall_target"])
    yield _gauge("nearfield_recall", "Share that they find, measured for 10 hits; 1 for exact scans.", told["recall"])
    yield _gauge("nearfield_recall_low", "Lower end of the 95 % interval of nearfield_recall.", low)
    yield _gauge("nearfield_recall_high", "Upper end of the 95 % interval of nearfield_recall.", high)
    vectors = GaugeMetricFamily("nearfield_index_vectors", "Vectors as the index sees them.", labels=["state"])
    for state in ("indexed", "scanned", "pending", "dead"):
        vectors.add_metric([state], told[state])
    yield vectors
    yield _gauge("nearfield_index_memory_bytes", "Size of the vectors' index.", told.get("memory_bytes", 0))
    yield _gauge("nearfield_index_building", "1 while this process builds it.", 1 if told["building"] else 0)


def _vector_cache(stats: CacheStats) -> Iterator[Metric]:
    prefix = "nearfield_vector_cache"
    yield CounterMetricFamily(f"{prefix}_hits", "Texts whose vectors came from the cache on disk.", stats.hits)
    yield CounterMetricFamily(f"{prefix}_misses", "Texts that had to be encoded.", stats.misses)
    yield _gauge(f"{prefix}_entries", "Vectors in the cache on disk.", stats.entries)
    yield _gauge(f"{prefix}_bytes", "Bytes of the cache on disk.", stats.bytes)


def _gauge(name: str, description: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, description, value)
