"""What a model computes in, and what is chosen where nothing is asked for."""

from __future__ import annotations

from pathlib import Path

from nearfield.encode.models import PUBLISHED_SHA256
from nearfield.encode.runtime import has_bfloat16
from nearfield.errors import InvalidInput

PRECISIONS = ("auto", "float32", "bfloat16", "int8")

MEASURED = frozenset(PUBLISHED_SHA256.values())
"""SHA-256 of the weights whose int8 form was measured to find as well as float32 (docs/decisions/encoder-int8.md)."""


def check_precision(precision: object) -> str:
    """Return one of `PRECISIONS`.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise InvalidInput(f"precision must be one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}")
    return precision


def choose_precision(precision: str, weights: str) -> str:
    """Return what to compute in: what was asked, or for "auto" the quickest that is known to be as good.

    That is int8 for weights of which it was measured, where the processor multiplies such integers (VNNI); else
    bfloat16 where the processor computes in it, and float32 elsewhere.

    Args:
        precision: One of `PRECISIONS`.
        weights: Their SHA-256.

    Raises:
        InvalidInput: bfloat16 on a processor that doesn't have it.
    """
    if precision == "auto" and weights in MEASURED and multiplies_bytes():
        return "int8"
    if precision in ("float32", "int8"):
        return precision
    capable = has_bfloat16()
    if precision == "bfloat16" and not capable:
        raise InvalidInput("precision 'bfloat16' needs a processor that computes in it; use 'auto' or 'float32'")
    return "bfloat16" if capable else "float32"


def multiplies_bytes() -> bool:
    """Whether the processor has instructions for products of bytes; without them, int8 is not quicker."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").partition("\nflags")[2]
    except OSError:
        return False
    return "vnni" in flags.partition("\n")[0]
