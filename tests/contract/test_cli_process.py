"""The command as a process: what it imports, pipes, signals, completion, the terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nearfield as nf

pytestmark = pytest.mark.slow  # each test starts processes

COMMAND = [sys.executable, "-m", "nearfield.cli"]
HEAVY = {"pandas", "sklearn", "scipy", "fastapi", "matplotlib", "pyarrow", "torch", "ir_measures", "tqdm"}


def environment(**more: str) -> dict[str, str]:
    source = str(Path(nf.__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": source, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "", **more}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("process") / "small.nf"
    with nf.open(path) as collection:
        collection.add(
            [{"id": "py", "text": "Learn Python for data science."}, {"id": "ai", "text": "Neural nets 漢字"}]
        )
    return path


@pytest.mark.slow
def test_a_search_imports_nothing_heavy(small):
    words = [sys.executable, "-X", "importtime", "-m", "nearfield.cli", "search", str(small), "data science", "--json"]
    done = subprocess.run(words, capture_output=True, env=environment(), check=True)
    assert [hit["doc_id"] for hit in json.loads(done.stdout)] == ["py", "ai"]
    imported = {match[1] for match in re.finditer(r"\| +\d+ \| +(\w+)", done.stderr.decode())}
    assert "nearfield" in imported
    assert not imported & HEAVY


def test_help_imports_no_encoder_and_no_engine():
    words = [sys.executable, "-X", "importtime", "-m", "nearfield.cli", "--help"]
    done = subprocess.run(words, capture_output=True, env=environment(), check=True)
    imported = {match[1] for match in re.finditer(r"\| +\d+ \| +([\w.]+)", done.stderr.decode())}
    assert b"recommend" in done.stdout
    assert not imported & (HEAVY | {"numpy", "openvino", "tantivy", "sqlite3", "nearfield.opening"})


def test_output_in_ascii_terminals_replaces_what_it_cannot_show(small):
    words = [*COMMAND, "get", str(small), "ai"]
    ascii_only = environment(PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    done = subprocess.run(words, capture_output=True, env=ascii_only, check=True)
    assert b"Neural nets ??" in done.stdout
    done = subprocess.run([*words, "--json"], capture_output=True, env=ascii_only, check=True)
    assert json.loads(done.stdout)[0]["text"] == "Neural nets 漢字"


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path):
    path = tmp_path / "a.nf"
    with nf.open(path) as collection:
        vectors = [[1.0, 0.0]] * 5000
        collection.add([f"text {n} " + "word " * 40 for n in range(5000)], vectors=vectors)
    words = [*COMMAND, "get", str(path), *map(str, range(5000)), "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout.readline() == b"[\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


@pytest.mark.slow
def test_ctrl_c_while_adding_says_what_is_stored(tmp_path):
    path = tmp_path / "a.nf"
    words = [*COMMAND, "add", str(path), "-", "--format", "lines", "--batch-size", "1"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(words, **pipes, env=environment()) as process:
        process.stdin.write(b"Learn Python\nLearn Rust\n")
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while count(path) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        expected = f"Error: interrupted; {path} holds 2 documents, every one of them complete\n"
        assert process.stderr.read().decode() == expected
        assert process.stdout.read() == b""
    assert count(path) == 2


def count(path: Path) -> int:
    try:
        with nf.open(path, create=False) as collection:
            return len(collection)
    except nf.NearfieldError:
        return 0


@pytest.mark.slow
def test_a_terminal_sees_progress_on_stderr_alone(tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("Learn Python\nLearn Rust\nLearn Go\n")
    terminal, side = pty.openpty()
    words = [*COMMAND, "add", str(tmp_path / "a.nf"), str(source), "--format", "lines", "--limit", "2", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=side, env=environment(TERM="xterm")) as process:
        os.close(side)
        shown = b""
        while select.select([terminal], [], [], 60)[0]:
            try:
                part = os.read(terminal, 4096)
            except OSError:  # how Linux says that the other side is closed
                break
            if not part:
                break
            shown += part
        out = process.stdout.read()
    os.close(terminal)
    assert json.loads(out)["written"] == 2
    assert b"2/2" in shown
    assert b"a second" in shown


@pytest.mark.parametrize(
    ("words", "expected"),
    [("nearfield se", {"search", "serve"}), ("nearfield search a.nf x --mode s", {"semantic"})],
)
def test_completion(words, expected):
    asked = environment(_NEARFIELD_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    done = subprocess.run(COMMAND, capture_output=True, env=asked, check=False)
    assert set(done.stdout.decode().split()) == expected
