"""Searching, recommending and clustering over HTTP give what the collection gives."""

from __future__ import annotations

import inspect
import json

import pytest

import nearfield as nf
from nearfield import Collection
from nearfield.serve.models import (
    ClusterRequest,
    ClustersOut,
    HitOut,
    RecommendParameters,
    RecommendRequest,
    SearchParameters,
    SearchRequest,
    SimilarParameters,
)


@pytest.mark.parametrize("address", ["/search", "/search/"])
@pytest.mark.parametrize("name", ["k", "top_k"])
def test_search_line_answers_the_collections_hits(client, collection, address, name):
    answer = client.get(address, params={"q": "clustering with embeddings", name: 3})
    assert answer.status_code == 200
    assert answer.json() == collection.search("clustering with embeddings", 3).to_dicts()
    assert [hit["doc_id"] for hit in answer.json()] == collection.search("clustering with embeddings", 3).doc_ids
    assert len(answer.json()) == 3


def test_search_line_takes_every_option(client, collection):
    options = {
        "mode": "hybrid", "semantic_weight": 0.25, "fusion": "reciprocal", "diversity": 0.5, "explain": True,
    }  # fmt: skip
    where = {"year": {"$gte": 2022}}
    answer = client.get("/search/", params={"q": "clustering", "where": json.dumps(where), "k": 4, **options})
    expected = collection.search("clustering", 4, where=where, **options).to_dicts()
    assert answer.json() == expected
    assert answer.json()[0]["explanation"]["mode"] == "hybrid"


@pytest.mark.parametrize("mode", ["semantic", "lexical", "hybrid"])
def test_search_body_answers_the_collections_hits(client, collection, mode):
    where = {"even": False}
    answer = client.post("/search", json={"query": "topic clustering", "k": 2, "mode": mode, "where": where})
    assert answer.json() == collection.search("topic clustering", 2, mode=mode, where=where).to_dicts()
    assert {hit["doc_id"] for hit in answer.json()} <= {"1", "3", "5", "7"}
    assert answer.json()[0]["doc_id"] == "7"


def test_a_list_of_queries_answers_a_list_of_hits(client, collection):
    queries = ["python", "neural networks", "movie"]
    answer = client.post("/search", json={"query": queries, "k": 2}).json()
    assert answer == [hits.to_dicts() for hits in collection.search(queries, 2)]
    assert [hits[0]["doc_id"] for hits in answer] == ["0", "1", "6"]
    assert client.post("/search", json={"query": []}).json() == []


def test_a_vector_finds_its_own_document(client, collection, encoder):
    vector = encoder.encode_queries(["Semantic search using vector databases."])[0]
    answer = client.post("/search", json={"vector": vector.tolist(), "mode": "semantic", "k": 2}).json()
    assert answer == collection.search(vector, 2, mode="semantic").to_dicts()
    assert answer[0]["doc_id"] == "5"
    assert answer[0]["score"] == pytest.approx(1.0, abs=1e-6)


def test_a_vector_is_searched_again_if_another_process_deletes_a_hit_meanwhile(
    client, collection, encoder, monkeypatch
):
    with open_again(collection) as other:
        gone = delete_between(monkeypatch, other, ["5"])
        answer = ask_by_vector(client, encoder)
        assert gone == []
        expected = collection.search(vector_of(encoder), 3, mode="semantic").to_dicts()
    assert (answer.status_code, answer.json()) == (200, expected)
    assert "5" not in {hit["doc_id"] for hit in expected}


def test_it_is_searched_again_once(client, collection, encoder, monkeypatch):
    with open_again(collection) as other:
        first = collection.search(vector_of(encoder), 3, mode="semantic").doc_ids
        second = next(
            name for name in collection.search(vector_of(encoder), 8, mode="semantic").doc_ids if name not in first
        )
        delete_between(monkeypatch, other, [first[0], second])
        answer = ask_by_vector(client, encoder)
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "NotFound"
    assert repr(second) in answer.json()["error"]["message"]


def vector_of(encoder):
    return encoder.encode_queries(["Semantic search using vector databases."])[0]


def ask_by_vector(client, encoder):
    return client.post("/search", json={"vector": vector_of(encoder).tolist(), "mode": "semantic", "k": 3})


def open_again(collection):
    """Return another opening of a collection that may write: the first has to give the lock back."""
    collection._engine._writer_lock.release()
    return nf.open(collection.stats().path)


def delete_between(monkeypatch, other, names):
    """Have each of the next searches followed by the deletion of a document, and return those that are left."""
    left, search = list(names), Collection.search

    def followed(self, *arguments, **options):
        hits = search(self, *arguments, **options)
        if left and self is not other:
            other.delete(left.pop(0))
        return hits

    monkeypatch.setattr(Collection, "search", followed)
    return left


