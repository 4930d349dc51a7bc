"""What a model's folder says about the model, as sentence-transformers reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nearfield.errors import InvalidInput, MissingDependency

ACTIVATIONS = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "relu": "relu"}
POOLINGS = ("mean", "cls", "max", "lasttoken")
_LEGACY_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class BertShape:
    """The sizes and choices in config.json that the graph is built from."""

    hidden: int
    layers: int
    heads: int
    positions: int
    activation: str
    epsilon: float


@dataclass(frozen=True)
class ModelSettings:
    """Everything about a model but its weights and its vocabulary."""

    bert: BertShape
    max_length: int
    lower_case: bool = False
    pooling: str = "mean"
    normalise: bool = False
    query_prompt: str = ""
    document_prompt: str = ""
    folder: Path = field(default=Path(), compare=False)


def read_settings(folder: Path) -> ModelSettings:
    """Return the settings of the model in a folder.

    Raises:
        InvalidInput: a file is missing or can't be read; names it.
        MissingDependency: the built-in runtime doesn't have this architecture, pooling or module, and
            sentence-transformers may; names it.
    """
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise InvalidInput(
                f"{folder} has no {name}, which an encoder's folder must have; the built-in runtime reads config.json, "
                "model.safetensors and tokenizer.json: fetch the missing file, or name another model"
            )
    config = _read_json(folder / "config.json")
    bert = _bert_shape(config, folder / "config.json")
    modules = _modules(folder)
    prompts = _prompts(folder)
    limits = _read_json(folder / "sentence_bert_config.json", missing_is_empty=True)
    pooling = "mean"
    if "Pooling" in modules:
        pooling = _pooling(folder / modules["Pooling"] / "config.json", bert, any(prompts))
    return ModelSettings(
        bert,
        max_length=_max_length(folder, limits, bert),
        lower_case=bool(limits.get("do_lower_case", False)),
        pooling=pooling,
        normalise="Normalize" in modules,
        query_prompt=prompts[0],
        document_prompt=prompts[1],
        folder=folder,
    )


def _read_json(path: Path, *, missing_is_empty: bool = False) -> dict[str, Any]:
    value = _load(path, {} if missing_is_empty else None)
    if not isinstance(value, dict):
        raise InvalidInput(f"{path} must hold a JSON object, and has {type(value).__name__}; fetch it again")
    return value


def _load(path: Path, default: object) -> object:
    if default is not None and not path.exists():
        return default
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} can't be read as JSON: {error}; fetch it again") from None


def unsupported(what: str, given: object, known: object, path: Path) -> MissingDependency:
    """Return the error for a model that only sentence-transformers can run."""
    return MissingDependency(
        f"the built-in runtime has {what} {known}, and {path} asks for {given!r}; install the extra "
        "nearfield[sentence-transformers], and pass encoder=nearfield.encode.sentence_transformers."
        "SentenceTransformersEncoder(folder)"
    )


def _bert_shape(config: dict[str, Any], path: Path) -> BertShape:
    if config.get("model_type") != "bert":
        raise unsupported("model_type", config.get("model_type"), "'bert'", path)
    activation = config.get("hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        raise unsupported("hidden_act", activation, tuple(ACTIVATIONS), path)
    position = config.get("position_embedding_type", "absolute")
    if position != "absolute":
        raise unsupported("position_embedding_type", position, "'absolute'", path)
    if config.get("is_decoder", False):
        raise unsupported("is_decoder", True, False, path)
    sizes = {}
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"):
        size = config.get(key)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InvalidInput(f"{path} must have {key!r} as an int of at least 1, and has {size!r}; fetch it again")
        sizes[key] = size
    hidden, layers, heads, positions = sizes.values()
    if hidden % heads:
        raise InvalidInput(f"{path}: hidden_size {hidden} must be a multiple of num_attention_heads {heads}")
    return BertShape(hidden, layers, heads, positions, activation, float(config.get("layer_norm_eps", 1e-12)))


def _modules(folder: Path) -> dict[str, str]:
    """Return the folder of each module by its class; without modules.json, the model has mean pooling alone."""
    path = folder / "modules.json"
    listed = _load(path, [])
    if not isinstance(listed, list) or not all(isinstance(module, dict) for module in listed):
        raise InvalidInput(f"{path} must hold a JSON list of objects; fetch it again")
    modules = {str(module.get("type", "")).rpartition(".")[2]: str(module.get("path", "")) for module in listed}
    known = (["Transformer"], ["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
    if listed and list(modules) not in known[1:]:
        raise unsupported("the modules", list(modules), " and ".join(map(str, known[1:])), path)
    if modules.get("Transformer"):
        raise unsupported("its Transformer module in the folder", modules["Transformer"], "itself", path)
    return modules


def _pooling(path: Path, bert: BertShape, prompted: bool) -> str:
    config = _read_json(path)
    modes = config.get("pooling_mode") or [mode for key, mode in _LEGACY_POOLINGS.items() if config.get(key)] or "mean"
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise unsupported("one pooling_mode of", modes, POOLINGS, path)
    if prompted and not config.get("include_prompt", True):
        raise unsupported("include_prompt", False, True, path)
    dimension = config.get("embedding_dimension", config.get("word_embedding_dimension", bert.hidden))
    if dimension != bert.hidden:
        raise InvalidInput(f"{path} has dimension {dimension!r}, and config.json hidden_size {bert.hidden}")
    return str(modes[0])


def _max_length(folder: Path, limits: dict[str, Any], bert: BertShape) -> int:
    length = limits.get("max_seq_length")
    if length is None:
        length = _read_json(folder / "tokenizer_config.json", missing_is_empty=True).get("model_max_length")
    if length is None:
        return bert.positions
    # "No limit" is written as a huge number, and sometimes as a float.
    if isinstance(length, bool) or not isinstance(length, int | float) or length < 1:
        raise InvalidInput(f"{folder}: the model's maximum length must be a number of at least 1, and is {length!r}")
    return int(min(length, bert.positions))


def _prompts(folder: Path) -> tuple[str, str]:
    """Return the prompts of queries and documents: those that encode_query and encode_document use.

    sentence-transformers 6.2 takes those called "query" and "document", and no other: neither the default prompt nor,
    despite its documentation, one called "passage".
    """
    path = folder / "config_sentence_transformers.json"
    prompts = _read_json(path, missing_is_empty=True).get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise InvalidInput(f"{path}: prompts must map names to texts, and are {prompts!r}")
    return prompts.get("query") or "", prompts.get("document") or ""
