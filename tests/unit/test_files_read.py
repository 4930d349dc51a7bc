"""Documents from files of every format."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nearfield.documents import Document, count_documents, read_files
from nearfield.documents.formats import first_heading, split_front_matter
from nearfield.documents.jsonlist import JsonList
from nearfield.documents.sources import lines, text_chunks
from nearfield.errors import InvalidInput, MissingDependency


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


JSONL = '{"id": 1, "text": "a", "year": 2024}\n\n{"id": 2, "text": "é"}\n"plain"\n'
FROM_JSONL = [Document("a", "1", metadata={"year": 2024}), Document("é", "2"), Document("plain")]
CSV = 'id,body,title,year,code\r\na,"one,\ntwo",1984,2024,007\r\nb,three,,2025.5,8\r\n\r\nc,four,x,,9\r\n'
FROM_CSV = [
    Document("one,\ntwo", "a", "1984", {"year": 2024, "code": "007"}),
    Document("three", "b", "", {"year": 2025.5, "code": "8"}),
    Document("four", "c", "x", {"code": "9"}),
]
JSON_LIST = '[{"id": 1, "text": "a", "year": 2024},\n {"id": 2, "text": "é"}, "plain"]\n'


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", JSONL, FROM_JSONL),
        ("a.NDJSON", JSONL, FROM_JSONL),
        ("a.json", JSON_LIST, FROM_JSONL),
        ("a.json", JSONL, FROM_JSONL),
        ("a.csv", CSV, FROM_CSV),
        ("a.tsv", CSV.replace(",", "\t").replace("one\t", "one,"), FROM_CSV),
    ],
)
@pytest.mark.parametrize("form", ["plain", "gz", "gzip without suffix", "byte order mark", "stdin", "gzipped stdin"])
def test_rows(tmp_path, monkeypatch, name, content, expected, form):
    data = content.encode("utf-8-sig" if form == "byte order mark" else "utf-8")
    if "gz" in form:
        data = gzip.compress(data)
    if "stdin" in form:
        stdin(monkeypatch, data)
        kind = {"a.NDJSON": "jsonl"}.get(name, name[2:])
        assert list(read_files("-", format=kind)) == expected
    else:
        assert list(read_files(write(tmp_path, name + (".gz" if form == "gz" else ""), data))) == expected


@pytest.mark.parametrize("content", [JSONL, JSON_LIST])
def test_stdin_tells_json_without_a_format(monkeypatch, content):
    stdin(monkeypatch, content.encode())
    assert list(read_files(["-"])) == FROM_JSONL


def test_stdin_of_another_form_needs_a_format(monkeypatch):
    stdin(monkeypatch, b"Some words\nMore words\n")
    with pytest.raises(InvalidInput, match=r"^stdin: expected JSON, got something else; state its format: lines"):
        list(read_files("-"))
    stdin(monkeypatch, b"Some words\n\nMore words\r\n")
    assert list(read_files("-", format="lines")) == [Document("Some words"), Document("More words")]


def test_parquet(tmp_path):
    table = pa.table(
        {
            "_id": [1, 2],
            "abstract": ["a", "b"],
            "title": [None, "T"],
            "when": [datetime.datetime(2024, 1, 2), None],
            "score": [float("nan"), 1.5],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    expected = [
        Document("a", "1", "", {"when": "2024-01-02T00:00:00"}),
        Document("b", "2", "T", {"score": 1.5}),
    ]
    assert list(read_files(tmp_path / "a.parquet")) == expected
    write(tmp_path, "b.parquet.gz", gzip.compress((tmp_path / "a.parquet").read_bytes()))
    assert list(read_files(tmp_path / "b.parquet.gz")) == expected
    with pytest.raises(InvalidInput, match=r"a.parquet: row 1: there is no field 'topic'; the fields are '_id', 'abst"):
        list(read_files(tmp_path / "a.parquet", metadata=["topic"]))
    with pytest.raises(InvalidInput, match=r"bad.parquet: not a readable Parquet file"):
        list(read_files(write(tmp_path, "bad.parquet", "no parquet at all")))


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingDependency, match=r"pip install 'nearfield\[frames\]'"):
        list(read_files(write(tmp_path, "a.parquet", b"PAR1")))


def test_folders_are_read_in_order_and_text_files_have_their_paths_as_ids(tmp_path):
    write(tmp_path, "docs/b.txt", "Text b\r\nline 2")
    write(tmp_path, "docs/a/z.md", "Words\n\n# The *heading* #\n")
    write(tmp_path, "docs/a.jsonl", '{"text": "row"}')
    write(tmp_path, "docs/.hidden/x.txt", "hidden")
    write(tmp_path, "docs/.x.txt", "hidden")
    write(tmp_path, "docs/picture.png", b"\x89PNG")
    folder = tmp_path / "docs"
    found = list(read_files(str(folder)))
    assert found == [
        Document("Words\n\n# The *heading* #\n", "a/z.md", "The *heading*", {"path": f"{folder}/a/z.md"}),
        Document("row"),
        Document("Text b\nline 2", "b.txt", "", {"path": f"{folder}/b.txt"}),
    ]
    assert list(read_files(folder, limit=2)) == found[:2]
    assert [document.doc_id for document in read_files(folder, metadata=[], limit=1)] == ["a/z.md"]


def test_a_format_takes_every_file_of_a_folder(tmp_path):
    write(tmp_path, "a.py", "print(1)")
    write(tmp_path, "b.csv", "x,y")
    found = list(read_files(tmp_path, format="text"))
    assert [(document.doc_id, document.text) for document in found] == [("a.py", "print(1)"), ("b.csv", "x,y")]


def test_a_text_file_named_by_itself_has_the_path_as_written(tmp_path, monkeypatch):
    write(tmp_path, "notes/a.txt", "A")
    monkeypatch.chdir(tmp_path)
    assert list(read_files("notes/a.txt")) == [Document("A", "notes/a.txt", "", {"path": "notes/a.txt"})]


@pytest.mark.parametrize(
    ("text", "fields", "rest"),
    [
        ("---\ntitle: 'A b'\nyear: 2024\nx: 1.5\ndraft: false\ncode: 007\n---\nBody", None, "Body"),
        ("---\ntags: [a, b]\n---\nBody", {}, "---\ntags: [a, b]\n---\nBody"),
        ("---\nlist:\n  - a\n---\nBody", {}, "---\nlist:\n  - a\n---\nBody"),
        ("---\nno end", {}, "---\nno end"),
        ("Body\n---\na: b\n---", {}, "Body\n---\na: b\n---"),
        ("", {}, ""),
    ],
)
def test_front_matter(text, fields, rest):
    expected = {"title": "A b", "year": 2024, "x": 1.5, "draft": False, "code": "007"} if fields is None else fields
    assert split_front_matter(text) == (expected, rest)


def test_the_title_of_markdown(tmp_path):
    path = write(tmp_path, "a.md", "---\ntitle: Front\nid: 3\n---\n# Heading\n")
    assert list(read_files(path)) == [Document("# Heading\n", str(path), "Front", {"id": 3, "path": str(path)})]
    assert first_heading("```\n# comment\n```\ntext\n## Second") == "Second"
    assert first_heading("#hashtag\nno heading") == ""


OPTIONS = '{"no": "x", "headline": "H", "body": "B", "text": "T", "id": 5, "year": 1, "metadata": {"kind": "k"}}\n'


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Document("T", "5", "", {"kind": "k", "no": "x", "headline": "H", "body": "B", "year": 1})),
        (
            {"doc_id": "no", "text": "body", "title": "headline"},
            Document("B", "x", "H", {"kind": "k", "text": "T", "id": 5, "year": 1}),
        ),
        ({"metadata": ["year", "kind"]}, Document("T", "5", "", {"year": 1, "kind": "k"})),
        ({"metadata": []}, Document("T", "5")),
        (
            {"title": "absent"},
            Document("T", "5", "", {"kind": "k", "no": "x", "headline": "H", "body": "B", "year": 1}),
        ),
    ],
)
def test_options_say_what_is_what(tmp_path, options, expected):
    assert list(read_files(write(tmp_path, "a.jsonl", OPTIONS), **options)) == [expected]


def test_csv_columns_of_numbers_are_numbers_and_others_stay_as_they_are(tmp_path):
    header = "text,int,float,mixed,zero,long,sci,neg"
    rows = ["1,1,1.50,1,01,1234567890123456,1e-3,-2", "2,20,2,n/a,2,2,2,0"]
    found = list(read_files(write(tmp_path, "a.csv", "\n".join([header, *rows]))))
    assert [document.text for document in found] == ["1", "2"]
    assert [list(document.metadata.values()) for document in found] == [
        [1, 1.5, "1", "01", "1234567890123456", 0.001, -2],
        [20, 2, "n/a", "2", "2", 2, 0],
    ]
    assert [type(value).__name__ for value in found[0].metadata.values()] == (
        ["int", "float", "str", "str", "str", "float", "int"]
    )


def test_long_csv_cells_are_read_whole(tmp_path):
    text = "word " * 100_000
    assert [document.text for document in read_files(write(tmp_path, "a.csv", f"id,text\n1,{text}\n"))] == [text]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": \n', r"a\.jsonl:2: not valid JSON"),
        ("a.jsonl", '{"text": "a"}\n\n[1]\n', r"a\.jsonl:3: expected an object with a field for the text, got '\[1\]'"),
        ("a.jsonl", '{"text": 3}', r"a\.jsonl:1: text must be a str, got 3 \(int\)"),
        ("a.jsonl", '{"text": " "}', r"a\.jsonl:1: text must have at least one visible"),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl:1: nested too deeply"),
        ("a.jsonl", '{"text": "\\u0000"}', r"a\.jsonl:1: text holds a NUL"),
        ("a.jsonl", '{"text": "\\ud800"}', r"a\.jsonl:1: text holds a lone surrogate"),
        ("a.jsonl", '{"text": "a", "n": NaN}', r"a\.jsonl:1: metadata\['n'\] must be a JSON value, got nan"),
        ("a.jsonl", '{"id": "x", "doc_id": "y", "text": "a"}', r":1: 'doc_id', 'id' may both be the doc_id"),
        ("a.jsonl", '{"id": null, "text": "a"}', r":1: the field 'id' has no doc_id"),
        ("a.jsonl", '{"id": true, "text": "a"}', r":1: doc_id must be a non-empty str or an int, got True"),
        ("a.jsonl", '{"name": "x", "words": "y"}', r":1: which field is the text\? .*the fields are 'name', 'words'"),
        ("a.jsonl", '{"body": "x", "content": "y"}', r":1: 'content', 'body' may both be the text; name it"),
        ("a.jsonl", '{"text": "a", "y": 1, "metadata": {"y": 2}}', r":1: the field 'y' is given twice"),
        ("a.jsonl", b'{"text": "caf\xe9"}', r"a\.jsonl: expected UTF-8, but byte 13 \(0xe9\) is not"),
        ("a.jsonl", b'{"text": "a\0"}', r"a\.jsonl: has a NUL at byte 11"),
        ("a.txt", "words".encode("utf-16"), r"a\.txt: expected UTF-8, got UTF-16"),
        ("a.jsonl", "", r"a\.jsonl: holds no documents"),
        ("a.jsonl", "\n \n", r"a\.jsonl: holds no documents"),
        ("a.json", "", r"a\.json: holds no documents"),
        ("a.json", "[ ]", r"a\.json: holds no documents"),
        ("a.csv", "id,text\n", r"a\.csv: holds no documents"),
        ("a.txt", "", r"a\.txt: text must have at least one visible character"),
        ("a.json", '[{"text": "a"},\n{"text": }]', r"a\.json:2: not valid JSON: Expecting value"),
        ("a.json", '[{"text": "a"}\n{"text": "b"}]', r"a\.json:2: expected ',' or '\]', got '\{\"text\": \"b\"\}\]'"),
        ("a.json", '[{"text": "a"}', r"a\.json:1: expected ',' or '\]', got the end of the file"),
        ("a.json", '[{"text": "a', r"a\.json:1: not valid JSON: Unterminated string"),
        ("a.json", '[{"text": "a"}] x', r"a\.json:1: expected nothing after the list, got 'x'"),
        ("a.json", "[3]", r"a\.json:1: expected an object with a field for the text, got '3\]'"),
        ("a.json", "3", r"a\.json:1: expected a list of objects, got '3'"),
        ("a.csv", "id,text\n1,a\n2\n", r"a\.csv:3: expected 2 cells as in the header, got 1"),
        ("a.csv", 'id,text\n1,"a\nb"\n2,"c\n', r"a\.csv:4: not valid CSV: unexpected end of data"),
        ("a.csv", "id,id\n1,2\n", r"a\.csv:1: expected a header with different names"),
        ("a.csv", "id;text\n1;2\n", r"a\.csv:2: which field is the text\? .* are 'id;text'"),
        ("a.csv", "id,text\n,a\n", r"a\.csv:2: the field 'id' has no doc_id"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 999, mtime=0)[:-20], r"gz: its gzip data ends early"),
        ("a.jsonl.gz", gzip.compress(bytes(99), mtime=0)[:10] + b"\xff" * 20, r"gz: its gzip data is damaged"),
        ("a.dat", "words", r"a\.dat: its name doesn't tell its format; state one of jsonl, json, csv"),
    ],
)
def test_bad_files_are_named_with_the_line(tmp_path, name, content, message):
    path = write(tmp_path, name, content)
    with pytest.raises(InvalidInput, match=message) as caught:
        list(read_files(path))
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        ("absent.csv", {}, "no file or folder 'absent.csv'"),
        ([], {}, "expected at least one file or folder to read, got none"),
        (["-", "-"], {}, "stdin \\('-'\\) can be read once only"),
        (3, {}, "paths must be a path or an iterable of paths, got 3"),
        ([3], {}, "a path must be a str or a Path, got 3"),
        ("-", {"format": "xml"}, "format must be one of jsonl, .* got 'xml'"),
        ("-", {"limit": 0}, "limit must be an int, at least 1, got 0"),
        ("-", {"limit": True}, "limit must be"),
        ("-", {"metadata": "year"}, "metadata must be a list of fields, got the str 'year'"),
        ("-", {"text": ""}, "a field must be named by a non-empty str"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(paths, options, message):
    with pytest.raises(InvalidInput, match=message):
        read_files(paths, **options)


def test_a_folder_without_readable_files_is_refused(tmp_path):
    write(tmp_path, "a.png", b"x")
    with pytest.raises(InvalidInput, match=r"no files that end in \.jsonl, \.ndjson"):
        read_files(tmp_path)


@pytest.mark.parametrize("option", ["doc_id", "text", "title", "metadata"])
def test_a_field_that_a_table_lacks_is_refused_at_its_first_row(tmp_path, option):
    path = write(tmp_path, "a.csv", "id,text\n1,a\n")
    with pytest.raises(InvalidInput, match=r"a\.csv:2: there is no field 'topic'; the fields are 'id', 'text'"):
        list(read_files(path, **{option: ["topic"] if option == "metadata" else "topic"}))


def test_a_metadata_field_that_no_object_has_is_refused_at_the_end(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "a"}\n{"text": "b", "year": 1}\n')
    assert [document.metadata for document in read_files(path, metadata=["year"])] == [{}, {"year": 1}]
    reading = read_files(path, metadata=["yaer"])
    assert [next(reading).text, next(reading).text] == ["a", "b"]
    with pytest.raises(InvalidInput, match="no document has the metadata field 'yaer'"):
        next(reading)


def test_reading_is_lazy(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "good"}\nbad\n')
    reading = read_files(path)
    assert next(reading) == Document("good")
    with pytest.raises(InvalidInput, match=r"a\.jsonl:2"):
        next(reading)


def test_counts_are_those_of_reading(tmp_path, monkeypatch):
    write(tmp_path, "a.csv", CSV)
    write(tmp_path, "a.jsonl.gz", gzip.compress(JSONL.encode()))
    write(tmp_path, "a.md", "# A")
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "a.parquet")
    assert count_documents(tmp_path) == 3 + 3 + 1 + 2 == len(list(read_files(tmp_path)))
    write(tmp_path, "b.json", JSON_LIST)
    assert count_documents(tmp_path) is None
    assert count_documents("-") is None


@pytest.mark.parametrize("seed", range(5))
def test_chunks_may_end_anywhere(seed):
    draw = random.Random(seed)
    values = [
        draw.choice(['a "b"\\', "é\n", {"text": "x", "n": [1, {"y": None}]}, {"text": "漢" * draw.randrange(50)}])
        for _ in range(30)
    ]
    text = json.dumps(values, indent=draw.choice([None, 1]), ensure_ascii=draw.random() < 0.5)
    pieces = []
    at = 0
    while at < len(text):
        size = draw.randrange(1, 12)
        pieces.append(text[at : at + size])
        at += size
    found = list(JsonList(iter(pieces), "a.json"))
    assert [value for _, value in found] == values
    assert "".join(lines(iter(pieces))) == text
    assert list(lines(iter(pieces))) == io.StringIO(text).readlines()


class Dribble(io.RawIOBase):
    """Gives a byte at a time, as a slow pipe may."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, size: int = -1) -> bytes:
        given, self.data = self.data[:1], self.data[1:]
        return given


def test_characters_may_come_in_parts():
    assert "".join(text_chunks(Dribble("\ufeffé漢🎉".encode()), "a.txt")) == "é漢🎉"
    with pytest.raises(InvalidInput, match=r"byte 3 \(0xff\)"):
        list(text_chunks(Dribble("aé".encode() + b"\xff"), "a.txt"))
    with pytest.raises(InvalidInput, match=r"byte 1 \(0xe6\)"):
        list(text_chunks(Dribble("a漢".encode()[:-1]), "a.txt"))
    with pytest.raises(InvalidInput, match=r"NUL at byte 2;"):
        list(text_chunks(Dribble("é".encode() + b"\0"), "a.txt"))


def test_rows_without_text_are_an_error_unless_someone_is_told(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(
        '{"_id": "a", "text": "x"}\n{"_id": "b", "title": "", "text": " "}\n{"_id": "c", "title": "t", "text": ""}\n'
    )
    with pytest.raises(InvalidInput, match=r"corpus.jsonl:2.*visible character"):
        list(read_files(path))
    told: list[str] = []
    assert [document.doc_id for document in read_files(path, on_empty=told.append)] == ["a", "c"]
    assert told == [f"{path}:2"]
