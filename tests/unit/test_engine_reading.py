import numpy as np
import pytest

import nearfield as nf
from nearfield.engine.local import naming, reading
from nearfield.engine.local.naming import read_names
from nearfield.engine.local.reading import RowReader
from nearfield.index.ann import CHUNK, Interrupted

COUNT = CHUNK + 3_000


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((COUNT, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path = tmp_path_factory.mktemp("reading") / "docs.nf"
    with nf.open(path, index="exact") as col:
        col.add([{"doc_id": f"ü{row}", "text": "text"} for row in range(COUNT)], vectors=vectors)
    return path, vectors


@pytest.fixture
def state(stored):
    with nf.open(stored[0]) as col:
        yield col._engine._indexes.state()


@pytest.mark.parametrize("limit", [0, 10**12], ids=["given back at every look", "kept"])
def test_vectors_are_read_by_position_and_given_back_when_many_are_mapped(stored, state, limit, monkeypatch):
    let_go = []
    monkeypatch.setattr(type(state.blocks), "let_go", lambda _: let_go.append(1))
    monkeypatch.setattr(reading, "LET_GO_BYTES", limit)
    read = RowReader(state, state.rows.of(np.arange(COUNT))[::-1].copy(), lambda: False)
    rng = np.random.default_rng(1)
    for positions in (rng.permutation(COUNT), np.array([3, 3, 0]), np.array([], np.int64)):
        np.testing.assert_allclose(read(positions), stored[1][::-1][positions], atol=1e-6)
    assert len(let_go) == (0 if limit else COUNT // reading.LOOK_ROWS)


def test_without_a_system_that_tells_what_is_mapped_the_bytes_read_count(stored, state, monkeypatch, tmp_path):
    let_go = []
    monkeypatch.setattr(type(state.blocks), "let_go", lambda _: let_go.append(1))
    monkeypatch.setattr(reading, "_STATUS", tmp_path / "none")
    monkeypatch.setattr(reading, "LET_GO_BYTES", 3 * reading.LOOK_ROWS * 8 * 4)
    read = RowReader(state, state.rows.of(np.arange(COUNT)), lambda: False)
    for _ in range(8):
        read(np.arange(reading.LOOK_ROWS))
    assert len(let_go) == 2


def test_a_reader_that_is_to_stop_reads_nothing(state):
    with pytest.raises(Interrupted):
        RowReader(state, state.rows.of(np.arange(COUNT)), lambda: True)(np.arange(3))


@pytest.mark.parametrize("doc_ids", [["x" * 200, *"abcdef"], ["x" * 80, *["y" * 30] * 9]])
@pytest.mark.parametrize("at_once", [1, 10**6])
def test_names_that_take_much_unused_room_are_left_to_the_database(doc_ids, at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(naming, "AT_ONCE", at_once)
    doc_ids = [f"{doc_id}{i}" for i, doc_id in enumerate(doc_ids)]
    documents = [{"doc_id": doc_id, "text": "t"} for doc_id in doc_ids]
    with nf.open(tmp_path / "c") as col:
        col.add(documents, vectors=np.eye(len(doc_ids), dtype=np.float32))
        with col._engine.view() as view, col._engine._database.reading() as connection:
            assert read_names(view.keys(), connection).find(view.keys()) is None


@pytest.mark.parametrize("at_once", [1, 7, 10**6])
def test_names_are_read_in_pieces(state, stored, at_once, monkeypatch):
    monkeypatch.setattr(naming, "AT_ONCE", at_once)
    keys = state.keys[100:150]
    asked = np.sort(np.concatenate((keys[::2], [keys[0] - 10**6, keys[-1] + 10**6])))
    with nf.open(stored[0]) as col, col._engine._database.reading() as connection:
        names = read_names(asked, connection)
        assert names.find(keys[::2]) == [f"ü{row}" for row in range(100, 150, 2)]
        assert names.find(asked[:1]) is names.find(asked[-1:]) is None
        assert len(read_names(np.array([], np.int64), connection).keys) == 0
