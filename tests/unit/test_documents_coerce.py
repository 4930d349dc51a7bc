"""Documents from strings, dicts, frames and iterables of them."""

from __future__ import annotations

import datetime
import decimal
import time
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nearfield.documents import Document, read_documents
from nearfield.errors import InvalidInput

LEARN = "Learn Python for data science."
WHEN = datetime.datetime(2024, 1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(LEARN, [Document(LEARN)], id="a str is one document"),
        pytest.param(Document("a", 1), [Document("a", "1")], id="Document"),
        pytest.param({"text": "a"}, [Document("a")], id="dict"),
        pytest.param({"title": "t"}, [Document("", title="t")], id="title only"),
        pytest.param({"doc_id": 7, "text": "a"}, [Document("a", "7")], id="doc_id"),
        pytest.param({"id": "x", "text": "a"}, [Document("a", "x")], id="id"),
        pytest.param({"_id": "x", "text": "a"}, [Document("a", "x")], id="_id"),
        pytest.param({"doc_id": None, "text": "a"}, [Document("a")], id="None numbers"),
        pytest.param(
            {"text": "a", "year": 2024, "metadata": {"tags": ("x", "y")}},
            [Document("a", metadata={"tags": ["x", "y"], "year": 2024})],
            id="metadata merged",
        ),
        pytest.param(MappingProxyType({"text": "a"}), [Document("a")], id="any mapping"),
        pytest.param(
            ["a", {"text": "b"}, Document("c")], [Document("a"), Document("b"), Document("c")], id="mixed list"
        ),
        pytest.param((text for text in ("a", "b")), [Document("a"), Document("b")], id="generator"),
        pytest.param({"k": "a"}.values(), [Document("a")], id="view"),
        pytest.param(pd.Series(["a", "b"]), [Document("a"), Document("b")], id="Series"),
        pytest.param(np.array(["a", "b"]), [Document("a"), Document("b")], id="array of str"),
        pytest.param([], [], id="empty list"),
        pytest.param(pd.DataFrame({"text": []}), [], id="empty frame"),
    ],
)
def test_forms(given, expected):
    assert read_documents(given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"abc", "documents must be a str, a dict or a nearfield.Document, .* got b'abc' \\(bytes\\); decode it first"),
        (None, "got None \\(NoneType\\)"),
        (3, "got 3 \\(int\\)"),
        ({"a"}, "a set has no order"),
        (Path("x.csv"), "nearfield.read_files reads documents from files"),
        ([None], "document 0: expected a str, a dict or a nearfield.Document, got None"),
        (["a", b"b"], "document 1: expected .* got b'b' \\(bytes\\)"),
        (["a", ["b"]], "document 1: expected .* got \\['b'\\] \\(list\\)"),
        ([{}], "document 0: a dict must have a 'text' \\(or a 'title'\\), got no keys"),
        ({"body": "b", "year": 1}, "a dict must have a 'text' \\(or a 'title'\\), got 'body', 'year'"),
        ({"id": 1, "_id": 2, "text": "a"}, "one of 'doc_id', 'id' and '_id', got 'id' and '_id'"),
        ([{"doc_id": "a", "text": 3}], "document 0 \\(doc_id 'a'\\): text must be a str, got 3 \\(int\\)"),
        ([{"text": "a", "title": None}], "document 0: title must be a str, got None"),
        ([{"text": "a", "metadata": [1]}], "metadata must be a dict of JSON values, got \\[1\\] \\(list\\)"),
        ([{"text": "a", "metadata": {"y": 1}, "y": 1}], "the field 'y' is given twice"),
        ([{"text": "a", 3: 1}], "the keys of metadata must be str, got 3"),
        ([{"text": "a", "when": WHEN}], "use .isoformat\\(\\)"),
        ([{"text": "a", "year": float("nan")}], "metadata\\['year'\\] must be a JSON value, got nan"),
        ([{"text": "a\0"}], "document 0: text holds a NUL"),
        ([{"text": "\ud800"}], "document 0: text holds a lone surrogate"),
        (["a", "  "], "document 1: text must have at least one visible character"),
        ([{"id": 1, "text": "a"}, "b", {"id": "1", "text": "c"}], "documents 0 and 2 have the same doc_id '1'"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "two named 'text'"),
        (pd.DataFrame([["a", "b"]], columns=["text", 3]), "the columns of a frame must have str names, got 3"),
        (pa.table([["a"], ["b"]], names=["text", "text"]), "two named 'text'"),
        (pd.DataFrame({"text": ["a", None], "y": 1}), "document 1: a dict must have a 'text' .* got 'y'"),
        (pd.DataFrame({"id": [1.5], "text": ["a"]}), "doc_id must be a non-empty str or an int, got 1.5"),
    ],
)
def test_refused(given, message):
    with pytest.raises(InvalidInput, match=message):
        read_documents(given)


