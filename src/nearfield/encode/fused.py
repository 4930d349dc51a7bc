"""The graph for few texts: queries, keys and values of a layer in one product.

Each product waits until all threads have come to its end. With a few tokens that is a tenth of the time; with many,
cutting the common product up costs more than the waiting.
"""

from __future__ import annotations

import numpy as np

from nearfield.encode.graph import Graph, Node


class FusedGraph(Graph):
    """A graph with one product for queries, keys and values."""

    def attend(self, tokens: Node, bias: Node, name: str) -> Node:
        """Multi-head attention, as `Graph` has it."""
        hidden, heads = self.shape.hidden, self.shape.heads
        parts = [f"{name}.{part}" for part in (self.family.query, self.family.key, self.family.value)]
        weight = np.concatenate([self.tensor(f"{part}.weight", hidden, hidden) for part in parts])
        offset = np.concatenate([self.tensor(f"{part}.bias", hidden) for part in parts])
        product = self.ops.matmul(tokens, self.ops.constant(weight), False, True)
        product = self.ops.add(product, self.ops.constant(offset))
        by_head = self.ops.reshape(product, self.integers(0, 0, len(parts), heads, hidden // heads), True)
        first = self.ops.transpose(by_head, self.integers(2, 0, 3, 1, 4))  # (3, n, heads, length, …)
        split = self.ops.split(first, self.scalar(0), len(parts))
        query, key, value = (self.ops.squeeze(split.output(part), self.integers(0)) for part in range(len(parts)))
        attended = self.ops.scaled_dot_product_attention(query, key, value, bias)
        back = self.ops.transpose(attended, self.integers(0, 2, 1, 3))
        return self.ops.reshape(back, self.integers(0, 0, hidden), True)
