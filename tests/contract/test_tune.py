"""`Collection.tune`: what it measures against the truth, when it builds, and what it says where all is scanned."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import nearfield as nf
from nearfield.engine.local.lock import FileLock

DIMENSION = 16
TARGET = 0.8


def vectors(count, seed):
    """Return vectors about fifty centres, so that neighbours share a list of the index, or don't."""
    centres = np.random.default_rng(0).standard_normal((50, DIMENSION))
    rng = np.random.default_rng(seed)
    return (centres[rng.integers(0, 50, count)] + 0.7 * rng.standard_normal((count, DIMENSION))).astype(np.float32)


STORED = vectors(2_000, 1)
ASKED = vectors(300, 2)


def add(col, matrix, prefix="d"):
    col.add([{"doc_id": f"{prefix}{row}", "text": f"text {row}"} for row in range(len(matrix))], vectors=matrix)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A collection that was closed, with its index, and that tests only read."""
    path = tmp_path_factory.mktemp("tune") / "indexed.nf"
    with nf.open(path, index="ivf-flat", recall=TARGET) as col:
        add(col, STORED)
    return path


@pytest.fixture
def col(tmp_path, encoder):
    with nf.open(tmp_path / "col.nf", encoder=encoder, index="ivf-flat", recall=TARGET) as collection:
        yield collection


def recall_of(col, queries, stored):
    """Return the mean share of the true 10 nearest that a search finds."""
    unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
    shares = []
    for query in queries:
        truth = {f"d{row}" for row in np.argsort(-(unit @ query))[:10]}
        shares.append(len(truth & set(col.search(query, 10, mode="semantic").doc_ids)) / 10)
    return np.mean(shares)


# -- what it says ------------------------------------------------------------------------------------------------------


def test_searches_find_the_share_that_was_measured(indexed):
    with nf.open(indexed) as col:
        tuned = col.tune()
        found = recall_of(col, ASKED, STORED)
    assert (tuned.recall_target, tuned.queries) == (TARGET, 1_000)
    assert TARGET <= tuned.interval[0] <= tuned.recall <= tuned.interval[1] <= 1
    assert found >= TARGET
    # ASKED is drawn like the documents, so that its recall differs by chance only: a standard error is some 0.015.
    assert found == pytest.approx(tuned.recall, abs=0.06)


def test_the_report_agrees_with_the_stats(indexed):
    with nf.open(indexed) as col:
        tuned, told = col.tune(), col.stats().index
    assert tuned.kind == told["kind"] == told["wanted"]
    assert tuned.kind.startswith("IVF")
    assert tuned.reason == told["reason"] == "ivf-flat was asked for"
    assert (tuned.recall, list(tuned.interval)) == (told["recall"], told["recall_interval"])
    assert (tuned.chosen.reach, tuned.chosen.candidates) == (told["reach"], told["candidates"])
    assert tuned.chosen.milliseconds == told["milliseconds"]


def test_the_curve_rises_to_all_of_the_neighbours(indexed):
    with nf.open(indexed) as col:
        curve = col.tune().curve
    assert [point.recall for point in curve] == sorted({point.recall for point in curve})
    assert [point.milliseconds for point in curve] == sorted(point.milliseconds for point in curve)
    assert all(point.low <= point.recall <= point.high for point in curve)
    assert curve[-1].recall >= 0.99
    assert all(point.candidates >= 10 for point in curve)


def test_the_report_as_json_as_a_frame_and_as_text(indexed):
    with nf.open(indexed) as col:
        tuned = col.tune()
    kept = json.loads(json.dumps(tuned.to_dict()))
    assert kept["chosen"]["reach"] == tuned.chosen.reach
    assert kept["interval"] == list(tuned.interval)
    assert [point["recall"] for point in kept["curve"]] == [point.recall for point in tuned.curve]
    frame = tuned.to_pandas()
    assert list(frame) == ["reach", "candidates", "recall", "low", "high", "milliseconds", "chosen"]
    assert frame["reach"].tolist() == [point.reach for point in tuned.curve]
    assert frame["chosen"].tolist() == [point == tuned.chosen for point in tuned.curve]
    lines = str(tuned).splitlines()
    assert lines[0] == f"{tuned.kind}: ivf-flat was asked for"
    assert lines[1].startswith(f"target 0.8; recall@10 {tuned.recall:.4f}, 95 % interval {tuned.interval[0]:.4f} to ")
    assert lines[2].startswith(f"chosen: reach {tuned.chosen.reach}, {tuned.chosen.candidates} candidates, ")
    assert lines[4].split() == ["reach", "candidates", "recall", "95", "%", "interval", "ms"]
    assert len(lines) == 5 + len(tuned.curve)


def test_the_picture_has_the_curve_the_target_and_the_choice(indexed, tmp_path):
    with nf.open(indexed) as col:
        tuned = col.tune()
    figure = tuned.plot(tmp_path / "curve.svg")
    drawn = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xdata()) and line.get_marker() != "_"]
    curve, target, chosen = drawn[0], drawn[-2].tolist(), drawn[-1].tolist()
    np.testing.assert_allclose(curve, [(point.milliseconds, point.recall) for point in tuned.curve])
    assert target == [[0, TARGET], [1, TARGET]]
    assert chosen == [[tuned.chosen.milliseconds, tuned.chosen.recall]]
    words = "".join(ET.parse(tmp_path / "curve.svg").getroot().itertext())
    assert tuned.kind in words
    assert "target 0.8" in words
    tuned.plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(nf.InvalidInput, match=r"must be \.png or \.svg"):
        tuned.plot(tmp_path / "curve.gif")


# -- an exact scan -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ("auto", "scanning 2000 vectors takes less than a millisecond"),
        ("exact", "the exact scan was asked for"),
        ("IVF64,Flat", "2000 vectors are too few for IVF64,Flat: it is built from 2496 on"),
    ],
)
def test_a_collection_that_scans_says_so_and_why(tmp_path, index, reason):
    with nf.open(tmp_path / "a.nf", index=index) as col:
        add(col, STORED)
        for tuned in (col.tune(), col.tune(ASKED), col.tune(build=False)):
            assert tuned.to_dict() == {
                "kind": "exact",
                "reason": reason,
                "recall_target": 0.95,
                "recall": 1.0,
                "interval": [1.0, 1.0],
                "queries": 0,
                "chosen": None,
                "curve": [],
            }
        assert str(tuned) == (
            f"exact: {reason}\ntarget 0.95; every search scans all vectors, and finds all of the true nearest"
        )
        assert len(tuned.to_pandas()) == 0
        with pytest.raises(nf.InvalidInput, match="no curve to draw"):
            tuned.plot()
        assert recall_of(col, ASKED[:20], STORED) == 1


def test_an_empty_collection_scans_nothing(col):
    assert (col.tune().kind, col.tune(["a text"]).recall) == ("exact", 1.0)


def test_an_index_that_finds_too_few_is_shown_and_not_used(tmp_path):
    with nf.open(tmp_path / "a.nf", index="LSH", recall=1.0) as col:
        add(col, STORED)
        tuned = col.tune()
        assert (tuned.kind, tuned.chosen, tuned.recall) == ("exact", None, 1.0)
        assert tuned.reason == "LSH finds too few of the true neighbours, whatever the effort: searches scan"
        assert 0 < tuned.curve[0].recall < 1
        assert recall_of(col, ASKED[:20], STORED) == 1
        figure = tuned.plot()
        assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["target 1"]


# -- when it builds ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_takes_in_new_documents_and_leaves_out_deleted_ones(col):
    add(col, STORED)
    col.tune()
    add(col, vectors(100, 3), prefix="new")
    col.delete(["d0", "d1", "d2"])
    told = col.stats().index
    assert (told["indexed"], told["scanned"], told["dead"]) == (2_000, 100, 3)
    before = col.tune(build=False)
    assert col.stats().index["scanned"] == 100
    after = col.tune()
    told = col.stats().index
    assert (told["indexed"], told["scanned"], told["dead"]) == (2_097, 0, 0)
    assert before.recall_target == after.recall_target
    assert col.search(vectors(100, 3)[7], 1, mode="semantic").doc_ids == ["new7"]


def test_an_index_that_is_right_is_measured_once(indexed):
    marker = indexed / "index" / "marker.json"
    before = marker.read_bytes()
    with nf.open(indexed) as col:
        first, second = col.tune(), col.tune()
    assert first == second
    assert marker.read_bytes() == before


@pytest.mark.slow
def test_queries_of_users_are_half_of_the_sample(col, monkeypatch):
    from nearfield.engine.local import neighbours

    tune, heard = neighbours.tune, []

    def spied(ann, read, live, target, asked=None):
        heard.append(asked)
        return tune(ann, read, live, target, asked)

    monkeypatch.setattr(neighbours, "tune", spied)
    add(col, STORED)
    col.tune()
    assert [len(asked) for asked in heard] == [0]
    far = -STORED[:1] * 3
    tuned = col.tune(far)
    np.testing.assert_allclose(heard[1], far / np.linalg.norm(far), rtol=1e-6)
    assert tuned.queries == 1_000
    assert col.tune() == tuned
    col.add(["one more"], vectors=STORED[:1])
    col.tune()  # which builds the index anew, and suits the same queries
    np.testing.assert_array_equal(heard[2], heard[1])
    assert len(heard) == 3


@pytest.mark.parametrize("form", ["list", "mapping", "file"])
def test_texts_are_encoded_as_queries_are(tmp_path, encoder, form, monkeypatch):
    from nearfield.engine.local import LocalEngine

    texts = ["red apples", "a blue sky"]
    file = tmp_path / "queries.jsonl"
    file.write_text("".join(json.dumps({"_id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
    queries = {"list": texts, "mapping": {"a": texts[0], "b": texts[1]}, "file": file}[form]
    heard = []
    monkeypatch.setattr(LocalEngine, "tune", lambda self, asked=None, *, build: heard.append((asked, build)))
    with nf.open(tmp_path / "a.nf", encoder=encoder) as col:
        col.add(["some words"])
        col.tune(queries)
    expected = encoder.encode_queries(texts)
    ((asked, build),) = heard
    assert build is True
    np.testing.assert_allclose(asked, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queries", "build", "message"),
    [
        ([], True, "at least one query"),
        (np.empty((0, DIMENSION), np.float32), True, "at least one query"),
        (["  "], True, "must have a text"),
        ([3], True, "must have a text"),
        (7, True, "must be"),
        (np.ones((2, 5), np.float32), True, r"\(n, 16\)"),
        (np.full((1, DIMENSION), np.nan, np.float32), True, "finite"),
        (np.ones(DIMENSION, np.float32), True, "shape"),
        (np.ones((1, DIMENSION), np.float32), False, "leave out queries"),
    ],
)
def test_queries_that_cant_be_taken(col, queries, build, message):
    add(col, STORED[:10])
    with pytest.raises(nf.InvalidInput, match=message):
        col.tune(queries, build=build)


def test_vectors_of_another_encoder_are_refused(tmp_path, encoder):
    with nf.open(tmp_path / "a.nf", encoder=encoder) as col:
        add(col, STORED)
        with pytest.raises(nf.Conflict, match="16 dimensions"):
            col.tune(["a text"])  # which its encoder gives 64


@pytest.mark.slow
def test_another_process_that_builds_is_told_of(col, monkeypatch):
    from nearfield.engine.local import neighbours

    monkeypatch.setattr(neighbours, "WAIT_SECONDS", 0.1)
    add(col, STORED)
    col._engine._indexes.end()
    lock = FileLock(col._engine._layout.index_lock)
    lock.acquire()
    try:
        with pytest.raises(nf.Locked):
            col.tune(ASKED)
    finally:
        lock.release()
        col._engine._indexes._closing = False
    assert col.tune(ASKED).kind.startswith("IVF")


def test_a_closed_collection_and_an_engine_without_an_index(tmp_path, col, monkeypatch):
    from nearfield.engine.local import LocalEngine
    from nearfield.engine.protocol import Capabilities

    with monkeypatch.context() as patch:
        patch.setattr(LocalEngine, "capabilities", Capabilities(lexical=True, atomic_batches=True))
        with pytest.raises(nf.InvalidInput, match="no index that can be tuned"):
            col.tune()
    col.close()
    with pytest.raises(nf.InvalidInput, match="is closed"):
        col.tune()
