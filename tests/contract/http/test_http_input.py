"""Bad requests get a 4xx with a reason, and nothing changes; failures of the server tell nothing about it."""

from __future__ import annotations

import json
import logging

import pytest

import nearfield as nf

JSON = {"content-type": "application/json"}
DEEP = "[" * 100_000 + "]" * 100_000


def refused(answer, status: int, kind: str, *words: str) -> None:
    """Assert that a request was refused, with a message that says these words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"type", "message"}
    assert error["type"] == kind
    for word in words:
        assert word in error["message"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/search/", ["q: field required"]),
        ("/search/?q=", ["at least one visible character"]),
        ("/search/?q=%20%09", ["at least one visible character"]),
        ("/search/?q=a%00b", ["NUL"]),
        ("/search/?q=a&k=0", ["k: input should be greater than or equal to 1, got '0'"]),
        ("/search/?q=a&top_k=-3", ["top_k:", "greater"]),
        ("/search/?q=a&k=3.0", ["k: must be a whole number, got '3.0'"]),
        ("/search/?q=a&k=%203", ["whole number"]),
        ("/search/?q=a&k=3_0", ["whole number"]),
        ("/search/?q=a&k=%D9%A3", ["whole number"]),
        ("/search/?q=a&k=" + "9" * 5000, ["whole number"]),
        ("/search/?q=a&k=true", ["whole number"]),
        ("/search/?q=a&k=", ["whole number"]),
        ("/search/?q=a&k=10001", ["k must be at most 10000", "got 10001"]),
        ("/search/?q=a&k=3&top_k=4", ["k and top_k are one option", "k=3", "top_k=4"]),
        ("/search/?q=a&k=3&k=3", ["'k' is given 2 times"]),
        ("/search/?q=a&q=b", ["'q' is given 2 times"]),
        ("/search/?q=a&kk=3", ["kk: there is no such option"]),
        ("/search/?q=a&mode=dense", ["mode:", "'hybrid', 'semantic' or 'lexical'", "got 'dense'"]),
        ("/search/?q=a&semantic_weight=2", ["semantic_weight:", "less than or equal to 1"]),
        ("/search/?q=a&diversity=nan", ["diversity:", "finite"]),
        ("/search/?q=a&diversity=1e999", ["diversity:"]),
        ("/search/?q=a&where=year", ["where: must be a condition in JSON"]),
        ("/search/?q=a&where=[1]", ["where: input should be a valid dictionary"]),
        ("/search/?q=a&where={%22year%22:NaN}", ["where:", "NaN is not JSON"]),
        ("/search/?q=a&where={%22year%22:{%22$near%22:3}}", ["unknown operator '$near'"]),
        ("/search/?q=a&where={%22year%22:{%22$gt%22:%22x%22}}", ["can't compare"]),
        ("/search/?q=a&where=" + "[" * 3000 + "]" * 3000, ["where:"]),
        ("/search/?q=" + "a" * 10_001, ["the length of a query must be at most 10000", "got 10001"]),
        ("/recommend/", ["item_id: field required"]),
        ("/recommend/?item_id=", ["item_id:", "doc_id must be a non-empty str"]),
        ("/similar/3?top_k=2", ["top_k: there is no such option"]),
        ("/similar/", ["doc_id must be a non-empty str"]),
        ("/similar/a%00b", ["NUL"]),
        ("/documents/", ["doc_id must be a non-empty str"]),
        ("/documents/3?fields=text", ["takes no parameters", "'fields'"]),
    ],
)
def test_bad_addresses(client, address, words):
    refused(client.get(address), 422, "InvalidInput", *words)


@pytest.mark.parametrize("address", ["/search/?q=%FF", "/search/?%ED%A0%80=a", "/documents/%C3%28", "/%80"])
def test_an_address_that_is_not_utf_8(client, address):
    refused(client.get(address), 400, "InvalidInput", "not UTF-8")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ["body: field required"]),
        (b"{}", ["give a query or a vector"]),
        (b"null", ["body"]),
        (b"[]", ["body: input should be a valid dictionary"]),
        (b'"query"', ["body: input should be a valid dictionary"]),
        (b'{"query": "a", "vector": [1]}', ["give a query or a vector"]),
        (b'{"query": ""}', ["visible character"]),
        (b'{"query": ["a", ""]}', ["query 1"]),
        (b'{"query": 5}', ["query: must be a text, or a list of texts"]),
        (b'{"query": ["a", 5]}', ["query: must be a text, or a list of texts"]),
        (b'{"query": "a\\u0000b"}', ["NUL"]),
        (b'{"query": "a", "k": "3"}', ["k: input should be a valid integer, got '3'"]),
        (b'{"query": "a", "k": true}', ["k: input should be a valid integer, got True"]),
        (b'{"query": "a", "k": 3.0}', ["k: input should be a valid integer, got 3.0"]),
        (b'{"query": "a", "k": null}', ["k: input should be a valid integer, got None"]),
        (b'{"query": "a", "k": 0}', ["k: input should be greater than or equal to 1, got 0"]),
        (b'{"query": "a", "k": 10001}', ["k must be at most 10000"]),
        (b'{"query": "a", "k": ' + b"9" * 4000 + b"}", ["k must be at most 10000"]),
        (b'{"query": "a", "top_k": 3}', ["top_k: there is no such option"]),
        (b'{"query": "a", "semantic_weight": "0.5"}', ["semantic_weight: input should be a valid number"]),
        (b'{"query": "a", "semantic_weight": ' + b"9" * 400 + b"}", ["semantic_weight:"]),
        (b'{"query": "a", "diversity": 1e999}', ["diversity:"]),
        (b'{"query": "a", "explain": 1}', ["explain: input should be a valid boolean"]),
        (b'{"query": "a", "mode": "dense"}', ["mode:", "got 'dense'"]),
        (b'{"query": "a", "where": {"$nor": []}}', ["unknown operator '$nor'"]),
        (b'{"query": "a", "where": {"year": {"$gt": "x"}}}', ["can't compare"]),
        (b'{"query": "a", "where": ' + b'{"$not":' * 300 + b"{}" + b"}" * 300 + b"}", ["nested"]),
        (b'{"query": "a", "where": {"year": 1e999}}', ["inf"]),
        (b'{"query": "' + b"a" * 10_001 + b'"}', ["the length of a query must be at most 10000"]),
        (json.dumps({"query": ["a"] * 101}).encode(), ["the number of queries must be at most 100", "got 101"]),
        (b'{"vector": [1, 2]}', ["a vector can be searched with mode='semantic' only"]),
        (b'{"vector": [1, 2], "mode": "semantic"}', ["shape"]),
        (b'{"vector": [], "mode": "semantic"}', ["shape"]),
        (b'{"vector": [1e999], "mode": "semantic"}', ["vector[0]: input should be a finite number"]),
        (b'{"vector": ["1"], "mode": "semantic"}', ["vector[0]: input should be a valid number"]),
        (b'{"vector": [' + b"9" * 400 + b'], "mode": "semantic"}', ["vector[0]:"]),
    ],
)
def test_bad_searches(client, body, words):
    refused(client.post("/search", content=body, headers=JSON), 422, "InvalidInput", *words)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", ["can't be read as JSON"]),
        (b"query=a", ["can't be read as JSON"]),
        (b'{"query": "a"} x', ["can't be read as JSON"]),
        (b'{"query": "\xff"}', ["not UTF-8", "byte 11"]),
        ('{"query": "a"}'.encode("utf-16"), ["not UTF-8"]),
        (b'\xef\xbb\xbf{"query": "a"}', ["BOM"]),
        (b'{"query": "\\ud800"}', ["lone surrogate"]),
        (b'{"\\udfff": 1}', ["lone surrogate"]),
        (b'{"query": "a", "where": {"b": [{"c": "\\uDC00x"}]}}', ["lone surrogate"]),
        (b'{"query": "a", "diversity": NaN}', ["NaN is not JSON"]),
        (b'{"vector": [-Infinity]}', ["-Infinity is not JSON"]),
        (b'{"query": "a", "k": 1, "k": 2}', ["'k' occurs twice"]),
        (b'{"query": "a", "where": {"\\u00e9": 1, "\xc3\xa9": 2}}', ["occurs twice"]),
        (b'{"query": "a", "k": ' + b"9" * 5000 + b"}", ["can't be read as JSON"]),
        (DEEP.encode(), ["nested too deeply"]),
        (b'{"query": "a", "where": ' + DEEP.replace("[", '{"a":').replace("]", "}").encode(), ["nested too deeply"]),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else None,
)
def test_bodies_that_are_not_json(client, body, words):
    refused(client.post("/search", content=body, headers=JSON), 400, "InvalidInput", *words)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/jsonl"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": ";;;"},
    ],
)
def test_the_wrong_content_type(client, headers):
    refused(client.post("/search", content=b'{"query": "a"}', headers=headers), 415, "UnsupportedMediaType")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=UTF-8", "application/vnd.api+json", "Application/JSON"]
)
def test_the_right_content_type(client, content_type):
    answer = client.post("/search", content=b'{"query": "python"}', headers={"content-type": content_type})
    assert answer.json()[0]["doc_id"] == "0"


def test_a_body_that_is_too_large(serve, collection):
    client = serve(max_body=1000)
    small, large = (json.dumps({"documents": [{"text": "x" * size}]}).encode() for size in (900, 1000))
    refused(client.post("/documents", content=large, headers=JSON), 413, "TooLarge", "at most 1000 bytes")
    read = []

    def chunks():  # sent without a length
        for start in range(0, 100_000, 100):
            read.append(start)
            yield large[start : start + 100] or b" " * 100

    refused(client.post("/documents", content=chunks(), headers=JSON), 413, "TooLarge", "at most 1000 bytes")
    assert len(collection) == 8
    assert client.post("/documents", content=small, headers=JSON).status_code == 201


@pytest.mark.parametrize(
    ("address", "body", "words"),
    [
        ("/documents", {"documents": [{"text": "a", "id": "1"}]}, ["documents[0].id: there is no such option"]),
        ("/documents", {"documents": {"text": "a"}}, ["documents: input should be a valid list"]),
        ("/documents", {"documents": ["a"]}, ["documents[0]: input should be a valid dictionary"]),
        ("/documents", {"documents": [{}]}, ["document 0"]),
        ("/documents", {"documents": [{"text": ""}]}, ["document 0", "visible character"]),
        ("/documents", {"documents": [{"text": "a\0"}]}, ["document 0", "NUL"]),
        ("/documents", {"documents": [{"doc_id": "", "text": "a"}]}, ["documents[0].doc_id: doc_id must be"]),
        ("/documents", {"documents": [{"doc_id": True, "text": "a"}]}, ["documents[0].doc_id: doc_id must be"]),
        ("/documents", {"documents": [{"doc_id": 1.5, "text": "a"}]}, ["documents[0].doc_id: doc_id must be"]),
        ("/documents", {"documents": [{"doc_id": n, "text": "a"} for n in (20, "20")]}, ["same doc_id '20'"]),
        ("/documents", {"documents": [{"text": "a"}], "replace": 1}, ["replace: input should be a valid boolean"]),
        ("/documents", {"documents": [{"text": "a"}] * 11}, ["the number of documents must be at most 10"]),
        ("/documents/delete", {"doc_ids": [str(n) for n in range(11)]}, ["the number of doc_ids must be at most 10"]),
        ("/documents/delete", {"doc_ids": "0"}, ["doc_ids: input should be a valid list"]),
        ("/documents/delete", {"where": {"year": {"$near": 1}}}, ["unknown operator"]),
        ("/recommend", {}, ["liked"]),
        ("/recommend", {"liked": ["0"], "disliked": ["0"]}, ["'0'"]),
        ("/recommend", {"liked": ["0"], "strategy": "worst"}, ["strategy:"]),
        ("/recommend", {"liked": [str(n) for n in range(11)]}, ["the number of doc_ids must be at most 10"]),
        ("/recommend", {"query": " "}, ["visible character"]),
        ("/clusters", {"n_clusters": 0}, ["n_clusters:"]),
        ("/clusters", {"n_clusters": 9}, ["9"]),
        ("/clusters", {"method": "magic"}, ["method:"]),
        ("/clusters", {"seed": -1}, ["seed:"]),
        ("/clusters", {"seed": 2**32}, ["seed:"]),
        ("/search?k=3", {"query": "a"}, ["takes no parameters", "'k'"]),
    ],
)
def test_bad_bodies_change_nothing(serve, collection, address, body, words):
    before = collection.generation
    refused(serve(max_documents=10).post(address, json=body), 422, "InvalidInput", *words)
    assert collection.generation == before


def test_many_mistakes_are_told_in_one_short_message(client):
    answer = client.post("/documents", json={"documents": [{"text": 1}] * 1000})
    refused(answer, 422, "InvalidInput", "documents[0].text", "documents[4].text", "and 995 more")
    assert len(answer.content) < 1000


def test_what_is_not_there(client):
    refused(client.get("/nowhere"), 404, "NotFound", "GET /nowhere", "openapi.json")
    refused(client.get("/docs"), 404, "NotFound")
    refused(client.patch("/documents/3"), 405, "MethodNotAllowed", "PATCH /documents/3")
    refused(client.get("/documents/nobody"), 404, "NotFound", "'nobody'")
    refused(client.get("/recommend/?item_id=nobody"), 404, "NotFound", "'nobody'")
    refused(client.get("/similar/nobody"), 404, "NotFound", "'nobody'")
    refused(client.post("/recommend", json={"liked": ["nobody"]}), 404, "NotFound", "'nobody'")


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400], ids=["2^63", "-2^63-1", "10^400"])
@pytest.mark.parametrize("operator", ["$eq", "$gt", "$in"])
def test_huge_numbers_in_a_condition(client, number, operator):
    where = {"year": {operator: [number] if operator == "$in" else number}}
    answer = client.post("/search", json={"query": "python", "where": where})
    if answer.status_code == 200:
        expected = 8 if operator == "$gt" and number < 0 else 0
        assert len(answer.json()) == expected
    else:
        refused(answer, 422, "InvalidInput")


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (nf.Locked("another process is writing"), 423, "Locked"),
        (nf.Conflict("another encoder"), 409, "Conflict"),
        (nf.MissingDependency("pip install it"), 501, "MissingDependency"),
        (nf.Unavailable("the endpoint answered 401"), 502, "Unavailable"),
    ],
)
def test_errors_of_the_collection(client, monkeypatch, error, status, kind):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(nf.Collection, "search", fail)
    refused(client.get("/search/?q=a"), status, kind, str(error))


@pytest.mark.parametrize("error", [RuntimeError("/home/ann/secret"), nf.CorruptCollection("/home/ann/secret")])
def test_failures_of_the_server_are_logged_only(client, monkeypatch, caplog, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(nf.Collection, "search", fail)
    with caplog.at_level(logging.ERROR, "nearfield.serve"):
        answer = client.get("/search/?q=a")
    kind = "InternalError" if isinstance(error, RuntimeError) else "CorruptCollection"
    refused(answer, 500, kind, "the reason is in its log")
    assert "secret" not in answer.text
    assert "secret" in caplog.text
    assert 'status="500"} 1.0' in client.get("/metrics").text
