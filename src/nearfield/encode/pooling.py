"""From the vectors of a text's tokens to one vector, as sentence-transformers' `Pooling` does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearfield.encode.graph import Graph

Node = Any  # as in graph


def pool(graph: Graph, tokens: Node, present: Node, lengths: Node, pooling: str) -> Node:
    """Return one vector for each text from its tokens', `(n, length, hidden)` → `(n, hidden)`.

    `present` is false, `(n, length)`, where there is only padding.
    """
    ops = graph.ops
    if pooling == "cls":
        return ops.gather(tokens, graph.scalar(0), graph.scalar(1))
    if pooling == "max":
        absent = graph.unsqueeze(ops.select(present, graph.number(0.0), graph.number(-1e9)), 2)
        return ops.reduce_max(ops.add(tokens, absent), graph.integers(1))
    if pooling == "lasttoken":
        last = ops.subtract(lengths, graph.integers(1))
        return ops.gather(tokens, last, graph.scalar(1), batch_dims=1)
    # As a product, (n, 1, length) × (n, length, hidden): one pass, and padding has weight 0.
    weights = ops.select(present, _token_weights(graph, present, pooling), graph.number(0.0))
    total = ops.squeeze(ops.matmul(graph.unsqueeze(weights, 1), tokens, False, False), graph.integers(1))
    count = ops.convert(lengths, "f32")
    if pooling == "mean_sqrt_len_tokens":
        count = ops.sqrt(count)
    elif pooling == "weightedmean":
        count = ops.reduce_sum(weights, graph.integers(1))
    return ops.divide(total, graph.unsqueeze(count, 1))


def _token_weights(graph: Graph, present: Node, pooling: str) -> Node:
    """Return what each token counts: 1, or for "weightedmean" its place, beginning with 1 (Muennighoff 2022, SGPT)."""
    if pooling != "weightedmean":
        return graph.number(1.0)
    places = graph.ops.add(graph.places(present), graph.scalar(1))
    return graph.unsqueeze(graph.ops.convert(places, "f32"), 0)
