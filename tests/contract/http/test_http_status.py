"""Health, figures, metrics, the page, and the description of it all."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import nearfield as nf
from nearfield.serve import create_app
from nearfield.serve.status import page_policy


def samples(client) -> dict[tuple[str, ...], float]:
    """Return every sample of the metrics, by its name and the values of its labels, in the labels' order."""
    text = client.get("/metrics").text
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_health(client, collection):
    assert client.get("/healthz").json() == {"status": "ok", "documents": 8, "generation": collection.generation}
    collection.delete("0")
    assert client.get("/healthz").json() == {"status": "ok", "documents": 7, "generation": collection.generation}


def test_stats_are_the_collections_without_the_path(client, collection):
    expected = collection.stats().to_dict()
    del expected["path"]
    assert client.get("/stats").json() == expected
    assert expected["documents"] == 8


def test_metrics_count_requests_by_template(client):
    for _ in range(3):
        client.get("/search/?q=python")
    client.post("/search", json={"query": "python"})
    for doc_id in ("0", "1", "nobody"):
        client.get(f"/documents/{doc_id}")
    client.get("/search/?q=")
    client.get("/nowhere/at/all")
    client.get("/%FF")
    client.request("BREW", "/search")
    found = samples(client)
    name = "nearfield_requests_total"
    counted = {key[1:]: value for key, value in found.items() if key[0] == name}
    assert counted == {
        ("GET", "/search", "200"): 3,
        ("POST", "/search", "200"): 1,
        ("GET", "/search", "422"): 1,
        ("GET", "/documents/{doc_id:path}", "200"): 2,
        ("GET", "/documents/{doc_id:path}", "404"): 1,
        ("GET", "unmatched", "404"): 1,
        ("GET", "unmatched", "400"): 1,
        ("other", "/search", "405"): 1,
    }
    assert found["nearfield_request_seconds_count", "/search"] == 6
    assert found["nearfield_request_seconds_bucket", "30.0", "/search"] == 6
    assert found["nearfield_requests_in_progress",] == 1  # the one that asks


def test_metrics_tell_the_stages_of_requests_that_were_computed(client, collection):
    for _ in range(3):
        client.get("/search/?q=python")
    client.get("/search/?q=python&mode=lexical")
    collection.search("not over HTTP")
    found = samples(client)
    counted = {key[2]: value for key, value in found.items() if key[:2] == ("nearfield_stage_seconds_count", "/search")}
    assert counted == {"encode": 1, "search": 2, "read": 2, "compute": 2, "render": 2}
    times = {stage: found["nearfield_stage_seconds_sum", "/search", stage] for stage in counted}
    assert 0 < times["encode"] + times["search"] + times["read"] <= times["compute"]


def test_metrics_tell_the_collections_size(client, collection):
    collection.delete("0")
    stats = collection.stats()
    found = samples(client)
    assert found["nearfield_documents",] == 7
    assert found["nearfield_passages",] == stats.passages == 7
    assert found["nearfield_dead_passages",] == stats.dead_passages
    assert found["nearfield_generation",] == collection.generation
    assert {key[1]: value for key, value in found.items() if key[0] == "nearfield_bytes"} == stats.bytes


def test_metrics_tell_what_the_index_finds_and_holds(indexed):
    collection, client = indexed
    told = collection.stats().index
    assert 0.8 < told["recall"] <= 1
    assert figures(client) == {
        ("nearfield_recall_target",): 0.8,
        ("nearfield_recall",): told["recall"],
        ("nearfield_recall_low",): told["recall_interval"][0],
        ("nearfield_recall_high",): told["recall_interval"][1],
        ("nearfield_index_vectors", "indexed"): 1_200,
        ("nearfield_index_vectors", "scanned"): 0,
        ("nearfield_index_vectors", "pending"): 0,
        ("nearfield_index_vectors", "dead"): 0,
        ("nearfield_index_memory_bytes",): told["memory_bytes"],
        ("nearfield_index_building",): 0,
    }
    assert client.get("/stats").json()["index"] == told


