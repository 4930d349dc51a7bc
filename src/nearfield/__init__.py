"""nearfield: search, cluster and recommend over one durable collection of documents.

>>> import nearfield as nf
>>> nf.Document("Learn Python for data science.").text
'Learn Python for data science.'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nearfield._version import __version__

if TYPE_CHECKING:
    from nearfield.collection import Collection
    from nearfield.documents import Document, read_files
    from nearfield.encode import Encoder, load_encoder
    from nearfield.errors import (
        Conflict,
        CorruptCollection,
        IncompatibleFormat,
        InvalidInput,
        Locked,
        MissingDependency,
        NearfieldError,
        NotFound,
        Unavailable,
    )
    from nearfield.health import check, repair, restore
    from nearfield.hits import Hit, Hits
    from nearfield.opening import open

# Names are loaded on first use: `import nearfield` reads two files and stays under 150 ms.
_HOMES = {
    "Collection": "collection",
    "Conflict": "errors",
    "CorruptCollection": "errors",
    "Document": "documents",
    "Encoder": "encode",
    "Hit": "hits",
    "Hits": "hits",
    "IncompatibleFormat": "errors",
    "InvalidInput": "errors",
    "Locked": "errors",
    "MissingDependency": "errors",
    "NearfieldError": "errors",
    "NotFound": "errors",
    "Unavailable": "errors",
    "check": "health",
    "load_encoder": "encode",
    "open": "opening",
    "read_files": "documents",
    "repair": "health",
    "restore": "health",
}

__all__ = [
    "Collection",
    "Conflict",
    "CorruptCollection",
    "Document",
    "Encoder",
    "Hit",
    "Hits",
    "IncompatibleFormat",
    "InvalidInput",
    "Locked",
    "MissingDependency",
    "NearfieldError",
    "NotFound",
    "Unavailable",
    "__version__",
    "check",
    "load_encoder",
    "open",
    "read_files",
    "repair",
    "restore",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nearfield' has no attribute {name!r}")
    value = getattr(import_module(f"nearfield.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
