"""`stage` and `listen`: who hears what."""

from __future__ import annotations

import contextvars
import threading
import time

import pytest

from nearfield.stages import listen, stage


def test_a_stage_reports_its_whole_duration(monkeypatch):
    clock = iter([1.0, 2.0, 2.5, 4.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    heard = []
    with listen(lambda *report: heard.append(report)), stage("outer"), stage("inner"):
        pass
    assert heard == [("inner", 0.5), ("outer", 3.0)]


def test_without_a_listener_no_clock_is_read(monkeypatch):
    monkeypatch.setattr(time, "perf_counter", None)
    with stage("encode"):
        pass


def test_a_stage_that_raises_is_heard_and_raises():
    heard = []
    with listen(lambda name, _: heard.append(name)), pytest.raises(KeyError), stage("encode"):
        raise KeyError
    assert heard == ["encode"]


def test_an_inner_listener_takes_the_place_of_the_outer_one():
    outer, inner = [], []
    with listen(lambda name, _: outer.append(name)):
        with listen(lambda name, _: inner.append(name)), stage("a"):
            pass
        with stage("b"):
            pass
    with stage("c"):
        pass
    assert (outer, inner) == (["b"], ["a"])


def test_a_thread_is_heard_only_in_the_listeners_context():
    heard = []

    def work(name: str) -> None:
        with stage(name):
            pass

    with listen(lambda name, _: heard.append(name)):
        context = contextvars.copy_context()
        threads = [
            threading.Thread(target=context.run, args=(work, "ours")),
            threading.Thread(target=contextvars.Context().run, args=(work, "another's")),
        ]
        for thread in threads:
            thread.start()
            thread.join()
    assert heard == ["ours"]
