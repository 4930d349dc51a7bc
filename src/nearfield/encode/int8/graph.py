"""The graph with products in eight-bit integers.

Weights have one scale a row, inputs one scale each. Before an input is rounded, its channels are shifted to their
middle and scaled, and the weights take the inverse: so channels with large values don't leave the others a few steps
(Xiao et al. 2023, SmoothQuant; Wei et al. 2023, Outlier Suppression+, for the shift). The bias takes up what rounding
the weights adds on the mean (Nagel et al. 2019, Data-Free Quantization, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.graph import Graph, Node, Tensors
from nearfield.encode.int8.ranges import Ranges
from nearfield.encode.settings import ModelSettings

SMOOTHING = 0.8
"""How much of the differences between channels the weights take up, from 0 to 1 (SmoothQuant's alpha)."""

MARGIN = 1.1
"""How far values may lie beyond those that were measured, relative to these."""

LEAST = 1e-4
"""Half the range of a channel, at least."""

STEPS = 127
"""Steps on each side of zero."""

COARSE = 8.0
"""Steps in a channel's standard deviation, on the mean: with fewer, the input's products stay as they are.

In all-MiniLM-L6-v2 these are the narrowing products of layers 0 to 2, whose inputs have a few values far from all
others; they make three fifths of the whole error.
"""


@dataclass(frozen=True, slots=True)
class _Input:
    """An input as it is rounded: (x - middle) / scale; `rounded` is its node."""

    rounded: Node
    middle: NDArray[np.float32]
    scale: NDArray[np.float32]
    mean: NDArray[np.float32]


class _Int8Graph(Graph):
    """Products whose ranges are known in integers, others as they are."""

    ranges: dict[str, Ranges]
    inputs: dict[tuple[str, ...], _Input | None]

    def linear(self, node: Node, name: str, out: int, into: int, *, bias: bool = True) -> Node:
        ranges = self.ranges.get(name)
        if ranges is None or not bias:
            return super().linear(node, name, out, into, bias=bias)
        if ranges.names not in self.inputs:
            self.inputs[ranges.names] = self._input(node, ranges, into)
        source = self.inputs[ranges.names]
        if source is None:
            return super().linear(node, name, out, into)
        weight, offset = self.tensor(f"{name}.weight", out, into), self.tensor(f"{name}.bias", out)
        scaled = weight * source.scale
        step = np.maximum(np.abs(scaled).max(axis=1, keepdims=True), np.float32(1e-30)) / np.float32(STEPS)
        integers = np.rint(scaled / step).astype(np.int8)
        left = (scaled - integers * step) @ source.mean
        constant = self.ops.constant
        matrix = self.ops.multiply(self.ops.convert(constant(integers), "f32"), constant(step))
        product = self.ops.matmul(source.rounded, matrix, False, True)
        return self.ops.add(product, constant((offset + weight @ source.middle + left).astype(np.float32)))

    def _input(self, node: Node, ranges: Ranges, into: int) -> _Input | None:
        """Return an input rounded; None if that would be too coarse."""
        middle = ((ranges.high + ranges.low) / 2).astype(np.float32)
        half = np.maximum((ranges.high - ranges.low) / 2 * np.float32(MARGIN), np.float32(LEAST))
        weights = [np.abs(self.tensor(f"{name}.weight", -1, into)).max(axis=0) for name in ranges.names]
        largest = np.maximum(np.max(weights, axis=0), np.float32(1e-5))
        scale = (half**SMOOTHING / largest ** (1 - SMOOTHING)).astype(np.float32)
        limit = (half / scale).max()
        if (ranges.deviation / scale).mean() * STEPS < COARSE * limit:
            return None
        shifted = self.ops.multiply(node, self.ops.constant(1 / scale))
        shifted = self.ops.add(shifted, self.ops.constant(-middle / scale))
        low, high = self.number(-limit * (STEPS + 1) / STEPS), self.number(limit)
        rounded = self.ops.fake_quantize(shifted, low, high, low, high, 2 * STEPS + 2)
        return _Input(rounded, middle, scale, (ranges.mean - middle) / scale)


def int8_form(ranges: Sequence[Ranges]) -> Callable[[Any, Tensors, ModelSettings], Graph]:
    """Return the form of a graph that `build_graph` takes, for a model's ranges."""

    def make(ops: Any, tensors: Tensors, settings: ModelSettings) -> Graph:
        graph = _Int8Graph(ops, tensors, settings)
        graph.ranges = {name: one for one in ranges for name in one.names}
        graph.inputs = {}
        return graph

    return make
