"""The graph of an encoder of the BERT family, in OpenVINO's operators, from the tensors of model.safetensors.

Devlin et al. (2019), BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding; where other
families differ, and what they call their tensors, is in `nearfield.encode.families`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.families import ACTIVATIONS
from nearfield.encode.head import Dense
from nearfield.encode.openvino import import_openvino
from nearfield.encode.pooling import pool
from nearfield.encode.settings import ModelSettings
from nearfield.errors import InvalidInput

Tensors = dict[str, NDArray[np.float32]]
Node = Any  # openvino is untyped here: it is imported on first use


def build_graph(settings: ModelSettings, tensors: Tensors, vocabulary: int, form: Form | None = None) -> Any:
    """Return the model: ids int64 `(n, length)` and lengths int64 `(n,)` → vectors float32 `(n, dimension)`.

    Ids are padded on the right; what stands at `lengths` and beyond changes nothing. Constants share the tensors'
    memory. `tensors` are those of model.safetensors and of `HeadWeights`. `form` makes the `Graph`, in float32 if it
    is not given.

    Raises:
        InvalidInput: a tensor is missing, or has another shape than config.json implies; there are fewer word
            vectors than the vocabulary has tokens.
    """
    openvino = import_openvino()
    ops = openvino.opset13
    ids = ops.parameter([-1, -1], np.int64, name="ids")
    lengths = ops.parameter([-1], np.int64, name="lengths")
    graph = (form or Graph)(ops, _plain_names(tensors, settings.shape.family.prefix), settings)
    places = graph.places(ids)
    present = ops.less(graph.unsqueeze(places, 0), graph.unsqueeze(lengths, 1))  # (n, length)
    bias = graph.unsqueeze(ops.select(present, graph.number(0.0), graph.number(-1e9)), (1, 2))
    if settings.shape.family.relative_bias:
        bias = ops.add(bias, graph.relative_bias(places))
    graph.check_vocabulary(vocabulary)
    tokens = graph.embed(ids, places)
    for layer in range(settings.shape.layers):
        tokens = graph.layer(tokens, bias, layer)
    pooled = [pool(graph, tokens, present, lengths, pooling) for pooling in settings.poolings]
    vectors = graph.finish(pooled[0] if len(pooled) == 1 else ops.concat(pooled, 1))
    return openvino.Model([vectors], [ids, lengths], settings.shape.model_type)


def _plain_names(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors by the encoder's own names.

    Checkpoints of a whole `BertFor…` prefix them with "bert."; the oldest ones, converted from TensorFlow, call a
    layer normalisation's tensors gamma and beta.
    """
    renamed = {}
    for name, tensor in tensors.items():
        plain = name.removeprefix(prefix)
        plain = plain.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        renamed[plain] = tensor
    return renamed


