"""What an exported file looks like: its columns, and what it says of itself."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from nearfield._version import __version__
from nearfield.encode.identity import is_identity
from nearfield.engine.protocol import Settings
from nearfield.errors import IncompatibleFormat, InvalidInput
from nearfield.extras import load_extra

FORMAT = "nearfield documents"
VERSION = 1
KEY = "nearfield"
"""Of the file's metadata, where `describe` is kept."""

COLUMNS = {
    "doc_id": "string",
    "title": "string",
    "text": "string",
    "metadata": "string",
    "spans": "list<struct<start: integer, end: integer>>",
    "vectors": "list<list<float32>>",
    "encoded": "bool",
}
"""The columns and their kinds, one row a document; `kind_of` tells the kind of an Arrow type."""

VALUES_OF_VECTORS = "vectors.list.element.list.element"
"""Path of the floats in the file."""


def arrow() -> Any:
    """Return pyarrow.

    Raises:
        MissingDependency: it is not installed.
    """
    return load_extra("pyarrow", "frames", "export and import as Parquet")


def arrow_parquet() -> Any:
    """Return pyarrow's Parquet module, or raise as `arrow`."""
    return load_extra("pyarrow.parquet", "frames", "export and import as Parquet")


def arrow_compute() -> Any:
    """Return pyarrow's functions on arrays, or raise as `arrow`."""
    return load_extra("pyarrow.compute", "frames", "export and import as Parquet")


def schema(settings: Settings) -> Any:
    """Return the Arrow schema of a collection's export, with what the file says of itself.

    Vectors have a fixed size, which polars makes arrays of; without a dimension there are none, and lists do.
    """
    pa = arrow()

    def required(name: str, kind: Any) -> Any:
        return pa.field(name, kind, nullable=False)

    span = pa.struct([required("start", pa.int64()), required("end", pa.int64())])
    vector = pa.list_(required("element", pa.float32()), settings.dimension or -1)
    kinds = {name: pa.string() for name in COLUMNS} | {
        "spans": pa.list_(required("element", span)),
        "vectors": pa.list_(required("element", vector)),
        "encoded": pa.bool_(),
    }
    return pa.schema([required(name, kind) for name, kind in kinds.items()], metadata={KEY: describe(settings)})


def kind_of(kind: Any) -> str:
    """Return an Arrow type's kind, the same for types that hold the same values, such as large and fixed-size lists."""
    types = arrow().types
    if any(test(kind) for test in (types.is_string, types.is_large_string, types.is_string_view)):
        return "string"
    if any(test(kind) for test in (types.is_list, types.is_large_list, types.is_fixed_size_list)):
        return f"list<{kind_of(kind.value_type)}>"
    if types.is_struct(kind):
        fields = ", ".join(f"{kind.field(i).name}: {kind_of(kind.field(i).type)}" for i in range(kind.num_fields))
        return f"struct<{fields}>"
    if types.is_integer(kind):
        return "integer"
    return "float32" if types.is_float32(kind) else str(kind)


def describe(settings: Settings) -> str:
    """Return what a file says of itself, as JSON with a checksum: Parquet has none for it."""
    fields = {
        "format": FORMAT,
        "version": VERSION,
        "encoder": settings.encoder,
        "fingerprint": settings.fingerprint,
        "dimension": settings.dimension,
        "index": settings.index,
        "recall": settings.recall,
        "nearfield": __version__,
    }
    if settings.identity is not None:
        fields["identity"] = settings.identity
    return json.dumps(fields | {"crc32": _checksum(fields)}, ensure_ascii=False)


def _checksum(fields: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(fields, sort_keys=True).encode())


def settings_of(metadata: Mapping[bytes, bytes] | None, path: str) -> Settings:
    """Return the settings of the collection that a file was exported from.

    Args:
        metadata: The file's.
        path: Names it in messages.

    Raises:
        InvalidInput: it is no export, or its description is damaged.
        IncompatibleFormat: a newer version wrote it.
    """
    text = (metadata or {}).get(KEY.encode())
    if text is None:
        raise InvalidInput(
            f"{path}: a Parquet file, but no export of a collection; `nearfield add` reads the documents of other "
            "Parquet files, and Collection.add(documents, vectors=...) takes their vectors"
        )
    try:
        fields = json.loads(text)
        whole = fields.pop("crc32") == _checksum(fields) and fields["format"] == FORMAT
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise InvalidInput(f"{path}: damaged: what it says of itself ({KEY!r} of its metadata) can't be read")
    if fields["version"] != VERSION:
        raise IncompatibleFormat(
            f"{path}: an export of format version {fields['version']}, and this nearfield reads {VERSION}; upgrade it"
        )
    kept = {name: fields[name] for name in ("encoder", "index", "recall", "dimension", "fingerprint")}
    # Files of earlier versions have none.
    identity = fields.get("identity")
    return Settings(**kept, identity=identity if is_identity(identity) else None)
