"""Answers whose documents are read when somebody looks at them.

To read the documents of ten hits takes longer than to find them by a vector, and many only want to know which they are.
Such an answer has its doc_ids and scores; its documents are read later, by their keys. A key is given out once and for
all, and a document that was replaced has another one: so what is read is what the search saw, or it is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import ref

from nearfield.engine.protocol import Readable, View
from nearfield.errors import Conflict, NearfieldError, NotFound
from nearfield.hits import Hits, Late
from nearfield.search.options import SearchOptions
from nearfield.search.present import Found, present, read_late
from nearfield.stages import stage

MOST_UNREAD = 10_000
"""Answers in use that may wait to be read; further ones are read at once. To read so many takes two seconds."""

AGAIN = "search again, and look at the hits, as `hits.to_dicts()` does, before others write"


class UnreadAnswers:
    """The unread answers of one collection that are in use; may be used from several threads."""

    def __init__(self) -> None:
        self._waiting: set[ref[UnreadAnswer]] = set()
        self._writers: set[object] = set()
        self._moment = object()

    @property
    def moment(self) -> object:
        """What changes whenever somebody begins or ends to delete documents; ask before the state is looked at."""
        return self._moment

    def present(self, engine: Readable, view: View, found: Found, options: SearchOptions, moment: object) -> Hits:
        """Return the hits, unread unless documents are or were being deleted, or too many answers are unread.

        Args:
            engine: Where the documents are.
            view: The state that was searched.
            found: What was found in it.
            options: Of the search.
            moment: When the view was not yet there.
        """
        doc_ids, scores = view.doc_ids(found.keys), found.scores.tolist()
        answer = UnreadAnswer(self, engine, view, found, doc_ids, options)
        self._waiting.add(ref(answer, self._waiting.discard))
        # Looked for after it was added: a writer that comes later finds it there.
        if self._writers or self._moment is not moment or len(self._waiting) > MOST_UNREAD:
            self.forget(answer)
            with stage("read"):
                return present(view, found, options)
        return Hits.unread(answer, doc_ids, scores)

    def forget(self, answer: UnreadAnswer) -> None:
        """Take an answer for read."""
        self._waiting.discard(ref(answer))

    @contextmanager
    def read_before(self) -> Iterator[None]:
        """Give a context within which documents may be deleted: what is unread is read before, and nothing comes to it.

        An answer that can't be read is left to tell so when it is looked at.
        """
        writer = object()
        self._writers.add(writer)
        self._moment = object()
        try:
            for waiting in list(self._waiting):
                answer = waiting()
                if answer is not None:
                    answer.read_or_fail()
            yield
        finally:
            self._moment = object()
            self._writers.discard(writer)


class UnreadAnswer:
    """The hits of one search, until somebody looks at their documents.

    Args:
        answers: Those that it belongs to.
        engine: Where the documents are.
        view: The state that was searched.
        found: What was found in it.
        doc_ids: Of what was found.
        options: Of the search.
    """

    __slots__ = ("__weakref__", "_answers", "_doc_ids", "_engine", "_failure", "_found", "_options", "_read", "_state")

    def __init__(
        self,
        answers: UnreadAnswers,
        engine: Readable,
        view: View,
        found: Found,
        doc_ids: list[str],
        options: SearchOptions,
    ) -> None:
        self._answers = answers
        self._engine = engine
        self._found: Found | None = found
        self._options = options
        self._state = view.generation, view.fingerprint
        self._doc_ids = doc_ids
        self._read: list[Late] = []
        self._failure: NearfieldError | None = None

    def read(self) -> list[Late]:
        """Return what the hits have beside doc_ids and scores, read at the first call.

        Raises:
            NotFound: a document was deleted or replaced.
            Conflict: the collection was migrated to another encoder.
        """
        # Without a lock, which a fork might leave locked: two threads that come at once both read.
        found = self._found
        if found is not None:
            try:
                late = self._read_documents(found)
            except NearfieldError:
                if self._found is not None:  # else another thread has read them in time
                    raise
            else:
                self._read = self._read or late
                self._found = None
                self._answers.forget(self)
        return self._read

    def read_or_fail(self) -> None:
        """Read the documents; what prevents it is raised when somebody looks at them."""
        try:
            self.read()
        except NearfieldError as error:
            self._failure = error.with_traceback(None)
            self._answers.forget(self)

    def _read_documents(self, found: Found) -> list[Late]:
        if self._failure is not None:
            raise self._failure
        with self._engine.view() as view, stage("read"):
            self._check(view, found)
            return read_late(view, found, self._options)

    def _check(self, view: View, found: Found) -> None:
        generation, fingerprint = self._state
        if view.generation == generation:
            return
        keys = found.keys.tolist()
        gone = [
            name for name, key, now in zip(self._doc_ids, keys, view.find(self._doc_ids), strict=True) if key != now
        ]
        if gone:
            raise NotFound(
                f"document {gone[0]!r} was deleted or replaced by another process or opening of the collection after "
                f"this search, and before its hits were looked at; {AGAIN}"
            )
        if view.fingerprint == fingerprint:
            return
        # The vectors are another encoder's, or the collection got its first encoded documents beside those that had
        # been given vectors.
        if fingerprint is not None or any(document.encoded for document in view.read(found.keys)):
            raise Conflict(
                "the collection was migrated to another encoder by another process or opening of it after this search, "
                f"and before its hits were looked at; {AGAIN}"
            )
