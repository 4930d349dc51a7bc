"""Text → vectors: the Encoder seam, the built-in BERT-family runtime, and passages within its token limit."""

from __future__ import annotations

from nearfield.encode.load import load_encoder
from nearfield.encode.models import DEFAULT_ENCODER
from nearfield.encode.passages import Span, passage_input, split_many, split_passages
from nearfield.encode.protocol import Encoder, Vectors
from nearfield.encode.remote import RemoteEncoder

__all__ = [
    "DEFAULT_ENCODER",
    "Encoder",
    "RemoteEncoder",
    "Span",
    "Vectors",
    "load_encoder",
    "passage_input",
    "split_many",
    "split_passages",
]
