"""`Collection`: what users hold. It delegates to the rooms, and holds no algorithm."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from nearfield import checks, ingest
from nearfield.documents import Document, check_doc_id, read_documents
from nearfield.documents.coerce import Documents
from nearfield.encode.cache import CachedEncoder, CacheStats, cached
from nearfield.encode.protocol import Encoder, Vectors
from nearfield.engine.open import open_engine
from nearfield.engine.protocol import Engine, Settings, Stats
from nearfield.engine.reports import Health, Snapshot
from nearfield.errors import Conflict, InvalidInput, NearfieldError
from nearfield.filters import Where, parse
from nearfield.forks import tell_of_forks
from nearfield.hits import Hits
from nearfield.search import Query, SearchKeywords, SearchOptions, UnreadAnswers, search_batch, search_options

if TYPE_CHECKING:
    from nearfield.cluster import Clustering
    from nearfield.evaluate import Report
    from nearfield.migrate import BackgroundMigration, Manner, MigrateKeywords, MigrationReport, Target
    from nearfield.monitor.recall import Queries, Tuned

_LEFT_BEHIND: list[Encoder | None] = []
"""Encoders of a parent process: ending them in the child would wait for threads that it doesn't have."""

Progress = Callable[[int, int], None]
"""Called during long work with how many documents are done, and how many there are."""


