"""Queries and judgements from the files of BEIR and TREC."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence

from nearfield.errors import InvalidInput
from nearfield.evaluate.lines import failure, read_lines, read_rows

_ID_HEADERS = {"id", "_id", "qid", "query-id", "query_id", "queryid", "query id"}
_TEXT_HEADERS = {"text", "query", "title", "question"}
_ROW_FORM = "a query id and a text, separated by a tab (or by a comma, in a .csv file)"
_JSON_FORM = 'a JSON object with "_id" and "text"'
_QREL_FORM = "TREC's `query 0 document grade` or BEIR's `query-id <tab> corpus-id <tab> score`"
_TAG = re.compile(r"<(/?)(\w+)[^>]*>")


def read_queries(path: str | os.PathLike[str]) -> dict[str, str]:
    r"""Return `{query_id: text}` in the order of the file; `.gz` is decompressed.

    The form is told from the file itself: JSON lines as BEIR has them (`{"_id": …, "text": …}`; an int id
    means its decimal string), TREC topics (`<top> <num> … <title> … </top>`, the title being the query), or
    rows of an id and a text, separated by a tab, or by a comma in a `.csv` file, with or without a header.

    Raises:
        InvalidInput: naming file and line: no file, not UTF-8, a malformed row, an empty id or text, an id
            that comes twice with different texts, or no query at all.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "queries.jsonl"
    >>> _ = file.write_text('{"_id": "q1", "text": "shock waves"}\n')
    >>> read_queries(file)
    {'q1': 'shock waves'}
    """
    head = next(read_lines(path), (0, ""))[1].lstrip()
    if head.startswith("{"):
        found = _json_queries(path)
    elif head.startswith("<"):
        found = _topics(path)
    else:
        found = _row_queries(path)
    queries: dict[str, str] = {}
    for line, query_id, text in found:
        if not query_id or not text:
            raise failure(path, line, "an id and a text that are not empty", f"id {query_id!r}, text {text!r}")
        if queries.setdefault(query_id, text) != text:
            raise failure(path, line, "every query id once", f"{query_id!r} again, with another text")
    if not queries:
        raise InvalidInput(f"{os.fspath(path)} holds no query; expected {_JSON_FORM} on each line, or {_ROW_FORM}")
    return queries


def read_qrels(path: str | os.PathLike[str]) -> dict[str, dict[str, int]]:
    r"""Return judgements, `{query_id: {doc_id: grade}}`, from BEIR's or TREC's form; `.gz` is decompressed.

    BEIR: query id, document id and grade, separated by tabs (by commas in a `.csv` file), with or without a
    header.
    TREC: query id, an ignored column, document id and grade, separated by white space. A grade is a whole
    number of at least 0; 0 means judged and not relevant. A judgement that is repeated with the same grade
    counts once.

    Raises:
        InvalidInput: naming file and line: no file, not UTF-8, a malformed row, a grade that is negative or
            no whole number, two grades for one document, or no judgement at all.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "qrels.txt"
    >>> _ = file.write_text("q1 0 d7 2\n")
    >>> read_qrels(file)
    {'q1': {'d7': 2}}
    """
    qrels: dict[str, dict[str, int]] = {}
    for line, cells in _qrel_rows(path):
        query_id, doc_id, grade = cells[0], cells[-2], _grade(path, line, cells[-1])
        if not query_id or not doc_id:
            raise failure(path, line, f"{_QREL_FORM}, no id being empty", repr(cells))
        known = qrels.setdefault(query_id, {}).setdefault(doc_id, grade)
        if known != grade:
            raise failure(
                path,
                line,
                "one grade for each document",
                f"{doc_id!r} of query {query_id!r}: {known}, then {grade}",
            )
    if not qrels:
        raise InvalidInput(f"{os.fspath(path)} holds no judgement; expected {_QREL_FORM} on each line")
    return qrels


def _json_queries(path: str | os.PathLike[str]) -> Iterator[tuple[int, str, str]]:
    for line, text in read_lines(path):
        try:
            row = json.loads(text)
        except ValueError as error:
            raise failure(path, line, _JSON_FORM, text) from error
        query_id, query = (row.get("_id", row.get("id")), row.get("text")) if isinstance(row, dict) else (None, None)
        if isinstance(query_id, int) and not isinstance(query_id, bool):
            query_id = str(query_id)
        if not isinstance(query_id, str) or not isinstance(query, str):
            raise failure(path, line, _JSON_FORM, text)
        yield line, query_id, query.strip()


def _row_queries(path: str | os.PathLike[str]) -> Iterator[tuple[int, str, str]]:
    for place, (line, cells) in enumerate(read_rows(path)):
        if len(cells) != 2:
            raise failure(path, line, _ROW_FORM, "\t".join(cells))
        if place == 0 and cells[0].lower() in _ID_HEADERS and cells[1].lower() in _TEXT_HEADERS:
            continue
        yield line, cells[0], cells[1]


def _topics(path: str | os.PathLike[str]) -> Iterator[tuple[int, str, str]]:
    form = "TREC topics: <top> <num> … <title> … </top>"
    start, tag, fields = 0, "", dict[str, list[str]]()
    for line, raw in read_lines(path):
        place = 0
        for mark in [*_TAG.finditer(raw), None]:
            fields.setdefault(tag, []).append(raw[place : mark.start() if mark else len(raw)])
            if mark is None:
                break
            place, name = mark.end(), mark[2].lower()
            opening = not mark[1]
            if name == "top" and opening == bool(start):
                raise failure(path, line, form, raw)
            if name == "top" and not opening:
                yield start, *_topic(fields)
            if name == "top":
                start, fields = (line if opening else 0), {}
            tag = name if opening else ""
    if start:
        raise failure(path, start, form, "a <top> without its </top>")


def _topic(fields: dict[str, list[str]]) -> tuple[str, str]:
    number, title = (" ".join(" ".join(fields.get(tag, [])).split()) for tag in ("num", "title"))
    # The classic topics write "Number: 301" and, in the early years, "Topic: …" inside their tags.
    return re.sub(r"(?i)^number:\s*", "", number), re.sub(r"(?i)^topic:\s*", "", title)


def _qrel_rows(path: str | os.PathLike[str]) -> Iterator[tuple[int, Sequence[str]]]:
    width = 0
    for place, (line, row) in enumerate(read_rows(path)):
        cells = row if len(row) == 3 else " ".join(row).split()
        width = width or len(cells)
        if len(cells) != width or width not in (3, 4):
            raise failure(path, line, _QREL_FORM, " ".join(row))
        if place == 0 and cells[0].lower() in _ID_HEADERS and not cells[-1].lstrip("+-").isdigit():
            continue
        yield line, cells


def _grade(path: str | os.PathLike[str], line: int, cell: str) -> int:
    try:
        grade = float(cell)
    except ValueError:
        grade = -1.0
    if grade < 0 or not grade.is_integer():
        raise failure(path, line, "a grade that is a whole number of at least 0", cell)
    return int(grade)
