"""Encoders over HTTP, against a server on this machine that misbehaves on command."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import os
import pickle
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfield as nf
from forking import fork
from nearfield.cli import main
from nearfield.encode import RemoteEncoder, load_encoder
from nearfield.encode.remote import asking
from nearfield.encode.remote.bulk import Call, in_order
from nearfield.encode.remote.limits import Limits
from nearfield.encode.remote.names import canonical, check_url, format_name, parse_name
from nearfield.testing import check_encoder

pytestmark = pytest.mark.slow

KEY = "sk-very-secret-0123456789"
DIMENSION = 16
TEXTS = [f"text number {number}" for number in range(40)]


def vector_of(text: str, dimension: int = DIMENSION) -> np.ndarray:
    """What the server's model makes of a text: known by construction, and different for every text."""
    digest = hashlib.shake_256(text.encode()).digest(dimension * 2)
    return (np.frombuffer(digest, "<i2") / 32768).astype(np.float32)


def vectors_of(texts: list[str], dimension: int = DIMENSION) -> np.ndarray:
    return np.array([vector_of(text, dimension) for text in texts])


class Server(ThreadingHTTPServer):
    """Answers as OpenAI does, unless `misbehave` says otherwise for a request's number."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.connections = 0
        self.lock = threading.Lock()
        self.misbehave: Callable[[int, Handler], bool] = lambda number, handler: False
        self.change: Callable[[dict[str, Any]], Any] = lambda answer: answer
        self.under_way, self.most_under_way = 0, 0
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def texts(self) -> list[str]:
        return [text for asked in self.asked for text in asked["input"]]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients break off here on purpose."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            number = len(server.asked)
            server.asked.append(body)
            server.headers.append(dict(self.headers))
            server.paths.append(self.path)
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        try:
            if not server.misbehave(number, self):
                self.answer(200, server.change(self.right(body)))
        finally:
            with server.lock:
                server.under_way -= 1

    def right(self, body: dict[str, Any]) -> dict[str, Any]:
        data = []
        for place, text in enumerate(body["input"]):
            vector = vector_of(text, body.get("dimensions", DIMENSION))
            encoded = base64.b64encode(vector.tobytes()).decode()
            data.append(
                {"index": place, "embedding": encoded if body["encoding_format"] == "base64" else vector.tolist()}
            )
        tokens = sum(len(text.split()) for text in body["input"])
        return {"object": "list", "data": data[::-1], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def refuse(self, status: int, message: str = "", headers: dict[str, str] | None = None) -> bool:
        self.answer(status, {"error": {"message": message}}, headers)
        return True

    def hang_up(self) -> bool:
        """Close the connection with a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        return True

    def wait(self) -> bool:
        """Answer nothing until the test ends."""
        self.server.released.wait(30)
        self.close_connection = True
        return True

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no key, and next to no waiting between attempts."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("OPENAI"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(asking, "FIRST_DELAY", 0.001)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


def failing(times: int, how: Callable[[Handler], bool]) -> Callable[[int, Handler], bool]:
    return lambda number, handler: number < times and how(handler)


def threads_of_ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "_Bulk" in repr(thread._target)]  # type: ignore[attr-defined]


# -- what is right -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_keeps_the_promises_of_an_encoder(server: Server, encoding: str) -> None:
    check_encoder(RemoteEncoder(server.url, "m", encoding_format=encoding, batch_size=3))
    assert {asked["encoding_format"] for asked in server.asked} == {encoding}


def test_values_and_order(server: Server) -> None:
    encoder = RemoteEncoder(server.url, "m", batch_size=7)
    vectors = encoder.encode_documents(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, vectors_of(TEXTS))
    assert sorted(len(asked["input"]) for asked in server.asked) == [5, 7, 7, 7, 7, 7]
    assert set(server.paths) == {"/v1/embeddings"}
    assert all(set(asked) == {"model", "input", "encoding_format"} for asked in server.asked)
    assert encoder.dimension == DIMENSION
    assert len(server.asked) == 6


def test_a_text_is_sent_once_and_an_empty_one_never(server: Server) -> None:
    encoder = RemoteEncoder(server.url, "m")
    vectors = encoder.encode_queries(["a", "", "b", "a", "a"])
    np.testing.assert_array_equal(
        vectors, [vector_of("a"), np.zeros(16), vector_of("b"), vector_of("a"), vector_of("a")]
    )
    assert server.texts() == ["a", "b"]
    np.testing.assert_array_equal(encoder.encode_queries([""]), np.zeros((1, 16)))
    assert encoder.encode_documents([]).shape == (0, 16)
    assert len(server.asked) == 1


def test_prompts_and_dimension_are_asked_for(server: Server) -> None:
    encoder = RemoteEncoder(server.url, "m", dimension=5, query_prompt="query: ", document_prompt="passage: ")
    np.testing.assert_array_equal(encoder.encode_queries(["a", ""]), vectors_of(["query: a", "query: "], 5))
    np.testing.assert_array_equal(encoder.encode_documents(["a"]), vectors_of(["passage: a"], 5))
    assert {asked["dimensions"] for asked in server.asked} == {5}


def test_nothing_is_sent_before_it_is_needed(server: Server, tmp_path: Path) -> None:
    encoder = RemoteEncoder(server.url, "m")
    _ = encoder.name, encoder.fingerprint, encoder.max_tokens, repr(encoder), encoder.count_tokens(["a"])
    pickle.loads(pickle.dumps(encoder))
    load_encoder(f"{server.url}#m")
    load_encoder(encoder)
    with nf.open(tmp_path / "col.nf", encoder=f"{server.url}#m") as col:
        assert len(col.search("a", mode="lexical")) == 0
    assert server.connections == 0
    assert encoder.dimension == DIMENSION
    assert len(server.asked) == 1


def test_requests_are_bounded_by_size(server: Server) -> None:
    encoder = RemoteEncoder(server.url, "m")
    texts = [letter * 90_000 for letter in "abcde"] + ["f" * 300_000, "g"]
    np.testing.assert_array_equal(encoder.encode_documents(texts), vectors_of(texts))
    assert sorted(tuple(text[0] for text in asked["input"]) for asked in server.asked) == [
        ("a", "b"),
        ("c", "d"),
        ("e",),
        ("f",),
        ("g",),
    ]


