"""Static models: a text's vector is the mean of its tokens' vectors, looked up in a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield._version import __version__
from nearfield.encode.model_identity import model_identity, revision_of
from nearfield.encode.protocol import Vectors
from nearfield.encode.safetensors import Weights
from nearfield.encode.static_settings import read_static_settings, static_truncate_dim
from nearfield.encode.texts import check_texts
from nearfield.encode.tokens import Ids, Tokens
from nearfield.errors import InvalidInput

_TEXTS = 4096
"""Texts that are tokenised at once; their tokens are held as Python's ints."""

_TOKENS = 2048
"""Tokens whose vectors are gathered at once: so many stay in a core's cache."""


class StaticEncoder:
    """An `Encoder` that looks up token vectors, in NumPy: hundreds of times faster than a transformer, and weaker.

    It reads model2vec's folders (config.json, model.safetensors with "embeddings", tokenizer.json) and those of
    sentence-transformers' `StaticEmbedding`, and its vectors are theirs. A model2vec model leaves out tokens that the
    vocabulary lacks. It counts no more than `max_tokens` tokens of a text, as model2vec does; unlike model2vec, it
    doesn't cut a text at a number of characters before.

    A text without a known token, such as an empty one, has the zero vector.
    """

    def __init__(self, folder: Path, *, name: str | None = None, truncate_dim: int | None = None) -> None:
        """Read a static model's folder.

        Args:
            folder: The model's files.
            name: What to call it; the folder if not given.
            truncate_dim: Cut vectors to this length. model2vec's are cut before they are normalised, as by its own
                `dimensionality`; those of `StaticEmbedding` after, as by sentence-transformers.

        Raises:
            InvalidInput: the folder holds no static model, a file is missing or damaged, or the tokenizer has tokens
                without a vector.
        """
        settings = read_static_settings(Path(folder))
        if settings is None:
            raise InvalidInput(
                f"{folder} holds no static model: it has neither model2vec's config.json nor a module "
                "StaticEmbedding in modules.json; load_encoder reads other models"
            )
        self._settings = settings
        self._root = Path(folder)
        self._name = name or str(folder)
        self._weights = Weights(settings.folder / "model.safetensors")
        self._tokens = Tokens(settings.folder / "tokenizer.json", special=False)
        self._table, self._rows, self._factors = self._read_tensors()
        self._truncate_dim = static_truncate_dim(self._root, settings, truncate_dim, self._table.shape[1])
        if settings.model2vec and self._truncate_dim is not None:
            self._table = self._table[:, : self._truncate_dim]

    @property
    def name(self) -> str:
        """What the user called the encoder."""
        return self._name

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        return self._truncate_dim or int(self._table.shape[1])

    @cached_property
    def max_tokens(self) -> int | None:
        """How many tokens count, beside the model's prompt; None: no limit."""
        if self._settings.max_length is None:
            return None
        prompts = (self._settings.document_prompt, self._settings.query_prompt)
        return self._settings.max_length - max(self._tokens.counts(prompts))

    @property
    def precision(self) -> str:
        """What the encoder computes in, "float32"."""
        return "float32"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over vectors, tokenizer, limit, normalisation, prompts and dimension, in hexadecimal."""
        parts = {
            "weights": self._weights.digest,
            "tokenizer": hashlib.sha256((self._settings.folder / "tokenizer.json").read_bytes()).hexdigest(),
            "truncate_dim": self._truncate_dim,
            **self._settings.identity(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a collection records of the model beside the fingerprint; see `nearfield.encode.identity`."""
        settings = {**self._settings.identity(), "truncate_dim": self._truncate_dim}
        told = model_identity(self._settings.folder, self._weights.digest, settings, self.precision)
        return {
            **told,
            "runtime": f"nearfield {__version__}, NumPy {np.__version__}",
            "revision": revision_of(self._root),
        }

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, without prompt and truncation."""
        return self._tokens.counts(check_texts(texts))

    def tokens_at_most(self, text: str) -> int | None:
        """Return a number that the text's tokens can't exceed, in no time; None if there is none known."""
        return self._tokens.at_most(text)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, with the model's document prompt if it has one.

        Raises:
            InvalidInput: a text is not a str or holds a lone surrogate.
        """
        return self._encode(texts, self._settings.document_prompt)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of queries, as `encode_documents` but with the query prompt."""
        return self._encode(texts, self._settings.query_prompt)

    def _encode(self, texts: Sequence[str], prompt: str) -> Vectors:
        checked = check_texts(texts)
        vectors = np.zeros((len(checked), self._table.shape[1]), np.float32)
        for start in range(0, len(checked), _TEXTS):
            ids = self._known([prompt + text for text in checked[start : start + _TEXTS]])
            self._means(ids, vectors[start : start + _TEXTS])
        if self._settings.normalise:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-32))
        return np.ascontiguousarray(vectors[:, : self.dimension])

    def _known(self, texts: list[str]) -> list[Ids]:
        """Return the ids that count of each text."""
        limit, unknown = self._settings.max_length, self._tokens.unknown
        ids = [one[:limit] for one in self._tokens.ids(texts)]
        if not self._settings.model2vec or unknown is None:
            return ids
        return [[token for token in one if token != unknown] if unknown in one else one for one in ids]

    def _means(self, ids: list[Ids], out: Vectors) -> None:
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))
        self._tokens.check(flat)
        starts = np.cumsum(lengths) - lengths
        for rows, length in _same_length(lengths):
            tokens = flat[starts[rows, None] + np.arange(length)]
            parts = (self._vectors(tokens[:, at : at + _TOKENS]).sum(axis=1) for at in range(0, length, _TOKENS))
            out[rows] = sum(parts) / np.float32(length)

    def _vectors(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of tokens, `(n, length)` → `(n, length, d)`."""
        rows = tokens if self._rows is None else self._rows[tokens]
        vectors = np.asarray(self._table[rows], np.float32)
        return vectors if self._factors is None else vectors * self._factors[tokens][..., None]

    def _read_tensors(self) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
        """Return the table, the row of each token if it isn't its id, and the weight of each token if it has one."""
        tensors: dict[str, NDArray[Any]] = {**self._weights.integers, **self._weights.tensors}
        names = ("embeddings",) if self._settings.model2vec else ("embedding.weight", "embeddings")
        name = next((name for name in names if name in tensors), None)
        if name is None or tensors[name].ndim != 2 or not tensors[name].shape[1]:
            found = f"has shape {tensors[name].shape}" if name else f"is not there; there are {sorted(tensors)}"
            raise self._damaged(f"tensor {' or '.join(names)!r} must have shape (tokens, dimension), and {found}")
        table, rows, factors = tensors[name], tensors.get("mapping"), tensors.get("weights")
        for each in ("mapping" if rows is not None else name, "weights"):
            if each in tensors and (tensors[each].ndim != 1 + (each == name) or len(tensors[each]) < self._tokens.size):
                raise self._damaged(
                    f"tensor {each!r} has shape {tensors[each].shape}, and tokenizer.json {self._tokens.size} tokens"
                )
        if rows is not None and (rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= len(table)):
            raise self._damaged(f"tensor 'mapping' must hold rows of the {len(table)} vectors")
        return table, rows, factors

    def _damaged(self, what: str) -> InvalidInput:
        path = self._settings.folder / "model.safetensors"
        return InvalidInput(f"{path}: {what}; its files must belong to the same model: fetch them again")


def _same_length(lengths: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield places of equal length, and that length; none of length 0."""
    order = np.argsort(lengths, kind="stable")
    bounds = np.flatnonzero(np.diff(lengths[order], prepend=0, append=-1))
    for start, end in pairwise(bounds):
        length = int(lengths[order[start]])
        step = max(1, _TOKENS // length)
        for at in range(start, end, step):
            yield order[at : min(at + step, end)], length