def test_explain_tells_how_the_index_was_searched(indexed):
    collection, client = indexed
    kind = collection.stats().index["kind"]
    request = {"vector": [1.0] * 8, "mode": "semantic", "k": 2, "explain": True}
    for where, plan in (
        (None, f"{kind}: the nearest "),
        ({"row": {"$lt": 50}}, "exact scan of 50 documents"),
    ):
        answer = client.post("/search", json={**request, "where": where}).json()
        assert [hit["explanation"]["plan"]["semantic"].startswith(plan) for hit in answer] == [True, True]


def test_get_and_post_are_one_question(client):
    first = client.get("/search/", params={"q": "python", "top_k": 10})
    second = client.post("/search/", json={"query": "python"})
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert first.content == second.content


def test_without_k_there_are_ten_hits_or_all(client, collection):
    assert len(client.get("/search/", params={"q": "for", "mode": "semantic"}).json()) == 8
    collection.add([f"spare document {n}" for n in range(20)])
    assert len(client.get("/search/", params={"q": "for", "mode": "semantic"}).json()) == 10


@pytest.mark.parametrize("address", ["/recommend", "/recommend/"])
def test_recommend_line_answers_neighbours(client, collection, address):
    answer = client.get(address, params={"item_id": 2, "top_k": 3})
    assert answer.json() == collection.recommend(liked=["2"], k=3).to_dicts()
    assert "2" not in {hit["doc_id"] for hit in answer.json()}


def test_recommend_body_takes_every_option(client, collection):
    options = {"disliked": ["1"], "k": 3, "strategy": "best", "where": {"year": {"$lt": 2027}}, "diversity": 0.3}
    answer = client.post("/recommend", json={"liked": [0, "3"], **options}).json()
    assert answer == collection.recommend(liked=["0", "3"], **options).to_dicts()
    wish = client.post("/recommend/", json={"query": "movie recommendations", "k": 1}).json()
    assert [hit["doc_id"] for hit in wish] == ["6"]


def test_similar_answers_neighbours(client, collection):
    answer = client.get("/similar/3", params={"k": 2, "where": '{"even": false}', "diversity": 0.1})
    assert answer.json() == collection.similar("3", 2, where={"even": False}, diversity=0.1).to_dicts()
    assert answer.json()[0]["doc_id"] == "7"


def test_clusters_answers_the_collections_clusters(client, collection):
    request = {"n_clusters": 3, "method": "ward", "seed": 1}
    expected = collection.cluster(**request).to_dict()
    labelled = client.post("/clusters", json={**request, "labels": True}).json()
    assert labelled == expected
    del expected["labels"]
    assert client.post("/clusters", json=request).json() == expected
    assert sorted(labelled["labels"]) == [str(row) for row in range(8)]


def test_the_answers_are_as_openapi_describes_them(client):
    hits = client.post("/search", json={"query": "clustering", "explain": True}).json()
    assert [HitOut.model_validate(hit, extra="forbid").model_dump() for hit in hits] == hits
    clusters = client.post("/clusters", json={"n_clusters": 2, "labels": True}).json()
    assert ClustersOut.model_validate(clusters, extra="forbid").model_dump() == clusters


@pytest.mark.parametrize(
    ("method", "model"),
    [
        (Collection.search, SearchRequest),
        (Collection.search, SearchParameters),
        (Collection.recommend, RecommendRequest),
        (Collection.recommend, RecommendParameters),
        (Collection.similar, SimilarParameters),
        (Collection.cluster, ClusterRequest),
    ],
)
def test_the_defaults_are_the_collections(method, model):
    arguments = inspect.signature(method).parameters
    own = {"vector", "q", "item_id", "top_k", "labels"}
    for name, field in model.model_fields.items():
        if name in own or (name, model) in {("query", SearchRequest)}:
            continue
        default = arguments[name].default
        if name == "k" and "top_k" in model.model_fields:
            assert model(**{next(iter({"q", "item_id"} & set(model.model_fields))): "x"}).hits == default
        else:
            assert field.get_default(call_default_factory=True) in (
                default,
                list(default) if default == () else default,
            )


def test_every_option_of_the_collection_is_there():
    for method, model, left_out in (
        (Collection.search, SearchRequest, {"self"}),
        (Collection.search, SearchParameters, {"self", "query"}),
        (Collection.recommend, RecommendRequest, {"self"}),
        (Collection.similar, SimilarParameters, {"self", "doc_id"}),
        (Collection.cluster, ClusterRequest, {"self"}),
    ):
        assert set(inspect.signature(method).parameters) - left_out <= set(model.model_fields)
