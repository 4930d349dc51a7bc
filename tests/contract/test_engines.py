"""Every engine passes the public conformance suite, and the suite notices engines that don't."""

import dataclasses

import numpy as np
import pytest

from nearfield.engine.local import LocalEngine
from nearfield.engine.local.view import LocalView
from nearfield.engine.protocol import Settings
from nearfield.index.ann import Effort
from nearfield.index.tuning import Point, Tuning
from nearfield.testing import check_engine


def maker(folder):
    return lambda: LocalEngine(folder / "a.nf", Settings("check"))


def reopen(engine):
    root = engine._layout.root
    engine.close()
    return LocalEngine(root)


def test_the_local_engine_fulfils_the_contract(tmp_path):
    check_engine(maker(tmp_path), reopen)


def spoil(method, change):
    original = getattr(LocalView, method)
    return lambda self, *args, **kwargs: change(original(self, *args, **kwargs))


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("semantic", lambda rankings: [dataclasses.replace(r, scores=r.scores + 1e-3) for r in rankings]),
        ("semantic", lambda rankings: [dataclasses.replace(r, keys=r.keys[::-1]) for r in rankings]),
        ("lexical", lambda rankings: [dataclasses.replace(r, keys=r.keys[:1], scores=r.scores[:1]) for r in rankings]),
        ("keys", lambda keys: keys[:-1]),
        ("read", lambda stored: [dataclasses.replace(one, metadata={}) for one in stored]),
        ("document_vectors", lambda vectors: -vectors),
        ("passage_vectors", lambda vectors: [part[::-1] for part in vectors]),
        ("find", lambda keys: [0 if key is None else key for key in keys]),
        ("__len__", lambda count: count + 1),
    ],
)
def test_the_suite_notices_an_engine_that_is_wrong(tmp_path, monkeypatch, method, change):
    monkeypatch.setattr(LocalView, method, spoil(method, change))
    with pytest.raises((AssertionError, KeyError, IndexError)):
        check_engine(maker(tmp_path))


def point(recall, milliseconds):
    return Point(10, Effort(4, 20), recall, recall, recall, recall, milliseconds)


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        (Tuning(0.9, 100, {10: point(0.97, 1)}, {}, []), "target must be the collection's"),
        (Tuning(0.95, 100, {10: point(0.9, 1)}, {}, []), "must keep the target"),
        (Tuning(0.95, 100, {}, {}, [point(0.8, 2), point(0.9, 1)]), "must rise in time"),
        (Tuning(0.95, 100, {}, {}, [point(0.9, 1), point(0.8, 2)]), "must rise in recall"),
    ],
)
def test_the_suite_notices_an_index_that_is_measured_wrong(tmp_path, monkeypatch, tuning, message):
    monkeypatch.setattr(LocalEngine, "tune", lambda self, asked=None, *, build=True: tuning)
    with pytest.raises(AssertionError, match=message):
        check_engine(maker(tmp_path))


def test_the_suite_notices_a_scan_that_claims_to_be_less_than_exact(tmp_path, monkeypatch):
    stats = LocalEngine.stats
    monkeypatch.setattr(
        LocalEngine, "stats", lambda self: dataclasses.replace(stats(self), index={**stats(self).index, "recall": 0.9})
    )
    with pytest.raises(AssertionError, match="must be an exact scan"):
        check_engine(maker(tmp_path))


def test_vectors_are_stored_to_the_bit(tmp_path):
    engine = maker(tmp_path)()
    from nearfield.testing.engines import _record

    record = _record("a", 1, 3)
    engine.write([record], replace=False)
    (kept,) = [np.fromfile(file, "<f4", offset=64) for file in (tmp_path / "a.nf" / "vectors").iterdir()]
    np.testing.assert_array_equal(kept.reshape(3, 8), record.vectors)
    engine.close()