def test_several_requests_are_under_way_at_once_over_connections_that_are_kept(server: Server) -> None:
    together = threading.Barrier(4)
    server.misbehave = lambda number, handler: number < 4 and together.wait(10) < 0
    encoder = RemoteEncoder(server.url, "m", batch_size=2, concurrency=4)
    for _ in range(3):
        np.testing.assert_array_equal(encoder.encode_documents(TEXTS), vectors_of(TEXTS))
    assert server.most_under_way == 4
    assert server.connections == 4
    assert len(server.asked) == 60
    assert not threads_of_ours()


def test_a_connection_that_the_server_closed_is_no_failure(server: Server) -> None:
    encoder = RemoteEncoder(server.url, "m", max_retries=0)
    server.misbehave = lambda number, handler: number == 1 and handler.hang_up()
    encoder.encode_documents(["a"])
    np.testing.assert_array_equal(encoder.encode_documents(["b"]), vectors_of(["b"]))
    assert server.connections == 2


def test_a_connection_that_was_idle_for_long_is_not_used_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = RemoteEncoder(server.url, "m", batch_size=10, concurrency=4)
    encoder.encode_documents(TEXTS)
    kept = server.connections
    monkeypatch.setattr("nearfield.encode.remote.transport.IDLE_SECONDS", 0.0)
    encoder.encode_documents(["a"])
    assert server.connections == kept + 1
    assert len(encoder._endpoint._transport._idle) == 1  # type: ignore[union-attr]


def test_tokens_are_counted_as_bytes() -> None:
    encoder = RemoteEncoder("http://127.0.0.1:1/v1", "m", query_prompt="query: ", max_tokens=100)
    assert encoder.count_tokens(["a", "ä€", ""]) == [1, 5, 0]
    assert encoder.max_tokens == 93
    assert RemoteEncoder("http://127.0.0.1:1/v1", "m").max_tokens == 8191
    assert RemoteEncoder("http://127.0.0.1:1/v1", "m", max_tokens=None).max_tokens is None


# -- failures that pass --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_a_failure_that_passes_is_waited_for(server: Server, status: int) -> None:
    server.misbehave = failing(3, lambda handler: handler.refuse(status))
    np.testing.assert_array_equal(RemoteEncoder(server.url, "m").encode_documents(["a"]), vectors_of(["a"]))
    assert len(server.asked) == 4


def test_a_broken_connection_is_waited_for(server: Server) -> None:
    server.misbehave = failing(3, Handler.hang_up)
    np.testing.assert_array_equal(RemoteEncoder(server.url, "m").encode_documents(["a"]), vectors_of(["a"]))


