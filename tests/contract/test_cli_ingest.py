"""`nearfield add` and `upsert` go on where an earlier run was cut off; counted with an encoder of the tests."""

from __future__ import annotations

import io
import json
import os
import signal
import sys

import pytest

import nearfield as nf
from forking import fork
from nearfield import ingest
from nearfield.cli import main

ROWS = [{"text": f"Zeile {n} über 林檎", "n": n} for n in range(20)]
NAMED = [{"id": f"é{n}", **row} for n, row in enumerate(ROWS)]


@pytest.fixture(autouse=True)
def counted(monkeypatch, encoder):
    """The commands use the tests' encoder, which counts."""
    monkeypatch.setattr("nearfield.encode.load_encoder", lambda *_: encoder)
    monkeypatch.setattr("nearfield.opening.DEFAULT_ENCODER", encoder.name)


@pytest.fixture
def run(capsys):
    def call(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.nf"


def written(folder, rows, name="rows.jsonl"):
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def contents(path):
    with nf.open(path, create=False) as collection, collection._engine.view() as view:
        keys = view.keys()
        return [
            (one.doc_id, one.text, repr(one.metadata), one.encoded, rows.tobytes())
            for one, rows in zip(view.read(keys), view.passage_vectors(keys), strict=True)
        ]


def counts(found):
    return {name: json.loads(found[1])[name] for name in ("written", "unchanged", "resumed", "documents")}


def killed(words, batch, *, stored):
    """Run a command in a child that is killed by SIGKILL before or after it stores a batch."""

    def doomed():
        write, calls = ingest.write, []

        def dying(*arguments, **options):
            calls.append(arguments)
            done = write(*arguments, **options) if stored or len(calls) < batch else None
            if len(calls) == batch:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        sys.modules["nearfield.ingest.ingestion"].write = dying
        main([str(word) for word in words])

    assert fork(doomed) == -signal.SIGKILL


@pytest.mark.parametrize("command", ["add", "upsert"])
@pytest.mark.parametrize("rows", [ROWS, NAMED], ids=["numbered", "named"])
@pytest.mark.parametrize(("batch", "stored"), [(1, True), (3, False), (3, True), (4, True)])
def test_a_killed_command_goes_on(run, path, tmp_path, encoder, command, rows, batch, stored):
    words = [command, path, written(tmp_path, rows), "--batch-size", 6]
    killed(words, batch, stored=stored)
    there = min(6 * (batch if stored else batch - 1), 20)
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert out.startswith(f"{there} documents were stored by an earlier run.\nWrote {20 - there} documents in ")
    assert out.endswith(f"; {path} holds 20.\n")
    assert encoder.encoded == 20 - there
    whole = tmp_path / "whole.nf"
    assert run(command, whole, words[2], "--batch-size", 6, "--json")[0] == 0
    assert contents(path) == contents(whole)
    assert len(contents(path)) == 20


def test_json_counts(run, path, tmp_path):
    words = ["add", path, written(tmp_path, NAMED), "--batch-size", 6, "--json"]
    killed(words, 3, stored=True)
    assert counts(run(*words)) == {"written": 2, "unchanged": 0, "resumed": 18, "documents": 20}
    code, out, err = run(*words)
    assert (code, out, json.loads(err)["error"]["type"]) == (4, "", "Conflict")
    changed = [*NAMED[:5], {**NAMED[5], "n": -5}, {"id": "new", "text": "neu"}]
    found = run("upsert", path, written(tmp_path, changed, "changed.jsonl"), "--json")
    assert counts(found) == {"written": 2, "unchanged": 5, "resumed": 0, "documents": 21}
    assert list(json.loads(found[1])) == ["written", "unchanged", "resumed", "documents", "left_out", "seconds"]


def test_a_finished_command_is_not_gone_on_with(run, path, tmp_path, encoder):
    numbered = ["add", path, written(tmp_path, ROWS)]
    for there in (20, 40):
        code, out, _ = run(*numbered)
        assert (code, len(out.splitlines())) == (0, 1)
        assert out.startswith("Wrote 20 documents") and out.endswith(f"holds {there}.\n")
    named = [path, written(tmp_path, NAMED, "named.jsonl")]
    assert run("add", *named)[0] == 0
    before = encoder.encoded
    code, _, err = run("add", *named)
    assert code == 4
    assert "'é0' exists already (20 of the batch do); use upsert to replace them, which doesn't encode unchanged" in err
    assert run("upsert", *named)[1].startswith("20 documents were there already, unchanged.\nWrote 0 documents")
    assert encoder.encoded == before


@pytest.mark.parametrize("rows", [ROWS, NAMED], ids=["numbered", "named"])
def test_a_mended_file_goes_on_behind_the_stored_documents(run, path, tmp_path, encoder, rows):
    file = written(tmp_path, [*rows[:15], {**rows[15], "text": ""}, *rows[16:]])
    code, _, err = run("add", path, file, "--batch-size", 6)
    assert code == 2
    assert f"{file}:16: text must have at least one visible character" in err
    assert err.endswith("(12 documents before it are stored)\n")
    written(tmp_path, [*rows, {"id": "more", "text": "more"}])
    code, out, _ = run("add", path, file, "--batch-size", 5)
    assert (code, out.partition("\n")[0]) == (0, "12 documents were stored by an earlier run.")
    assert encoder.encoded == 21
    assert [text for _, text, *_ in contents(path)] == [*(row["text"] for row in rows), "more"]


def test_another_option_is_enough_if_the_documents_are_the_same(run, path, tmp_path):
    file = written(tmp_path, [*ROWS[:15], {"text": " "}, *ROWS[16:], {"text": ""}])
    assert run("add", path, file, "--batch-size", 6)[0] == 2
    code, out, _ = run("add", path, file, "--batch-size", 6, "--skip-empty", "--json")
    assert (code, counts((0, out))) == (0, {"written": 7, "unchanged": 0, "resumed": 12, "documents": 19})
    assert json.loads(out)["left_out"] == [f"{file}:16", f"{file}:21"]


def test_a_changed_file_is_never_stored_twice_in_silence(run, path, tmp_path):
    file = written(tmp_path, ROWS)
    words = ["add", path, file, "--batch-size", 6]
    killed(words, 3, stored=False)
    written(tmp_path, [{**ROWS[0], "text": "changed"}, *ROWS[1:]])
    for command in ("add", "upsert"):
        code, out, err = run(command, *words[1:])
        assert (code, out) == (4, "")
        assert f"stored the first 12 documents of '{file}' before it was cut off" in err
        assert "these have changed since" in err
        assert "--restart begins with the first document" in err.replace("(", "").replace(")", "")
    assert len(contents(path)) == 12
    code, out, _ = run(*words, "--restart")
    assert (code, out.splitlines()[0][:18]) == (0, "Wrote 20 documents")
    assert len(contents(path)) == 32


def test_upsert_goes_through_a_changed_file_with_doc_ids(run, path, tmp_path, encoder):
    file = written(tmp_path, NAMED)
    words = [path, file, "--batch-size", 6]
    killed(["upsert", *words], 3, stored=False)
    written(tmp_path, [{**NAMED[0], "text": "changed"}, *NAMED[1:]])
    code, _, err = run("add", *words)
    assert (code, "upsert doesn't encode those again that are unchanged" in err) == (4, True)
    code, out, _ = run("upsert", *words, "--json")
    assert (code, counts((0, out))) == (0, {"written": 9, "unchanged": 11, "resumed": 0, "documents": 20})
    assert encoder.encoded == 9
    assert {doc_id: text for doc_id, text, *_ in contents(path)} == {
        row["id"]: row["text"] if n else "changed" for n, row in enumerate(NAMED)
    }


def test_folders_and_several_files_and_other_working_folders(run, path, tmp_path, monkeypatch):
    folder = tmp_path / "söurce"
    folder.mkdir()
    for n, row in enumerate(NAMED[:10]):
        written(folder, [row], f"{n}.jsonl")
    more = written(tmp_path, ROWS[10:])
    words = ["add", path, "söurce", more.name, "--batch-size", 4]
    monkeypatch.chdir(tmp_path)
    killed(words, 4, stored=False)
    monkeypatch.chdir(folder)
    code, out, _ = run("add", path, folder, "../rows.jsonl", "--batch-size", 4)
    assert (code, out.splitlines()[0]) == (0, "12 documents were stored by an earlier run.")
    assert [text for _, text, *_ in contents(path)] == [row["text"] for row in ROWS]


def test_what_cannot_be_read_again_is_not_resumed(run, path, tmp_path, monkeypatch):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS[:5]) + "broken\n"
    for there in (4, 8):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        assert run("add", path, "-", "--batch-size", 2)[0] == 2
        assert len(contents(path)) == there


def test_ctrl_c_says_that_the_command_goes_on(run, path, tmp_path, monkeypatch):
    words = ["add", path, written(tmp_path, ROWS), "--batch-size", 6]
    calls = []

    def interrupted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return ingest.write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("nearfield.ingest.ingestion.write", interrupted)
        code, _, err = run(*words)
    expected = f"{path} holds 12 documents, every one of them complete; the same command goes on from there"
    assert (code, err) == (130, f"Error: interrupted; {expected}\n")
    assert run(*words)[1].startswith("12 documents were stored by an earlier run.\nWrote 8 documents")
