"""Graphs for little at a time: a question has one of its width, and what is larger one for all shapes.

A graph of a fixed width is a tenth to a third quicker than the one for all shapes, which besides prepares all its steps
anew when the shape is another than the time before: a question of 16 tokens then takes twice as long. Compiled apart,
each graph has weights of its own; branches of one model share them (docs/decisions/encoder-runtime.md).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import zip_longest
from typing import Any

import numpy as np

from nearfield.encode.openvino import import_openvino
from nearfield.encode.protocol import Vectors
from nearfield.encode.runtime import Batch, Runner

WIDTHS = (16, 24, 32)
"""Tokens of a single text, padding included, that have a graph of their own: those of nearly all questions.

Each takes a tenth of a second to compile for a model of six layers, and 8 MB.
"""

Build = Callable[[int | None], Any]
"""Returns the graph for one text of a width, or the one for all shapes."""

Compile = Callable[[Any], Runner]

APART = 0.05
"""How far vectors of one text may lie apart, relative to their length: in bfloat16, paddings change 0.01 of them."""


class LatencyGraphs:
    """The graphs of an encoder for few texts or a single one; may be used from several threads at once.

    A graph is compiled when it is asked for, so that a process with one question compiles one. At a question of a
    second width, all are compiled together, and take the place of those before; until then, who asks for one that is
    there goes on with it. A text's vector doesn't depend on which were compiled before it: a branch computes what its
    graph computes alone.

    Branches gave garbage in versions of OpenVINO before 2026.3. If they ever do again, or can't be compiled, graphs
    stay apart.
    """

    def __init__(self, longest: int) -> None:
        """`longest` is the model's limit, in tokens; wider graphs are left out."""
        self._widths = tuple(width for width in WIDTHS if width <= longest)
        self._lock = threading.Lock()
        self._apart: dict[int | None, Runner] = {}
        self._together: _Together | None = None
        self._may_join = True

    def runner(self, width: int | None, build: Build, compile_graph: Compile) -> LatencyRunner:
        """Return what runs a single text of a width, or all shapes (None)."""
        if width not in self._widths:
            width = None
        ready = self._ready(width)
        if ready is not None:
            return ready
        with self._lock:
            ready = self._ready(width)
            if ready is None and width is not None and self._may_join and self._apart.keys() - {None}:
                self._join(build, compile_graph)
                ready = self._together
            if ready is None:
                ready = self._apart[width] = compile_graph(build(width))
            return ready

    def _ready(self, width: int | None) -> LatencyRunner | None:
        return self._together or self._apart.get(width)

    def _join(self, build: Build, compile_graph: Compile) -> None:
        self._may_join = False
        with suppress(RuntimeError, MemoryError):  # OpenVINO raises no other
            together = _Together(self._widths, build, compile_graph)
            if together.agrees(self._apart):
                self._together = together
                self._apart = {}


class _Together:
    """What runs the graphs of all widths and the one for all shapes, compiled as one."""

    def __init__(self, widths: tuple[int, ...], build: Build, compile_graph: Compile) -> None:
        self._all_shapes = np.zeros(1, np.int64)
        self._widths = {width: np.array([width], np.int64) for width in widths}
        self._runner = compile_graph(_branches(widths, build))

    def run(self, batches: Iterable[Batch]) -> Iterator[Vectors]:
        """As `Runner.run`."""
        return self._runner.run((*batch, self._all_shapes) for batch in batches)

    def run_one(self, batch: Batch) -> Vectors:
        """As `Runner.run_one`, for one text."""
        return self._runner.run_one((*batch, self._widths.get(batch[0].shape[1], self._all_shapes)))

    def agrees(self, apart: Mapping[int | None, Runner]) -> bool:
        """Whether every branch has the vectors of texts that a graph alone has, whatever their padding."""
        width, alone = next((width, runner) for width, runner in apart.items() if width is not None)
        wanted = np.concatenate([alone.run_one(text) for text in _probes(width)])
        found = [np.concatenate([self.run_one(text) for text in _probes(other)]) for other in self._widths]
        found += self.run([tuple(np.concatenate(parts) for parts in zip(*_probes(width), strict=True))])
        least = APART * np.linalg.norm(wanted, axis=1)
        return all((np.linalg.norm(vectors - wanted, axis=1) <= least).all() for vectors in found)


def _probes(width: int) -> list[Batch]:
    """Return texts of five and of eleven tokens, each in so many places."""
    return [(np.arange(width)[np.newaxis] % 5, np.array([length], np.int64)) for length in (5, 11)]


def _branches(widths: tuple[int, ...], build: Build) -> Any:
    """Return the model of which a third input, int64 `(1,)`, tells the text's width, or that all shapes are meant."""
    openvino = import_openvino()
    ops = openvino.opset13
    model = build(None)
    for width in reversed(widths):
        inputs = [ops.parameter(shape, np.int64) for shape in ([-1, -1], [-1], [1])]
        branch = ops.if_op(ops.equal(inputs[2], ops.constant(np.array([width], np.int64))).output(0))
        here = build(width)
        branch.set_then_body(here)
        branch.set_else_body(model)
        for value, inner, other in zip_longest(inputs, here.get_parameters(), model.get_parameters()):
            if other is not None:  # the graph for all shapes doesn't ask for the width
                branch.set_input(value.output(0), inner, other)
        vectors = branch.set_output(here.get_results()[0], model.get_results()[0])
        model = openvino.Model([vectors], inputs)
    return model


LatencyRunner = Runner | _Together
