"""`nearfield migrate` from end to end, with tiny models."""

import json
from pathlib import Path

import pytest

import nearfield as nf
from nearfield.cli import main

FOLDERS = Path(__file__).parent.parent / "formats" / "golden_vectors" / "models"
OLD, NEW = str(FOLDERS / "mean"), str(FOLDERS / "cls")
TEXTS = ["a cat on a mat", "the train to the sea", "bread and butter", "a river in the north"]


@pytest.fixture
def path(tmp_path):
    with nf.open(tmp_path / "col.nf", encoder=OLD) as col:
        col.add(TEXTS)
    return str(tmp_path / "col.nf")


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return call


def test_migrate_in_two_steps(run, path):
    stopped = json.loads(run("migrate", path, "--encoder", NEW, "--no-switch", "--json"))
    assert stopped == {
        "old_encoder": OLD, "new_encoder": NEW, "documents": 4, "encoded": 4, "switched": False,
        "already": False, "comparison": {"basis": "documents", "queries": 4, "k": 3, "overlap": 1.0},
    }  # fmt: skip
    under_way = json.loads(run("stats", path, "--json"))
    assert (under_way["encoder"], under_way["migration"]) == (OLD, {"encoder": NEW, "done": 4, "total": 4})
    assert "done: 4" in run("stats", path)
    shown = run("migrate", path, "--encoder", NEW)
    assert "4 documents, 0 encoded now" in shown and "The collection has the new vectors." in shown
    after = json.loads(run("stats", path, "--json"))
    assert (after["encoder"], after["migration"]) == (NEW, None)
    assert "are those of" in run("migrate", path, "--encoder", NEW)
    found = json.loads(run("search", path, "a cat on a mat", "--mode", "semantic", "--k", 1, "--json"))
    assert (found[0]["doc_id"], round(found[0]["score"], 2)) == ("0", 1.0)


def test_judged_queries(run, path, tmp_path):
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text('{"_id": "q", "text": "a cat on a mat"}\n')
    qrels.write_text("query-id\tcorpus-id\tscore\nq\t0\t1\n")
    asked = ("--queries", queries, "--qrels", qrels, "--measure", "R@1", "--no-switch")
    report = json.loads(run("migrate", path, "--encoder", NEW, *asked, "--json"))
    assert report["comparison"] == {"basis": "judgements", "queries": 1, "mean": {"R@1": {"old": 1.0, "new": 1.0}}}
    assert "R@1      1.0000  1.0000" in run("migrate", path, "--encoder", NEW, *asked)


def test_giving_up(run, path):
    run("migrate", path, "--encoder", NEW, "--no-switch")
    assert json.loads(run("migrate", path, "--give-up", "--json")) == {"given_up": True}
    assert run("migrate", path, "--give-up") == "There is no migration.\n"


@pytest.mark.parametrize("arguments", [[], ["--encoder", NEW, "--give-up"], ["--encoder", NEW, "--qrels", "none.tsv"]])
def test_wrong_arguments(path, capsys, arguments):
    assert main(["migrate", path, *arguments]) == 2
    assert capsys.readouterr().err.startswith("Error: ")
