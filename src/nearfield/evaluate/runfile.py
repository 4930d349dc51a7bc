"""Runs in TREC's form: six columns, `query Q0 document rank score tag`."""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Mapping
from pathlib import Path

from nearfield.errors import InvalidInput
from nearfield.evaluate.lines import failure, read_lines

_FORM = "six columns, `query Q0 document rank score tag`"


def ranking(hits: Mapping[str, float]) -> list[str]:
    """Return the doc_ids of one query's hits, best first: by falling score, equal scores by falling doc_id.

    That is trec_eval's order. It depends on nothing but the scores and ids, and can favour no system.

    >>> ranking({"a": 1.0, "b": 1.0, "c": 2.0})
    ['c', 'b', 'a']
    """
    return sorted(hits, key=lambda doc_id: (hits[doc_id], doc_id), reverse=True)


def read_run(path: str | os.PathLike[str]) -> dict[str, dict[str, float]]:
    r"""Return a run, `{query_id: {doc_id: score}}`, from TREC's six columns; `.gz` is decompressed.

    As in trec_eval the rank column is not used: scores decide. No rows give `{}`.

    Raises:
        InvalidInput: naming file and line: no file, not UTF-8, another number of columns, a score that is no
            finite number, or a document that comes twice for one query.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "bm25.run"
    >>> _ = file.write_text("q1 Q0 d7 1 12.5 bm25\n")
    >>> read_run(file)
    {'q1': {'d7': 12.5}}
    """
    run: dict[str, dict[str, float]] = {}
    for line, text in read_lines(path):
        cells = text.split()
        if len(cells) != 6:
            raise failure(path, line, _FORM, text)
        query_id, _, doc_id, _, cell, _ = cells
        try:
            score = float(cell)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise failure(path, line, "a finite number as the score", cell)
        hits = run.setdefault(query_id, {})
        if doc_id in hits:
            raise failure(path, line, "each document once for a query", f"{doc_id!r} of query {query_id!r} again")
        hits[doc_id] = score
    return run


def write_run(path: str | os.PathLike[str], run: Mapping[str, Mapping[str, float]], tag: str = "nearfield") -> None:
    r"""Write a run in TREC's six columns, ranks from 1, that `read_run` gives back; `.gz` is compressed.

    Queries stand in ascending order of id, documents as `ranking` orders them. A query without hits leaves no
    row.

    Raises:
        InvalidInput: the tag or an id is empty or holds white space, which the form can't express; a score is
            not finite; or the file can't be written.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "mine.run"
    >>> write_run(file, {"q1": {"a": 0.5, "b": 0.75}}, tag="mine")
    >>> file.read_text()
    'q1 Q0 b 1 0.75 mine\nq1 Q0 a 2 0.5 mine\n'
    """
    rows = []
    for query_id in sorted(run):
        hits = run[query_id]
        for rank, doc_id in enumerate(ranking(hits), start=1):
            score = float(hits[doc_id])
            if not math.isfinite(score):
                raise InvalidInput(f"scores must be finite; document {doc_id!r} of query {query_id!r} has {score}")
            rows.append(f"{_word(query_id)} Q0 {_word(doc_id)} {rank} {score!r} {_word(tag)}\n")
    data = "".join(rows).encode()
    target = Path(path)
    try:
        # No time stamp, so that the same run gives the same file.
        target.write_bytes(gzip.compress(data, mtime=0) if target.name.lower().endswith(".gz") else data)
    except OSError as error:
        raise InvalidInput(f"{target} can't be written: {error}; give a path in an existing folder") from error


def _word(text: str) -> str:
    if not isinstance(text, str) or text.split() != [text]:
        raise InvalidInput(f"a run file can't hold {text!r}: ids and the tag must be words without white space")
    return text
