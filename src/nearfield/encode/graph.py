"""The graph of a BERT encoder, in OpenVINO's operators, from the tensors of model.safetensors.

Devlin et al. (2019), BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding; names of the
tensors as in transformers' `BertModel`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.openvino import import_openvino
from nearfield.encode.settings import ACTIVATIONS, BertShape, ModelSettings
from nearfield.errors import InvalidInput

Tensors = dict[str, NDArray[np.float32]]
Node = Any  # openvino is untyped here: it is imported on first use


def build_graph(settings: ModelSettings, tensors: Tensors, vocabulary: int) -> Any:
    """Return the model: ids int64 `(n, length)` and lengths int64 `(n,)` → vectors float32 `(n, hidden)`.

    Ids are padded on the right; what stands at `lengths` and beyond changes nothing. Constants share the tensors'
    memory.

    Raises:
        InvalidInput: a tensor is missing, or has another shape than config.json implies; there are fewer word
            vectors than the vocabulary has tokens.
    """
    openvino = import_openvino()
    ops = openvino.opset13
    ids = ops.parameter([-1, -1], np.int64, name="ids")
    lengths = ops.parameter([-1], np.int64, name="lengths")
    graph = _Graph(ops, settings.bert, _without_prefix(tensors), settings)
    places = graph.places(ids)
    present = ops.less(graph.unsqueeze(places, 0), graph.unsqueeze(lengths, 1))  # (n, length)
    bias = graph.unsqueeze(ops.select(present, graph.number(0.0), graph.number(-1e9)), (1, 2))
    graph.check_vocabulary(vocabulary)
    tokens = graph.embed(ids, places)
    for layer in range(settings.bert.layers):
        tokens = graph.layer(tokens, bias, layer)
    vectors = graph.pool(tokens, present, lengths, settings.pooling)
    if settings.normalise:
        vectors = ops.normalize_l2(vectors, graph.integers(1), 1e-12, "max")
    return openvino.Model([vectors], [ids, lengths], "bert")


def _without_prefix(tensors: Tensors) -> Tensors:
    """Return the encoder's tensors; checkpoints of a whole `BertFor…` prefix them with "bert."."""
    if "embeddings.word_embeddings.weight" in tensors:
        return tensors
    return {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}


