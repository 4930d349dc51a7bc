"""The errors that nearfield raises, all below `NearfieldError`.

    NearfieldError
    ├── InvalidInput (ValueError)          an argument, a document or a request that can't be taken
    ├── NotFound (KeyError)                a document or a collection that isn't there
    ├── Conflict                           a doc_id that exists already, another encoder
    ├── IncompatibleFormat                 a collection written by a newer version
    ├── CorruptCollection                  files that contradict each other or their checksums
    ├── Locked                             another process is writing
    ├── MissingDependency (ImportError)    an optional package or a model's files
    └── Unavailable                        a service over the network that fails, refuses or answers wrongly

A message says what was expected, what was given, and what to do next. `EXIT_CODES` and `HTTP_CODES` are the one
table from errors to exit codes and to HTTP status codes.
"""

from __future__ import annotations


class NearfieldError(Exception):
    """Base of every error that nearfield raises on purpose."""

    def __str__(self) -> str:
        # KeyError would print the repr of its argument; a message is for reading.
        return str(self.args[0]) if self.args else ""


class InvalidInput(NearfieldError, ValueError):
    """An argument, a document, a condition or a request that can't be taken; nothing was changed."""


class NotFound(NearfieldError, KeyError):
    """A document or a collection that does not exist."""


class Conflict(NearfieldError):
    """What was asked contradicts what is stored: an existing doc_id, or another encoder."""


class IncompatibleFormat(NearfieldError):
    """The collection was written in a format that this version can't read."""


class CorruptCollection(NearfieldError):
    """Files of the collection are missing, truncated or contradict each other; the message names the file."""


class Locked(NearfieldError):
    """Another process holds the collection for writing."""


class MissingDependency(NearfieldError, ImportError):
    """An optional package, or a model's files, are needed and absent; the message says how to get them."""


class Unavailable(NearfieldError):
    """A service that is asked over the network can't be reached, refuses, or answers what can't be right."""


EXIT_CODES: dict[type[NearfieldError], int] = {
    InvalidInput: 2,
    NotFound: 3,
    Conflict: 4,
    IncompatibleFormat: 5,
    CorruptCollection: 6,
    Locked: 7,
    MissingDependency: 8,
    Unavailable: 9,
    NearfieldError: 1,
}

HTTP_CODES: dict[type[NearfieldError], int] = {
    InvalidInput: 422,
    NotFound: 404,
    Conflict: 409,
    IncompatibleFormat: 500,
    CorruptCollection: 500,
    Locked: 423,
    MissingDependency: 501,
    Unavailable: 502,
    NearfieldError: 500,
}


def exit_code(error: NearfieldError) -> int:
    """Return the process exit code for an error.

    >>> exit_code(NotFound("no document 'x'"))
    3
    """
    return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))


def http_code(error: NearfieldError) -> int:
    """Return the HTTP status code for an error.

    >>> http_code(Conflict("doc_id 'x' exists"))
    409
    """
    return next(code for kind, code in HTTP_CODES.items() if isinstance(error, kind))
