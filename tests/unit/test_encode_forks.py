"""A forked child encodes by itself, whatever its parent has encoded."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORK = """
import os, signal
from nearfield.encode import load_encoder
encoder = load_encoder()
texts = ["a question", "another one of more words " * 4, "a text of many words " * 20]
wanted = [encoder.encode_queries([text]) for text in texts][0]
encoder.encode_queries(texts)
encoder.encode_documents([f"{text} {i}" for text in texts for i in range(60)])
child = os.fork()
if child == 0:
    signal.alarm(60)
    found = load_encoder().encode_queries(texts[:1])
    os._exit(0 if (found == wanted).all() else 3)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_encodes_too() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], timeout=90, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
