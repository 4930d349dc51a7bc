"""`nearfield add`."""

from __future__ import annotations

from nearfield.cli import options
from nearfield.cli.writing import Reading, write


def command(
    path: options.Path,
    files: options.Files,
    doc_id: options.IdField = None,
    text: options.TextField = None,
    title: options.TitleField = None,
    metadata: options.MetadataFields = None,
    format: options.Format = None,  # noqa: A002
    limit: options.Limit = None,
    skip_empty: options.SkipEmpty = False,
    batch_size: options.BatchSize = 2048,
    encoder: options.EncoderName = None,
    as_json: options.Json = False,
) -> None:
    """Add documents from files; the collection is made if there is none.

    A doc_id that exists already is an error; upsert replaces. Each batch is committed on its own: after an error or
    Ctrl-C the batches before are stored, and the message says how many documents that is.

    With --json: an object with written, documents (how many the collection holds), left_out and seconds.
    """
    reading = Reading(files, doc_id, text, title, metadata or None, format, limit, skip_empty)
    write(path, reading, batch_size=batch_size, encoder=encoder, replace=False, as_json=as_json)
