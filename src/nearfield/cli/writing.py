"""Writing documents from files in committed batches, with progress; what `add` and `upsert` share."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nearfield.cli import options
from nearfield.cli.output import Interrupted, print_json
from nearfield.cli.progress import progress_bar
from nearfield.documents import Document, count_documents, read_files

if TYPE_CHECKING:
    from nearfield.collection import Collection
    from nearfield.ingest import Ingested


@dataclass
class Reading:
    """The files to read, and which of their fields is what; see `nearfield.read_files`.

    Iterating gives the documents; each iteration reads the files from the beginning.
    """

    paths: list[str]
    doc_id: str | None
    text: str | None
    title: str | None
    metadata: list[str] | None
    format: str | None
    limit: int | None
    skip_empty: bool = False
    left_out: list[str] = field(default_factory=list)
    _begun: Iterator[Document] | None = None

    def begin(self, count: int) -> None:
        """Read the first documents, which the next iteration gives before the others."""
        documents = iter(self)
        first = list(islice(documents, count))
        self._begun = chain(first, documents)

    def __iter__(self) -> Iterator[Document]:
        begun, self._begun = self._begun, None
        if begun is not None:
            return begun
        self.left_out.clear()
        return read_files(
            self.paths,
            doc_id=self.doc_id,
            text=self.text,
            title=self.title,
            metadata=self.metadata,
            format=self.format,
            limit=self.limit,
            on_empty=self.left_out.append if self.skip_empty else None,
        )

    def count(self) -> int | None:
        """Return how many documents there are, if that is known before they are read."""
        count = count_documents(self.paths, format=self.format)
        return count if count is None or self.limit is None else min(count, self.limit)

    def source(self) -> str | None:
        """Return the name of what is read; None for stdin and pipes, which can't be read once more."""
        paths = [Path(path) for path in self.paths if path != "-"]
        if len(paths) < len(self.paths) or not all(path.is_file() or path.is_dir() for path in paths):
            return None
        # Names of files needn't be Unicode, while names of sources are.
        return ", ".join(os.fsencode(path.resolve()).decode(errors="backslashreplace") for path in paths)


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
        restart: options.Restart = False,
        encoder: options.EncoderName = None,
        index: options.IndexKind = None,
        recall: options.Recall = None,
        memory: options.Memory = None,
        vector_cache: options.VectorCache = False,
        as_json: options.Json = False,
    ) -> None:
        reading = Reading(files, doc_id, text, title, metadata or None, format, limit, skip_empty)
        writing = Writing(path, reading, replace=replace, batch_size=batch_size, restart=restart)
        writing.run(as_json, encoder=encoder, index=index, recall=recall, memory=memory, cache=vector_cache)

    command.__doc__ = help
    return command


@dataclass(frozen=True)
class Writing:
    """What is written where; see `Collection.ingest`."""

    path: str
    reading: Reading
    replace: bool
    batch_size: int
    restart: bool

    def run(self, as_json: bool, **opening: Any) -> None:
        """Write the documents, each batch committed, and say at the end what was done.

        Args:
            as_json: Say it in JSON.
            opening: Options of `nearfield.open`.

        Raises:
            NearfieldError: a document or a file can't be taken; the message ends with how much is stored.
        """
        from nearfield.opening import open as open_collection

        # Before the collection is made, so that a file that can't be read leaves nothing behind.
        self.reading.begin(self.batch_size)
        started = time.monotonic()
        with open_collection(self.path, **opening) as collection:
            done = self._ingest(collection)
            self._summarise(done, len(collection), time.monotonic() - started, as_json)

    def _ingest(self, collection: Collection) -> Ingested:
        source = self.reading.source()
        # Counting reads the files, for the bar alone.
        total = self.reading.count() if sys.stderr.isatty() else None
        try:
            with progress_bar("Writing") as show:
                return collection.ingest(
                    self.reading,
                    replace=self.replace,
                    batch_size=self.batch_size,
                    source=source,
                    restart=self.restart and source is not None,
                    progress=lambda done, _: show(done, total),
                )
        except KeyboardInterrupt:
            kept = f"{self.path} holds {len(collection):,} documents, every one of them complete"
            then = "" if source is None else "; the same command goes on from there"
            raise Interrupted(f"interrupted; {kept}{then}") from None

    def _summarise(self, done: Ingested, documents: int, seconds: float, as_json: bool) -> None:
        left_out = self.reading.left_out
        if as_json:
            counts = {"written": done.written, "unchanged": done.unchanged, "resumed": done.resumed}
            print_json({**counts, "documents": documents, "left_out": left_out, "seconds": round(seconds, 3)})
            return
        if done.resumed:
            typer.echo(f"{done.resumed:,} documents were stored by an earlier run.")
        if done.unchanged:
            typer.echo(f"{done.unchanged:,} documents were there already, unchanged.")
        rate = done.written / max(seconds, 1e-9)
        typer.echo(
            f"Wrote {done.written:,} documents in {seconds:.1f} s ({rate:,.0f} a second); {self.path} holds "
            f"{documents:,}."
        )
        if left_out:
            typer.echo(f"Left out {len(left_out):,} without text or title, the first at {left_out[0]}.")
