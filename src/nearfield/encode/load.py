"""`load_encoder`: from what the user names to an encoder."""

from __future__ import annotations

from pathlib import Path

from nearfield.encode.bert import BertEncoder
from nearfield.encode.models import DEFAULT_ENCODER, PUBLISHED_SHA256, find_model, repository_of
from nearfield.encode.protocol import Encoder
from nearfield.encode.sentence_transformers import SentenceTransformersEncoder
from nearfield.errors import InvalidInput

_MEMBERS = ("name", "dimension", "max_tokens", "fingerprint", "count_tokens", "encode_documents", "encode_queries")


def load_encoder(
    encoder: str | Path | Encoder | None = None, *, precision: str = "auto", download: bool = False
) -> Encoder:
    """Return an encoder by its name, from a model's folder, or the given one as it is.

    Args:
        encoder: A model's name ("all-MiniLM-L6-v2" if not given), the folder of a BERT-family model, a
            `SentenceTransformer`, or an object with the members of `Encoder`.
            `nearfield.encode.models.find_model` says where a name is looked up.
        precision: "float32", "bfloat16", or "auto": bfloat16 where the processor computes in it. It changes cosines
            by less than 0.0005, and is no part of the fingerprint. Leave it out for an object.
        download: Fetch the model's files from the Hugging Face hub if they are not on this machine.

    Raises:
        InvalidInput: no such folder, a file is missing or damaged, or an object that is no encoder; says what it
            lacks.
        MissingDependency: the model's files are not on this machine, or its architecture needs the extra
            nearfield[sentence-transformers].

    >>> load_encoder().dimension
    384
    """
    if encoder is None or isinstance(encoder, str | Path):
        return _load_model(encoder if encoder is not None else DEFAULT_ENCODER, precision, download)
    if type(encoder).__module__.startswith("sentence_transformers."):
        encoder = SentenceTransformersEncoder(encoder)
    missing = [member for member in _MEMBERS if not hasattr(encoder, member)]
    if missing:
        raise InvalidInput(
            f"encoder must be a model's name, a folder, or an object with the members of nearfield.Encoder; got "
            f"{type(encoder).__name__}, which lacks {', '.join(missing)}"
        )
    if precision != "auto":
        raise InvalidInput("precision is for models that load_encoder loads; an encoder object has its own")
    return encoder


def _load_model(encoder: str | Path, precision: str, download: bool) -> BertEncoder:
    if isinstance(encoder, Path) and not encoder.is_dir():
        raise InvalidInput(f"encoder must be a model's folder, and there is no folder {encoder}")
    folder = find_model(str(encoder), download=download)
    # A folder holds whatever its owner put there; a name stands for the published weights.
    by_name = isinstance(encoder, str) and folder != Path(encoder)
    sha256 = PUBLISHED_SHA256.get(repository_of(str(encoder))) if by_name else None
    return BertEncoder(folder, name=str(encoder), precision=precision, sha256=sha256)
