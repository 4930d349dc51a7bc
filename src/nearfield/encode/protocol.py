"""The Encoder seam: what turns texts into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
"""float32 `(n, d)`, a row for each text, in the order of the texts."""


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors; every encoder passes `nearfield.testing.check_encoder`.

    Vectors needn't have unit length: a collection normalises what it stores and what it searches with. Encoding the
    same text gives the same vector up to rounding, alone or in a batch: a cosine of .999, or, where documents in bulk
    are computed in int8, .99. Methods may be called from several threads.
    """

    @property
    def name(self) -> str:
        """What the user called the encoder: a model's name or a folder."""
        ...

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of text fit into one vector, special tokens not counted; None: no limit.

        Longer texts must be split into passages before encoding: `nearfield.encode.split_passages` does.
        """
        ...

    @property
    def fingerprint(self) -> str:
        """Identifies what the vectors mean: weights, tokenizer, pooling, normalisation, prompts.

        Two encoders with the same fingerprint may be mixed in one collection; floating-point precision and the
        processor are no part of it.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, special tokens not counted and without truncation."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts to be stored, float32 `(len(texts), dimension)`.

        No texts give shape `(0, dimension)`. An empty text is allowed and has a finite vector.

        Raises:
            InvalidInput: a text is not a str, or holds a lone surrogate.
        """
        ...

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of queries; as `encode_documents`, but with the model's query prompt if it has one."""
        ...
