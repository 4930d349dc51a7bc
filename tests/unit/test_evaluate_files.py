from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import ir_measures
import pytest

from nearfield.errors import InvalidInput
from nearfield.evaluate import as_qrels, as_queries, evaluate_run, read_qrels, read_queries, read_run, write_run


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


TOPICS = """<top>
<num> Number: 301
<title> International
 Organized   Crime
<desc> Description:
Identify organizations
</top>

<TOP><num>302</num><title>Topic: Polio &lt; rare</title></TOP>
"""


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("q.jsonl", '{"_id": "1", "text": "a b", "metadata": {}}\n\n{"_id": 2, "text": "c"}\n', {"1": "a b", "2": "c"}),
        ("q.jsonl.gz", '{"id": "1", "text": "shock waves"}', {"1": "shock waves"}),
        ("q.tsv", 'q1\tan "open\nq2\tb, c\r\n', {"q1": 'an "open', "q2": "b, c"}),
        ("q.tsv", "query-id\ttext\nq1\ta b\n", {"q1": "a b"}),
        ("q.txt", "\ufeffq1\ta b\n", {"q1": "a b"}),
        ("q.csv", 'qid,query\nq1,"a, b"\nq2,"two\nlines"\nq1,"a, b"\n', {"q1": "a, b", "q2": "two\nlines"}),
        ("topics.301", TOPICS, {"301": "International Organized Crime", "302": "Polio &lt; rare"}),
    ],
)  # fmt: skip
def test_queries(tmp_path: Path, name: str, content: str, expected: dict[str, str]) -> None:
    path = file(tmp_path, name, content)
    assert read_queries(path) == expected
    assert list(read_queries(str(path))) == list(expected)
    assert as_queries(path) == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.tsv", "query-id\tcorpus-id\tscore\nq1\ta b\t2\nq1\tc\t0\n"),
        ("q.tsv.gz", "q1\ta b\t2\nq1\tc\t0\nq1\tc\t0\n"),
        ("q.csv", 'query-id,corpus-id,score\nq1,"a b",2.0\nq1,c,0\n'),
    ],
)
def test_beir_judgements(tmp_path: Path, name: str, content: str) -> None:
    assert read_qrels(file(tmp_path, name, content)) == {"q1": {"a b": 2, "c": 0}}


@pytest.mark.parametrize("gap", [" ", "\t", "   "])
def test_trec_judgements(tmp_path: Path, gap: str) -> None:
    path = file(tmp_path, "qrels.txt", "301 0 FR940202 1\n301 0 x 0\n302 Q0 y 3\n".replace(" ", gap))
    expected = {"301": {"FR940202": 1, "x": 0}, "302": {"y": 3}}
    assert read_qrels(path) == expected
    assert as_qrels(path) == expected
    peer = {(row.query_id, row.doc_id): row.relevance for row in ir_measures.read_trec_qrels(str(path))}
    assert peer == {(query, doc): grade for query, grades in expected.items() for doc, grade in grades.items()}


def test_runs_come_back_as_they_were_written(tmp_path: Path) -> None:
    run = {"q2": {"a": 0.1 + 0.2, "b": -1e-300}, "q1": {"z": 1.0, "a": 1.0, "m": 5e9}}
    for name in ("mine.run", "mine.run.gz"):
        write_run(tmp_path / name, run, tag="mine")
        assert read_run(tmp_path / name) == run
    lines = (tmp_path / "mine.run").read_text().splitlines()
    assert [line.split()[:4] for line in lines[:3]] == [
        ["q1", "Q0", "m", "1"],
        ["q1", "Q0", "z", "2"],
        ["q1", "Q0", "a", "3"],
    ]
    peer = {(row.query_id, row.doc_id): row.score for row in ir_measures.read_trec_run(str(tmp_path / "mine.run"))}
    assert peer == {(query, doc): score for query, hits in run.items() for doc, score in hits.items()}


def test_files_can_be_evaluated(tmp_path: Path) -> None:
    run = file(tmp_path, "a.run", "q1 Q0 d1 1 9.5 bm25\nq1 Q0 d2 2 9.0 bm25\n")
    qrels = file(tmp_path, "qrels.tsv", "query-id\tcorpus-id\tscore\nq1\td2\t1\n")
    assert evaluate_run(run, str(qrels), ["MRR"]).mean == {"MRR": 0.5}


def test_an_empty_run_is_a_run(tmp_path: Path) -> None:
    write_run(tmp_path / "empty.run", {"q": {}})
    assert read_run(tmp_path / "empty.run") == {}


