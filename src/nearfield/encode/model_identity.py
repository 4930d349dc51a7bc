"""What a model's folder adds to an encoder's identity: hashes of its files, revision, settings, runtime."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nearfield._version import __version__
from nearfield.errors import InvalidInput

_WEIGHTS = "model.safetensors"
_FILES = (
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_*config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "[0-9]_*/config.json",
    f"[0-9]_*/{_WEIGHTS}",
)
_REVISION = re.compile("[0-9a-f]{40}")


def model_identity(folder: Path, weights: str, settings: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """Return what the built-in encoder tells of itself.

    Args:
        folder: The model's files.
        weights: SHA-256 of model.safetensors.
        settings: What of its settings is in the fingerprint.
        precision: What it computes in.

    Raises:
        InvalidInput: a file can't be read.
    """
    document, query = settings["prompts"]
    return {
        **settings,
        "prompts": {"document": document, "query": query},
        "revision": revision_of(folder),
        "files": {_WEIGHTS: weights, **{str(name): digest for name, digest in _digests(folder)}},
        "precision": precision,
        "runtime": f"nearfield {__version__}, OpenVINO {_version_of('openvino')}",
    }


def revision_of(folder: Path) -> str | None:
    """Return the commit of a folder in the Hugging Face cache; None for any other folder.

    >>> commit = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
    >>> revision_of(Path(f"hub/models--sentence-transformers--all-MiniLM-L6-v2/snapshots/{commit}")) == commit
    True
    """
    return folder.name if folder.parent.name == "snapshots" and _REVISION.fullmatch(folder.name) else None


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    for file in sorted({file for pattern in _FILES for file in folder.glob(pattern)}):
        try:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            raise InvalidInput(f"{file} can't be read: {error}; fetch it again") from error
        yield file.relative_to(folder).as_posix(), digest


def _version_of(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # which takes as long as all of this room

    try:
        return version(package)
    except PackageNotFoundError:  # installed by other means than a package's
        return "of unknown version"