def test_one_bad_row_of_a_thousand_is_named():
    rows = [{"doc_id": f"d{n}", "text": "fine"} for n in range(1000)]
    rows[617]["text"] = 617
    with pytest.raises(InvalidInput, match=r"^document 617 \(doc_id 'd617'\): text must be a str, got 617 \(int\)$"):
        read_documents(rows)


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": np.array([1, 2], np.int32),
            "text": ["a", "b"],
            "title": ["T", None],
            "score": [0.5, np.nan],
            "when": [pd.Timestamp(WHEN), pd.NaT],
            "open": [True, False],
            "tags": [np.array(["x", "y"]), None],
            "nested": [{"n": np.int64(3), "d": datetime.date(2024, 5, 6)}, pd.NA],
            "price": [decimal.Decimal("1.5"), decimal.Decimal("2")],
        }
    )


EXPECTED = [
    Document(
        "a",
        "1",
        "T",
        {
            "score": 0.5,
            "when": "2024-01-02T03:04:05",
            "open": True,
            "tags": ["x", "y"],
            "nested": {"n": 3, "d": "2024-05-06"},
            "price": 1.5,
        },
    ),
    Document("b", "2", "", {"open": False, "price": 2.0}),
]


def test_pandas_cells_become_json_values():
    found = read_documents(frame())
    assert found == EXPECTED
    assert [type(value) for value in found[0].metadata.values()] == [float, str, bool, list, dict, float]


def test_arrow_tables_and_batches_give_what_pandas_gives():
    table = pa.table(
        {
            "id": [1, 2],
            "text": ["a", "b"],
            "title": ["T", None],
            "score": [0.5, float("nan")],
            "when": [WHEN, None],
            "open": [True, False],
            "tags": [["x", "y"], None],
            "nested": [{"n": 3, "d": datetime.date(2024, 5, 6)}, None],
            "price": [decimal.Decimal("1.5"), decimal.Decimal("2.0")],
        }
    )
    assert read_documents(table) == EXPECTED
    assert read_documents(table.to_batches()[0]) == EXPECTED


def test_polars_is_recognised_by_its_type():
    kind = type("DataFrame", (SimpleNamespace,), {"__module__": "polars.dataframe.frame"})
    polars = kind(columns=["text", "year"], to_dicts=lambda: [{"text": "a", "year": None}, {"text": "b", "year": 3}])
    assert read_documents(polars) == [Document("a"), Document("b", metadata={"year": 3})]


def test_an_index_named_like_an_id_is_the_doc_id_and_others_are_left_out():
    texts = pd.DataFrame({"text": ["a", "b"]}, index=pd.Index(["x", "y"], name="doc_id"))
    assert [document.doc_id for document in read_documents(texts)] == ["x", "y"]
    assert read_documents(texts.rename_axis("other")) == [Document("a"), Document("b")]


@pytest.mark.slow
def test_a_hundred_thousand_dicts_take_about_a_second():
    rows = [{"doc_id": n, "text": f"The text of number {n}", "year": 2020, "kind": "x"} for n in range(100_000)]
    start = time.process_time()
    assert len(read_documents(rows)) == 100_000
    assert time.process_time() - start < 3  # 0.8 s of processor time on an idle machine
