"""The result cache is never stale, and says how it fares."""

from __future__ import annotations

import threading

import pytest

import nearfield as nf


def figures(client) -> tuple[float, float, float]:
    """Return hits, misses and entries of the cache, from the metrics."""
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    names = ("nearfield_cache_hits_total", "nearfield_cache_misses_total", "nearfield_cache_entries")
    return tuple(float(lines[name]) for name in names)


def test_the_second_time_is_a_hit_and_the_same(client, collection, monkeypatch):
    first = client.get("/search/?q=python&k=2")
    monkeypatch.setattr(nf.Collection, "search", None)  # would fail if it were called
    second = client.get("/search/?k=2&q=python")
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert first.content == second.content
    assert figures(client) == (1, 1, 1)


def test_conditions_in_another_order_are_one_question(client):
    client.post("/search", json={"query": "a", "where": {"year": 2021, "even": False}})
    answer = client.post("/search", json={"where": {"even": False, "year": 2021}, "query": "a"})
    assert answer.headers["x-cache"] == "hit"


@pytest.mark.parametrize(
    "other",
    [
        {"query": "b"},
        {"query": ["a"]},
        {"k": 4},
        {"mode": "lexical"},
        {"where": {"even": True}},
        {"where": {"even": 1}},
        {"semantic_weight": 0.1},
        {"fusion": "reciprocal"},
        {"diversity": 0.5},
        {"explain": True},
    ],
)
def test_another_option_is_another_question(client, other):
    client.post("/search", json={"query": "a"})
    assert client.post("/search", json={"query": "a", **other}).headers["x-cache"] == "miss"


@pytest.mark.parametrize(
    ("method", "address", "body"),
    [
        ("GET", "/search/?q=clustering", None),
        ("POST", "/search", {"query": "clustering"}),
        ("GET", "/recommend/?item_id=7", None),
        ("POST", "/recommend", {"query": "clustering"}),
        ("GET", "/similar/7", None),
        ("POST", "/clusters", {"n_clusters": 2, "labels": True}),
    ],
)
@pytest.mark.parametrize("write", ["upsert over HTTP", "upsert", "delete"])
def test_after_a_write_comes_the_new_answer(client, collection, method, address, body, write):
    old = client.request(method, address, json=body)
    if write == "upsert over HTTP":
        client.put("/documents", json={"documents": [{"doc_id": "3", "text": "Gardening in May."}]})
    elif write == "upsert":
        collection.upsert({"doc_id": "3", "text": "Gardening in May."})
    else:
        collection.delete("3")
    new = client.request(method, address, json=body)
    assert new.headers["x-cache"] == "miss"
    assert new.content != old.content
    assert client.request(method, address, json=body).content == new.content


def test_a_write_during_a_search_keeps_its_answer_out_of_the_cache(client, collection, monkeypatch):
    search = nf.Collection.search

    def slow(self, *arguments, **options):
        hits = search(self, *arguments, **options)
        collection.upsert({"doc_id": "0", "text": "Gardening in May."})
        return hits

    with monkeypatch.context() as patch:
        patch.setattr(nf.Collection, "search", slow)
        assert client.get("/search/?q=python&mode=lexical").json()[0]["doc_id"] == "0"
    assert figures(client) == (0, 1, 0)
    after = client.get("/search/?q=python&mode=lexical")
    assert after.headers["x-cache"] == "miss"
    assert after.json() == []


def test_errors_are_not_kept(client, collection):
    assert client.get("/similar/new").status_code == 404
    assert figures(client) == (0, 1, 0)


def test_the_cache_is_bounded(serve, collection):
    client = serve(cache_size=3)
    for number in range(5):
        client.get("/search/", params={"q": f"python {number}"})
    assert figures(client) == (0, 5, 3)
    assert client.get("/search/?q=python 4").headers["x-cache"] == "hit"
    assert client.get("/search/?q=python 0").headers["x-cache"] == "miss"


@pytest.mark.parametrize("options", [{"cache_size": 0}, {"cache_bytes": 0}])
def test_the_cache_can_be_turned_off(serve, options):
    client = serve(**options)
    for _ in range(2):
        assert client.get("/search/?q=python").headers["x-cache"] == "miss"
    assert figures(client) == (0, 2, 0)


@pytest.mark.slow
def test_eight_readers_and_a_writer_see_no_stale_answer(client, collection):
    """A reader sees a version that was not yet replaced when it asked: everything committed before it asked."""
    collection.upsert({"doc_id": "w", "text": "wombat", "metadata": {"version": 0}})
    committed, begun, done, wrong = [0], [0], threading.Event(), []

    def write() -> None:
        for version in range(1, 16):
            begun[0] = version
            collection.upsert({"doc_id": "w", "text": "wombat", "metadata": {"version": version}})
            committed[0] = version
            for _ in range(3):
                client.get("/search/?q=wombat&mode=lexical")
        done.set()

    def read() -> None:
        while not done.is_set():
            least = committed[0]
            hits = client.get("/search/?q=wombat&mode=lexical").json()
            seen = [hit["metadata"]["version"] for hit in hits]
            if len(seen) != 1 or not least <= seen[0] <= begun[0]:
                wrong.append((least, seen, begun[0]))

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    write()
    for reader in readers:
        reader.join()
    assert wrong == []
    hits, misses, _ = figures(client)
    assert hits > 15
    assert misses >= 15