BAD = [
    (read_queries, "q.jsonl", '{"_id": "1", "text": "a"}\n{"_id": "2"}\n', r"q\.jsonl, line 2: expected a JSON"),
    (read_queries, "q.jsonl", '{"_id": "1", "text": "a"}\n\n{broken\n', "line 3: expected a JSON .*got: {broken"),
    (read_queries, "q.jsonl", '{"_id": true, "text": "a"}\n', "line 1: expected a JSON object"),
    (read_queries, "q.jsonl", '{"_id": "1", "text": "a"}\n{"_id": "1", "text": "b"}\n', "line 2: expected every query"),
    (read_queries, "q.jsonl", '{"_id": "1", "text": " "}\n', "line 1: expected an id and a text that are not empty"),
    (read_queries, "q.tsv", "q1\ta\nq2 b\n", "line 2: expected a query id and a text, separated by a tab"),
    (read_queries, "q.csv", 'q1,a\nq2,"b\n', r"q\.csv, line 2: expected a CSV row"),
    (read_queries, "q.csv", 'q1,"two\nlines"\nq2\n', "line 3: expected a query id and a text"),
    (read_queries, "q.tsv", b"q1\ta\nq2\t\xff\n", "line 2: expected UTF-8 text"),
    (read_queries, "q.tsv", "", "holds no query"),
    (read_queries, "t.txt", "<top>\n<num> 1\n<title> a\n", "line 1: expected TREC topics.*without its </top>"),
    (read_queries, "t.txt", "<top><num>1<title>a\n<top><num>2<title>b</top>", "line 2: expected TREC topics"),
    (read_queries, "t.txt", "<top><title>a</top>", "line 1: expected an id and a text that are not empty"),
    (read_qrels, "q.tsv", "query-id\tcorpus-id\tscore\nq1\ta\n", "line 2: expected TREC's"),
    (read_qrels, "q.tsv", "q1\ta\t1\nq1\tb\tyes\n", "line 2: expected a grade that is a whole number .*; got: yes"),
    (read_qrels, "q.txt", "q1 0 a -2\n", "line 1: expected a grade .*got: -2"),
    (read_qrels, "q.txt", "q1 0 a 0.5\n", "line 1: expected a grade .*got: 0.5"),
    (read_qrels, "q.txt", "q1 0 a nan\n", "line 1: expected a grade .*got: nan"),
    (read_qrels, "q.txt", "q1 0 a 1\nq1 0 b 1\nq1 0 a 2\n", "line 3: .* got: 'a' of query 'q1': 1, then 2"),
    (read_qrels, "q.tsv", "q1\t\t1\n", "line 1: .*no id being empty"),
    (read_qrels, "q.tsv", "query-id\tcorpus-id\tscore\n", "holds no judgement"),
    (read_qrels, "q.tsv.gz", "", "holds no judgement"),
    (read_run, "a.run", "q1 Q0 d1 1 9.5\n", "line 1: expected six columns"),
    (read_run, "a.run", "q1 Q0 d1 1 high t\n", "line 1: expected a finite number as the score; got: high"),
    (read_run, "a.run", "q1 Q0 d1 1 inf t\n", "got: inf"),
    (read_run, "a.run", "q1 Q0 d1 1 2 t\nq1 Q0 d1 2 1 t\n", "line 2: expected each document once"),
]  # fmt: skip


@pytest.mark.parametrize(("read", "name", "content", "message"), BAD)
def test_malformed_files_name_the_line(
    tmp_path: Path, read: Callable[[Path], object], name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        read(file(tmp_path, name, content))


@pytest.mark.parametrize("read", [read_queries, read_qrels, read_run])
def test_files_that_cannot_be_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(InvalidInput, match=r"missing\.tsv can't be read"):
        read(tmp_path / "missing.tsv")
    with pytest.raises(InvalidInput, match="can't be read"):
        read(tmp_path)
    (tmp_path / "false.gz").write_bytes(b"not compressed")
    with pytest.raises(InvalidInput, match=r"false\.gz can't be read"):
        read(tmp_path / "false.gz")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"q1 Q0 d1 1 9.5 t\n" * 1000)[:40])
    with pytest.raises(InvalidInput, match=r"cut\.gz can't be read"):
        read(tmp_path / "cut.gz")


@pytest.mark.parametrize(
    ("run", "tag", "message"),
    [
        ({"q": {"a b": 1.0}}, "t", "can't hold 'a b'"),
        ({"q 1": {"a": 1.0}}, "t", "can't hold 'q 1'"),
        ({"q": {"a": 1.0}}, "", "can't hold ''"),
        ({"q": {"a": float("nan")}}, "t", "finite"),
    ],
)
def test_runs_that_the_form_cannot_express(
    tmp_path: Path, run: dict[str, dict[str, float]], tag: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        write_run(tmp_path / "a.run", run, tag)
    assert not (tmp_path / "a.run").exists()
    with pytest.raises(InvalidInput, match="can't be written"):
        write_run(tmp_path / "missing" / "a.run", {"q": {"a": 1.0}})
