"""The Python forms of queries, judgements and runs, and the one form that everything else works on."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from nearfield.errors import InvalidInput
from nearfield.evaluate.readers import read_qrels, read_queries
from nearfield.evaluate.runfile import read_run

Path: TypeAlias = str | os.PathLike[str]


def as_queries(queries: Mapping[Any, str] | Path) -> dict[str, str]:
    """Return queries as `{query_id: text}`, from a mapping or from a file (see `read_queries`).

    An int id means its decimal string.

    Raises:
        InvalidInput: no mapping and no path, no queries at all, an id that is no str or int, two keys for one
            id, or a text that is empty or no str.

    >>> as_queries({1: "shock waves"})
    {'1': 'shock waves'}
    """
    if isinstance(queries, str | os.PathLike):
        return read_queries(queries)
    _check_mapping(queries, "queries", "{query_id: text} or the path of a file")
    texts: dict[str, str] = {}
    for key, text in queries.items():
        query_id = _new_id(key, "query", texts)
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput(f"query {query_id!r} must have a text; got {text!r}")
        texts[query_id] = text
    return texts


def as_qrels(qrels: Mapping[Any, Any] | Path) -> dict[str, dict[str, int]]:
    """Return judgements as `{query_id: {doc_id: grade}}`, grades being ints of at least 0.

    `qrels` is such a mapping, or `{query_id: [doc_id, …]}` (a list, tuple or set: each document has grade 1),
    or the path of a file (see `read_qrels`). An int id means its decimal string.

    Raises:
        InvalidInput: another form, no judgements at all, a grade that is negative or no whole number, or two
            grades for one document.

    >>> as_qrels({"q1": {"a": 2, "b": 0}, 7: ["c"]})
    {'q1': {'a': 2, 'b': 0}, '7': {'c': 1}}
    """
    if isinstance(qrels, str | os.PathLike):
        return read_qrels(qrels)
    form = "{query_id: {doc_id: grade}}, {query_id: [doc_id, …]} or the path of a file"
    _check_mapping(qrels, "qrels", form)
    judged: dict[str, dict[str, int]] = {}
    for key, documents in qrels.items():
        query_id = _new_id(key, "query", judged)
        if isinstance(documents, Mapping):
            pairs: Iterable[tuple[Any, Any]] = documents.items()
        elif isinstance(documents, Iterable) and not isinstance(documents, str | bytes):
            pairs = ((doc_id, 1) for doc_id in documents)
        else:
            raise InvalidInput(f"qrels must be {form}; query {query_id!r} has {documents!r}")
        judged[query_id] = _grades(query_id, pairs)
    return judged


def as_run(run: Mapping[Any, Mapping[Any, float]] | Path) -> dict[str, dict[str, float]]:
    """Return a run as `{query_id: {doc_id: score}}`, from such a mapping or from a TREC run file.

    An int id means its decimal string; a query may have no hits at all.

    Raises:
        InvalidInput: another form, two keys for one id, or a score that is no finite number.

    >>> as_run({1: {2: 0.5}})
    {'1': {'2': 0.5}}
    """
    if isinstance(run, str | os.PathLike):
        return read_run(run)
    if not isinstance(run, Mapping):
        raise InvalidInput(f"run must be {{query_id: {{doc_id: score}}}} or the path of a file; got {_short(run)}")
    ranked: dict[str, dict[str, float]] = {}
    for key, hits in run.items():
        query_id = _new_id(key, "query", ranked)
        if not isinstance(hits, Mapping):
            raise InvalidInput(f"run must give query {query_id!r} {{doc_id: score}}; got {_short(hits)}")
        scores: dict[str, float] = {}
        for doc, score in hits.items():
            if isinstance(score, bool) or not isinstance(score, numbers.Real) or not math.isfinite(score):
                raise InvalidInput(
                    f"a score must be a finite number; document {doc!r} of query {query_id!r} has {score!r}"
                )
            scores[_new_id(doc, "document", scores)] = float(score)
        ranked[query_id] = scores
    return ranked


def _grades(query_id: str, pairs: Iterable[tuple[Any, Any]]) -> dict[str, int]:
    grades: dict[str, int] = {}
    for doc, grade in pairs:
        whole = isinstance(grade, numbers.Real) and not isinstance(grade, bool) and grade == grade // 1
        if not whole or grade < 0:
            raise InvalidInput(
                f"a grade must be a whole number of at least 0; document {doc!r} of query {query_id!r} has {grade!r}"
            )
        if grades.setdefault(_id(doc, "document"), int(grade)) != grade:
            raise InvalidInput(f"document {doc!r} of query {query_id!r} has two grades; keep one of them")
    return grades


def _id(key: Any, noun: str) -> str:
    if isinstance(key, numbers.Integral) and not isinstance(key, bool):
        key = str(int(key))
    if not isinstance(key, str) or not key:
        raise InvalidInput(f"the id of a {noun} must be a non-empty str or an int; got {key!r}")
    return key


def _new_id(key: Any, noun: str, taken: Mapping[str, Any]) -> str:
    name = _id(key, noun)
    if name in taken:
        raise InvalidInput(f"{noun} {name!r} is there twice, as an int and as a str; keep one of them")
    return name


def _check_mapping(value: Any, name: str, form: str) -> None:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{name} must be {form}; got {_short(value)}")
    if not value:
        raise InvalidInput(f"{name} must hold at least one query; got none")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
