"""Any object with `encode_documents` and `encode_queries` as an encoder."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from nearfield.encode.protocol import Vectors
from nearfield.encode.texts import check_texts
from nearfield.errors import InvalidInput

BYTES_PER_TOKEN = 3
"""How long a token is taken to be where an object can't count them: on the safe side for English, of about 4."""

_METHODS = ("encode_documents", "encode_queries")


class ObjectEncoder:
    """An `Encoder` made of an object that has `encode_documents(texts)` and `encode_queries(texts)`, and maybe more.

    The two methods take a list of str and return a vector for each, as anything that NumPy makes a matrix of. Used as
    they are, if the object has them: `name` (else the name of its class), `dimension` (else that of a first vector),
    `max_tokens` (else no limit is known), `count_tokens` (else a token is taken to be three bytes), `fingerprint`, and
    `precision`, `identity`.

    Without a fingerprint of its own, an object has one made of its class, name and dimension: that tells nothing of
    its weights. What tells them apart is the probe, which a collection and a cache compare before they use a vector.
    An object that changes otherwise (in how it cuts long texts, say) should have a fingerprint of its own.
    """

    def __init__(self, given: Any) -> None:
        """Take an object; nothing is called before it is needed.

        Raises:
            InvalidInput: it lacks one of the two methods, or what else it has is of the wrong type.
        """
        if isinstance(given, type):
            raise InvalidInput(f"encoder must be an object, got the class {given.__name__}; make one of it")
        missing = [name for name in _METHODS if not callable(getattr(given, name, None))]
        if missing:
            raise InvalidInput(
                "encoder must be a model's name, a folder, or an object with the methods encode_documents(texts) and "
                f"encode_queries(texts); got {type(given).__name__}, which lacks {' and '.join(missing)}"
            )
        self._given = given
        name = getattr(given, "name", None)
        self._name = name if isinstance(name, str) and name else type(given).__name__
        self._limit = _whole(given, "max_tokens")
        self._dimension = _whole(given, "dimension")

    def __reduce__(self) -> tuple[type[ObjectEncoder], tuple[Any]]:
        """Let another process make the same of the object, if that can be sent to it."""
        return ObjectEncoder, (self._given,)

    @property
    def given(self) -> Any:
        """The object itself."""
        return self._given

    @property
    def name(self) -> str:
        """The object's name, or that of its class."""
        return self._name

    @cached_property
    def dimension(self) -> int:
        """Length of every vector: what the object says, or that of a first vector."""
        if self._dimension is not None:
            return self._dimension
        first = matrix(self._given.encode_documents(["a"]), 1, None, self._called("encode_documents"))
        return int(first.shape[1])

    @property
    def max_tokens(self) -> int | None:
        """How many tokens fit into one vector, as the object says; None: it says nothing, or has no limit."""
        return self._limit

    @property
    def precision(self) -> str | None:
        """What the object says that it computes in; None if it says nothing."""
        precision = getattr(self._given, "precision", None)
        return precision if isinstance(precision, str) else None

    @property
    def fingerprint(self) -> str:
        """The object's own, or one made of its class, name and dimension."""
        own = getattr(self._given, "fingerprint", None)
        if isinstance(own, str) and own:
            return own
        kind = type(self._given)
        parts = f"{kind.__module__}.{kind.__qualname__}\0{self._name}\0{self.dimension}"
        return f"object-{hashlib.sha256(parts.encode()).hexdigest()[:40]}"

    @property
    def identity(self) -> dict[str, Any]:
        """What the object tells of itself, and its class."""
        own = getattr(self._given, "identity", None)
        own = dict(own) if isinstance(own, Mapping) else {}
        # Only a runtime that verifies the files of its models may be spared the probe.
        own.pop("runtime", None)
        kind = type(self._given)
        return {"class": f"{kind.__module__}.{kind.__qualname__}", "precision": self.precision, **own}

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, as the object counts them, or else by the length of the text."""
        checked = check_texts(texts)
        count = getattr(self._given, "count_tokens", None)
        if not callable(count):
            return [math.ceil(len(text.encode()) / BYTES_PER_TOKEN) for text in checked]
        counts = list(count(checked))
        if len(counts) != len(checked) or not all(isinstance(one, int | np.integer) and one >= 0 for one in counts):
            raise InvalidInput(f"{self._called('count_tokens')} must return an int for each text, returned {counts!r}")
        return [int(one) for one in counts]

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Return the object's vectors of texts.

        Raises:
            InvalidInput: a text can't be encoded, or what the object returns is no matrix of finite numbers with a row
                for each text.
        """
        return self._encode("encode_documents", texts)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return the object's vectors of queries, as `encode_documents`."""
        return self._encode("encode_queries", texts)

    def _encode(self, method: str, texts: Sequence[str]) -> Vectors:
        checked = check_texts(texts)
        if not checked:
            return np.empty((0, self.dimension), np.float32)
        return matrix(getattr(self._given, method)(checked), len(checked), self.dimension, self._called(method))

    def _called(self, method: str) -> str:
        return f"{type(self._given).__name__}.{method}"


def matrix(vectors: object, rows: int, dimension: int | None, what: str) -> Vectors:
    """Return what an encoder returned as float32 `(rows, dimension)`, copied only if it is something else.

    Args:
        vectors: What it returned.
        rows: How many texts it was given.
        dimension: Its dimension; None: any from 1.
        what: The method's name in messages.

    Raises:
        InvalidInput: another shape, no numbers, NaN or infinite.
    """
    expected = f"{what} must return finite numbers of shape ({rows}, {dimension or 'dimension'})"
    try:
        array = np.asarray(vectors)
    except (ValueError, TypeError, RuntimeError) as error:  # the last one from tensors that can't be arrays
        raise InvalidInput(f"{expected}, a vector for each text: {error}") from None
    if array.dtype.kind not in "fiu":
        raise InvalidInput(f"{expected}, and returned {type(vectors).__name__} of dtype {array.dtype}")
    if array.ndim != 2 or len(array) != rows or dimension not in (None, array.shape[1]) or not array.shape[1]:
        raise InvalidInput(f"{expected}, a vector for each text, and returned shape {array.shape}")
    with np.errstate(over="ignore"):  # told below
        single: Vectors = np.asarray(array, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(single).all(axis=1))
    if len(bad):
        raise InvalidInput(f"{expected}, and row {bad[0]} has NaN or an infinity ({len(bad)} such rows)")
    return single


def _whole(given: Any, name: str) -> int | None:
    value = getattr(given, name, None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InvalidInput(f"{type(given).__name__}.{name} must be an int of at least 1, or None, and is {value!r}")
    return int(value)
