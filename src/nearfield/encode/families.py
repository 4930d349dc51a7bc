"""The families of models that the built-in runtime knows: one graph, and a table of what differs.

Liu et al. (2019), RoBERTa; Song et al. (2020), MPNet; Sanh et al. (2019), DistilBERT. Names of tensors and of settings
as in transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearfield.encode.files import unsupported
from nearfield.errors import InvalidInput

ACTIVATIONS = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "relu": "relu"}


@dataclass(frozen=True)
class Family:
    """What one family's tensors are called, within a layer unless said, and where its graph differs from BERT's."""

    prefix: str
    """What stands before every name in the checkpoint of a whole `…For…`."""
    layer: str = "encoder.layer"
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    attended: str = "attention.output.dense"
    attended_norm: str = "attention.output.LayerNorm"
    wide: str = "intermediate.dense"
    narrow: str = "output.dense"
    norm: str = "output.LayerNorm"
    token_types: bool = True
    counts_from_padding: bool = False
    """Positions begin after the padding token's id and count only other tokens."""
    padding: int | None = None
    """The padding token's id where config.json has no say."""
    relative_bias: str = ""
    """The tensor of the relative attention bias, outside of the layers; "": none."""
    sizes: tuple[str, str, str] = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    activation: str = "hidden_act"
    epsilon: str = "layer_norm_eps"


_BERT = Family("bert.")
_ROBERTA = Family("roberta.", counts_from_padding=True)
FAMILIES = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "mpnet": Family(
        "mpnet.",
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        attended="attention.attn.o",
        attended_norm="attention.LayerNorm",
        token_types=False,
        counts_from_padding=True,
        padding=1,
        relative_bias="encoder.relative_attention_bias.weight",
    ),
    "distilbert": Family(
        "distilbert.",
        layer="transformer.layer",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attended="attention.out_lin",
        attended_norm="sa_layer_norm",
        wide="ffn.lin1",
        narrow="ffn.lin2",
        norm="output_layer_norm",
        token_types=False,
        sizes=("dim", "n_layers", "n_heads"),
        activation="activation",
        epsilon="",
    ),
}


@dataclass(frozen=True)
class Shape:
    """The sizes and choices in config.json that the graph is built from."""

    model_type: str
    hidden: int
    layers: int
    heads: int
    positions: int
    activation: str
    epsilon: float
    padding: int
    """The padding token's id; only families that count positions from it use it."""

    @property
    def family(self) -> Family:
        """What the tensors are called."""
        return FAMILIES[self.model_type]

    @property
    def longest(self) -> int:
        """How many tokens have a position."""
        return self.positions - (self.padding + 1 if self.family.counts_from_padding else 0)


def read_shape(config: dict[str, Any], path: Path) -> Shape:
    """Return what config.json says about the graph.

    Raises:
        InvalidInput: a size is missing or can't be.
        MissingDependency: the built-in runtime doesn't have this architecture.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise unsupported("model_type", model_type, tuple(FAMILIES), path)
    family = FAMILIES[model_type]
    activation = config.get(family.activation, "gelu")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise unsupported(family.activation, activation, tuple(ACTIVATIONS), path)
    position = config.get("position_embedding_type", "absolute")
    if position != "absolute":
        raise unsupported("position_embedding_type", position, "'absolute'", path)
    if config.get("is_decoder", False):
        raise unsupported("is_decoder", True, False, path)
    hidden, layers, heads, positions = (
        _whole(config, key, 1, path) for key in (*family.sizes, "max_position_embeddings")
    )
    if hidden % heads:
        raise InvalidInput(f"{path}: {family.sizes[0]} {hidden} must be a multiple of {family.sizes[2]} {heads}")
    shape = Shape(
        model_type, hidden, layers, heads, positions, activation, _epsilon(config, family, path), _padding(config, path)
    )
    if shape.longest < 1:
        raise InvalidInput(f"{path}: max_position_embeddings {positions} leaves no position for a token")
    return shape


def _whole(config: dict[str, Any], key: str, least: int, path: Path) -> int:
    size = config.get(key)
    if isinstance(size, bool) or not isinstance(size, int) or size < least:
        raise InvalidInput(f"{path} must have {key!r} as an int of at least {least}, and has {size!r}; fetch it again")
    return size


def _epsilon(config: dict[str, Any], family: Family, path: Path) -> float:
    value = config.get(family.epsilon, 1e-12)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise InvalidInput(f"{path} must have {family.epsilon!r} as a small number, and has {value!r}; fetch it again")
    return float(value)


def _padding(config: dict[str, Any], path: Path) -> int:
    family = FAMILIES[config["model_type"]]
    if not family.counts_from_padding:
        return 0
    return _whole({"pad_token_id": 1, **config}, "pad_token_id", 0, path) if family.padding is None else family.padding
