"""`nearfield add`."""

from __future__ import annotations

from nearfield.cli.writing import writing_command

command = writing_command(
    replace=False,
    help="""Add documents from files; the collection is made if there is none.

    A doc_id that exists already is an error; upsert replaces. Each batch is committed on its own: after an error or
    Ctrl-C the batches before are stored, and the message says how many documents that is.

    With --json: an object with written, documents (how many the collection holds), left_out and seconds.
    """,
)