def truncated(handler: Handler) -> bool:
    raw = json.dumps(handler.right(handler.server.asked[-1])).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(raw)))
    handler.end_headers()
    handler.wfile.write(raw[: len(raw) // 2])
    handler.close_connection = True
    return True


def test_a_truncated_answer_is_asked_for_again(server: Server) -> None:
    server.misbehave = failing(2, truncated)
    np.testing.assert_array_equal(RemoteEncoder(server.url, "m").encode_documents(["a"]), vectors_of(["a"]))
    assert len(server.asked) == 3


def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_said(server: Server) -> None:
    server.misbehave = failing(1, Handler.wait)
    encoder = RemoteEncoder(server.url, "m", timeout=0.2)
    np.testing.assert_array_equal(encoder.encode_documents(["a"]), vectors_of(["a"]))
    server.misbehave = failing(99, Handler.wait)
    began = time.monotonic()
    with pytest.raises(nf.Unavailable, match=r"did not answer in time \(tried 3 times\)"):
        RemoteEncoder(server.url, "m", timeout=0.1, max_retries=2).encode_documents(["a"])
    with pytest.raises(nf.Unavailable, match=r"did not answer in time \(tried once\)"):
        RemoteEncoder(server.url, "m", total_timeout=0.2).encode_documents(["a"])
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_server_that_sends_a_byte_now_and_then_does_not_hold_us(server: Server, part: str) -> None:
    def drip(handler: Handler) -> bool:
        if part == "body":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
        with contextlib.suppress(OSError):
            while not handler.server.released.wait(0.02):
                handler.wfile.write(b" ")
        handler.close_connection = True
        return True

    server.misbehave = failing(99, drip)
    began = time.monotonic()
    with pytest.raises(nf.Unavailable, match="did not answer in time"):
        RemoteEncoder(server.url, "m", timeout=0.3, max_retries=0).encode_documents(["a"])
    assert time.monotonic() - began < 2


def test_what_does_not_pass_is_an_error_at_last(server: Server) -> None:
    server.misbehave = failing(99, lambda handler: handler.refuse(503, "overloaded\x1b[31m\n" + "x" * 5000))
    with pytest.raises(nf.Unavailable) as raised:
        RemoteEncoder(server.url, "m", max_retries=2).encode_documents(["a"])
    assert str(raised.value).startswith(
        f"{server.url}/embeddings answered 503 Service Unavailable: 'overloaded [31m xxx"
    )
    assert "(tried 3 times)" in str(raised.value)
    assert len(str(raised.value)) < 500
    assert len(server.asked) == 3


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(
        nf.Unavailable, match=rf"^http://127.0.0.1:{port}/v1/embeddings can't be reached.*tried 3 times"
    ):
        RemoteEncoder(f"http://127.0.0.1:{port}/v1", "m", max_retries=2).encode_documents(["a"])


def test_a_host_that_does_not_exist_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    began = time.monotonic()
    with pytest.raises(nf.Unavailable, match="its host's name is not known"):
        RemoteEncoder("https://nowhere.invalid/v1", "m").encode_documents(["a"])
    assert time.monotonic() - began < 1


# -- Retry-After ---------------------------------------------------------------------------------------------------


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited between attempts; no time passes."""
    found: list[float] = []
    monkeypatch.setattr(Call, "sleep", lambda _, seconds: found.append(seconds))
    return found


def test_retry_after_in_seconds_and_as_a_date(server: Server, naps: list[float]) -> None:
    asked = ["7", formatdate(time.time() + 100, usegmt=True), formatdate(time.time() - 100, usegmt=True), "soon", "-3"]
    server.misbehave = lambda number, handler: (
        number < len(asked) and handler.refuse(429, "", {"Retry-After": asked[number]})
    )
    RemoteEncoder(server.url, "m").encode_documents(["a"])
    assert naps[0] == pytest.approx(7, abs=0.01)
    assert 97 < naps[1] <= 100.01
    assert naps[2:] == [pytest.approx(0, abs=0.1)] * 3


def test_a_server_that_asks_for_an_hour_is_not_waited_for(server: Server, naps: list[float]) -> None:
    server.misbehave = failing(99, lambda handler: handler.refuse(429, "slow down", {"Retry-After": "3600"}))
    with pytest.raises(nf.Unavailable, match=r"'slow down'.*tried once, and asks to wait 3600 s"):
        RemoteEncoder(server.url, "m").encode_documents(["a"])
    assert naps == []


def test_waits_grow_and_are_spread(server: Server, naps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_DELAY", 0.5)
    monkeypatch.setattr(asking.random, "uniform", lambda least, most: most if least == 0 else -1)
    server.misbehave = failing(7, lambda handler: handler.refuse(500))
    RemoteEncoder(server.url, "m", max_retries=7).encode_documents(["a"])
    assert naps == [0.5, 1, 2, 4, 8, 16, 20]


def test_money_that_is_used_up_does_not_come_back(server: Server) -> None:
    body = {"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}}
    server.misbehave = failing(99, lambda handler: handler.answer(429, body) or True)
    with pytest.raises(nf.Unavailable, match=r"answered 429 Too Many Requests: 'You exceeded your current quota\.'"):
        RemoteEncoder(server.url, "m").encode_documents(["a"])
    assert len(server.asked) == 1


# -- refusals and wrong answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (400, "max_tokens"),
        (401, "OPENAI_API_KEY"),
        (403, "OPENAI_API_KEY"),
        (404, "the model's name"),
        (413, "max_tokens"),
        (418, "teapot"),
        (422, "max_tokens"),
    ],
)
def test_a_refusal_is_an_error_at_once(server: Server, status: int, hint: str) -> None:
    server.misbehave = failing(99, lambda handler: handler.refuse(status, "no teapot"))
    with pytest.raises(nf.Unavailable, match=f"answered {status} .*'no teapot'.*|{hint}") as raised:
        RemoteEncoder(server.url, "m").encode_documents(["a"])
    assert hint in str(raised.value)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "plain words"}, "plain words"),
        ({"message": "plain words"}, "plain words"),
        ({"detail": "plain words"}, "plain words"),
        ({"detail": [{"loc": ["body"]}]}, '{"detail": [{"loc": ["body"]}]}'),
        (b"<html>\n  <body>Bad\x00Gateway</body></html>", "<html> <body>Bad Gateway</body></html>"),
        (b"\xff\xfe", "��"),
        (b"[" * 100_000, "[" * 199 + "…"),
    ],
)
def test_what_a_server_says_is_repeated_shortly(server: Server, body: Any, message: str) -> None:
    server.misbehave = failing(1, lambda handler: handler.answer(400, body) or True)
    with pytest.raises(nf.Unavailable, match=re.escape(repr(message))):
        RemoteEncoder(server.url, "m").encode_documents(["a"])


def test_fewer_texts_are_sent_to_a_server_that_takes_fewer(server: Server) -> None:
    server.misbehave = lambda _, handler: (
        len(server.asked[-1]["input"]) > 10 and handler.refuse(422, "batch size 32 > maximum allowed batch size 10")
    )
    encoder = RemoteEncoder(server.url, "m", concurrency=1)
    np.testing.assert_array_equal(encoder.encode_documents(TEXTS), vectors_of(TEXTS))
    refused = len([asked for asked in server.asked if len(asked["input"]) > 10])
    np.testing.assert_array_equal(encoder.encode_documents(TEXTS), vectors_of(TEXTS))
    assert refused == len([asked for asked in server.asked if len(asked["input"]) > 10])


def put(place: int, **values: object) -> Callable[[dict[str, Any]], Any]:
    def change(answer: dict[str, Any]) -> Any:
        answer["data"][place].update(values)
        return answer

    return change


def without(place: int, key: str) -> Callable[[dict[str, Any]], Any]:
    def change(answer: dict[str, Any]) -> Any:
        del answer["data"][place][key]
        return answer

    return change


def number(value: object) -> list[object]:
    return [value, *[0.5] * (DIMENSION - 1)]


WRONG = {
    "fewer vectors": (lambda answer: {"data": answer["data"][1:]}, "2 vectors for 3 texts"),
    "more vectors": (lambda answer: {"data": answer["data"] + answer["data"][:1]}, "4 vectors for 3 texts"),
    "no vectors": (lambda _: {"data": []}, "0 vectors for 3 texts"),
    "index twice": (put(0, index=0), "two vectors with the index 0"),
    "index too high": (put(1, index=3), "index is 3"),
    "index negative": (put(1, index=-1), "index is -1"),
    "index a bool": (put(1, index=True), "index is True"),
    "index a str": (put(1, index="1"), "index is '1'"),
    "index missing": (without(1, "index"), "index is None"),
    "embedding missing": (without(2, "embedding"), "the vector 0 is neither a list of numbers nor base64"),
    "NaN": (put(2, embedding=number(float("nan"))), "the vector 0 has NaN or an infinity"),
    "infinity": (put(2, embedding=number(float("-inf"))), "the vector 0 has NaN or an infinity"),
    "beyond float32": (put(2, embedding=number(1e39)), "the vector 0 has NaN or an infinity"),
    "beyond float64": (put(2, embedding=number(10**400)), "the vector 0 has a number beyond all floats"),
    "strings": (put(2, embedding=number("0.1")), "the vector 0 is neither"),
    "null": (put(2, embedding=number(None)), "the vector 0 is neither"),
    "bool": (put(2, embedding=number(True)), "the vector 0 is neither"),
    "nested": (put(2, embedding=[[0.5] * DIMENSION]), "the vector 0 is neither"),
    "empty": (put(2, embedding=[]), "the vector 0 is empty"),
    "empty base64": (put(2, embedding=""), "the vector 0 is empty"),
    "no base64": (put(2, embedding="?" * 64), "the vector 0 is no base64 of 4-byte floats"),
    "cut base64": (put(2, embedding="AAAAAAA="), "the vector 0 is no base64 of 4-byte floats"),
    "NaN in base64": (put(2, embedding="AADAfw=="), "the vector 0 has NaN or an infinity"),
    "another dimension": (put(2, embedding=[0.5] * 3), "vectors of 3 and of 16 dimensions at once"),
    "entries no objects": (lambda _: {"data": [1, 2, 3]}, "index is None"),
    "no data": (lambda _: {"error": None}, "a JSON object without the list 'data'"),
    "a list": (lambda answer: answer["data"], "a JSON object without the list 'data'"),
    "HTML": (lambda _: b"<html>Sign in</html>", "no JSON: '<html>Sign in</html>'"),
    "nothing": (lambda _: b"", "no JSON: ''"),
    "half": (lambda answer: json.dumps(answer).encode()[:50], "no JSON"),
    "deep": (lambda _: b"[" * 100_000, "no JSON"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_an_error_at_once(server: Server, change: Callable[..., Any], message: str) -> None:
    server.change = change
    with pytest.raises(nf.Unavailable, match=re.escape(message)) as raised:
        RemoteEncoder(server.url, "m").encode_documents(["a", "b", "c"])
    assert str(raised.value).startswith(f"{server.url}/embeddings answered ")
    assert len(server.asked) == 1


@pytest.mark.parametrize("asked", [None, DIMENSION])
def test_another_dimension_than_before(server: Server, asked: int | None) -> None:
    encoder = RemoteEncoder(server.url, "m", dimension=asked)
    encoder.encode_documents(["a"])
    server.change = put(0, embedding=[0.5] * 3)
    before = "came before" if asked is None else "were asked for"
    with pytest.raises(nf.Unavailable, match=f"vectors of 3 dimensions, where 16 {before}"):
        encoder.encode_documents(["b"])
    server.change = lambda answer: answer
    np.testing.assert_array_equal(encoder.encode_documents(["b"]), vectors_of(["b"]))


def test_an_answer_without_end_is_not_read_to_its_end(server: Server) -> None:
    def endless(handler: Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not handler.server.released.is_set():
                handler.wfile.write(b" " * 65536)
        handler.close_connection = True
        return True

    server.misbehave = failing(9, endless)
    with pytest.raises(nf.Unavailable, match="more than so many vectors can need"):
        RemoteEncoder(server.url, "m").encode_documents(["a"])
    server.misbehave = lambda _, handler: handler.answer(200, b"", {"Content-Length": str(10**12)}) or True
    with pytest.raises(nf.Unavailable, match="more than so many vectors can need"):
        RemoteEncoder(server.url, "m").encode_documents(["a"])


@pytest.mark.parametrize("head", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x46"])
def test_something_else_than_http(server: Server, head: bytes) -> None:
    def speak(handler: Handler) -> bool:
        handler.wfile.write(head)
        handler.close_connection = True
        return True

    server.misbehave = failing(9, speak)
    with pytest.raises(nf.Unavailable, match="broke off its answer: BadStatusLine"):
        RemoteEncoder(server.url, "m", max_retries=1).encode_documents(["a"])


def test_chunks_are_read_and_bad_ones_are_not(server: Server) -> None:
    def chunks(handler: Handler, cut: int) -> bool:
        raw = json.dumps(handler.right(handler.server.asked[-1])).encode()
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(raw), 50):
            part = raw[start : start + 50]
            handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n" if cut < 0 else [b"", b"-5\r\nabc", b"zz\r\n", b"ffffffffffffffff\r\n"][cut])
        handler.close_connection = cut >= 0
        return True

    server.misbehave = lambda number, handler: chunks(handler, -1)
    encoder = RemoteEncoder(server.url, "m", max_retries=0)
    np.testing.assert_array_equal(encoder.encode_documents(["a"]), vectors_of(["a"]))
    for cut in range(4):
        server.misbehave = lambda _, handler, cut=cut: chunks(handler, cut)
        with pytest.raises(nf.Unavailable, match="broke off its answer"):
            encoder.encode_documents(["b"])


# -- the key -------------------------------------------------------------------------------------------------------


def test_the_key_is_read_from_the_environment_at_each_request(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = RemoteEncoder(server.url, "m", api_key_env="MY_KEY")
    with pytest.raises(nf.InvalidInput, match="the environment variable MY_KEY must hold the key"):
        encoder.encode_documents(["a"])
    assert server.connections == 0
    monkeypatch.setenv("MY_KEY", f"{KEY}\n")
    encoder.encode_documents(["a"])
    monkeypatch.setenv("MY_KEY", "sk-another")
    encoder.encode_documents(["a"])
    assert [headers["Authorization"] for headers in server.headers] == [f"Bearer {KEY}", "Bearer sk-another"]


def test_the_key_of_openai_goes_to_its_own_host_only(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    encoder = load_encoder(f"{server.url}#m")
    encoder.encode_documents(["a"])
    monkeypatch.setenv("OPENAI_BASE_URL", server.url.replace("127.0.0.1", "127.0.0.2"))
    encoder.encode_documents(["a"])
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    encoder.encode_documents(["a"])
    assert [headers.get("Authorization") for headers in server.headers] == [None, None, f"Bearer {KEY}"]
    own = asking.Endpoint("https://api.openai.com/v1", None, Limits(None, None), asking.Patience(1, 1, 0))
    assert "Authorization" not in own._headers()
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert own._headers()["Authorization"] == f"Bearer {KEY}"


def test_the_key_is_told_to_nobody(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    encoder = RemoteEncoder(server.url, "m", api_key_env="MY_KEY", max_retries=0)
    with caplog.at_level(0), nf.open(tmp_path / "col.nf", encoder=encoder) as col:
        col.add(["a", "b"])
        server.misbehave = lambda _, handler: handler.refuse(401, f"Incorrect API key provided: {KEY}.")
        with pytest.raises(nf.Unavailable, match=r"Incorrect API key provided: \.\.\..*variable MY_KEY") as raised:
            col.add("c")
        server.misbehave = lambda _, handler: handler.refuse(500, f"{KEY} {'x' * 158} {KEY}")
        with pytest.raises(nf.Unavailable) as last:
            col.add("c")
        server.misbehave = lambda _, handler: handler.answer(200, {"error": "x" * 180 + KEY}) or True
        with pytest.raises(nf.Unavailable, match="without the list 'data'") as wrong:
            col.add("c")
        told = [
            str(raised.value),
            str(last.value),
            str(wrong.value),
            repr(encoder),
            encoder.name,
            encoder.fingerprint,
            caplog.text,
        ]
        told += [repr(vars(encoder)), repr(vars(encoder._endpoint)), json.dumps(encoder.identity)]
    told += [pickle.dumps(encoder).decode("latin-1")]
    told += [path.read_bytes().decode("latin-1") for path in (tmp_path / "col.nf").rglob("*") if path.is_file()]
    assert len(told) > 12
    assert not [text for text in told if KEY[:6] in text]


@pytest.mark.parametrize("key", ["A", "0", "EMPTY"])
def test_a_word_instead_of_a_key_changes_no_answer(server: Server, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("MY_KEY", key)
    for encoding in ("float", "base64"):
        encoder = RemoteEncoder(server.url, "m", api_key_env="MY_KEY", encoding_format=encoding)
        np.testing.assert_array_equal(encoder.encode_documents(TEXTS), vectors_of(TEXTS))
    server.misbehave = lambda _, handler: handler.refuse(401, "A0 EMPTY")
    with pytest.raises(nf.Unavailable, match="answered 401 Unauthorized: 'A0 EMPTY'"):
        encoder.encode_documents(["a"])


@pytest.mark.parametrize("key", ["sk\nsecret: 1", "sk secret", "sk-sécret", "sk\x00secret"])
def test_a_key_that_is_none_is_not_quoted(server: Server, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "MY_KEY": key})
    with pytest.raises(nf.InvalidInput, match="MY_KEY must hold a key of printable ASCII") as raised:
        RemoteEncoder(server.url, "m", api_key_env="MY_KEY").encode_documents(["a"])
    assert "cret" not in str(raised.value)
    assert server.connections == 0


def test_what_a_server_says_can_not_command_a_terminal(server: Server) -> None:
    def speak(handler: Handler, line: bytes) -> bool:
        handler.wfile.write(line + b"\r\nLocation: http://[\x1b[2J\r\nContent-Length: 0\r\n\r\n")
        handler.close_connection = True
        return True

    for line in (b"HTTP/1.1 400 \x1b[2J\x07" + b"x" * 9000, b"HTTP/1.1 301 \x1b[2J", b"HTTP/1.1 \x1b[2J" + b"x" * 9000):
        server.misbehave = lambda _, handler, line=line: speak(handler, line)
        with pytest.raises(nf.Unavailable, match=r"\[2J") as raised:
            RemoteEncoder(server.url, "m", max_retries=0).encode_documents(["a"])
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 600


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server: Server, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    to = f"{server.url.replace('//', '//ann:pw@')}/elsewhere?token=1"
    server.misbehave = lambda _, handler: handler.refuse(status, "", {"Location": to})
    with pytest.raises(nf.Unavailable, match=rf"name the address itself \({server.url}/elsewhere\)$"):
        RemoteEncoder(server.url, "m", api_key_env="MY_KEY").encode_documents(["a"])
    assert server.paths == ["/v1/embeddings"]


# -- proxies and TLS -----------------------------------------------------------------------------------------------


class Proxy(Handler):
    """Answers what it is to forward, and connects to 127.0.0.1 whatever it is to tunnel to."""

    def do_CONNECT(self) -> None:
        self.server.paths.append(self.path)
        self.server.headers.append(dict(self.headers))
        with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2]))) as to:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=self.pipe, args=(to, self.connection))
            back.start()
            self.pipe(self.connection, to)
            back.join()
        self.close_connection = True

    def pipe(self, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(server: Server) -> Iterator[Server]:
    """A second server, which is a proxy."""
    with Server() as running:
        running.RequestHandlerClass = Proxy
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of this machine, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", f"{path}.key", "-out", f"{path}.crt"]
    subprocess.run([openssl, *words.split(), *names], check=True, capture_output=True)
    path.write_bytes(Path(f"{path}.key").read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture
def tls_url(server: Server, certificate: Path) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server.url.replace("http://127.0.0.1", "https://localhost")


def test_tls(server: Server, tls_url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(nf.Unavailable, match=r"certificate that can't be verified .*SSL_CERT_FILE"):
        RemoteEncoder(tls_url, "m").encode_documents(["a"])
    assert (server.asked, server.connections) == ([], 1)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    encoder = RemoteEncoder(tls_url, "m", batch_size=4)
    np.testing.assert_array_equal(encoder.encode_documents(TEXTS), vectors_of(TEXTS))
    kept = server.connections
    np.testing.assert_array_equal(encoder.encode_documents(TEXTS[:3]), vectors_of(TEXTS[:3]))
    assert server.connections == kept
    server.misbehave = failing(99, Handler.wait)
    with pytest.raises(nf.Unavailable, match="did not answer in time"):
        RemoteEncoder(tls_url, "m", timeout=0.2, max_retries=0).encode_documents(["a"])
    server.misbehave = lambda number, handler: (
        handler.refuse(401) if "number 1" in str(server.asked[-1]) else handler.wait()
    )
    began = time.monotonic()
    with pytest.raises(nf.Unavailable, match="answered 401"):
        RemoteEncoder(tls_url, "m", batch_size=10, concurrency=4).encode_documents(TEXTS)
    assert time.monotonic() - began < 2


def test_tls_through_a_proxy(
    server: Server, proxy: Server, tls_url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//ann:pass%20word@"))
    encoder = RemoteEncoder(tls_url, "m", api_key_env="MY_KEY")
    np.testing.assert_array_equal(encoder.encode_documents(["a"]), vectors_of(["a"]))
    assert proxy.paths == [tls_url.removeprefix("https://").removesuffix("/v1")]
    basic = "Basic " + base64.b64encode(b"ann:pass word").decode()
    assert proxy.headers[0]["Proxy-Authorization"] == basic
    assert "Authorization" not in proxy.headers[0]
    assert "Proxy-Authorization" not in server.headers[0]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert "word" not in repr(encoder)
    del encoder


def test_http_through_a_proxy(server: Server, proxy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
    encoder = RemoteEncoder("http://embeddings.invalid:81/v1", "m")
    np.testing.assert_array_equal(encoder.encode_documents(["a"]), vectors_of(["a"]))
    assert proxy.paths == ["http://embeddings.invalid:81/v1/embeddings"]
    assert proxy.headers[0]["Host"] == "embeddings.invalid:81"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    RemoteEncoder(server.url, "m").encode_documents(["a"])
    assert (len(server.asked), len(proxy.asked)) == (1, 1)
    monkeypatch.setenv("http_proxy", "socks5://ann:s3cret@127.0.0.1:1")
    with pytest.raises(
        nf.InvalidInput, match="the proxy that the environment names for http must be an http://"
    ) as raised:
        RemoteEncoder("http://embeddings.invalid/v1", "m").encode_documents(["a"])
    assert "s3cret" not in str(raised.value)


# -- limits --------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("requests", "tokens"), [(10, None), (None, 100), (10, 100), (3, 5), (1, 1)])
def test_no_minute_has_more_than_is_allowed(requests: int | None, tokens: int | None) -> None:
    clock = Clock()
    limits = Limits(requests, tokens, clock)
    rng = np.random.default_rng(7)
    sent: list[tuple[float, float, int]] = []
    waiting = list(rng.integers(1, 12, 60))
    under_way: list[tuple[float, Any, float]] = []
    for _ in range(100_000):
        clock.now += 0.5
        for item in [one for one in under_way if one[0] <= clock.now]:
            under_way.remove(item)
            limits.settle(item[1], None)
            sent.append((item[2], clock.now, item[1].tokens))
        while waiting and (use := limits.take(int(waiting[-1]), lambda: True)) is not None:
            waiting.pop()
            under_way.append((clock.now + float(rng.uniform(0, 20)), use, clock.now))
        if not waiting and not under_way:
            break
    assert len(sent) == 60
    for arrivals in (rng.uniform([s[0] for s in sent], [s[1] for s in sent]) for _ in range(20)):
        # Whenever each arrived between sending and answer, no window of a minute has too many.
        for start in arrivals:
            inside = (arrivals >= start) & (arrivals < start + 60)
            assert requests is None or inside.sum() <= requests
            assert tokens is None or sum(itertools.compress((s[2] for s in sent), inside)) <= tokens


def test_tokens_that_the_server_did_not_count_are_given_back() -> None:
    clock = Clock()
    limits = Limits(None, 100, clock)
    first = limits.take(90, lambda: True)
    assert first is not None
    assert limits.take(20, lambda: True) is None
    limits.settle(first, 30)
    assert limits.take(70, lambda: True) is not None
    assert limits.take(1, lambda: True) is None


def test_requests_keep_the_limits(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limits.__init__, "__defaults__", (time.monotonic, 0.5))
    times: list[float] = []
    server.misbehave = lambda *_: times.append(time.monotonic()) is not None
    encoder = RemoteEncoder(server.url, "m", batch_size=1, requests_per_minute=4)
    np.testing.assert_array_equal(encoder.encode_documents(TEXTS[:12]), vectors_of(TEXTS[:12]))
    assert len(times) == 12
    assert all(later - earlier > 0.5 for earlier, later in zip(sorted(times), sorted(times)[4:], strict=False))


def test_requests_that_failed_count_for_a_minute_and_no_longer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limits.__init__, "__defaults__", (time.monotonic, 0.1))
    server.misbehave = failing(3, lambda handler: handler.refuse(503))
    began = time.monotonic()
    encoder = RemoteEncoder(server.url, "m", requests_per_minute=1, total_timeout=0.2)
    np.testing.assert_array_equal(encoder.encode_documents(["a"]), vectors_of(["a"]))
    assert 0.3 < time.monotonic() - began < 3


def test_requests_are_made_small_enough_for_the_tokens_of_a_minute(server: Server) -> None:
    encoder = RemoteEncoder(server.url, "m", tokens_per_minute=400)
    np.testing.assert_array_equal(encoder.encode_documents(TEXTS), vectors_of(TEXTS))
    assert all(sum(map(len, asked["input"])) <= 400 for asked in server.asked)
    assert len(server.asked) == 2


# -- breaking off --------------------------------------------------------------------------------------------------


def test_the_first_error_ends_the_other_requests(server: Server) -> None:
    def one_refused(number: int, handler: Handler) -> bool:
        if number < 3:
            return handler.wait()
        return handler.refuse(401, "no")

    server.misbehave = one_refused
    began = time.monotonic()
    with pytest.raises(nf.Unavailable, match="401"):
        RemoteEncoder(server.url, "m", batch_size=1, concurrency=4).encode_documents(TEXTS)
    assert time.monotonic() - began < 2
    assert len(server.asked) == 4
    assert not threads_of_ours()


def test_the_first_error_ends_the_waits_between_attempts(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_DELAY", 30.0)
    monkeypatch.setattr(asking.random, "uniform", lambda least, most: most)
    waiting = threading.Barrier(4)

    def one_refused(number: int, handler: Handler) -> bool:
        if waiting.wait(10) == 0:
            time.sleep(0.1)  # the others are waiting by then, or will find that they needn't
            return handler.refuse(401, "no")
        return handler.refuse(503)

    server.misbehave = one_refused
    began = time.monotonic()
    with pytest.raises(nf.Unavailable, match="401"):
        RemoteEncoder(server.url, "m", batch_size=1, concurrency=4).encode_documents(TEXTS)
    assert time.monotonic() - began < 2
    assert (len(server.asked), server.connections) == (4, 4)
    assert not threads_of_ours()


@pytest.mark.parametrize("batch_size", [4, 100], ids=["bulk", "one"])
def test_an_interrupt_ends_a_call_at_once(server: Server, batch_size: int) -> None:
    def interrupt(number: int, handler: Handler) -> bool:
        if number == min(3, 40 // batch_size):
            os.kill(os.getpid(), signal.SIGINT)
        return handler.wait()

    server.misbehave = interrupt
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        RemoteEncoder(server.url, "m", batch_size=batch_size, concurrency=4).encode_documents(TEXTS)
    assert time.monotonic() - began < 2
    assert not threads_of_ours()


def test_an_interrupt_ends_waiting_for_limits_and_retries(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_DELAY", 30.0)

    def interrupt(number: int, handler: Handler) -> bool:
        if number == 3:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        return number % 2 == 0 and handler.refuse(503)

    server.misbehave = interrupt
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        RemoteEncoder(server.url, "m", batch_size=1, concurrency=8, requests_per_minute=4).encode_documents(TEXTS)
    assert time.monotonic() - began < 3
    assert not threads_of_ours()
    assert len(server.asked) == 4


def test_an_interrupt_that_is_not_ours_alone() -> None:
    def do(task: int, call: Call) -> int:
        if task == 1:
            raise KeyboardInterrupt
        call.sleep(20)
        return task

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_order([0, 1, 2], do, 3)
    assert time.monotonic() - began < 2


def test_a_search_that_is_interrupted_ends(server: Server, tmp_path: Path) -> None:
    with nf.open(tmp_path / "col.nf", encoder=f"{server.url}#m") as col:
        col.add(TEXTS)
    server.asked.clear()
    server.misbehave = lambda number, handler: handler.wait()
    interrupt(server, ["search", str(tmp_path / "col.nf"), "a"], requests=1)


def test_an_ingestion_that_is_interrupted_ends(server: Server, tmp_path: Path) -> None:
    server.misbehave = lambda number, handler: number > 0 and handler.wait()
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 5))
    interrupt(
        server,
        ["add", str(tmp_path / "col.nf"), str(tmp_path / "texts.jsonl"), "--encoder", f"{server.url}#m"],
        requests=2,
    )


def interrupt(server: Server, arguments: list[str], requests: int) -> None:
    """Run a command, interrupt it when so many requests came, and see it end."""
    with subprocess.Popen([sys.executable, "-m", "nearfield.cli", *arguments], stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while len(server.asked) < requests and time.monotonic() < deadline:
            server.released.wait(0.01)
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=10)
        finally:
            process.kill()
    assert process.returncode == 130


# -- names, collections --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ("https://api.openai.com/v1#text-embedding-3-small", "https://api.openai.com/v1#text-embedding-3-small"),
        ("HTTPS://API.openai.COM/v1/#m", "https://api.openai.com/v1#m"),
        ("http://[::1]:80/a%20b#BAAI/bge-m3", "http://[::1]:80/a%20b#BAAI/bge-m3"),
        ("http://h/v1#nomic:latest?dimension=8&max_tokens=9", "http://h/v1#nomic:latest?dimension=8&max_tokens=9"),
        ("http://h#ä?query_prompt=q:+", "http://h#%C3%A4?query_prompt=q%3A%20"),
        ("http://h#m?max_tokens=none", "http://h#m?max_tokens=none"),
        ("http://h#m?max_tokens=8191", "http://h#m"),
        ("http://h#m?document_prompt=a%26b%3Fc%23d&query_prompt=x", None),
        ("http://h#m%3Fx%23y", "http://h#m%3Fx%23y"),
    ],
)
def test_a_name_has_one_form_and_is_read_back(given: str, form: str | None) -> None:
    found = canonical(given)
    assert form is None or found == form
    assert canonical(found) == found
    encoder = RemoteEncoder.from_name(given)
    assert encoder.name == found
    assert RemoteEncoder.from_name(encoder.name).fingerprint == encoder.fingerprint
    assert format_name(*parse_name(given)) == found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("http://h/v1", "must have the model after a '#'"),
        ("http://h/v1#", "must have the model after a '#'"),
        ("http://#m", "must have a host"),
        ("http://h:99999/v1#m", "a port from 0 to 65535"),
        ("http://[::1/v1#m", "must have a host"),
        ("http://a..b/v1#m", "must have a host"),
        ("http://h/v1?key=s3cret#m", "must have no query"),
        ("http://ann:s3cret@h/v1#m", "no user and password"),
        ("http://s3cret@h/v1#m", "no user and password"),
        ("http://h/v1\n#m", "printable ASCII"),
        ("http://h ost/v1#m", "printable ASCII"),
        ("http://hä/v1#m", "printable ASCII"),
        ("http://h/v1#m?dim=3", "got 'dim'"),
        ("http://h/v1#m?api_key_env=HOME", "got 'api_key_env'"),
        ("http://h/v1#m?dimension=3&dimension=4", "got 'dimension'"),
        ("http://h/v1#m?dimension", "must be a whole number from 1, got ''"),
        ("http://h/v1#m?dimension=0", "must be a whole number from 1, got '0'"),
        ("http://h/v1#m?dimension=-1", "must be a whole number from 1"),
        ("http://h/v1#m?dimension=1e3", "must be a whole number from 1"),
        ("http://h/v1#m?max_tokens=" + "9" * 5000, "must be a whole number from 1"),
        ("http://h/v1#m?max_tokens=3&query_prompt=abc", "leave room beside the prompts"),
    ],
)
def test_a_name_that_can_not_be_taken(name: str, message: str, tmp_path: Path) -> None:
    for take in (load_encoder, lambda name: nf.open(tmp_path / "col.nf", encoder=name)):
        with pytest.raises(nf.InvalidInput, match=re.escape(message)) as raised:
            take(name)
        assert "s3cret" not in str(raised.value)
    assert not (tmp_path / "col.nf").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimension": 0}, "dimension must be an int of at least 1"),
        ({"max_tokens": True}, "max_tokens must be an int"),
        ({"batch_size": 0}, "batch_size must be an int of at least 1"),
        ({"concurrency": 1.5}, "concurrency must be an int"),
        ({"timeout": 0}, "timeout must be a number of seconds above 0"),
        ({"timeout": float("nan")}, "timeout must be a number of seconds above 0"),
        ({"total_timeout": float("inf")}, "total_timeout must be a number of seconds above 0"),
        ({"max_retries": -1}, "max_retries must be an int of at least 0"),
        ({"requests_per_minute": 0}, "requests_per_minute must be"),
        ({"tokens_per_minute": "1"}, "tokens_per_minute must be"),
        ({"query_prompt": 1}, "query_prompt must be a str"),
        ({"document_prompt": "\ud800"}, "document_prompt must be Unicode text"),
        ({"encoding_format": "int8"}, "encoding_format must be one of"),
        ({"api_key_env": "sk-s3cret"}, "never the key itself"),
        ({"api_key_env": ""}, "must be the name of an environment variable"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(nf.InvalidInput, match=message) as raised:
        RemoteEncoder("http://127.0.0.1/v1", "m", **options)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("url", [None, 1, "ftp://h/v1", "h/v1", "http://h/v1#m"])
def test_an_address_that_is_none(url: Any) -> None:
    with pytest.raises(nf.InvalidInput, match="url must"):
        check_url(url)


def test_the_fingerprint_is_that_of_the_model_and_not_of_the_host() -> None:
    def fingerprint(url: str = "http://a/v1", model: str = "m", **options: Any) -> str:
        return RemoteEncoder(url, model, **options).fingerprint

    same = [fingerprint(), fingerprint("https://b/v2"), fingerprint(batch_size=3, api_key_env="K", max_tokens=None)]
    other = [
        fingerprint(model="n"),
        fingerprint(dimension=3),
        fingerprint(query_prompt="a"),
        fingerprint(document_prompt="a"),
        fingerprint(query_prompt="b"),
    ]
    assert len(set(same)) == 1
    assert len({*same, *other}) == 6


def test_a_collection_is_opened_again_without_a_name(server: Server, tmp_path: Path) -> None:
    with nf.open(tmp_path / "col.nf", encoder=f"{server.url}/#m?query_prompt=q%3A%20") as col:
        col.add(TEXTS)
    with nf.open(tmp_path / "col.nf") as col:
        server.asked.clear()
        assert isinstance(col.encoder, RemoteEncoder)
        hits = col.search("text number 7", k=40, mode="semantic")
        assert "q: text number 7" in server.texts()
        units = vectors_of(TEXTS) / np.linalg.norm(vectors_of(TEXTS), axis=1, keepdims=True)
        query = vector_of("q: text number 7")
        cosines = units @ (query / np.linalg.norm(query))
        assert hits.doc_ids == [str(row) for row in np.argsort(-cosines)]
        np.testing.assert_allclose(hits.scores, np.sort(cosines)[::-1], atol=1e-6)
    with nf.open(tmp_path / "col.nf", encoder=f"{server.url}#m?query_prompt=q:%20") as col:
        assert len(col) == 40
    with pytest.raises(nf.Conflict, match="the collection was made with encoder="):
        nf.open(tmp_path / "col.nf", encoder=f"{server.url}#another")


def test_a_collection_moves_to_another_server_of_the_same_model(server: Server, proxy: Server, tmp_path: Path) -> None:
    with nf.open(tmp_path / "col.nf", encoder=f"{server.url}#m") as col:
        col.add(TEXTS)
    server.asked.clear()
    with nf.open(tmp_path / "col.nf", encoder=f"{proxy.url}#m") as col:
        assert col.search("text number 7", k=1, mode="semantic").doc_ids == ["7"]
    assert server.asked == []
    assert "text number 7" in proxy.texts()


def test_a_server_that_has_another_model_of_the_same_name(server: Server, tmp_path: Path) -> None:
    with nf.open(tmp_path / "col.nf", encoder=f"{server.url}#m") as col:
        col.add(TEXTS)

    def reverse(answer: dict[str, Any]) -> dict[str, Any]:
        for entry in answer["data"]:
            vector = np.frombuffer(base64.b64decode(entry["embedding"]), "<f4")
            entry["embedding"] = vector[::-1].tolist()
        return answer

    server.change = reverse
    with nf.open(tmp_path / "col.nf") as col, pytest.raises(nf.Conflict, match="the probe"):
        col.search("a", mode="semantic")


def test_a_server_that_has_another_model_by_now(server: Server, tmp_path: Path) -> None:
    with nf.open(tmp_path / "col.nf", encoder=f"{server.url}#m") as col:
        col.add(TEXTS)
    server.change = lambda answer: {
        "data": [
            {"index": entry["index"], "embedding": [float(entry["index"] + 1), 1.0, 2.0]} for entry in answer["data"]
        ]
    }
    with nf.open(tmp_path / "col.nf") as col, pytest.raises(nf.Conflict, match=r"16.*dimensions"):
        col.search("a", mode="semantic")


def test_an_interrupted_ingestion_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    documents = [{"id": str(number), "text": f"document {number}"} for number in range(100)]
    encoder = RemoteEncoder(server.url, "m", max_retries=1, batch_size=5)
    server.misbehave = lambda *_: len(set(server.texts())) > 60 and _[1].refuse(503, "down")
    with nf.open(tmp_path / "col.nf", encoder=encoder) as col:
        with pytest.raises(nf.Unavailable, match=r"'down'.*\((\d+) documents before it are stored\)"):
            col.ingest(documents, source="all", batch_size=20)
        stored = len(col)
        assert stored in (40, 60)
    server.misbehave = lambda *_: False
    server.asked.clear()
    with nf.open(tmp_path / "col.nf", encoder=encoder) as col:
        done = col.ingest(documents, source="all", batch_size=20)
        assert (done.resumed, done.written) == (stored, 100 - stored)
        sent = [text for text in server.texts() if text.startswith("document")]
        assert sorted(sent) == sorted(f"document {number}" for number in range(stored, 100))
        hits = col.search(vector_of("document 3"), k=1, mode="semantic")
        assert (hits.doc_ids, len(col)) == (["3"], 100)


def test_vectors_are_brought_back_without_the_endpoint(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    name = f"{server.url}#m"
    with nf.open(tmp_path / "col.nf", encoder=name) as col:
        col.add(TEXTS)
        col.export_parquet(tmp_path / "out.parquet")
    server.misbehave = lambda _, handler: handler.refuse(401, "no key")
    with nf.open(tmp_path / "other.nf", encoder=name) as col:
        col.import_parquet(tmp_path / "out.parquet")
        assert col.search(vector_of(TEXTS[3]), k=1, mode="semantic").doc_ids == ["3"]
        assert len(col.search("text number 3", mode="lexical")) > 0
        with pytest.raises(nf.Unavailable, match="no key"):
            col.search("text number 3", mode="semantic")
    server.misbehave = lambda *_: False
    with nf.open(tmp_path / "other.nf") as col:
        assert col.search("text number 3", k=1, mode="semantic").doc_ids == ["3"]


def test_the_command_line(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    name = f"{server.url}#m"
    server.misbehave = lambda _, handler: handler.refuse(401, "who are you?")
    assert main(["add", str(tmp_path / "col.nf"), str(tmp_path / "texts.jsonl"), "--encoder", name]) == 9
    error = capsys.readouterr().err
    assert "who are you?" in error
    assert f"{server.url}/embeddings" in error
    server.misbehave = lambda *_: False
    assert main(["add", str(tmp_path / "col.nf"), str(tmp_path / "texts.jsonl")]) == 0
    assert main(["search", str(tmp_path / "col.nf"), "text number 3", "--mode", "semantic", "-k", "1", "--json"]) == 0
    assert '"doc_id": "3"' in capsys.readouterr().out


# -- processes and threads -----------------------------------------------------------------------------------------


def test_pickled(server: Server) -> None:
    encoder = RemoteEncoder(server.url, "m", dimension=16, query_prompt="q: ", batch_size=2)
    encoder.encode_documents(TEXTS)
    other = pickle.loads(pickle.dumps(encoder))
    assert (other.name, other.fingerprint, repr(other)) == (encoder.name, encoder.fingerprint, repr(encoder))
    np.testing.assert_array_equal(other.encode_queries(["a"]), vectors_of(["q: a"]))


def test_a_forked_child_connects_anew(server: Server) -> None:
    encoder = RemoteEncoder(server.url, "m", batch_size=10, concurrency=2, max_retries=0)
    encoder.encode_documents(TEXTS)
    before = server.connections
    with encoder._lock:  # as another thread may hold it when the process forks
        assert fork(lambda: np.testing.assert_array_equal(encoder.encode_documents(TEXTS), vectors_of(TEXTS))) == 0
    assert server.connections > before
    kept = server.connections
    np.testing.assert_array_equal(encoder.encode_documents(TEXTS[:5]), vectors_of(TEXTS[:5]))
    assert server.connections == kept


def test_many_threads_share_an_encoder(server: Server) -> None:
    encoder = RemoteEncoder(server.url, "m", batch_size=3)
    failures: list[BaseException] = []

    def encode(start: int) -> None:
        try:
            texts = TEXTS[start:] + TEXTS[:start]
            np.testing.assert_array_equal(encoder.encode_documents(texts), vectors_of(texts))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=encode, args=(start,)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_importing_it_loads_no_http() -> None:
    code = (
        "import sys, nearfield.encode.load; print(sorted({'http.client', 'ssl', 'urllib.request'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