class Graph:
    """Operators over a model's tensors; every product with a weight goes through `linear`."""

    def __init__(self, ops: Any, tensors: Tensors, settings: ModelSettings) -> None:
        self.ops, self._tensors, self._settings = ops, tensors, settings
        self.shape, self.family = settings.shape, settings.shape.family

    def scalar(self, value: int) -> Node:
        """Return an int64 constant without axes."""
        return self.ops.constant(np.int64(value))

    def number(self, value: float) -> Node:
        """Return a float32 constant without axes."""
        return self.ops.constant(np.float32(value))

    def integers(self, *values: int) -> Node:
        """Return an int64 constant with one axis."""
        return self.ops.constant(np.array(values, dtype=np.int64))

    def unsqueeze(self, node: Node, axes: int | tuple[int, ...]) -> Node:
        """Return the node with axes of length 1 put in."""
        return self.ops.unsqueeze(node, self.integers(*(axes if isinstance(axes, tuple) else (axes,))))

    def tensor(self, name: str, *shape: int) -> NDArray[np.float32]:
        """Return a tensor that must have this shape; -1 stands for any length."""
        tensor = self._tensors.get(name)
        if (
            tensor is None
            or len(tensor.shape) != len(shape)
            or any(want not in (-1, have) for want, have in zip(shape, tensor.shape, strict=True))
        ):
            found = "is not there" if tensor is None else f"has shape {tensor.shape}"
            module, _, plain = name.rpartition("/")
            raise InvalidInput(
                f"{self._settings.folder / module / 'model.safetensors'}: tensor {plain!r} must have shape {shape} "
                f"(-1: any), and {found}; config.json and model.safetensors must belong to the same model"
            )
        return tensor

    def weight(self, name: str, *shape: int) -> Node:
        """Return a tensor as a constant, which shares its memory."""
        return self.ops.constant(self.tensor(name, *shape), shared_memory=True)

    def check_vocabulary(self, size: int) -> None:
        """Raise if a token may lack a vector: OpenVINO reads beyond the table without an error."""
        rows = self.tensor("embeddings.word_embeddings.weight", -1, self.shape.hidden).shape[0]
        if size > rows:
            raise InvalidInput(
                f"{self._settings.folder}: tokenizer.json has {size} tokens, and model.safetensors vectors for {rows}; "
                "they must belong to the same model"
            )

    def places(self, ids: Node) -> Node:
        """Return 0 … length - 1."""
        length = self.ops.gather(self.ops.shape_of(ids), self.scalar(1), self.scalar(0))
        start, step = self.scalar(0), self.scalar(1)
        return self.ops.range(start, length, step, "i64")

    def embed(self, ids: Node, places: Node) -> Node:
        """Return the tokens' vectors before the first layer, `(n, length, hidden)`."""
        hidden = self.shape.hidden
        positions = self.tensor("embeddings.position_embeddings.weight", self.shape.positions, hidden)
        if self.family.token_types:  # a single text is of type 0 throughout
            positions = positions + self.tensor("embeddings.token_type_embeddings.weight", -1, hidden)[:1]
        words = self.weight("embeddings.word_embeddings.weight", -1, hidden)
        if self.family.counts_from_padding:
            places = self._counted(ids)
        placed = self.ops.gather(self.ops.constant(positions), places, self.scalar(0))
        return self.norm(self.ops.add(self.ops.gather(words, ids, self.scalar(0)), placed), "embeddings.LayerNorm")

    def _counted(self, ids: Node) -> Node:
        """Return positions counted from padding + 1, `(n, length)`; a padding token within the text has padding's."""
        padding = self.scalar(self.shape.padding)
        counts = self.ops.convert(self.ops.not_equal(ids, padding), "i64")
        return self.ops.add(self.ops.multiply(self.ops.cum_sum(counts, self.scalar(1)), counts), padding)

    def relative_bias(self, places: Node) -> Node:
        """Return what attention adds by the distance of two tokens, `(1, heads, length, length)`."""
        buckets = self.tensor(self.family.relative_bias, -1, self.shape.heads)
        if len(buckets) < BUCKETS:
            raise InvalidInput(
                f"{self._settings.folder / 'model.safetensors'}: tensor {self.family.relative_bias!r} must have "
                f"{BUCKETS} rows, and has {len(buckets)}; config.json and model.safetensors must belong together"
            )
        reach = self.shape.longest
        by_distance = self.ops.constant(buckets[distance_buckets(np.arange(-reach, reach + 1))])
        distances = self.ops.subtract(self.unsqueeze(places, 0), self.unsqueeze(places, 1))
        found = self.ops.gather(by_distance, self.ops.add(distances, self.scalar(reach)), self.scalar(0))
        return self.unsqueeze(self.ops.transpose(found, self.integers(2, 0, 1)), 0)

    def norm(self, node: Node, name: str) -> Node:
        """Layer normalisation: Ba, Kiros and Hinton (2016)."""
        scaled = self.ops.mvn(node, self.integers(-1), True, self.shape.epsilon, "inside_sqrt")
        scaled = self.ops.multiply(scaled, self.weight(f"{name}.weight", self.shape.hidden))
        return self.ops.add(scaled, self.weight(f"{name}.bias", self.shape.hidden))

    def linear(self, node: Node, name: str, out: int, into: int, *, bias: bool = True) -> Node:
        """Return the product with a weight, and its bias added."""
        product = self.ops.matmul(node, self.weight(f"{name}.weight", out, into), False, True)
        return self.ops.add(product, self.weight(f"{name}.bias", out)) if bias else product

    def layer(self, tokens: Node, bias: Node, index: int) -> Node:
        """Return the tokens' vectors after one layer."""
        family, hidden = self.family, self.shape.hidden
        name = f"{family.layer}.{index}"
        inner = self.tensor(f"{name}.{family.wide}.bias", -1).shape[0]
        attended = self.linear(self.attend(tokens, bias, name), f"{name}.{family.attended}", hidden, hidden)
        tokens = self.norm(self.ops.add(attended, tokens), f"{name}.{family.attended_norm}")
        wide = self.activate(self.linear(tokens, f"{name}.{family.wide}", inner, hidden), self.shape.activation)
        narrow = self.linear(wide, f"{name}.{family.narrow}", hidden, inner)
        return self.norm(self.ops.add(narrow, tokens), f"{name}.{family.norm}")

    def attend(self, tokens: Node, bias: Node, name: str) -> Node:
        """Multi-head attention: Vaswani et al. (2017), section 3.2.2."""
        hidden, heads = self.shape.hidden, self.shape.heads
        by_head = self.integers(0, 0, heads, hidden // heads)
        swap = self.integers(0, 2, 1, 3)

        def project(part: str) -> Node:
            projected = self.linear(tokens, f"{name}.{part}", hidden, hidden)
            return self.ops.transpose(self.ops.reshape(projected, by_head, True), swap)

        parts = [project(part) for part in (self.family.query, self.family.key, self.family.value)]
        attended = self.ops.scaled_dot_product_attention(*parts, bias)
        return self.ops.reshape(self.ops.transpose(attended, swap), self.integers(0, 0, hidden), True)

    def activate(self, node: Node, activation: str) -> Node:
        """Return the activation of each value."""
        kind = ACTIVATIONS[activation]
        return self.ops.relu(node) if kind == "relu" else self.ops.gelu(node, kind)

    def finish(self, vectors: Node) -> Node:
        """Return the texts' vectors after the model's last modules, cut to its dimension."""
        for step in self._settings.head:
            if isinstance(step, Dense):
                vectors = self.linear(vectors, f"{step.folder}/linear", step.out, step.into, bias=step.bias)
                if step.activation == "tanh":
                    vectors = self.ops.tanh(vectors)
                elif step.activation != "identity":
                    vectors = self.activate(vectors, step.activation)
            else:
                vectors = self.ops.normalize_l2(vectors, self.integers(1), 1e-12, "max")
        if self._settings.truncate_dim is None:
            return vectors
        cut = self.integers(self._settings.truncate_dim)
        return self.ops.slice(vectors, self.integers(0), cut, self.integers(1), self.integers(1))


Form = Callable[[Any, Tensors, ModelSettings], Graph]
"""Makes a graph from OpenVINO's operators, the model's tensors and its settings."""

BUCKETS = 32
"""How many the relative attention bias tells apart; MPNet counts so many whatever its config.json says."""

_FARTHEST = 128
"""From this distance on, all share the last bucket."""


def distance_buckets(distances: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket of each distance between a token and the one it attends to.

    Half of the buckets are for what comes before; of each half, half are single distances, and the others widen
    logarithmically: Raffel et al. (2020), section 2.1.

    >>> distance_buckets(np.array([0, -1, 1, -8, -127, 500])).tolist()
    [0, 1, 17, 8, 15, 31]
    """
    half = BUCKETS // 2
    exact = half // 2
    far = np.abs(distances)
    # In float32, as the reference does: a logarithm that is a whole number must fall into the same bucket.
    ratio = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(exact)) / np.float32(np.log(_FARTHEST / exact))
    wide = np.minimum(exact + (ratio * np.float32(half - exact)).astype(np.int64), half - 1)
    return np.where(distances > 0, half, 0) + np.where(far < exact, far, wide)
