"""BM25 on tantivy (Robertson & Zaragoza 2009; k1 = 1.2, b = 0.75).

The index is derived: a marker beside it says which generation of the collection it holds, and what is missing is
indexed again from the documents. A term's statistics count deleted documents until their part of the index is merged.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nearfield.errors import CorruptCollection, NearfieldError
from nearfield.lexical.analysis import VERSION, analyzer, normalised, query_terms

if TYPE_CHECKING:
    import tantivy

HEAP_BYTES = 64_000_000
WIDEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Marker:
    """What an index holds: every document below `next_key` that the collection had at `generation`.

    Args:
        generation: Of the collection when the index was brought up to date.
        next_key: The key that the next document gets.
        purged: Deletions up to this generation are out of the index.
        session: Who wrote that generation. A database that was restored from a backup has another, and the index then
            speaks of documents that are not there.
        analysis: Version of the analysis that made its terms.
    """

    generation: int = 0
    next_key: int = 1
    purged: int = 0
    session: str = ""
    analysis: int = VERSION


@dataclass(frozen=True, slots=True)
class Allowed:
    """The documents that a search may return.

    Args:
        count: How many there are.
        keys: Gives their keys.
        mask: Tells which of some keys are allowed.
    """

    count: int
    keys: Callable[[], NDArray[np.int64]]
    mask: Callable[[NDArray[np.int64]], NDArray[np.bool_]]


class BM25Index:
    """A folder with a tantivy index from terms to keys of documents."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._marker_file = folder / "marker.json"
        self._lock = threading.Lock()
        self._loaded: tuple[Marker, tantivy.Searcher, tantivy.Schema] | None = None

    def marker(self) -> Marker:
        """Return what the index on disk holds: nothing, if it is missing or made by another version."""
        try:
            marker = Marker(**json.loads(self._marker_file.read_text()))
            if not all(type(getattr(marker, field.name)).__name__ == field.type for field in fields(Marker)):
                raise TypeError(f"values of other types in {marker}")
        except FileNotFoundError:
            return Marker()
        except (ValueError, TypeError) as error:
            raise CorruptCollection(f"{self._marker_file} can't be read ({error}); {self._remedy}") from error
        there = marker.analysis == VERSION and (self._folder / "meta.json").exists()
        return marker if there else Marker()

    def update(self, before: Marker, after: Marker, added: Iterable[tuple[int, str]], deleted: Iterable[int]) -> None:
        """Index documents, forget others, and record what the index holds; one caller at a time.

        Args:
            before: What the index holds, as far as it is to be kept; an empty marker makes it anew.
            after: What it holds afterwards.
            added: Key and text of the documents from `before.next_key` on.
            deleted: Keys to take out.
        """
        if before.next_key == 1:
            shutil.rmtree(self._folder, ignore_errors=True)
        with self._told_failures():
            self._update(before, added, deleted)
        self._write_marker(after)

    def _update(self, before: Marker, added: Iterable[tuple[int, str]], deleted: Iterable[int]) -> None:
        import tantivy

        index = self._open()
        writer = index.writer(HEAP_BYTES, 1)
        if before.next_key > 1:
            # An update that was cut off before its marker was written may have left documents behind.
            writer.delete_documents_by_query(
                tantivy.Query.range_query(
                    index.schema, "key", tantivy.FieldType.Unsigned, lower_bound=before.next_key, upper_bound=WIDEST
                )
            )
        for key in deleted:
            writer.delete_documents_by_term("key", key)
        for key, text in added:
            document = tantivy.Document()
            document.add_unsigned("key", key)
            document.add_text("text", normalised(text))
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()

    @contextmanager
    def _told_failures(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:  # which tantivy raises for everything
            if isinstance(error, NearfieldError):
                raise
            if "Permission denied" in str(error) or "Read-only" in str(error):
                raise NearfieldError(
                    f"{self._folder} can't be opened ({error}); lexical search needs the right to read and write it, "
                    "and mode='semantic' does not"
                ) from error
            raise CorruptCollection(f"{self._folder} can't be used ({error}); {self._remedy}") from error

    def search(self, query: str, k: int, allowed: Allowed) -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
        """Return keys and scores of the k best allowed documents and all that tie with the k-th, and the plan.

        Documents without any of the query's terms are never among them.
        """
        with self._told_failures():
            return self._search(query, k, allowed)

    def _search(self, query: str, k: int, allowed: Allowed) -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
        searcher, schema = self._load()
        parsed = _query(query, schema)
        if parsed is None or not allowed.count:
            return np.empty(0, np.int64), np.empty(0), "nothing to search"
        total = max(searcher.num_docs, 1)
        limit = k + 16 if allowed.count >= total else int(2.5 * k * total / allowed.count) + 64
        # Measured on 100,000 titles: 4 µs for each key that is asked for, 0.4 µs for each document of a wider search.
        if allowed.count < total and 4 * allowed.count < 0.4 * min(limit, total) + 500:
            return self._within(searcher, schema, parsed, allowed)
        return self._widening(searcher, parsed, k, allowed, limit)

    def _within(
        self, searcher: tantivy.Searcher, schema: tantivy.Schema, query: tantivy.Query, allowed: Allowed
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
        import tantivy

        # As alternatives, and not as tantivy's term set, which costs three times as much for a hundred keys.
        keys_allowed = [
            (tantivy.Occur.Should, tantivy.Query.term_query(schema, "key", key, "basic"))
            for key in allowed.keys().tolist()
        ]
        among = tantivy.Query.const_score_query(tantivy.Query.boolean_query(keys_allowed), 0.0)
        both = tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, among)])
        keys, scores = self._run(searcher, both, allowed.count)
        return keys, scores, f"the {allowed.count} allowed documents by their keys"

    def _widening(
        self, searcher: tantivy.Searcher, query: tantivy.Query, k: int, allowed: Allowed, limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
        while True:
            limit = min(limit, max(searcher.num_docs, 1))
            keys, scores = self._run(searcher, query, limit)
            exhausted = len(keys) < limit or limit >= searcher.num_docs
            kept = allowed.mask(keys)
            # The k-th must lie above the last that was looked at, or others may tie with it.
            enough = kept.sum() >= k and scores[kept][k - 1] > scores[-1]
            if exhausted or enough:
                return keys[kept], scores[kept], f"the best {len(keys)} of the index, less those not allowed"
            limit *= 4

    @staticmethod
    def _run(
        searcher: tantivy.Searcher, query: tantivy.Query, limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        hits = searcher.search(query, limit, count=False).hits
        scores = np.array([score for score, _ in hits], dtype=np.float64)
        keys = np.array(searcher.fast_field_values("key", [address for _, address in hits]), dtype=np.int64)
        return keys, scores

    def _load(self) -> tuple[tantivy.Searcher, tantivy.Schema]:
        with self._lock:
            marker = self.marker()
            if self._loaded is None or self._loaded[0] != marker:
                index = self._open()
                self._loaded = (marker, index.searcher(), index.schema)
            return self._loaded[1:]

    def _open(self) -> tantivy.Index:
        import tantivy

        schema = (
            tantivy.SchemaBuilder()
            .add_unsigned_field("key", indexed=True, fast=True)
            .add_text_field("text", tokenizer_name="nearfield", index_option="freq")
            .build()
        )
        self._folder.mkdir(exist_ok=True)
        index = tantivy.Index(schema, path=str(self._folder))
        index.register_tokenizer("nearfield", analyzer())
        return index

    def _write_marker(self, marker: Marker) -> None:
        temporary = self._marker_file.with_suffix(".new")
        with temporary.open("w") as file:
            json.dump(asdict(marker), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._marker_file)

    @property
    def _remedy(self) -> str:
        return f"delete the folder {self._folder}, and it is built again from the documents"


def _query(text: str, schema: tantivy.Schema) -> tantivy.Query | None:
    import tantivy

    clauses = []
    for term, count in Counter(query_terms(text)).items():
        clause = tantivy.Query.term_query(schema, "text", term, "freq")
        clauses.append((tantivy.Occur.Should, tantivy.Query.boost_query(clause, count) if count > 1 else clause))
    return tantivy.Query.boolean_query(clauses) if clauses else None
