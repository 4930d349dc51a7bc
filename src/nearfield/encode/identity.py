"""An encoder's identity: what a collection records of it, and how another encoder is told from it.

Fingerprints decide; where they are equal, the probe does: the vectors of a few texts, compared by cosine, so that
rounding is no difference and another model is one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from inspect import getattr_static
from typing import TYPE_CHECKING, Any, TypeAlias

from nearfield import checks
from nearfield.encode import probing
from nearfield.errors import Conflict, InvalidInput, NearfieldError

if TYPE_CHECKING:
    from nearfield.encode.protocol import Encoder
    from nearfield.engine.protocol import Settings

Identity: TypeAlias = dict[str, Any]
"""JSON values by name: name, revision, files, dimension, max_tokens, pooling, normalise, prompts, precision, runtime,
fingerprint, probe, and whatever else an encoder tells of itself. What isn't known is null or absent."""

VERSION = 1

LONGEST = 4 << 20
"""Most characters of an identity as JSON; a probe of 4,096 dimensions has 65,000."""

_FIRST = ("fingerprint", "name", "revision", "dimension", "max_tokens", "pooling", "normalise", "prompts", "files")
_MEMBERS = frozenset(("version", "name", "dimension", "max_tokens", "fingerprint", "probe"))
_UNCOMPARED = frozenset(("version", "probe", "fingerprint"))
_UNKNOWN: Any = object()


def identify(encoder: Encoder, *, probe: bool = True) -> Identity:
    """Return an encoder's identity, as a collection records it.

    What an encoder knows beyond the members of `Encoder`, it tells by an optional property `identity`, a mapping.

    Args:
        encoder: The encoder; files of a large model may have to be hashed.
        probe: Encode the texts of the probe, unless this was done for the encoder before. False: encode nothing; the
            dimension is left out if that would have to be done to know it.

    Raises:
        InvalidInput: what the encoder tells of itself is no JSON, or its vectors can't be taken.
    """
    members = {
        "version": VERSION,
        "name": encoder.name,
        "revision": None,
        "max_tokens": encoder.max_tokens,
        "fingerprint": encoder.fingerprint,
    }
    own = _told_by(encoder)
    # An encoder that verifies its files knows it from them; an endpoint would have to be asked.
    if probe or own.get("runtime") is not None or isinstance(getattr_static(encoder, "dimension", None), int):
        members["dimension"] = encoder.dimension
    identity: Identity = members | {name: own[name] for name in own if name not in _MEMBERS}
    if probe:
        identity["probe"] = probing.probe(encoder)
    try:
        return valid(json.loads(json.dumps(identity, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"what the encoder {encoder.name!r} says of itself must be JSON: {error}") from None


def valid(identity: object) -> Identity:
    """Return a stored identity, after a look at what the comparison relies on.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(identity, dict) or not all(isinstance(name, str) for name in identity):
        raise ValueError("an identity must be an object")
    if not isinstance(identity.get("fingerprint"), str):
        raise ValueError("an identity must have a fingerprint")
    if len(json.dumps(identity)) > LONGEST:
        raise ValueError(f"an identity must have at most {LONGEST} characters")
    probing.check(identity.get("probe"))
    return identity


def is_identity(identity: object) -> bool:
    """Return whether a value can be taken as an identity."""
    try:
        valid(identity)
    except ValueError:
        return False
    return True


def differences(stored: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return what differs between the identity that a collection has and that of an encoder, in words.

    Not all of it makes another model: names, places and precisions may differ. The fingerprint does, and the probe.

    >>> differences({"fingerprint": "a", "pooling": "mean"}, {"fingerprint": "b", "pooling": "cls"})
    ["pooling: the collection has 'mean', the encoder 'cls'"]
    """
    names = sorted({*stored, *current} - _UNCOMPARED, key=lambda name: (_place(name), name))
    found = []
    for name in names:
        left, right = stored.get(name, _UNKNOWN), current.get(name, _UNKNOWN)
        if _UNKNOWN in (left, right) or left == right:
            continue
        both = isinstance(left, Mapping) and isinstance(right, Mapping)
        found += _parts(name, left, right) if both else [_line(name, left, right)]
    return found + probing.differences(stored, current)


def check_same(settings: Settings, encoder: Encoder, *, probe: bool = True) -> None:
    """Raise Conflict unless an encoder's vectors belong with those of a collection; the message lists what differs.

    Args:
        settings: What is fixed for the collection.
        encoder: The encoder.
        probe: Compare vectors too, as far as they are needed to decide. The texts are encoded at most once for each
            encoder, and not if it runs by the same runtime, which verifies the model's files.
    """
    given = f"the encoder {encoder.name!r}"
    stored = settings.identity
    if settings.fingerprint not in (None, encoder.fingerprint):
        differing = what_differs(settings, encoder, probe=probe)
        checks.same_vectors(settings, encoder.dimension, encoder.fingerprint, given, differing)
    checks.same_vectors(settings, encoder.dimension, encoder.fingerprint, given)
    if probe and stored is not None and stored.get("probe") and settings.fingerprint and not _verified(stored, encoder):
        check_probes(stored, identify(encoder), given)


def what_differs(settings: Settings, encoder: Encoder, *, probe: bool) -> list[str]:
    """Return what differs between a collection's encoder and another one, in words, as far as it is known."""
    stored = settings.identity
    if stored is None:
        return []
    try:
        return differences(stored, identify(encoder, probe=probe and bool(stored.get("probe"))))
    except NearfieldError:  # it is another encoder whether or not it can encode
        return []


def check_probes(stored: Mapping[str, Any] | None, current: Mapping[str, Any] | None, given: str) -> None:
    """Raise Conflict if two identities of the same fingerprint have probes with other vectors.

    Args:
        stored: What the collection has; None or without a probe: nothing to compare.
        current: The encoder's, likewise.
        given: Names it in the message.
    """
    differing = probing.differences(stored or {}, current or {})
    if differing:
        raise Conflict(
            f"the collection's vectors come from another encoder than {given}, though both have the fingerprint "
            f"{(current or {}).get('fingerprint')}: {'; '.join(differing)}; {checks.ANOTHER_ENCODER}"
        )


def _told_by(encoder: Encoder) -> Mapping[str, Any]:
    own = getattr(encoder, "identity", None) or {}
    if not isinstance(own, Mapping) or not all(isinstance(name, str) for name in own):
        raise InvalidInput(f"the property 'identity' of the encoder {encoder.name!r} must be a mapping of str to JSON")
    return own


def _verified(stored: Mapping[str, Any], encoder: Encoder) -> bool:
    runtime = stored.get("runtime")
    return runtime is not None and _told_by(encoder).get("runtime") == runtime


def _place(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _parts(name: str, stored: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return a line for each entry that differs; of files, whose hashes tell a reader nothing, the names alone."""
    keys = [key for key in sorted({*stored, *current}) if stored.get(key) != current.get(key)]
    if name != "files":
        return [_line(f"{name}.{key}", stored.get(key), current.get(key)) for key in keys]
    lines = []
    for key in keys:
        absent = "the collection's encoder" if key not in stored else "the encoder" if key not in current else ""
        lines.append(f"files: {absent} has no {key}" if absent else f"files: {key} differs")
    return lines


def _line(name: str, stored: object, current: object) -> str:
    return f"{name}: the collection has {stored!r}, the encoder {current!r}"
