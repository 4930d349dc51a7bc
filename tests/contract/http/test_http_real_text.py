"""The service on real text with the real encoder: docstrings of the standard library."""

from __future__ import annotations

import csv
import inspect
import json
import random
import shutil
import tempfile
import zipfile

import pytest
from fastapi.testclient import TestClient

import nearfield as nf
from nearfield.serve import create_app

MODULES = (csv, json, random, shutil, tempfile, zipfile)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    with nf.open(tmp_path_factory.mktemp("real") / "docstrings.nf") as col:
        col.add(
            {"id": f"{module.__name__}.{name}", "text": inspect.getdoc(function), "module": module.__name__}
            for module in MODULES
            for name, function in inspect.getmembers(module, inspect.isfunction)
            if inspect.getdoc(function) and not name.startswith("_")
        )
        yield col


@pytest.fixture(scope="module")
def client(collection):
    with TestClient(create_app(collection)) as client:
        yield client


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("delete a whole directory tree", "shutil.rmtree"),
        ("serialize an object to a JSON formatted string", "json.dumps"),
        ("how much free space is on the disk", "shutil.disk_usage"),
        ("make a temporary folder", "tempfile.mkdtemp"),
    ],
)
def test_a_question_in_words_finds_the_function(client, query, expected):
    for mode in ("semantic", "hybrid"):
        answer = client.get("/search/", params={"q": query, "top_k": 3, "mode": mode})
        assert answer.status_code == 200
        assert expected in [hit["doc_id"] for hit in answer.json()]


def test_a_condition_keeps_to_its_module(client):
    body = {"query": "write to a file", "k": 5, "where": {"module": "json"}}
    assert {hit["doc_id"] for hit in client.post("/search", json=body).json()} <= {
        "json.dump",
        "json.dumps",
        "json.load",
        "json.loads",
    }


def test_near_functions_are_recommended(client):
    answer = client.get("/recommend/", params={"item_id": "json.dumps", "top_k": 1}).json()
    assert [hit["doc_id"] for hit in answer] == ["json.dump"]


def test_answers_are_those_of_the_collection(client, collection):
    body = {"query": "copy a file with its permissions", "k": 4, "explain": True}
    assert client.post("/search", json=body).json() == collection.search(body["query"], k=4, explain=True).to_dicts()
