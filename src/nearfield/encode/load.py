"""`load_encoder`: from what the user names to an encoder."""

from __future__ import annotations

from inspect import getattr_static
from pathlib import Path
from typing import cast

from nearfield.encode.bert import BertEncoder
from nearfield.encode.models import DEFAULT_ENCODER, PUBLISHED_SHA256, find_model, repository_of
from nearfield.encode.objects import ObjectEncoder
from nearfield.encode.protocol import Encoder
from nearfield.encode.remote import RemoteEncoder
from nearfield.encode.remote.names import canonical, is_remote
from nearfield.encode.sentence_transformers import SentenceTransformersEncoder
from nearfield.encode.static import StaticEncoder
from nearfield.encode.static_settings import read_static_settings
from nearfield.errors import InvalidInput

_OWN = "nearfield"
_RUNTIMES = (_OWN, "sentence-transformers")
_MEMBERS = ("name", "dimension", "max_tokens", "fingerprint", "count_tokens", "encode_documents", "encode_queries")


def load_encoder(
    encoder: str | Path | Encoder | None = None,
    *,
    precision: str = "auto",
    truncate_dim: int | None = None,
    runtime: str = "nearfield",
    device: str | None = None,
    download: bool = False,
) -> Encoder:
    """Return an encoder by its name, from a model's folder, or the given one as it is.

    Args:
        encoder: A model's name ("all-MiniLM-L6-v2" if not given), the folder of a model (of the families of BERT,
            RoBERTa, MPNet and DistilBERT, or a static one), a `SentenceTransformer`, or any object with the methods
            `encode_documents` and `encode_queries`: `nearfield.encode.objects.ObjectEncoder` says what else of it
            is used.
            `nearfield.encode.models.find_model` says where a name is looked up. An OpenAI-compatible endpoint has a
            name such as "https://api.openai.com/v1#text-embedding-3-small" (`RemoteEncoder.from_name`).
        precision: "float32", "bfloat16", "int8", or "auto": the quickest on this processor that was measured to find
            as well, which for all-MiniLM-L6-v2 is int8 in calls of many texts. bfloat16 changes cosines by less than
            0.0005, int8 by 0.001 on the mean; precision is no part of the fingerprint. Leave it out for an object.
        truncate_dim: Cut vectors to this length, for models trained so (Matryoshka); not normalised again.
        runtime: "nearfield", or "sentence-transformers" for any other architecture and for GPUs; that needs the extra
            of the same name. The two have different fingerprints for the same model: neither replaces the other
            unasked.
        device: With runtime "sentence-transformers": "cpu", "cuda", …; it chooses if not given.
        download: Fetch the model's files from the Hugging Face hub if they are not on this machine.

    Raises:
        InvalidInput: no such folder, a file is missing or damaged, or an object that is no encoder; says what it
            lacks.
        MissingDependency: the model's files are not on this machine, or its architecture needs the extra
            nearfield[sentence-transformers].

    >>> load_encoder().dimension
    384
    """
    if isinstance(encoder, str) and is_remote(encoder):
        encoder = RemoteEncoder.from_name(encoder)
    _check_runtime(runtime, device)
    if encoder is None or isinstance(encoder, str | Path):
        model = encoder if encoder is not None else DEFAULT_ENCODER
        if runtime == _OWN:
            return _load_model(model, precision, truncate_dim, download)
        if precision != "auto":
            raise InvalidInput("precision is for the built-in runtime; leave it out with 'sentence-transformers'")
        return SentenceTransformersEncoder(model, device=device, truncate_dim=truncate_dim, download=download)
    given = {"precision": precision != "auto", "truncate_dim": truncate_dim is not None, "runtime": runtime != _OWN}
    for option in [name for name, was_given in given.items() if was_given]:
        raise InvalidInput(f"{option} is for models that load_encoder loads; an encoder object has its own")
    return as_encoder(encoder)


def _check_runtime(runtime: str, device: str | None) -> None:
    if runtime not in _RUNTIMES:
        raise InvalidInput(f"runtime must be one of {_RUNTIMES}, got {runtime!r}")
    if device is not None and runtime == _OWN:
        raise InvalidInput(
            "the built-in runtime has no device but the processor; for another, pass runtime='sentence-transformers' "
            f"and device={device!r}"
        )


def as_encoder(given: object) -> Encoder:
    """Return an object as an encoder: a `SentenceTransformer` and one with the two methods are wrapped.

    Raises:
        InvalidInput: it is none.
    """
    if type(given).__module__.startswith("sentence_transformers."):
        return SentenceTransformersEncoder(given)
    if isinstance(given, type) or not all(_has(given, member) for member in _MEMBERS):
        return ObjectEncoder(given)
    return cast(Encoder, given)


def name_of(encoder: str | Path | Encoder | None) -> str | None:
    """Return what a collection records: a folder by its absolute path, so that it is found from everywhere.

    An object must be an `Encoder`.
    """
    if encoder is None:
        return None
    name = canonical(str(encoder)) if isinstance(encoder, str | Path) else encoder.name
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name


def _has(given: object, member: str) -> bool:
    # Looked up without computing it first: a fingerprint may take a while.
    return getattr_static(given, member, _MEMBERS) is not _MEMBERS or hasattr(given, member)


def _load_model(
    encoder: str | Path, precision: str, truncate_dim: int | None, download: bool
) -> BertEncoder | StaticEncoder:
    if isinstance(encoder, Path) and not encoder.is_dir():
        raise InvalidInput(f"encoder must be a model's folder, and there is no folder {encoder}")
    folder = find_model(str(encoder), download=download)
    if read_static_settings(folder) is not None:
        if precision not in ("auto", "float32"):
            raise InvalidInput(f"{folder} holds a static model, which has only precision 'float32'; got {precision!r}")
        return StaticEncoder(folder, name=str(encoder), truncate_dim=truncate_dim)
    # A folder holds whatever its owner put there; a name stands for the published weights.
    by_name = isinstance(encoder, str) and folder != Path(encoder)
    sha256 = PUBLISHED_SHA256.get(repository_of(str(encoder))) if by_name else None
    return BertEncoder(folder, name=str(encoder), precision=precision, truncate_dim=truncate_dim, sha256=sha256)
