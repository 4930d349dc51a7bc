"""`nearfield upsert`."""

from __future__ import annotations

from nearfield.cli.writing import writing_command

command = writing_command(
    replace=True,
    help="""Add documents from files, replacing those whose doc_id exists; otherwise as add.

    A document with the same title and text as the stored one is not encoded again, and one that is the same in metadata
    as well is not written: unchanged says how many of these there were.
    """,
)
