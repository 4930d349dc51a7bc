"""What goes wrong is one line on stderr, or one JSON object, and an exit code; nothing is on stdout."""

from __future__ import annotations

import json

import pytest

from nearfield.cli import main
from nearfield.errors import EXIT_CODES, NearfieldError


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["search", "{}/none.nf", "query"], 3, "none.nf"),
        (["stats", "{}/none.nf"], 3, "none.nf"),
        (["serve", "{}/none.nf"], 3, "none.nf"),
        (["add", "{}/a.nf", "{}/none.csv"], 2, "no file or folder '{}/none.csv'; check the path"),
        (["add", "{}/a.nf", "-", "--format", "xml"], 2, "format must be one of jsonl, json, csv"),
        (["add", "{}/a.nf", "-", "--batch-size", "0"], 2, "Invalid value for '--batch-size'"),
        (["search", "{}/none.nf", "x", "--where", "{{"], 2, "--where must be JSON, such as --where '"),
        (["search", "{}/none.nf", "x", "--where", "[1]"], 2, "--where must be a JSON object, such as --where '"),
        (["search", "{}/none.nf", "x", "--k", "three"], 2, "Invalid value for '--k'"),
        (["search", "{}/none.nf"], 2, "Missing argument"),
        (["search", "{}/none.nf", "x", "--top-k", "3"], 2, "No such option: --top-k"),
        (["find", "{}/none.nf"], 2, "No such command 'find'"),
        (["evaluate", "{}/none.nf"], 2, "Missing option"),
    ],
)
def test_errors(capsys, tmp_path, words, code, message):
    words = [word.format(tmp_path) for word in words]
    assert main(words) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1
    assert message.format(tmp_path) in captured.err

    assert main([*words, "--json"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    error = json.loads(captured.err)["error"]
    assert error["type"] == {2: "InvalidInput", 3: "NotFound"}[code]
    assert message.format(tmp_path) in error["message"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", EXIT_CODES)
def test_every_error_has_its_exit_code(capsys, monkeypatch, kind):
    def fail(*words, **options):
        raise kind("what\nwent \x1b[31mwrong")

    monkeypatch.setattr("nearfield.opening.open", fail)
    assert main(["stats", "any.nf"]) == EXIT_CODES[kind]
    assert capsys.readouterr().err == "Error: what went [31mwrong\n"
    assert main(["stats", "any.nf", "--json"]) == EXIT_CODES[kind]
    expected = {"error": {"type": kind.__name__, "message": "what\nwent \x1b[31mwrong"}}
    assert json.loads(capsys.readouterr().err) == expected


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "Error: interrupted\n"),
        (OSError(28, "No space left on device", "a.nf"), 1, "Error: [Errno 28] No space left on device: 'a.nf'\n"),
    ],
)
def test_what_is_no_error_of_nearfield(capsys, monkeypatch, error, code, message):
    def fail(*words, **options):
        raise error

    monkeypatch.setattr("nearfield.opening.open", fail)
    assert main(["stats", "any.nf"]) == code
    assert capsys.readouterr().err == message


def test_a_fault_of_the_program_is_not_dressed_up(monkeypatch):
    def fail(*words, **options):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("nearfield.opening.open", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["stats", "any.nf"])


def test_help_and_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("nearfield ")
    for words in ([], ["--help"], ["search", "-h"]):
        assert main(words) == 0
        assert "Usage: nearfield" in capsys.readouterr().out


def test_serve_passes_its_options_on(capsys, monkeypatch):
    calls = []

    def run(path, *, announce, **options):
        announce("nearfield serves http://127.0.0.1:9000")
        calls.append((path, options))

    monkeypatch.setattr("nearfield.serve.run", run)
    words = ["serve", "a.nf", "--host", "0.0.0.0", "--port", "9000", "--cache-size", "5", "--max-body", "6"]
    assert main([*words, "--read-only", "--vector-cache"]) == 0
    assert capsys.readouterr().out == "nearfield serves http://127.0.0.1:9000\n"
    assert main(["serve", "a.nf", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"message": "nearfield serves http://127.0.0.1:9000"}
    given = {"host": "0.0.0.0", "port": 9000, "cache_size": 5, "max_body": 6, "read_only": True, "vector_cache": True}
    defaults = {"host": "127.0.0.1", "port": 8000, "cache_size": 1024, "max_body": 16 * 2**20, "read_only": False}
    defaults["vector_cache"] = False
    assert calls == [("a.nf", given), ("a.nf", defaults)]


def test_the_base_of_errors_has_a_code():
    assert EXIT_CODES[NearfieldError] == 1
