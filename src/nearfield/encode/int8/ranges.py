"""What the inputs of a model's products look like, channel by channel, measured on texts."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.durable import read_json, write_json
from nearfield.encode.graph import Graph, Node, Tensors, build_graph
from nearfield.encode.int8.texts import texts
from nearfield.encode.runtime import core
from nearfield.encode.settings import ModelSettings
from nearfield.encode.tokens import Ids, Tokens

VERSION = 1
"""Of the texts, of what is measured, and of how it is written."""

TOGETHER = 16
"""Texts in a batch."""

LONGEST = 128
"""Tokens of a text that are looked at, special tokens included."""

_PARTS = ("low", "high", "mean", "deviation")

RANDOM = 48
"""Texts of tokens drawn at random, of each kind."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """The input of some products: each channel's least, greatest and mean value, and standard deviation.

    The arrays are float32 `(channels,)`.

    Args:
        names: Of the products, which share the input.
    """

    names: tuple[str, ...]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


class _Watching(Graph):
    """Keeps the inputs of all products within the layers, with the products' names."""

    inputs: list[tuple[Node, list[str]]]

    def linear(self, node: Node, name: str, out: int, into: int, *, bias: bool = True) -> Node:
        if name.startswith(self.family.layer):
            known = next((names for other, names in self.inputs if other is node), None)
            if known is None:
                self.inputs.append((node, [name]))
            else:
                known.append(name)
        return super().linear(node, name, out, into, bias=bias)


def calibrate(settings: ModelSettings, tensors: Tensors, tokens: Tokens) -> list[Ranges]:
    """Return the ranges of a model's products within its layers; the same for the same model."""
    inputs: list[tuple[Node, list[str]]] = []

    def watching(ops: Any, tensors: Tensors, settings: ModelSettings) -> Graph:
        graph = _Watching(ops, tensors, settings)
        graph.inputs = inputs
        return graph

    graph = build_graph(settings, tensors, tokens.size, watching)
    graph.add_outputs([node.output(0) for node, _ in inputs])
    compiled = core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    measured = [_Measured() for _ in inputs]
    for ids in _batches(_examples(tokens)):
        matrix, lengths = tokens.matrix(ids, min(LONGEST, settings.max_length))
        there = np.arange(matrix.shape[1]) < lengths[:, np.newaxis]
        answer = compiled([matrix, lengths])
        for place, one in enumerate(measured, start=1):
            one.take(answer[place][there])
    return [one.ranges(tuple(names)) for one, (_, names) in zip(measured, inputs, strict=True)]


class _Measured:
    """One input's values, a batch at a time."""

    def __init__(self) -> None:
        self._count = 0
        self._parts: list[NDArray[np.float64]] = []

    def take(self, values: NDArray[np.float32]) -> None:
        """Take values in, `(tokens, channels)`."""
        self._count += len(values)
        wide = values.astype(np.float64)
        self._parts.append(np.stack([wide.min(axis=0), wide.max(axis=0), wide.sum(axis=0), (wide**2).sum(axis=0)]))

    def ranges(self, names: tuple[str, ...]) -> Ranges:
        """Return what all values were like."""
        parts = np.stack(self._parts)
        mean, square = parts[:, 2:].sum(axis=0) / self._count
        found = (parts[:, 0].min(axis=0), parts[:, 1].max(axis=0), mean, np.sqrt(np.maximum(square - mean**2, 0)))
        return Ranges(names, *(values.astype(np.float32) for values in found))


def _examples(tokens: Tokens) -> list[Ids]:
    """Return texts as ids: written ones, their tokens in any order, and any tokens of the vocabulary."""
    written = tokens.ids(texts())
    chance = np.random.default_rng(0)
    seen = np.concatenate([np.array(ids, np.int64) for ids in written])
    lengths = chance.integers(3, LONGEST, RANDOM).tolist()
    mixed = [chance.choice(seen, length).tolist() for length in lengths]
    drawn = [chance.integers(0, tokens.size, length).tolist() for length in lengths]
    return sorted([*written, *mixed, *drawn], key=len)


def _batches(examples: Sequence[Ids]) -> Iterator[Sequence[Ids]]:
    for start in range(0, len(examples), TOGETHER):
        yield examples[start : start + TOGETHER]


def write_ranges(file: Path, ranges: Sequence[Ranges]) -> None:
    """Write ranges to a file."""
    groups = [{"names": list(one.names), **{part: _text(getattr(one, part)) for part in _PARTS}} for one in ranges]
    write_json(file, {"version": VERSION, "groups": groups})


def read_ranges(file: Path) -> list[Ranges]:
    """Return the ranges in a file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or of another version.
    """
    content = read_json(file)
    if content.get("version") != VERSION:
        raise ValueError(f"it has version {content.get('version')!r}, and not {VERSION}")
    return [Ranges(tuple(group["names"]), *_of_one_length(group)) for group in content["groups"]]


def _of_one_length(group: dict[str, str]) -> list[NDArray[np.float32]]:
    values = [_values(group[part]) for part in _PARTS]
    if len({len(one) for one in values}) != 1:
        raise ValueError("it has parts of different lengths")
    return values


def _text(values: NDArray[np.float32]) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def _values(text: str) -> NDArray[np.float32]:
    values = np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("it has values that are no numbers")
    return values
