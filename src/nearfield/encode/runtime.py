"""Running a graph on the processor: one compiled for a single text's latency, one for many texts' throughput."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.openvino import import_openvino
from nearfield.encode.protocol import Vectors
from nearfield.errors import InvalidInput

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
_DEVICE = "CPU"

Batch = tuple[NDArray[np.int64], NDArray[np.int64]]


def choose_precision(precision: str) -> str:
    """Return "float32" or "bfloat16": what was asked, or for "auto" bfloat16 where the processor computes in it.

    Raises:
        InvalidInput: another word, or bfloat16 on a processor that doesn't have it.
    """
    if precision == "float32":
        return precision
    capable = "BF16" in _core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and not capable:
        raise InvalidInput("precision 'bfloat16' needs a processor that computes in it; use 'auto' or 'float32'")
    return "bfloat16" if capable else "float32"


class Runner:
    """A compiled graph and its requests; may be used from several threads at once."""

    def __init__(self, graph: Any, precision: str, hint: str) -> None:
        options = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "PERFORMANCE_HINT": hint,
            # Pinned threads wait for their processor when another process has it.
            "ENABLE_CPU_PINNING": "NO",
        }
        self._compiled = _core().compile_model(graph, _DEVICE, options)
        self._streams = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    def run(self, batches: Iterable[Batch]) -> Iterator[Vectors]:
        """Yield the vectors of each batch, float32 `(n, dimension)`, in order; as many at once as there are streams."""
        running: deque[tuple[Any, Batch]] = deque()
        try:
            for batch in batches:
                if len(running) == self._streams:
                    yield self._finish(running.popleft())
                request = self._take()
                running.append((request, batch))
                # Inputs are shared with NumPy's memory: the deque keeps a batch alive until its request is done.
                request.start_async(batch, share_inputs=True)
            while running:
                yield self._finish(running.popleft())
        finally:
            # After an error: memory that a request still reads must not be freed.
            for request, _ in running:
                request.wait()

    def _take(self) -> Any:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._compiled.create_infer_request()

    def _finish(self, started: tuple[Any, Batch]) -> Vectors:
        request, _ = started
        request.wait()
        vectors: Vectors = request.get_output_tensor().data.copy()
        with self._lock:
            self._idle.append(request)
        return vectors


_lock = threading.Lock()
_cores: list[Any] = []


def _core() -> Any:
    """Return the process's one OpenVINO core: making one loads its plugins."""
    with _lock:
        if not _cores:
            _cores.append(import_openvino().Core())
        return _cores[0]
