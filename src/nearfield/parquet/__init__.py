"""Parquet: a whole collection as one file that pandas, polars and DuckDB read, and back again."""

from nearfield.parquet.exports import ExportFile, open_export
from nearfield.parquet.importing import engine_for, import_into
from nearfield.parquet.writing import export

__all__ = ["ExportFile", "engine_for", "export", "import_into", "open_export"]
