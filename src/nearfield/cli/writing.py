"""Writing documents from files in committed batches, with progress; what `add` and `upsert` share."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import typer

from nearfield.cli import options
from nearfield.cli.output import Interrupted, print_json
from nearfield.documents import Document, count_documents, read_files
from nearfield.errors import NearfieldError

if TYPE_CHECKING:
    from nearfield.collection import Collection


@dataclass(frozen=True)
class Reading:
    """The files to read, and which of their fields is what; see `nearfield.read_files`."""

    paths: list[str]
    doc_id: str | None
    text: str | None
    title: str | None
    metadata: list[str] | None
    format: str | None
    limit: int | None
    skip_empty: bool = False
    left_out: list[str] = field(default_factory=list)

    def batches(self, size: int) -> Iterator[list[Document]]:
        """Yield the documents in lists of a size, the last one shorter."""
        documents = read_files(
            self.paths,
            doc_id=self.doc_id,
            text=self.text,
            title=self.title,
            metadata=self.metadata,
            format=self.format,
            limit=self.limit,
            on_empty=self.left_out.append if self.skip_empty else None,
        )
        while batch := list(islice(documents, size)):
            yield batch

    def count(self) -> int | None:
        """Return how many documents there are, if that is known before they are read."""
        count = count_documents(self.paths, format=self.format)
        return count if count is None or self.limit is None else min(count, self.limit)


def writing_command(*, replace: bool, help: str) -> Callable[..., None]:  # noqa: A002
    """Return the command that adds documents from files, or replaces them; `help` is what it says of itself."""

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
        reading = Reading(files, doc_id, text, title, metadata or None, format, limit, skip_empty)
        write(path, reading, batch_size=batch_size, encoder=encoder, replace=replace, as_json=as_json)

    command.__doc__ = help
    return command


def write(path: str, reading: Reading, *, batch_size: int, encoder: str | None, replace: bool, as_json: bool) -> None:
    """Write the documents of files to a collection, each batch committed, and say at the end what was done.

    Raises:
        NearfieldError: a document or a file can't be taken; the message ends with how much is stored.
    """
    from nearfield.opening import open as open_collection

    batches = reading.batches(batch_size)
    # Before the collection is made, so that a file that can't be read leaves nothing behind.
    first = next(batches, [])
    started = time.monotonic()
    with open_collection(path, encoder=encoder) as collection:
        written = 0
        try:
            with _progress(reading) as show:
                for batch in _with(first, batches):
                    written += _write_batch(collection, batch, replace, written, show)
        except KeyboardInterrupt:
            kept = f"{path} holds {len(collection):,} documents, every one of them complete"
            raise Interrupted(f"interrupted; {kept}") from None
        except NearfieldError as error:
            kept = f" ({written:,} documents before it are stored)" if written else ""
            raise type(error)(f"{error}{kept}") from None
        _summarise(path, written, len(collection), reading.left_out, time.monotonic() - started, as_json)


def _with(first: list[Document], batches: Iterator[list[Document]]) -> Iterator[list[Document]]:
    yield first
    yield from batches


def _write_batch(
    collection: Collection, batch: list[Document], replace: bool, before: int, show: Callable[[int], None]
) -> int:
    def encoded(done: int, total: int) -> None:
        show(before + len(batch) * done // max(total, 1))

    store = collection.upsert if replace else collection.add
    count = len(store(batch, progress=encoded))
    show(before + count)
    return count


def _summarise(path: str, written: int, documents: int, left_out: list[str], seconds: float, as_json: bool) -> None:
    if as_json:
        print_json({"written": written, "documents": documents, "left_out": left_out, "seconds": round(seconds, 3)})
    else:
        rate = written / max(seconds, 1e-9)
        typer.echo(
            f"Wrote {written:,} documents in {seconds:.1f} s ({rate:,.0f} a second); {path} holds {documents:,}."
        )
        if left_out:
            typer.echo(f"Left out {len(left_out):,} without text or title, the first at {left_out[0]}.")


@contextmanager
def _progress(reading: Reading) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr if that is a terminal, and give what moves it: called with how many are done."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("Writing"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
    )
    started = time.monotonic()
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=reading.count(), rate="")

        def show(done: int) -> None:
            rate = f"{done / max(time.monotonic() - started, 1e-9):,.0f} a second"
            bar.update(task, completed=done, rate=rate)

        yield show
