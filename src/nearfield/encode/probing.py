"""The probe: an encoder's vectors of a few texts, kept to find out one that computes something else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from nearfield.checks import unit_vectors

if TYPE_CHECKING:
    from nearfield.encode.protocol import Encoder

Probe: TypeAlias = dict[str, Any]

VERSION = 1
"""Of the texts; probes of different versions can't be compared."""

DOCUMENTS = (
    "The harbour was quiet; the last ferry had left an hour before.",
    "Interest rates rose by half a point in the third quarter.",
    "def mean(values): return sum(values) / len(values)",
    "Das Gehirn eines Kraken verteilt sich auf seine acht Arme.",
)
QUERIES = ("how do vaccines protect the body", "cheap flights to Lisbon in May")

LEAST = 0.97
"""Least cosine of the same model in other precisions and on other processors: docs/decisions/encoder-identity.md."""

_KINDS = {"documents": DOCUMENTS, "queries": QUERIES}
_LOST = 1e-6
"""Of a squared norm: below it, rounding is all that is left of the centred vectors."""

_known: WeakKeyDictionary[Any, Probe] = WeakKeyDictionary()


def probe(encoder: Encoder) -> Probe:
    """Return an encoder's probe; its texts are encoded once for each encoder of a process, past any cache.

    The vectors are unit length, as float16 (the least significant byte first) in base64: an error of 0.0005, far below
    that of bfloat16.
    """
    bare = getattr(encoder, "uncached", encoder)
    try:
        known = _known.get(bare)
    except TypeError:  # neither hashable nor to be referred to: it is encoded again
        known = None
    if known is not None:
        return known
    made = {
        "version": VERSION,
        "documents": _pack(bare.encode_documents(list(DOCUMENTS)), len(DOCUMENTS), encoder.dimension),
        "queries": _pack(bare.encode_queries(list(QUERIES)), len(QUERIES), encoder.dimension),
    }
    with suppress(TypeError):
        _known[bare] = made
    return made


def check(stored: object) -> None:
    """Raise ValueError unless a value is a probe, or None for none; a later version's is not looked at."""
    if stored is None:
        return
    if not isinstance(stored, Mapping) or type(stored.get("version")) is not int:
        raise ValueError("a probe must be an object with a version")
    if stored["version"] == VERSION:
        _matrix(stored)


def differences(stored: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return in words whether the probes of two identities have other vectors; [] if one has none."""
    left, right = stored.get("probe"), current.get("probe")
    if not left or not right or not left["version"] == right["version"] == VERSION:
        return []
    return [
        f"the probe: the vectors of {kind} differ (cosine {cosine:.2f}, and at least {LEAST} for the same encoder)"
        for kind, cosine in cosines(left, right).items()
        if not cosine >= LEAST
    ]


def cosines(left: Probe, right: Probe) -> dict[str, float]:
    """Return the cosine of two probes' documents, and of their queries; 0 if the dimensions differ.

    It is that of all rows in one, after the mean of `left` is taken from each: the vectors of one model have much in
    common, whatever the text, so that they are near to those of, say, another pooling. Encoders that have one vector
    for all texts are compared as they are.
    """
    one, other = _matrix(left), _matrix(right)
    if one.shape != other.shape:
        return dict.fromkeys(_KINDS, 0.0)
    mean = one.mean(axis=0)
    parts = np.cumsum([len(texts) for texts in _KINDS.values()])[:-1]
    pairs = zip(_KINDS, np.split(one, parts), np.split(other, parts), strict=True)
    return {kind: _cosine(first, second, mean) for kind, first, second in pairs}


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64], mean: NDArray[np.float64]) -> float:
    if ((one - mean) ** 2).sum() > _LOST * len(one):
        one, other = one - mean, other - mean
    norms = np.sqrt((one**2).sum() * (other**2).sum())
    if norms == 0:
        return float(not one.any() and not other.any())
    return float((one * other).sum() / norms)


def _pack(vectors: object, rows: int, dimension: int) -> list[str]:
    units = unit_vectors(vectors, rows, dimension, "the encoder's vectors").astype("<f2")
    return [base64.b64encode(row.tobytes()).decode() for row in units]


def _matrix(stored: Mapping[str, Any]) -> NDArray[np.float64]:
    rows: list[NDArray[np.float64]] = []
    for kind, texts in _KINDS.items():
        packed: Sequence[str] = stored.get(kind, ())
        if not isinstance(packed, list) or len(packed) != len(texts) or not all(isinstance(row, str) for row in packed):
            raise ValueError(f"a probe must have {len(texts)} vectors of {kind}")
        rows += [np.frombuffer(base64.b64decode(row, validate=True), "<f2").astype(np.float64) for row in packed]
    matrix = np.stack(rows)  # ValueError if lengths differ
    if not np.isfinite(matrix).all():
        raise ValueError("a probe must be finite")
    return matrix
