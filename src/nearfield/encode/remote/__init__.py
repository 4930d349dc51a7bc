"""Encoders behind an OpenAI-compatible `/v1/embeddings`."""

from nearfield.encode.remote.encoder import RemoteEncoder

__all__ = ["RemoteEncoder"]