def test_metrics_of_documents_that_came_and_went_since(indexed, monkeypatch):
    collection, client = indexed
    collection.add(["new", "newer"], vectors=np.eye(2, 8, dtype=np.float32))
    collection.delete(["0", "1", "2"])
    monkeypatch.setattr(collection._engine._indexes.neighbours, "_progress", "extending")
    found = figures(client)
    assert found["nearfield_index_vectors", "scanned"] == 2
    assert found["nearfield_index_vectors", "dead"] == 3
    assert found["nearfield_index_building",] == 1


def test_metrics_of_an_exact_scan(client):
    found = figures(client)
    assert found["nearfield_recall_target",] == 0.95
    assert {found[f"nearfield_recall{end}",] for end in ("", "_low", "_high")} == {1}
    assert found["nearfield_index_vectors", "scanned"] == 8
    assert found["nearfield_index_memory_bytes",] == found["nearfield_index_building",] == 0


def figures(client):
    """Return the samples that speak of the index and its recall."""
    return {
        key: value
        for key, value in samples(client).items()
        if key[0].startswith(("nearfield_recall", "nearfield_index"))
    }


def test_two_apps_count_apart(serve):
    first, second = serve(), serve()
    first.get("/search/?q=python")
    assert ("nearfield_requests_total", "GET", "/search", "200") in samples(first)
    assert ("nearfield_requests_total", "GET", "/search", "200") not in samples(second)


def test_one_clustering_at_a_time(client, monkeypatch):
    inside, go_on = threading.Event(), threading.Event()
    cluster = nf.Collection.cluster

    def slow(self, *arguments, **options):
        inside.set()
        assert go_on.wait(20)
        return cluster(self, *arguments, **options)

    monkeypatch.setattr(nf.Collection, "cluster", slow)
    answers = []
    first = threading.Thread(target=lambda: answers.append(client.post("/clusters", json={"n_clusters": 2})))
    first.start()
    assert inside.wait(20)
    busy = client.post("/clusters", json={"n_clusters": 3})
    assert busy.status_code == 503
    assert busy.json()["error"]["type"] == "Busy"
    assert busy.headers["retry-after"] == "5"
    go_on.set()
    first.join()
    assert answers[0].status_code == 200
    assert client.post("/clusters", json={"n_clusters": 3}).status_code == 200


def test_the_page_asks_no_other_server_and_takes_no_markup(client):
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"https?:|//\w|innerHTML|insertAdjacentHTML|document\.write|eval", answer.text)
    policy = answer.headers["content-security-policy"]
    assert policy == page_policy(answer.text)
    assert policy.startswith("default-src 'none'; connect-src 'self'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert len(answer.text.splitlines()) < 150


def test_no_other_site_may_read(client):
    answer = client.get("/search/?q=python", headers={"origin": "https://elsewhere.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert client.options("/search", headers={"origin": "https://elsewhere.example"}).status_code == 405


def test_openapi_describes_every_address(client):
    described = client.get("/openapi.json").json()
    assert {(method, path) for path, methods in described["paths"].items() for method in methods} == {
        ("get", "/search"), ("post", "/search"), ("get", "/recommend"), ("post", "/recommend"),
        ("get", "/similar/{doc_id}"), ("post", "/clusters"), ("post", "/documents"), ("put", "/documents"),
        ("get", "/documents/{doc_id}"), ("delete", "/documents/{doc_id}"), ("post", "/documents/delete"),
        ("get", "/healthz"), ("get", "/stats"), ("get", "/metrics"),
    }  # fmt: skip
    for methods in described["paths"].values():
        for operation in methods.values():
            schema = operation["responses"]["422"]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Failure"}


@pytest.mark.parametrize(
    "options", [{"max_k": 0}, {"max_body": True}, {"cache_size": -1}, {"max_queries": 1.5}, {"cache_bytes": "1"}]
)
def test_limits_out_of_range(collection, options):
    with pytest.raises(nf.InvalidInput, match=next(iter(options))):
        create_app(collection, **options)
