"""The local engine: a folder with SQLite for the truth, memory-mapped vectors, and a derived lexical index."""

from nearfield.engine.local.store import LocalEngine

__all__ = ["LocalEngine"]
