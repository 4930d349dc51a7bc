"""FAISS, loaded on first use, and its threads.

A search of one query stays in its thread. What takes all processors runs in a thread of its own, with which OpenMP's
pool of threads ends: a process that is forked would wait for such a pool for ever, and one that goes on would hamper
scikit-learn's and PyTorch's. How many threads the caller's own may use is never changed: which OpenMP library FAISS
finds depends on what was imported before, and may be that of one of these two.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import ceil
from typing import Any, TypeVar

Result = TypeVar("Result")

_lock = threading.Lock()
_modules: list[Any] = []
_manner = threading.local()


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


def in_this_thread(work: Callable[[], Result]) -> Result:
    """Return what some work returns, in which FAISS uses no other thread than the caller's."""
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    if before == 1:
        return work()
    faiss.omp_set_num_threads(1)
    try:
        return work()
    finally:
        faiss.omp_set_num_threads(before)


@contextmanager
def beside_other_work() -> Iterator[None]:
    """Give a context in which this thread's work leaves half of the processors to others.

    OpenMP's threads spin while they wait for each other. Beside other work, which takes their processors, all of them
    would wait for the slowest, and an index took four times as long to build.
    """
    _manner.beside = True
    try:
        yield
    finally:
        _manner.beside = False


def on_all_processors(work: Callable[[], Result]) -> Result:
    """Return what some work returns, in which FAISS uses all processors, or as many as OMP_NUM_THREADS says."""
    count = max(1, processors() // 2) if getattr(_manner, "beside", False) else processors()

    def widely() -> Result:
        faiss = import_faiss()
        faiss.omp_set_num_threads(min(count, faiss.omp_get_max_threads()))
        return work()

    return _in_threads([widely])[0]


def in_parts(work: Callable[[slice], Result], length: int) -> list[Result]:
    """Return what some work returns for each part of a number of things, on as many processors as above.

    For what FAISS itself does in one thread.
    """
    count = on_all_processors(lambda: import_faiss().omp_get_max_threads())
    size = max(1, ceil(length / count))
    parts = [slice(start, min(start + size, length)) for start in range(0, length, size)]
    return _in_threads([partial(in_this_thread, partial(work, part)) for part in parts])


def _in_threads(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """Return what each work returns, each in a thread of its own."""
    results: dict[int, Result] = {}
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            results[number] = works[number]()
        except BaseException as error:
            errors.append(error)

    # Not by an executor: those take no more work once the main thread has ended, and an index may be in the making.
    threads = [threading.Thread(target=run, args=(number,), name="nearfield-index") for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors.pop()
    return [results[number] for number in range(len(works))]
