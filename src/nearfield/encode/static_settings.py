"""What the folder of a static model says: in model2vec's layout, or with sentence-transformers' `StaticEmbedding`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearfield.encode.files import read_object, unsupported
from nearfield.encode.settings import read_modules, read_prompts, read_truncate_dim
from nearfield.errors import InvalidInput

_MAX_LENGTH = 512  # model2vec's own, where config.json is silent


@dataclass(frozen=True)
class StaticSettings:
    """Everything about a static model but its vectors and its vocabulary."""

    folder: Path
    """Where model.safetensors and tokenizer.json are."""
    model2vec: bool
    """Tokens that the vocabulary lacks are left out; vectors are cut before they are normalised, not after."""
    normalise: bool
    max_length: int | None = None
    query_prompt: str = ""
    document_prompt: str = ""

    def identity(self) -> dict[str, Any]:
        """Return what the settings add to the fingerprint."""
        return {
            "kind": "model2vec" if self.model2vec else "StaticEmbedding",
            "normalise": self.normalise,
            "max_length": self.max_length,
            "prompts": [self.document_prompt, self.query_prompt],
        }


def read_static_settings(folder: Path) -> StaticSettings | None:
    """Return the settings of the static model in a folder; None if the folder holds no static model.

    Raises:
        InvalidInput: it holds one, and a file is missing or can't be read; names it.
        MissingDependency: it has modules that need sentence-transformers.
    """
    config = read_object(folder / "config.json", missing_is_empty=True)
    modules = read_modules(folder / "modules.json")
    if config.get("model_type") == "model2vec" or ("model_type" not in config and "normalize" in config):
        settings = StaticSettings(
            folder, True, bool(config["normalize"]) if "normalize" in config else False, _max_length(config, folder)
        )
    elif modules and modules[0][0] == "StaticEmbedding":
        kinds = [kind for kind, _ in modules]
        if kinds[1:] not in ([], ["Normalize"]):
            raise unsupported("the modules", kinds, "StaticEmbedding, and then Normalize,", folder / "modules.json")
        prompts = read_prompts(folder)
        settings = StaticSettings(folder / modules[0][1], False, len(kinds) == 2, None, *prompts)
    else:
        return None
    for name in ("model.safetensors", "tokenizer.json"):
        if not (settings.folder / name).is_file():
            raise InvalidInput(f"{settings.folder} has no {name}, which a static model must have; fetch it again")
    return settings


def _max_length(config: dict[str, Any], folder: Path) -> int | None:
    length = config.get("max_length", _MAX_LENGTH)
    if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
        raise InvalidInput(f"{folder / 'config.json'} must have max_length as an int of at least 1, and has {length!r}")
    return length


def static_truncate_dim(root: Path, settings: StaticSettings, asked: int | None, dimension: int) -> int | None:
    """Return the length that vectors are cut to; None if they aren't. model2vec's folders name none."""
    if settings.model2vec and asked is None:
        return None
    return read_truncate_dim(root, asked, dimension)
