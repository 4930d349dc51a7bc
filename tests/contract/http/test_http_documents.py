"""Adding, replacing, showing and deleting documents over HTTP."""

from __future__ import annotations

from urllib.parse import quote

import pytest

# "x%2Fy" is in test_http_run.py: the test client decodes an address twice.
ODD_IDS = ["a/b", "/leading", "trailing/", "a//b", "a b", "ü/日本/🙂", "100%", "a?b#c&d=e", "..hidden", "+", ";"]


def test_post_adds_and_never_replaces(client, collection):
    documents = [{"doc_id": 8, "text": "Graph databases", "title": "Graphs", "metadata": {"tags": ["db"], "n": None}}]
    answer = client.post("/documents", json={"documents": documents})
    assert (answer.status_code, answer.json()) == (201, {"doc_ids": ["8"]})
    assert collection.get("8").metadata == {"tags": ["db"], "n": None}
    again = client.post("/documents/", json={"documents": [*documents, {"text": "never stored"}]})
    assert again.status_code == 409
    assert again.json()["error"]["type"] == "Conflict"
    assert len(collection) == 9


def test_documents_without_a_doc_id_are_numbered(client, collection):
    answer = client.post("/documents", json={"documents": [{"text": "one"}, {"title": "two"}]}).json()
    assert [collection.get(doc_id).text for doc_id in answer["doc_ids"]] == ["one", ""]
    assert len(set(answer["doc_ids"])) == 2
    assert client.post("/documents", json={"documents": []}).json() == {"doc_ids": []}


@pytest.mark.parametrize("how", ["post", "put"])
def test_replacing(client, collection, how):
    documents = [{"doc_id": "2", "text": "A new text."}, {"doc_id": "new", "text": "Another."}]
    extra = {"replace": True} if how == "post" else {}
    answer = getattr(client, how)("/documents", json={"documents": documents, **extra})
    assert (answer.status_code, answer.json()) == (200, {"doc_ids": ["2", "new"]})
    assert collection.get("2").text == "A new text."
    assert len(collection) == 9


def test_given_vectors_are_stored(client, collection, encoder):
    vectors = encoder.encode_documents(["zebra", "giraffe"]).tolist()
    documents = [{"doc_id": "z", "text": "striped"}, {"doc_id": "g", "text": "tall"}]
    assert client.post("/documents", json={"documents": documents, "vectors": vectors}).status_code == 201
    assert collection.search("giraffe", 1, mode="semantic").doc_ids == ["g"]
    for wrong in ([[1.0]], [[1.0], [1.0, 2.0]], vectors[:1], [[1e39] * 96, [1.0] * 96][:1], []):
        answer = client.post("/documents", json={"documents": [{"text": "a"}, {"text": "b"}], "vectors": wrong})
        assert answer.status_code == 422, answer.text
    assert len(collection) == 10


def test_get_answers_the_document(client):
    assert client.get("/documents/3").json() == {
        "doc_id": "3",
        "text": "Introduction to clustering and k-means.",
        "title": "",
        "metadata": {"year": 2023, "even": False},
    }
    assert client.get("/documents/none").status_code == 404


@pytest.mark.parametrize("doc_id", ODD_IDS)
def test_any_doc_id_works_in_an_address(client, collection, doc_id):
    client.post("/documents", json={"documents": [{"doc_id": doc_id, "text": "clustering the odd"}]})
    path = quote(doc_id, safe="/")
    assert client.get(f"/documents/{path}").json()["doc_id"] == doc_id
    assert client.get(f"/similar/{path}").json() == collection.similar(doc_id).to_dicts()
    assert client.get("/recommend/", params={"item_id": doc_id}).json() == collection.similar(doc_id).to_dicts()
    assert client.delete(f"/documents/{path}").json() == {"deleted": 1}
    assert doc_id not in collection
    assert len(collection) == 8


def test_delete_by_doc_ids_is_all_or_nothing(client, collection):
    answer = client.post("/documents/delete", json={"doc_ids": ["0", "nobody"]})
    assert answer.status_code == 404
    assert "nobody" in answer.json()["error"]["message"]
    assert len(collection) == 8
    assert client.post("/documents/delete", json={"doc_ids": [0, "1"]}).json() == {"deleted": 2}
    assert list(collection.doc_ids()) == ["2", "3", "4", "5", "6", "7"]


def test_delete_by_condition(client, collection):
    assert client.post("/documents/delete", json={"where": {"year": {"$lt": 2023}}}).json() == {"deleted": 3}
    assert collection.doc_ids() == ["3", "4", "5", "6", "7"]
    for refused in ({}, {"where": {}}, {"where": {"a": 1}, "doc_ids": ["3"]}):
        assert client.post("/documents/delete", json=refused).status_code == 422
    assert len(collection) == 5


def test_a_document_may_be_called_delete(client, collection):
    client.post("/documents", json={"documents": [{"doc_id": "delete", "text": "a word"}]})
    assert client.get("/documents/delete").json()["text"] == "a word"
    assert client.delete("/documents/delete").json() == {"deleted": 1}


def test_one_bad_document_of_a_thousand(client, collection):
    documents = [{"doc_id": f"n{row}", "text": "fine"} for row in range(1000)]
    documents[777]["text"] = " "
    answer = client.post("/documents", json={"documents": documents})
    assert answer.status_code == 422
    assert "777" in answer.json()["error"]["message"]
    documents[777]["text"] = 5
    answer = client.post("/documents", json={"documents": documents})
    assert answer.json()["error"]["message"] == "documents[777].text: input should be a valid string, got 5"
    assert len(collection) == 8


def test_read_only_refuses_every_write_and_answers_questions(serve, collection):
    client = serve(read_only=True)
    before = collection.generation
    for method, address, body in (
        ("POST", "/documents", {"documents": [{"text": "a"}]}),
        ("PUT", "/documents/", {"documents": [{"text": "a"}]}),
        ("POST", "/documents/delete", {"doc_ids": ["0"]}),
        ("DELETE", "/documents/0", None),
    ):
        answer = client.request(method, address, json=body)
        assert answer.status_code == 403
        assert answer.json() == {"error": {"type": "ReadOnly", "message": "this server is read-only"}}
    assert collection.generation == before
    assert client.get("/documents/0").status_code == 200
    assert client.get("/search/", params={"q": "python"}).json()[0]["doc_id"] == "0"
