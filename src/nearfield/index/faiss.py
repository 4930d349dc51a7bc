"""FAISS, loaded on first use, and its threads.

A search of one query stays in its thread. What takes all processors runs in a thread of its own, with which OpenMP's
pool of threads ends: a process that is forked would wait for such a pool for ever, and one that goes on would hamper
scikit-learn's and PyTorch's. How many threads the caller's own may use is never changed: which OpenMP library FAISS
finds depends on what was imported before, and may be that of one of these two.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

_lock = threading.Lock()
_modules: list[Any] = []


def import_faiss() -> Any:
    """Return the module `faiss`, whose import takes a sixth of a second."""
    if not _modules:
        with _lock:  # two threads that import it at once may see half of it
            _modules.append(_imported())
    return _modules[0]


def _imported() -> Any:
    """Return the module; its OpenMP's threads sleep while they wait, unless the user or another library chose.

    By default they spin, and beside other work, in which they then wait for each other's processors, an index took four
    times as long to build.
    """
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys()
    if not chosen:
        os.environ["OMP_WAIT_POLICY"] = "passive"  # read once, when the library is loaded
    try:
        import faiss
    finally:
        if not chosen:
            del os.environ["OMP_WAIT_POLICY"]
    return faiss


def processors() -> int:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def in_this_thread(work: Callable[[], Result]) -> Result:
    """Return what some work returns, in which FAISS uses no other thread than the caller's."""
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        return work()
    finally:
        faiss.omp_set_num_threads(before)


def on_all_processors(work: Callable[[], Result]) -> Result:
    """Return what some work returns, in which FAISS uses all processors, or as many as OMP_NUM_THREADS says."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def widely() -> None:
        try:
            faiss = import_faiss()
            faiss.omp_set_num_threads(min(processors(), faiss.omp_get_max_threads()))
            results.append(work())
        except BaseException as error:
            errors.append(error)

    # Not by an executor: those take no more work once the main thread has ended, and an index may be in the making.
    thread = threading.Thread(target=widely, name="nearfield-index")
    thread.start()
    thread.join()
    if errors:
        raise errors.pop()
    return results.pop()
