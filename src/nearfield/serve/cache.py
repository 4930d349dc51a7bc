"""`ResultCache`: answers of the newest generation, so that none can be stale."""

from __future__ import annotations

import threading
from collections import OrderedDict


class ResultCache:
    """The most recently used answers, each good for one generation of a collection and one request.

    It holds answers of one generation at a time, the newest it has heard of: those of older ones can't be
    asked for again. May be used from several threads.

    Args:
        entries: Most answers to keep; 0 keeps none.
        max_bytes: Most bytes of answers and requests to keep; an answer that alone is larger is not kept.

    >>> cache = ResultCache(entries=2, max_bytes=1000)
    >>> cache.put(1, "q", b"answer")
    >>> cache.get(1, "q"), cache.get(2, "q")
    (b'answer', None)
    """

    def __init__(self, entries: int, max_bytes: int) -> None:
        self._max_entries = entries
        self._max_bytes = max_bytes
        self._answers: OrderedDict[str, bytes] = OrderedDict()
        self._generation = -1
        self._bytes = self._hits = self._misses = 0
        self._lock = threading.Lock()

    def get(self, generation: int, request: str) -> bytes | None:
        """Return the answer to a request in a generation; None if it is not kept."""
        with self._lock:
            self._advance(generation)
            answer = self._answers.get(request) if generation == self._generation else None
            if answer is None:
                self._misses += 1
                return None
            self._hits += 1
            self._answers.move_to_end(request)
            return answer

    def put(self, generation: int, request: str, answer: bytes) -> None:
        """Keep an answer computed from this generation and no other; the least recently used make room."""
        size = _size(request, answer)
        if self._max_entries == 0 or size > self._max_bytes:
            return
        with self._lock:
            self._advance(generation)
            if generation != self._generation or request in self._answers:
                return
            self._answers[request] = answer
            self._bytes += size
            while len(self._answers) > self._max_entries or self._bytes > self._max_bytes:
                self._bytes -= _size(*self._answers.popitem(last=False))

    def figures(self) -> tuple[int, int, int, int]:
        """Return how many hits and misses there were, and how many entries and bytes there are."""
        with self._lock:
            return self._hits, self._misses, len(self._answers), self._bytes

    def _advance(self, generation: int) -> None:
        if generation > self._generation:
            self._generation = generation
            self._answers.clear()
            self._bytes = 0


def _size(request: str, answer: bytes) -> int:
    return len(request) + len(answer)
