"""`nearfield.serve.run` as a process of its own, on a free port of the loopback."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nearfield as nf
from nearfield.serve import run

SCRIPT = """
import importlib.util, sys
import nearfield as nf, nearfield.serve

spec = importlib.util.spec_from_file_location("world", sys.argv[2])
world = importlib.util.module_from_spec(spec)
spec.loader.exec_module(world)

closed = nf.Collection.close
def close(self):
    closed(self)
    print("closed", flush=True)
nf.Collection.close = close

nearfield.serve.run(sys.argv[1], port=0, encoder=world.HashingEncoder(), max_body=100_000)
print("ended", flush=True)
"""


@pytest.fixture
def server(collection: nf.Collection, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a server and wait for its line; the collection is also open in this process."""
    world = Path(__file__).with_name("conftest.py")
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "guide.nf"), str(world)], stdout=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"nearfield serves http://127\.0\.0\.1:(\d+) \(end with Ctrl-C\)\n", line)
        assert found, line
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


def ask(port: int, method: str, path: str, body: object = None, **options: object) -> tuple[int, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, {"Content-Type": "application/json"}, **options)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_and_closes_the_collection(server, number):
    process, port = server
    assert ask(port, "GET", "/search/?q=python&top_k=1")[1][0]["doc_id"] == "0"
    process.send_signal(number)
    assert process.communicate(timeout=20)[0] == "closed\nended\n"
    assert process.returncode == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_real_requests(server, collection):
    _, port = server
    status, answer = ask(port, "GET", "/search/?q=topic+clustering&top_k=3")
    assert (status, answer) == (200, collection.search("topic clustering", 3).to_dicts())

    odd = json.dumps({"documents": [{"doc_id": "x%2Fy", "text": "odd"}]})
    status, answer = ask(port, "PUT", "/documents", odd)
    assert (status, answer["error"]["type"]) == (423, "Locked")  # this process wrote, and has not closed yet
    collection.close()

    # Addresses and chunked bodies as they really come, which the test client rewrites.
    assert ask(port, "PUT", "/documents", odd) == (200, {"doc_ids": ["x%2Fy"]})
    assert ask(port, "GET", "/documents/x%252Fy")[1]["text"] == "odd"
    assert ask(port, "GET", "/documents/x%2Fy")[0] == 404
    assert ask(port, "GET", "/documents/%FF")[0] == 400
    chunks = (b" " * 1000 for _ in range(200))
    status, answer = ask(port, "POST", "/documents", chunks, encode_chunked=True)
    assert (status, answer["error"]["type"]) == (413, "TooLarge")


def test_a_write_of_another_process_is_seen_at_once(server, collection):
    _, port = server
    assert ask(port, "GET", "/search/?q=wombat&mode=lexical") == (200, [])
    for version in range(3):
        collection.upsert({"doc_id": "w", "text": "wombat", "metadata": {"version": version}})
        for _ in range(2):
            (hit,) = ask(port, "GET", "/search/?q=wombat&mode=lexical")[1]
            assert hit["metadata"] == {"version": version}


def test_what_can_not_be_served(collection, tmp_path):
    with pytest.raises(nf.NotFound):
        run(tmp_path / "typo.nf", port=0)
    assert not (tmp_path / "typo.nf").exists()
    with pytest.raises(nf.InvalidInput, match="max_kk"):
        run(collection, port=0, max_kk=3)
    with pytest.raises(nf.InvalidInput, match="port must be an int from 0 to 65535, got 65536"):
        run(collection, port=65536)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(nf.InvalidInput, match="can't listen on"):
        run(collection, port=taken.getsockname()[1])
    assert len(collection) == 8  # still open
