"""`CachedEncoder`: an encoder that remembers its vectors on disk."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearfield import checks
from nearfield.encode import probing
from nearfield.encode.cache_files import cache_folder, check_folder
from nearfield.encode.cache_store import VectorStore
from nearfield.encode.objects import matrix
from nearfield.encode.protocol import Encoder, Vectors
from nearfield.encode.texts import check_texts
from nearfield.errors import InvalidInput

MAX_BYTES = 1 << 30
"""Of the cache, if not given: 600,000 vectors of 384 dimensions."""

LEAST_BYTES = 1 << 20

SAME = 0.999
"""Least cosine of two probes for encoders to share vectors: an endpoint's vectors vary a little from call to call."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache of vectors has done in this process, and what it holds.

    Args:
        hits: Texts that were not encoded, since their vectors were there.
        misses: Texts that were encoded.
        entries: Vectors on disk, of all encoders.
        bytes: Size on disk.
    """

    hits: int
    misses: int
    entries: int
    bytes: int

    @property
    def hit_rate(self) -> float:
        """Share of the texts that were not encoded, in [0, 1]; 0 before the first."""
        return self.hits / max(1, self.hits + self.misses)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a dict that `json.dumps` takes."""
        return {**asdict(self), "hit_rate": self.hit_rate}


