"""FAISS, loaded on first use, and its threads.

A search of one query stays in its thread. What takes all processors runs in a thread of its own, with which OpenMP's
pool of threads ends: a process that is forked would wait for such a pool for ever, and one that goes on would hamper
scikit-learn's and PyTorch's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")

_lock = threading.Lock()
_modules: list[Any] = []


def import_faiss() -> Any:
    """Return the module `faiss`, whose import takes a sixth of a second."""
    if not _modules:
        with _lock:  # two threads that import it at once may see half of it
            import faiss

            _modules.append(faiss)
    return _modules[0]


def processors() -> int:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def on_all_processors(work: Callable[[], Result]) -> Result:
    """Return what some work returns, in which FAISS uses all processors."""

    def widely() -> Result:
        import_faiss().omp_set_num_threads(processors())
        return work()

    with ThreadPoolExecutor(1, "nearfield-index") as pool:
        return pool.submit(widely).result()
