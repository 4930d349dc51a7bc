"""`run`: every document encoded anew, old compared with new, and the switch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from nearfield import ingest
from nearfield.encode.identity import check_same, identify
from nearfield.encode.protocol import Encoder
from nearfield.engine.migration import Migration
from nearfield.engine.protocol import Engine, Keys, Record, Settings, Stored
from nearfield.errors import Conflict, InvalidInput, Locked
from nearfield.ingest.records import encode
from nearfield.migrate import compare
from nearfield.migrate.report import Comparison, MigrationReport

Decide = Callable[[MigrationReport], bool]
Progress = Callable[[int, int], None]

ENCODED_TOGETHER = 1024
"""Documents of a batch: what is lost at most when the process is killed."""

CHARACTERS = 16_000_000
"""Of a batch, if its documents are long."""

READ_TOGETHER = 64

PASSES = 10
"""Over the documents that came meanwhile, before writers wait for the rest of them."""


@dataclass(frozen=True, slots=True)
class Target:
    """The encoder that a collection is to have, and the name that is recorded of it."""

    encoder: Encoder
    name: str


@dataclass(frozen=True, slots=True)
class Manner:
    """How to migrate; see `Collection.migrate`."""

    switch: bool | Decide = True
    queries: Mapping[str, str] | Sequence[str] | str | Path | None = None
    qrels: Mapping[str, Any] | str | Path | None = None
    measures: Sequence[str] = ("nDCG@10",)
    compare: bool = True
    replace_given: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.switch, bool) and not callable(self.switch):
            raise InvalidInput(f"switch must be True, False, or called with the report, got {self.switch!r}")
        if self.qrels is not None and self.queries is None:
            raise InvalidInput("qrels judge queries; give both")
        if self.qrels is not None and isinstance(self.queries, list | tuple):
            raise InvalidInput("with qrels, queries must be a mapping from ids to texts, or a file")
        if self.qrels is not None:
            compare.check_judged(self.queries, self.qrels, self.measures)
        elif self.queries is not None:
            compare.query_texts(self.queries)


class MigrateKeywords(TypedDict, total=False):
    """The options of `Collection.migrate`, by name."""

    switch: bool | Decide
    queries: Mapping[str, str] | Sequence[str] | str | Path | None
    qrels: Mapping[str, Any] | str | Path | None
    measures: Sequence[str]
    compare: bool
    replace_given: bool
    progress: Progress | None


class Stopped(Exception):
    """The migration was asked to stop; what was made stays."""


def run(
    engine: Engine,
    old: Callable[[], Encoder],
    target: Target,
    manner: Manner,
    progress: Progress | None = None,
    stopped: Callable[[], bool] = bool,
) -> MigrationReport:
    """Give a collection the vectors of another encoder, and return what was done; see `Collection.migrate`.

    Args:
        engine: Where the collection lives.
        old: Gives its encoder; asked only if queries are to be compared.
        target: The other encoder.
        manner: How.
        progress: Called with (done, total) documents.
        stopped: Asked between batches; True ends the migration by `Stopped`.
    """
    if not engine.capabilities.migration:
        raise InvalidInput(f"the engine of {engine.location} can't migrate; import the documents into a new collection")
    settings = engine.settings
    if settings.fingerprint == target.encoder.fingerprint:
        check_same(settings, target.encoder)
        _clear(engine)
        return MigrationReport(settings.encoder, target.name, _count(engine), 0, switched=False, already=True)
    if manner.queries is not None and manner.compare:
        old()  # if it can't be had, that must be known now
    with closing(engine.migration(_settings(settings, target))) as migration:
        work = _Work(engine, migration, target, manner, progress, stopped)
        work.refuse_given(migration.given())
        work.catch_up()
        comparison = _compared(engine, migration, old, target, manner) if manner.compare else None
        report = MigrationReport(
            settings.encoder, target.name, _count(engine), work.encoded, switched=False, comparison=comparison
        )
        if not (manner.switch if isinstance(manner.switch, bool) else manner.switch(report)):
            return report
        return work.switch(report)


def _clear(engine: Engine) -> None:
    """Remove what is left of a migration that was killed at its very end, or is of no use any more."""
    if engine.stats().migration is None:
        with suppress(Locked):
            engine.give_up_migration()


def _settings(settings: Settings, target: Target) -> Settings:
    return Settings(
        encoder=target.name,
        index=settings.index,
        recall=settings.recall,
        memory=settings.memory,
        dimension=target.encoder.dimension,
        fingerprint=target.encoder.fingerprint,
        identity=identify(target.encoder),
    )


def _count(engine: Engine) -> int:
    with engine.view() as view:
        return len(view)


def _compared(
    engine: Engine, migration: Migration, old: Callable[[], Encoder], target: Target, manner: Manner
) -> Comparison | None:
    if manner.queries is None:
        return compare.neighbours(engine, migration)
    if manner.qrels is None:
        return compare.asked(engine, migration, old, target.encoder, compare.query_texts(manner.queries))
    queries: Any = manner.queries
    return compare.judged(engine, migration, old, target.encoder, queries, manner.qrels, manner.measures)


class _Work:
    """A migration while it is carried out."""

    def __init__(
        self,
        engine: Engine,
        migration: Migration,
        target: Target,
        manner: Manner,
        progress: Progress | None,
        stopped: Callable[[], bool],
    ) -> None:
        self.encoded = 0
        self._engine = engine
        self._migration = migration
        self._target = target
        self._manner = manner
        self._progress = progress or (lambda *_: None)
        self._stopped = stopped

    def refuse_given(self, count: int) -> None:
        """Raise Conflict if there are vectors that no text gives back, unless that was asked for."""
        if count and not self._manner.replace_given:
            raise Conflict(
                f"{count} documents have vectors that were given, and can't be made by an encoder; "
                "replace_given=True (--replace-given) encodes their texts instead"
            )

    def catch_up(self) -> None:
        """Encode what has no new vectors, again and again until nothing has come meanwhile."""
        for _ in range(PASSES):
            pending = self._migration.pending()
            total = _count(self._engine)
            done = max(0, total - len(pending))
            self._progress(done, total)
            if not len(pending):
                return
            for batch in self._batches(pending):
                if self._stopped():
                    raise Stopped
                self._migration.store(batch, self._records(batch))
                done += len(batch)
                self._progress(min(done, total), total)

    def _batches(self, keys: Keys) -> Iterator[list[Stored]]:
        batch: list[Stored] = []
        for start in range(0, len(keys), READ_TOGETHER):
            batch += self._migration.read(keys[start : start + READ_TOGETHER])
            characters = sum(len(document.text) for document in batch)
            if len(batch) >= ENCODED_TOGETHER or characters >= CHARACTERS:
                yield batch
                batch = []
        if batch:
            yield batch

    def _records(self, documents: Sequence[Stored]) -> list[Record]:
        self.refuse_given(sum(not document.encoded for document in documents))
        if not documents:
            return []
        records = encode([ingest.document(document) for document in documents], self._target.encoder)
        self.encoded += len(documents)
        return records

    def switch(self, report: MigrationReport) -> MigrationReport:
        """Put the new vectors in the place of the old ones, and return the report of that."""
        before = self.encoded
        try:
            self._migration.switch(self._records)
        except Locked as error:
            raise Locked(
                f"{error} (the new vectors are made and kept: the same call only switches then, without encoding again)"
            ) from error
        return report.after_switch(_count(self._engine), self.encoded - before)