class CachedEncoder:
    """An `Encoder` that asks another one for those vectors only that it doesn't have on disk.

    A vector is found by the encoder's fingerprint and precision, by whether it is of a document or a query, and by the
    exact text; so collections and processes share what they have in common, and nothing else. An encoder that doesn't
    verify its model's files has to give the same vectors for a probe as before (cosine 0.999). What is found is, to the
    bit, what was encoded.

    Vectors that were not used for longest are removed when there are too many. A cache that is damaged is set aside and
    begun anew; if its folder can't be used, or the disk is full, texts are encoded as without it.
    """

    def __init__(self, encoder: Encoder, path: str | Path | None = None, *, max_bytes: int = MAX_BYTES) -> None:
        """Put a cache before an encoder; nothing is opened before it is needed.

        Args:
            encoder: Makes the vectors that are not there.
            path: A folder, made if it is absent; `$XDG_CACHE_HOME/nearfield/vectors` (`~/.cache` without that
                variable) if not given.
            max_bytes: Most bytes on disk, at least 1 MiB; with a smaller bound than before, it shrinks at the next
                write.

        Raises:
            InvalidInput: there is a file at the path, or `max_bytes` is too small.
        """
        checks.count(max_bytes, "max_bytes", LEAST_BYTES)
        self._encoder: Encoder = encoder.uncached if isinstance(encoder, CachedEncoder) else encoder
        self._choice, self._max_bytes = path, max_bytes
        self._store = _store(path, max_bytes)
        self._lock = threading.Lock()
        self._space: bytes | None = None
        self._hits = self._misses = 0

    def __reduce__(self) -> tuple[Callable[..., CachedEncoder], tuple[Encoder, str | Path | None, int]]:
        """Let another process use the same cache, if the encoder can be sent to it."""
        return _again, (self._encoder, self._choice, self._max_bytes)

    @property
    def uncached(self) -> Encoder:
        """The encoder behind the cache."""
        return self._encoder

    @property
    def name(self) -> str:
        """The encoder's name."""
        return self._encoder.name

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        return self._encoder.dimension

    @property
    def max_tokens(self) -> int | None:
        """How many tokens fit into one vector; None: no limit."""
        return self._encoder.max_tokens

    @property
    def fingerprint(self) -> str:
        """The encoder's fingerprint."""
        return self._encoder.fingerprint

    @property
    def precision(self) -> str | None:
        """What the encoder computes in, if it says so."""
        return getattr(self._encoder, "precision", None)

    @property
    def identity(self) -> Any:
        """What the encoder tells of itself."""
        return getattr(self._encoder, "identity", None)

    @property
    def stats(self) -> CacheStats:
        """What the cache has done so far, and what it holds."""
        entries, size = self._store.figures() if self._store is not None else (0, 0)
        return CacheStats(self._hits, self._misses, entries, size)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, as the encoder counts them."""
        return self._encoder.count_tokens(texts)

    def tokens_at_most(self, text: str) -> int | None:
        """Return a number that the text's tokens can't exceed, if the encoder knows one; else None."""
        bound = getattr(self._encoder, "tokens_at_most", None)
        return None if bound is None else bound(text)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts; each text that has none yet is encoded once."""
        return self._encode(texts, b"document", self._encoder.encode_documents)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of queries, as `encode_documents`."""
        return self._encode(texts, b"query", self._encoder.encode_queries)

    def close(self) -> None:
        """Close the file; it is opened again by the next use."""
        if self._store is not None:
            self._store.close()

    def _encode(self, texts: Sequence[str], role: bytes, encode: Callable[[Sequence[str]], Vectors]) -> Vectors:
        checked = check_texts(texts)
        space = self._space_of_encoder() if checked else None
        if space is None or self._store is None:
            return encode(checked)
        place = {text: row for row, text in enumerate(dict.fromkeys(checked))}
        keys = [hashlib.blake2b(text.encode(), digest_size=16, key=space, person=role).digest() for text in place]
        vectors = np.empty((len(place), self.dimension), np.float32)
        found = self._store.fill(keys, vectors)
        missing = np.flatnonzero(~found).tolist()
        if missing:
            distinct = list(place)
            made = encode([distinct[row] for row in missing])
            vectors[missing] = matrix(made, len(missing), self.dimension, f"{type(self._encoder).__name__}.encode")
            self._store.put([keys[row] for row in missing], vectors[missing])
        with self._lock:
            self._misses += len(missing)
            self._hits += len(place) - len(missing)
        return vectors if len(place) == len(checked) else vectors[[place[text] for text in checked]]

    def _space_of_encoder(self) -> bytes | None:
        """Return what the keys of the encoder's vectors are made with; None if the cache can't be used."""
        with self._lock:
            if self._space is None and self._store is not None:
                self._space = self._find_space(self._store)
            return self._space

    def _find_space(self, store: VectorStore) -> bytes | None:
        fingerprint, precision = self.fingerprint, self.precision or ""
        runtime = (self.identity or {}).get("runtime")
        if runtime is not None:  # it verifies the files
            return _digest(fingerprint, precision, runtime)
        own = probing.probe(self._encoder)

        def agrees(known: Any) -> bool:
            probing.check(known)
            return all(cosine >= SAME for cosine in probing.cosines(known, own).values())

        return store.space(fingerprint, precision, agrees, own, _digest(fingerprint, precision, own))


def cached(encoder: Encoder, cache: bool | str | Path) -> Encoder:
    """Return an encoder with a cache in a folder, or in the user's caches if True; as it is if False."""
    if cache is False or isinstance(encoder, CachedEncoder):
        return encoder
    return CachedEncoder(encoder, None if cache is True else cache)


def check_cache(cache: object) -> None:
    """Raise InvalidInput unless a value is a bool, or a path where a folder is or can be."""
    if not isinstance(cache, bool | str | Path):
        raise InvalidInput(f"cache must be True, False, or a folder, got {cache!r}")
    if not isinstance(cache, bool):
        check_folder(cache)


def _store(path: str | Path | None, max_bytes: int) -> VectorStore | None:
    if path is not None:
        return VectorStore(check_folder(path), max_bytes)
    try:
        return VectorStore(cache_folder() / "vectors", max_bytes)
    except RuntimeError:  # the user has no home, and so no caches
        return None


def _digest(*parts: object) -> bytes:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=32).digest()


def _again(encoder: Encoder, path: str | Path | None, max_bytes: int) -> CachedEncoder:
    return CachedEncoder(encoder, path, max_bytes=max_bytes)