class Collection:
    """A durable collection of documents that searches, clusters and recommends; `nearfield.open` returns one.

    It may be used from several threads. Reads see one committed state each, and never wait for a write. Use it as a
    context manager, or call `close`, to release its files.
    """

    def __init__(
        self,
        engine: Engine,
        encoder: Encoder | str | None = None,
        *,
        loaded: Encoder | None = None,
        cache: bool | str | Path = False,
    ) -> None:
        self._engine = engine
        self._encoder_choice = encoder
        self._cache = cache
        self._encoder: Encoder | None = None
        self._compared: str | None = None
        self._loaded = loaded
        self._successors: dict[str, tuple[Encoder, Encoder | str]] = {}  # by fingerprint, and how to load them again
        self._migrating: list[BackgroundMigration] = []
        self._loading = threading.RLock()
        self._unread = UnreadAnswers()
        tell_of_forks(self)

    def before_fork(self, deadline: float) -> None:
        """Do nothing; the engine does what is needed."""

    def after_fork(self, *, in_child: bool) -> None:
        """Forget the encoder in the child, if it can be loaded again: its threads stayed behind."""
        if in_child:
            self._loading = threading.RLock()
            _LEFT_BEHIND.extend((self._encoder, self._loaded))
            self._encoder = self._loaded = None

    def __reduce__(self) -> tuple[Callable[..., Collection], tuple[str, Encoder | str | None, bool | str | Path]]:
        """Let a process that is started by 'spawn' open the same collection."""
        return _open_again, (self._engine.location, self._encoder_choice, self._cache)

    # -- documents -------------------------------------------------------------------------------------------------

    def add(
        self, documents: Documents, *, vectors: Vectors | None = None, progress: Progress | None = None
    ) -> list[str]:
        """Add documents and return their doc_ids; when it returns, they are on disk.

        The call is one batch, all or nothing; `ingest` takes any number of documents. A document without a doc_id gets
        the next free number.

        Args:
            documents: A str, a dict, a `Document`, an iterable of these, a pandas DataFrame or an Arrow table. A dict's
                keys "doc_id" (or "id", "_id"), "text", "title" and "metadata" have their meaning; others are metadata.
            vectors: float32 `(n, d)`, a vector for each document, to be stored instead of encoding the texts; needn't
                have unit length.
            progress: Called with (encoded, total) during encoding.

        Raises:
            InvalidInput: a document can't be taken (the message names its row), a doc_id occurs twice, or the vectors
                have the wrong shape or are not finite. Nothing was added.
            Conflict: a doc_id exists already; use `upsert` to replace it. Nothing was added.
            Locked: another process is writing.
        """
        return self._write(documents, vectors, progress, replacing=False)

    def upsert(
        self, documents: Documents, *, vectors: Vectors | None = None, progress: Progress | None = None
    ) -> list[str]:
        """Add documents, replacing those whose doc_id exists, and return their doc_ids; otherwise as `add`.

        A document that is stored with the same title and text keeps its vectors and is not encoded again, unless they
        were given; one that is the same in metadata as well is not written. If several threads write a document, the
        last one wins.
        """
        return self._write(documents, vectors, progress, replacing=True)

    def _write(
        self, documents: Documents, vectors: Vectors | None, progress: Progress | None, *, replacing: bool
    ) -> list[str]:
        batch = read_documents(documents)
        if not batch:
            return []
        with self._losing(replacing):
            written = ingest.write(
                self._engine, lambda: self.encoder, batch, vectors, replace=replacing, progress=progress
            )
        return written.doc_ids

    def _losing(self, documents: bool = True) -> AbstractContextManager[None]:
        """Return a context within which documents may be lost to hits that nobody has looked at."""
        return self._unread.read_before() if documents else nullcontext()

    def ingest(
        self,
        documents: Documents,
        *,
        replace: bool = False,
        batch_size: int | None = None,
        source: str | None = None,
        restart: bool = False,
        vectors: Any = None,
        progress: ingest.Progress | None = None,
    ) -> ingest.Ingested:
        """Add documents of any number in batches, and return how many were written, unchanged and resumed.

        The documents are read as they are needed. Each batch is on disk before the next is read, and stays there if a
        later one fails; the error ends with how many documents are stored. Otherwise it is as if they were added one by
        one: a doc_id that comes twice is a Conflict, and with `replace` the later document replaces the earlier.

        Args:
            documents: As for `add`; an iterable may have any length.
            replace: Replace documents whose doc_id exists, as `upsert` does.
            batch_size: Documents that are committed together, fewer if they are long (over 16 million characters). If
                not given, 2,048, or 8,192 with `vectors`.
            source: A name for what is read. If this call is cut off, by an error or the end of the process, a later one
                with the same source and documents passes over those that are stored, also those without a doc_id.
            restart: Begin with the first document, whatever an earlier call with the same source has stored.
            vectors: A row for each document, to be stored instead of encoding the texts: an array `(n, d)`, which may
                be memory-mapped, or an iterable of rows; read in step with the documents.
            progress: Called with (done, total) documents; the total is None if `documents` has no length.

        Raises:
            InvalidInput: a document or a vector can't be taken, or there are more of the ones than of the others.
            Conflict: a doc_id exists already, and `replace` is false; or the first documents are not those that an
                earlier call with the same source stored.
            Locked: another process is writing.
        """
        manner = ingest.Manner(replace, batch_size, source, restart)
        with self._losing(manner.replace):
            return ingest.run(self._engine, lambda: self.encoder, documents, vectors, manner, progress)

    def delete(self, doc_ids: str | int | Iterable[str | int] | None = None, *, where: Where | None = None) -> int:
        """Delete documents, by their doc_ids or by a condition, and return how many there were.

        Raises:
            NotFound: a doc_id is not in the collection; nothing was deleted.
            InvalidInput: neither or both of the arguments are given, or `where` is empty.
        """
        if (doc_ids is None) == (where is None):
            raise InvalidInput("delete takes doc_ids or where, one of the two")
        if doc_ids is None:
            condition = parse(where)
            if condition is None:
                raise InvalidInput("delete(where={}) would delete every document; state a condition")
            with self._losing():
                return self._engine.delete(condition)
        names = list(dict.fromkeys(_doc_ids(doc_ids)))
        with self._engine.view() as view:
            checks.found(names, view.find(names))
        with self._losing():
            return self._engine.delete(names)

    @overload
    def get(self, doc_id: str | int) -> Document: ...
    @overload
    def get(self, doc_id: list[str | int] | list[str] | list[int]) -> list[Document]: ...
    def get(self, doc_id: str | int | list[str | int] | list[str] | list[int]) -> Document | list[Document]:
        """Return a document by its doc_id; for several doc_ids, a list in their order.

        Raises:
            NotFound: a doc_id is not in the collection.
        """
        names = _doc_ids(doc_id)
        with self._engine.view() as view:
            keys = checks.found(names, view.find(names))
            found = [ingest.document(stored) for stored in view.read(keys)]
        return found[0] if isinstance(doc_id, str | Integral) else found

    def doc_ids(self, where: Where | None = None) -> list[str]:
        """Return the doc_ids of the documents that match, in the order of addition."""
        condition = parse(where)
        with self._engine.view() as view:
            return view.doc_ids(view.keys(condition))

    def __len__(self) -> int:
        with self._engine.view() as view:
            return len(view)

    def __contains__(self, doc_id: object) -> bool:
        try:
            name = check_doc_id(doc_id)
        except InvalidInput:
            return False  # no document can have it
        with self._engine.view() as view:
            return view.find([name])[0] is not None

    def __iter__(self) -> Iterator[Document]:
        """Yield every document, in the order of addition, as the collection was when the iteration began."""
        return ingest.iterate(self._engine)

    # -- search and recommendation ---------------------------------------------------------------------------------

    @overload
    def search(self, query: str, k: int = 10, **options: Unpack[SearchKeywords]) -> Hits: ...
    @overload
    def search(
        self, query: list[str] | tuple[str, ...], k: int = 10, **options: Unpack[SearchKeywords]
    ) -> list[Hits]: ...
    @overload
    def search(self, query: Vectors, k: int = 10, **options: Unpack[SearchKeywords]) -> Hits | list[Hits]: ...
    def search(
        self,
        query: Query,
        k: int = 10,
        *,
        mode: str = "hybrid",
        where: Where | None = None,
        semantic_weight: float | None = None,
        fusion: str = "standardised",
        diversity: float = 0.0,
        explain: bool = False,
    ) -> Hits | list[Hits]:
        """Return the k documents that match a query best; for a list of queries, a list of Hits.

        The hits of a vector have doc_ids and scores; their documents are read when one is first looked at (see `Hit`).

        Args:
            query: A text, a list of texts (encoded and searched in batch), or a vector, float32 `(d,)`, for
                mode="semantic".
            k: How many hits, at least 1; a smaller collection gives fewer.
            mode: "semantic" (cosine of the vectors), "lexical" (BM25), or "hybrid" (both, fused).
            where: A condition on the metadata; it is part of the search, so that k hits come back whenever k documents
                match.
            semantic_weight: Weight of the semantic leg in hybrid search, in [0, 1]; the lexical leg has the rest. If
                not given, 0.7 for "standardised" and 0.5 for "reciprocal".
            fusion: "standardised" (weighted sum of standardised scores) or "reciprocal" (reciprocal rank fusion).
            diversity: In [0, 1]. 0 orders by relevance alone; larger values trade relevance for hits that differ from
                each other, by maximal marginal relevance. Hits are then in the order in which they were chosen.
            explain: Give each hit an `explanation`.

        Raises:
            InvalidInput: an argument is out of range, or the query is empty.
            Conflict: the collection's vectors come from another encoder.
        """
        options = search_options(k, mode, where, semantic_weight, fusion, diversity, explain)
        return search_batch(
            self._engine, lambda: self.encoder, query, options, cold=self._encoder is None, unread=self._unread
        )

    def similar(self, doc_id: str | int, k: int = 10, *, where: Where | None = None, diversity: float = 0.0) -> Hits:
        """Return the k documents nearest to a document, without itself, by cosine.

        Raises:
            NotFound: the doc_id is not in the collection.
        """
        return self.recommend(liked=[doc_id], k=k, where=where, diversity=diversity)

    def recommend(
        self,
        *,
        liked: Sequence[str | int] = (),
        disliked: Sequence[str | int] = (),
        query: str | None = None,
        k: int = 10,
        strategy: str = "average",
        where: Where | None = None,
        diversity: float = 0.0,
    ) -> Hits:
        """Return the k documents that fit tastes or a wish, without those that are named.

        Args:
            liked: doc_ids of documents to be near to.
            disliked: doc_ids of documents to be far from.
            query: A wish in words; it counts as one liked document.
            k: How many hits, at least 1.
            strategy: "average" compares with the mean of what is liked, less half the mean of what is disliked (Rocchio
                1971); "best" with the nearest liked document, less half the cosine (if above 0) of the nearest disliked
                one, and so serves several tastes at once.
            where: A condition on the metadata.
            diversity: As in `search`.

        Raises:
            InvalidInput: neither `liked` nor `query` is given, or a doc_id is both liked and disliked.
            NotFound: a doc_id is not in the collection.
        """
        from nearfield.recommend import Tastes, recommend

        tastes = Tastes(_doc_ids(liked), _doc_ids(disliked), query, strategy)
        options = SearchOptions(k=k, mode="semantic", where=where, diversity=diversity)
        return recommend(self._engine, lambda: self.encoder, tastes, options)

    # -- the whole -------------------------------------------------------------------------------------------------

    def cluster(
        self, n_clusters: int | None = None, method: str = "kmeans", *, where: Where | None = None, seed: int = 0
    ) -> Clustering:
        """Return the groups that the documents form, with their terms and representatives.

        Args:
            n_clusters: How many; None chooses.
            method: "kmeans", "ward" (refined after the cut), "ward-cut" (the plain cut of the tree) or "average".
            where: Cluster only the documents that match.
            seed: Of the random starts; the same seed gives the same clusters.

        Raises:
            InvalidInput: an unknown method, fewer documents than clusters, or too many documents for a linkage.
        """
        from nearfield.cluster import find_clusters

        condition = parse(where)
        with self._engine.view() as view:
            keys = view.keys(condition)
            stored = view.read(keys)
            vectors = view.document_vectors(keys)
            fingerprint = view.fingerprint
        texts = [f"{document.title}\n{document.text}".strip() for document in stored]
        names = [document.doc_id for document in stored]
        return find_clusters(
            names, vectors, texts, n_clusters=n_clusters, method=method, seed=seed,
            encode=lambda texts: self._encode_whole(texts, fingerprint),
        )  # fmt: skip

    def _encode_whole(self, texts: Sequence[str], fingerprint: str | None) -> Vectors:
        from nearfield.encode.whole import encode_documents

        encoder = self.encoder
        if fingerprint not in (None, encoder.fingerprint):
            raise Conflict("the collection was migrated to another encoder since it was clustered; cluster it again")
        return encode_documents(texts, encoder)

    def evaluate(
        self,
        queries: Mapping[str, str] | str | Path,
        qrels: Mapping[str, Any] | str | Path,
        measures: Sequence[str] = ("nDCG@10", "R@100", "MRR", "MAP"),
        **options: Any,
    ) -> Report:
        """Return how well search answers judged queries: each measure by query, its mean and 95 % interval.

        Args:
            queries: {query_id: text}, or a BEIR or TREC file of them.
            qrels: {query_id: {doc_id: grade}}, or a BEIR or TREC file of them.
            measures: Names as in ir-measures: "nDCG@10", "R@100", "MRR", "MAP".
            options: Of `search`: mode, where, semantic_weight, fusion, diversity; and k, how many hits a query
                retrieves: if not given, the deepest cut-off of the measures, at least 100, and 1,000 for measures
                without a cut-off such as MRR and MAP.

        Raises:
            InvalidInput: an unknown measure, a malformed file, or no query with judgements.
        """
        from nearfield.evaluate.search import evaluate_search

        return evaluate_search(self, queries, qrels, measures, options)

    @overload
    def migrate(
        self, encoder: str | Path | Encoder, *, background: Literal[False] = False, **how: Unpack[MigrateKeywords]
    ) -> MigrationReport: ...
    @overload
    def migrate(
        self, encoder: str | Path | Encoder, *, background: Literal[True], **how: Unpack[MigrateKeywords]
    ) -> BackgroundMigration: ...
    def migrate(
        self,
        encoder: str | Path | Encoder,
        *,
        switch: bool | Callable[[MigrationReport], bool] = True,
        queries: Mapping[str, str] | Sequence[str] | str | Path | None = None,
        qrels: Mapping[str, Any] | str | Path | None = None,
        measures: Sequence[str] = ("nDCG@10",),
        compare: bool = True,
        replace_given: bool = False,
        background: bool = False,
        progress: Progress | None = None,
    ) -> MigrationReport | BackgroundMigration:
        """Encode every document with another encoder, then use its vectors, and return what was done.

        Reads and writes, also by other processes, go on with the old vectors until all of them are replaced in one
        step. What was made is on disk: after an error or a kill, the same call goes on without encoding it again.
        Texts are split into passages anew. Before the switch, the new vectors are compared with the old ones.

        Args:
            encoder: A model's name, a model's folder, or an `Encoder`. If the vectors are its own already, nothing is
                done.
            switch: False: stop before the switch; the same call then switches, and `give_up_migration` removes what was
                made. Or a function that is called with the report, and decides.
            queries: What to compare with: a list of texts, or {query_id: text}, or a BEIR or TREC file; if not given,
                the nearest neighbours of a hundred documents.
            qrels: Judgements of the queries, as for `evaluate`: then `measures` of hybrid search, old and new.
            measures: As for `evaluate`.
            compare: False: don't compare.
            replace_given: Let documents whose vectors were given have vectors of their texts instead.
            background: Return at once; a thread does the work, and its end is waited for with `wait`.
            progress: Called with (encoded, total) documents.

        Raises:
            InvalidInput: an argument is out of range, or the encoder's vectors can't be taken.
            Conflict: a migration to another encoder was begun, or a document has a vector that was given, and
                `replace_given` is false.
            Locked: another process is migrating; or, at the switch, is writing. What was made stays.
        """
        from nearfield.encode.load import load_encoder, name_of
        from nearfield.migrate import BackgroundMigration, Manner, Target

        manner = Manner(switch, queries, qrels, measures, compare, replace_given)
        loaded = load_encoder(encoder)
        name = name_of(encoder if isinstance(encoder, str | Path) else loaded) or loaded.name
        successor = cached(loaded, self._cache)
        # Known before the switch, so that a thread that searches meanwhile finds it.
        self._successors[loaded.fingerprint] = (successor, name if isinstance(encoder, str | Path) else loaded)
        target = Target(successor, name)
        if not background:
            return self._migrate(target, manner, progress or (lambda *_: None), lambda: False)
        work = BackgroundMigration(lambda show, stopped: self._migrate(target, manner, show, stopped), progress)
        self._migrating.append(work)
        return work

    def _migrate(
        self, target: Target, manner: Manner, progress: Progress, stopped: Callable[[], bool]
    ) -> MigrationReport:
        from nearfield.migrate import run

        with self._losing():
            return run(self._engine, lambda: self.encoder, target, manner, progress, stopped)

    def give_up_migration(self) -> bool:
        """Remove what an unfinished migration has made, and return whether there was one.

        Raises:
            Locked: a process or thread is migrating; end that first.
        """
        return self._engine.give_up_migration()

    def tune(self, queries: Queries | None = None, *, build: bool = True) -> Tuned:
        """Bring the index of the vectors up to date now, and return its recall and what each share of it costs.

        It happens by itself while documents are added and when the collection is closed; this does all of it, and waits
        for it. Reads and writes go on meanwhile. An index that is right already isn't built again, unless queries are
        given. While every search scans all vectors, the report says so, and why.

        Args:
            queries: What users ask: texts in a list, {query_id: text}, a BEIR or TREC file, or vectors, float32
                `(q, d)`. Up to half of the queries that the index is measured with are then of these, so that its
                effort suits them as well as the documents' own vectors; until it is measured again, as it grows.
            build: False: only tell what was measured before.

        Raises:
            InvalidInput: `queries` holds none, or one that can't be taken; or `build` is false, and queries are given.
            Conflict: the collection's vectors come from another encoder than the one that is to encode the queries.
            Locked: another process is building the index, and did not finish within a minute.
            NearfieldError: it can't be written.
        """
        from nearfield.monitor.recall import tune

        return tune(self._engine, lambda: self.encoder, queries, build=build)

    def stats(self) -> Stats:
        """Return counts, bytes on disk, the kind of index, and the space that deleted documents still take."""
        return self._engine.stats()

    def compact(self) -> Stats:
        """Free the space of deleted and replaced documents now, on disk and in memory, and return the sizes after it.

        It happens by itself, in small steps after writes, when a fifth of the space is dead; this does all of it.
        Reads go on meanwhile.

        Raises:
            Locked: another process is writing.
        """
        self._engine.compact()
        return self.stats()

    def check(self) -> Health:
        """Return what is wrong with the collection's files, if anything: `ok` tells whether nothing is.

        Every file is read: checksums, counts, lengths of vectors, and the derived index and columns against the
        documents. It looks at one committed state, in bounded memory; reads and writes go on meanwhile.
        `nearfield.check` does the same for a collection that can't be opened, and `nearfield.repair` mends.
        """
        return self._engine.check()

    def snapshot(self, path: str | Path) -> Snapshot:
        """Copy the newest committed state to a folder, and return what the copy holds.

        The copy is a collection that `nearfield.open` reads and `nearfield.restore` copies back. It is one state,
        though writers are at work. If the folder holds an older snapshot of this collection, only what is new is
        written; the older one stays whole until the new one is. Everything copied is compared with its checksums.

        Args:
            path: A folder that is absent, empty, or holds an older snapshot of this collection.

        Raises:
            InvalidInput: there is something else at the path.
            Conflict: there is another collection, another one's snapshot, or one that was written to since.
            CorruptCollection: the collection is damaged (the message names the file); the older snapshot is as it was.
            Locked: another process is writing the snapshot.
            NearfieldError: writing failed, as on a full disk; the older snapshot is as it was.
        """
        return self._engine.snapshot(path)

    def export_parquet(self, file: str | Path, *, where: Where | None = None, progress: Progress | None = None) -> int:
        """Write documents and vectors to a Parquet file that pandas, polars and DuckDB read; return how many documents.

        It is one committed state, of the documents that match. The file appears, or takes the place of one that was
        there, when it is whole and on disk. `progress` is called with (written, total).

        Raises:
            InvalidInput: there is no such folder, or something else than a Parquet file at the path.
            MissingDependency: pyarrow is not installed.
        """
        from nearfield.parquet import export

        return export(self._engine, file, where, progress)

    def import_parquet(self, file: str | Path, *, replace: bool = False, progress: Progress | None = None) -> int:
        """Add the documents of a file that `export_parquet` wrote, as they were, and return how many there are.

        Nothing is encoded. Every row is checked before the first is stored; then each batch is committed on its own.
        With `replace`, documents whose doc_id exists are replaced. `progress` is called with (stored, total).

        Raises:
            InvalidInput: it is no export, or a row can't be taken (the message names it); nothing was stored.
            Conflict: its vectors come from another encoder, or a doc_id exists already; nothing was stored.
        """
        from nearfield.parquet import import_into, open_export

        with open_export(file) as source, self._losing(replace):
            return import_into(self._engine, lambda: self.encoder, source, replace=replace, progress=progress)

    @property
    def generation(self) -> int:
        """Number of the newest committed state: it grows with every write."""
        with self._engine.view() as view:
            return view.generation

    @property
    def encoder(self) -> Encoder:
        """The collection's encoder; loaded on first use.

        Raises:
            Conflict: the collection's vectors come from another encoder.
            MissingDependency: the model's files are not there; the message says how to get them.
        """
        from nearfield.encode import load_encoder
        from nearfield.encode.identity import check_same

        with self._loading:
            settings = self._engine.settings
            encoder = self._encoder or self._loaded or load_encoder(self._encoder_choice or settings.encoder)
            # Once, and again if the first batch was stored, or the collection migrated, in the meantime.
            if self._encoder is None or settings.fingerprint != self._compared:
                if settings.fingerprint not in (None, encoder.fingerprint):
                    encoder = self._followed(settings, encoder)
                check_same(settings, encoder)
                self._compared = settings.fingerprint
            if self._encoder is None or encoder.fingerprint != self._encoder.fingerprint:
                if isinstance(self._encoder, CachedEncoder):
                    self._encoder.close()
                self._encoder = cached(encoder, self._cache)
            return self._encoder

    def _followed(self, settings: Settings, encoder: Encoder) -> Encoder:
        """Return the encoder to which a collection was migrated since ours was chosen; ours if it isn't known."""
        from nearfield.encode import load_encoder

        if settings.fingerprint in self._successors:
            encoder, self._encoder_choice = self._successors[settings.fingerprint]
        elif self._encoder_choice is None or isinstance(self._encoder_choice, str):
            try:
                encoder = load_encoder(settings.encoder)
            except NearfieldError as error:
                raise Conflict(
                    f"the collection's vectors come from the encoder {settings.encoder!r}, which can't be loaded by "
                    f"that name ({error}); open it again with nearfield.open(..., encoder=...)"
                ) from error
            self._encoder_choice = settings.encoder
        self._loaded = None
        return encoder

    @property
    def cache_stats(self) -> CacheStats | None:
        """Hits, misses and size of the cache of vectors; None without one, and until the encoder is used."""
        return self._encoder.stats if isinstance(self._encoder, CachedEncoder) else None

    def close(self) -> None:
        """Release files and locks; calling it again does nothing. Migrations in the background end before.

        Hits that are in use stay readable.
        """
        while self._migrating:
            self._migrating.pop().stop()
        if self._cache is not False and isinstance(self._encoder, CachedEncoder):
            self._encoder.close()
        with self._losing():
            self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Collection {self._engine.location!r}>"


def _doc_ids(doc_ids: str | int | Iterable[str | int]) -> list[str]:
    """Return one or several doc_ids as strings."""
    if isinstance(doc_ids, str | Integral):
        return [check_doc_id(doc_ids)]
    if not isinstance(doc_ids, Iterable):
        raise InvalidInput(f"doc_ids must be a str, an int, or several of them, got {doc_ids!r}")
    return [check_doc_id(doc_id) for doc_id in doc_ids]


def _open_again(location: str, encoder: Encoder | str | None, cache: bool | str | Path) -> Collection:
    return Collection(open_engine(location, None), encoder, cache=cache)