class _Graph:
    def __init__(self, ops: Any, bert: BertShape, tensors: Tensors, settings: ModelSettings) -> None:
        self.ops, self.bert, self._tensors, self._settings = ops, bert, tensors, settings

    def number(self, value: float) -> Node:
        return self.ops.constant(np.float32(value))

    def integers(self, *values: int) -> Node:
        return self.ops.constant(np.array(values, dtype=np.int64))

    def unsqueeze(self, node: Node, axes: int | tuple[int, ...]) -> Node:
        return self.ops.unsqueeze(node, self.integers(*(axes if isinstance(axes, tuple) else (axes,))))

    def tensor(self, name: str, *shape: int) -> NDArray[np.float32]:
        tensor = self._tensors.get(name)
        # -1: any length
        if (
            tensor is None
            or len(tensor.shape) != len(shape)
            or any(want not in (-1, have) for want, have in zip(shape, tensor.shape, strict=True))
        ):
            found = "is not there" if tensor is None else f"has shape {tensor.shape}"
            raise InvalidInput(
                f"{self._settings.folder / 'model.safetensors'}: tensor {name!r} must have shape {shape} (-1: any), "
                f"and {found}; config.json and model.safetensors must belong to the same model"
            )
        return tensor

    def weight(self, name: str, *shape: int) -> Node:
        return self.ops.constant(self.tensor(name, *shape), shared_memory=True)

    def check_vocabulary(self, size: int) -> None:
        """Raise if a token may lack a vector: OpenVINO reads beyond the table without an error."""
        rows = self.tensor("embeddings.word_embeddings.weight", -1, self.bert.hidden).shape[0]
        if size > rows:
            raise InvalidInput(
                f"{self._settings.folder}: tokenizer.json has {size} tokens, and model.safetensors vectors for {rows}; "
                "they must belong to the same model"
            )

    def places(self, ids: Node) -> Node:
        """Return 0 … length - 1."""
        length = self.ops.gather(self.ops.shape_of(ids), self.ops.constant(np.int64(1)), self.ops.constant(np.int64(0)))
        start, step = self.ops.constant(np.int64(0)), self.ops.constant(np.int64(1))
        return self.ops.range(start, length, step, "i64")

    def embed(self, ids: Node, places: Node) -> Node:
        hidden = self.bert.hidden
        positions = self.tensor("embeddings.position_embeddings.weight", self.bert.positions, hidden)
        # A single text is of type 0 throughout.
        positions = positions + self.tensor("embeddings.token_type_embeddings.weight", -1, hidden)[0]
        words = self.weight("embeddings.word_embeddings.weight", -1, hidden)
        axis = self.ops.constant(np.int64(0))
        placed = self.ops.gather(self.ops.constant(positions), places, axis)
        return self.norm(self.ops.add(self.ops.gather(words, ids, axis), placed), "embeddings.LayerNorm")

    def norm(self, node: Node, name: str) -> Node:
        """Layer normalisation: Ba, Kiros and Hinton (2016)."""
        scaled = self.ops.mvn(node, self.integers(-1), True, self.bert.epsilon, "inside_sqrt")
        scaled = self.ops.multiply(scaled, self.weight(f"{name}.weight", self.bert.hidden))
        return self.ops.add(scaled, self.weight(f"{name}.bias", self.bert.hidden))

    def linear(self, node: Node, name: str, out: int, into: int) -> Node:
        product = self.ops.matmul(node, self.weight(f"{name}.weight", out, into), False, True)
        return self.ops.add(product, self.weight(f"{name}.bias", out))

    def layer(self, tokens: Node, bias: Node, index: int) -> Node:
        name = f"encoder.layer.{index}"
        hidden = self.bert.hidden
        inner = self.tensor(f"{name}.intermediate.dense.bias", -1).shape[0]
        attended = self.linear(self.attend(tokens, bias, name), f"{name}.attention.output.dense", hidden, hidden)
        tokens = self.norm(self.ops.add(attended, tokens), f"{name}.attention.output.LayerNorm")
        wide = self.activate(self.linear(tokens, f"{name}.intermediate.dense", inner, hidden))
        narrow = self.linear(wide, f"{name}.output.dense", hidden, inner)
        return self.norm(self.ops.add(narrow, tokens), f"{name}.output.LayerNorm")

    def attend(self, tokens: Node, bias: Node, name: str) -> Node:
        """Multi-head attention: Vaswani et al. (2017), section 3.2.2."""
        hidden, heads = self.bert.hidden, self.bert.heads
        by_head = self.integers(0, 0, heads, hidden // heads)
        swap = self.integers(0, 2, 1, 3)

        def project(part: str) -> Node:
            projected = self.linear(tokens, f"{name}.attention.self.{part}", hidden, hidden)
            return self.ops.transpose(self.ops.reshape(projected, by_head, True), swap)

        attended = self.ops.scaled_dot_product_attention(project("query"), project("key"), project("value"), bias)
        return self.ops.reshape(self.ops.transpose(attended, swap), self.integers(0, 0, hidden), True)

    def activate(self, node: Node) -> Node:
        kind = ACTIVATIONS[self.bert.activation]
        return self.ops.relu(node) if kind == "relu" else self.ops.gelu(node, kind)

    def pool(self, tokens: Node, present: Node, lengths: Node, pooling: str) -> Node:
        """Return one vector for each text from its tokens', `(n, length, hidden)` → `(n, hidden)`."""
        if pooling == "cls":
            return self.ops.gather(tokens, self.ops.constant(np.int64(0)), self.ops.constant(np.int64(1)))
        if pooling == "max":
            absent = self.unsqueeze(self.ops.select(present, self.number(0.0), self.number(-1e9)), 2)
            return self.ops.reduce_max(self.ops.add(tokens, absent), self.integers(1))
        if pooling == "lasttoken":
            last = self.ops.subtract(lengths, self.integers(1))
            return self.ops.gather(tokens, last, self.ops.constant(np.int64(1)), batch_dims=1)
        # As a product, (n, 1, length) × (n, length, hidden): one pass, and padding has weight 0.
        weights = self.unsqueeze(self.ops.select(present, self.number(1.0), self.number(0.0)), 1)
        total = self.ops.squeeze(self.ops.matmul(weights, tokens, False, False), self.integers(1))
        return self.ops.divide(total, self.unsqueeze(self.ops.convert(lengths, "f32"), 1))
