"""`nearfield add`."""

from __future__ import annotations

from nearfield.cli.writing import writing_command

command = writing_command(
    replace=False,
    help="""Add documents from files; the collection is made if there is none.

    A doc_id that exists already is an error; upsert replaces. Each batch is committed on its own: after an error or
    Ctrl-C the batches before are stored, and the message says how many documents that is.

    The same command then goes on after the documents that are stored, also after a crash, and encodes none of them
    again; documents without a doc_id are not stored twice. It goes by the files' paths, and by the documents: files may
    be mended or grow behind the documents that are stored, but these must be the same. Standard input can't be resumed.

    With --json: an object with written, unchanged (0 for add), resumed (how many an earlier run had stored), documents
    (how many the collection holds), left_out and seconds.
    """,
)
