"""What a model's folder says about the model, as sentence-transformers reads it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nearfield.encode.families import Shape, read_shape
from nearfield.encode.files import read_json, read_object, unsupported
from nearfield.encode.head import Normalise, Step, dense_steps, read_dense
from nearfield.errors import InvalidInput

POOLINGS = ("mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens", "weightedmean")
_OWN = "config_sentence_transformers.json"
_PICKLED = "pytorch_model.bin"
_SHARDED = "model.safetensors.index.json"
_NEEDED = ("config.json", "model.safetensors", "tokenizer.json")
# In the order in which their vectors are put together.
_LEGACY_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# sentence-transformers has called it by the architecture, too.
_ARCHITECTURES = ("bert", "roberta", "distilbert", "camembert", "xlm-roberta")
_LIMITS = tuple(f"sentence_{name}_config.json" for name in _ARCHITECTURES)


@dataclass(frozen=True)
class ModelSettings:
    """Everything about a model but its weights and its vocabulary."""

    shape: Shape
    max_length: int
    lower_case: bool = False
    poolings: tuple[str, ...] = ("mean",)
    head: tuple[Step, ...] = ()
    truncate_dim: int | None = None
    query_prompt: str = ""
    document_prompt: str = ""
    folder: Path = field(default=Path(), compare=False)

    @property
    def dimension(self) -> int:
        """Length of the model's vectors."""
        return self.full_dimension if self.truncate_dim is None else self.truncate_dim

    @property
    def full_dimension(self) -> int:
        """Length of the vectors before they are cut."""
        dense = dense_steps(self.head)
        return dense[-1].out if dense else self.shape.hidden * len(self.poolings)

    def identity(self) -> dict[str, object]:
        """Return what the settings add to the fingerprint; what a model doesn't use is left out.

        So a setting that a later version can read changes no fingerprint of a model without it.
        """
        identity: dict[str, object] = {
            "heads": self.shape.heads,
            "activation": self.shape.activation,
            "epsilon": self.shape.epsilon,
            "max_length": self.max_length,
            "lower_case": self.lower_case,
            "pooling": self.poolings[0] if len(self.poolings) == 1 else list(self.poolings),
            "normalise": self.head[-1:] == (Normalise(),),
            "prompts": [self.document_prompt, self.query_prompt],
        }
        more = {
            "model_type": self.shape.model_type if self.shape.model_type != "bert" else None,
            "padding": self.shape.padding or None,
            "head": [step.identity() for step in self.head] if dense_steps(self.head) else None,
            "truncate_dim": self.truncate_dim,
        }
        return identity | {name: value for name, value in more.items() if value is not None}


def read_settings(folder: Path, *, truncate_dim: int | None = None) -> ModelSettings:
    """Return the settings of the model in a folder.

    `truncate_dim` is the length to which vectors are cut; if None, the one that the folder names, if it names one.

    Raises:
        InvalidInput: a file is missing or can't be read, or the vectors can't be cut to that length; names it.
        MissingDependency: the built-in runtime doesn't have this architecture, pooling or module, and
            sentence-transformers may; names it.
    """
    config = _config(folder)
    shape = read_shape(config, folder / "config.json")
    _check_size(shape, folder)
    modules = _modules(folder)
    prompts = read_prompts(folder)
    poolings: tuple[str, ...] = ("mean",)
    if modules:
        poolings = _poolings(folder / modules[1][1] / "config.json", shape, any(prompts))
    head = _head(folder, modules, shape.hidden * len(poolings))
    limits = _limits(folder)
    settings = ModelSettings(
        shape,
        max_length=_max_length(folder, limits, shape),
        lower_case=bool(limits.get("do_lower_case", False)),
        poolings=poolings,
        head=head,
        query_prompt=prompts[0],
        document_prompt=prompts[1],
        folder=folder,
    )
    return replace(settings, truncate_dim=read_truncate_dim(folder, truncate_dim, settings.full_dimension))


def _config(folder: Path) -> dict[str, Any]:
    if (folder / _SHARDED).is_file():
        raise unsupported("a model's weights in", "several files", "one model.safetensors", folder / _SHARDED)
    if (folder / _PICKLED).is_file() and not (folder / "model.safetensors").is_file():
        raise unsupported("a model's weights in", _PICKLED, "model.safetensors, and no pickle,", folder)
    for name in _NEEDED:
        if not (folder / name).is_file():
            raise InvalidInput(
                f"{folder} has no {name}, which an encoder's folder must have; the built-in runtime reads config.json, "
                "model.safetensors and tokenizer.json: fetch the missing file, or name another model"
            )
    return read_object(folder / "config.json")


