"""What a model does to a text's vector after pooling: sentence-transformers' modules Dense and Normalize."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.files import read_object, unsupported
from nearfield.encode.safetensors import Weights
from nearfield.errors import InvalidInput

DENSE_ACTIVATIONS = {
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
}


@dataclass(frozen=True)
class Normalise:
    """To unit length; a zero vector stays as it is."""

    def identity(self) -> object:
        """Return what stands for the step in the fingerprint."""
        return "normalise"


@dataclass(frozen=True)
class Dense:
    """A linear layer with an activation; its weights are in a file of its own."""

    folder: str
    into: int
    out: int
    bias: bool
    activation: str

    def identity(self) -> object:
        """Return what stands for the step in the fingerprint, beside its weights; its folder's name may change."""
        return [self.activation, self.into, self.out, self.bias]


Step: TypeAlias = Normalise | Dense


def read_dense(folder: Path, name: str, into: int) -> Dense:
    """Return the settings of a dense module, whose input has length `into`.

    Raises:
        InvalidInput: a file is missing or can't be read, or the sizes don't fit.
        MissingDependency: the module does more than the built-in runtime has.
    """
    path = folder / name / "config.json"
    config = read_object(path)
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if not isinstance(activation, str) or activation not in DENSE_ACTIVATIONS:
        raise unsupported("activation_function", activation, tuple(DENSE_ACTIVATIONS), path)
    source = config.get("module_input_name", "sentence_embedding")
    target = config.get("module_output_name") or source
    if (source, target) != ("sentence_embedding", "sentence_embedding"):
        raise unsupported("a dense layer from and to", (source, target), "'sentence_embedding'", path)
    if config.get("use_residual", False):
        raise unsupported("use_residual", True, False, path)
    out, declared = config.get("out_features"), config.get("in_features")
    if declared != into or isinstance(out, bool) or not isinstance(out, int) or out < 1:
        raise InvalidInput(
            f"{path} must have in_features {into}, as what comes before it gives, and out_features of at least 1; "
            f"it has {declared!r} and {out!r}; fetch it again"
        )
    weights = folder / name / "model.safetensors"
    if not weights.is_file():
        raise InvalidInput(
            f"{folder / name} has no model.safetensors; fetch it, or save the model again with sentence-transformers"
        )
    if out * into > weights.stat().st_size:
        raise InvalidInput(f"{path} has out_features {out}, more than {weights} has bytes for; fetch them again")
    return Dense(name, into, out, bool(config.get("bias", True)), DENSE_ACTIVATIONS[activation])


class HeadWeights:
    """The tensors of a model's dense layers, by their folder and name."""

    def __init__(self, folder: Path, head: Sequence[Step]) -> None:
        self._files = {step.folder: Weights(folder / step.folder / "model.safetensors") for step in dense_steps(head)}

    @cached_property
    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Every tensor, named "2_Dense/linear.weight" for folder "2_Dense".

        Raises:
            InvalidInput: a file can't be read, is truncated, or is not in the format.
        """
        return {
            f"{folder}/{name}": tensor for folder, file in self._files.items() for name, tensor in file.tensors.items()
        }

    @property
    def digests(self) -> list[str]:
        """The files' SHA-256, in the order of the layers."""
        return [file.digest for file in self._files.values()]


def dense_steps(head: Sequence[Step]) -> list[Dense]:
    """Return the dense layers among a head's steps."""
    return [step for step in head if isinstance(step, Dense)]
