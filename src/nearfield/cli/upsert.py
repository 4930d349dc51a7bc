"""`nearfield upsert`."""

from __future__ import annotations

from nearfield.cli.writing import writing_command

command = writing_command(
    replace=True, help="Add documents from files, replacing those whose doc_id exists; otherwise as add."
)