def _check_size(shape: Shape, folder: Path) -> None:
    """Raise if the positions' vectors alone are larger than the weights: before memory is asked for by such sizes."""
    size = (folder / "model.safetensors").stat().st_size
    if shape.hidden * shape.positions > size:
        raise InvalidInput(
            f"{folder / 'model.safetensors'} is truncated, or another model's: it has {size} bytes, and config.json "
            f"asks for {shape.positions} positions of dimension {shape.hidden}; fetch it again"
        )


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Return class and folder of each module; without modules.json, the model has mean pooling alone."""
    path = folder / "modules.json"
    modules = read_modules(path)
    kinds = [kind for kind, _ in modules]
    if modules and (kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= {"Dense", "Normalize"}):
        raise unsupported("the modules", kinds, "Transformer, Pooling, and then Dense and Normalize,", path)
    if modules and modules[0][1]:
        raise unsupported("its Transformer module in the folder", modules[0][1], "itself", path)
    return modules


def read_modules(path: Path) -> list[tuple[str, str]]:
    """Return class and folder of each module that modules.json lists; none if there is no such file.

    Raises:
        InvalidInput: the file can't be read, or is no list of modules.
    """
    listed = read_json(path, [])
    if not isinstance(listed, list) or not all(isinstance(module, dict) for module in listed):
        raise InvalidInput(f"{path} must hold a JSON list of objects; fetch it again")
    return [(str(module.get("type", "")).rpartition(".")[2], str(module.get("path", ""))) for module in listed]


def _poolings(path: Path, shape: Shape, prompted: bool) -> tuple[str, ...]:
    """Return the poolings, whose vectors are put one after the other."""
    config = read_object(path)
    modes = config.get("pooling_mode") or [mode for key, mode in _LEGACY_POOLINGS.items() if config.get(key)] or "mean"
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or not all(isinstance(mode, str) and mode in POOLINGS for mode in modes):
        raise unsupported("pooling_mode", modes, POOLINGS, path)
    dimension = config.get("embedding_dimension", config.get("word_embedding_dimension", shape.hidden))
    if dimension != shape.hidden:
        raise InvalidInput(f"{path} has dimension {dimension!r}, and config.json hidden_size {shape.hidden}")
    if prompted and not config.get("include_prompt", True):
        raise unsupported("include_prompt", False, True, path)
    return tuple(modes)


def _head(folder: Path, modules: list[tuple[str, str]], dimension: int) -> tuple[Step, ...]:
    steps: list[Step] = []
    for kind, name in modules[2:]:
        if kind == "Dense":
            dense = read_dense(folder, name, dimension)
            dimension = dense.out
            steps.append(dense)
        else:
            steps.append(Normalise())
    return tuple(steps)


def _limits(folder: Path) -> dict[str, Any]:
    found = next((folder / name for name in _LIMITS if (folder / name).exists()), folder / _LIMITS[0])
    return read_object(found, missing_is_empty=True)


def _max_length(folder: Path, limits: dict[str, Any], shape: Shape) -> int:
    length = limits.get("max_seq_length")
    if length is None:
        length = read_object(folder / "tokenizer_config.json", missing_is_empty=True).get("model_max_length")
    if length is None:
        return shape.longest
    # "No limit" is written as a huge number, and sometimes as a float.
    if isinstance(length, bool) or not isinstance(length, int | float) or not length >= 1:
        raise InvalidInput(f"{folder}: the model's maximum length must be a number of at least 1, and is {length!r}")
    return int(min(length, shape.longest))


def read_prompts(folder: Path) -> tuple[str, str]:
    """Return the prompts of queries and documents: those that encode_query and encode_document use.

    sentence-transformers 6.2 takes those called "query" and "document", and no other: neither the default prompt nor,
    despite its documentation, one called "passage".
    """
    path = folder / _OWN
    prompts = read_object(path, missing_is_empty=True).get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise InvalidInput(f"{path}: prompts must map names to texts, and are {prompts!r}")
    return prompts.get("query") or "", prompts.get("document") or ""


def read_truncate_dim(folder: Path, asked: int | None, dimension: int) -> int | None:
    """Return the length that vectors are cut to, below `dimension`; None if they aren't cut.

    A folder that names a greater length means no cut, as in sentence-transformers; a caller who does is mistaken.
    """
    source = "truncate_dim" if asked is not None else f"truncate_dim in {folder / _OWN}"
    length = asked if asked is not None else read_object(folder / _OWN, missing_is_empty=True).get("truncate_dim")
    if length is None:
        return None
    if isinstance(length, bool) or not isinstance(length, int) or length < 1 or (asked or 0) > dimension:
        raise InvalidInput(
            f"{source} must be an int in the range [1, {dimension}], the length of the model's vectors; got {length!r}"
        )
    return length if length < dimension else None
