import numpy as np
import pytest

from nearfield.index.keys import distinct, places_of
from nearfield.index.names import NO_TABLE, Names, is_worth_its_room, load_names


def names(keys, doc_ids):
    return Names(np.array(keys, np.int64), np.array([doc_id.encode() for doc_id in doc_ids], np.bytes_))


@pytest.mark.parametrize("keys", [[5, 6, 7, 8], [5, 6, 9, 400]], ids=["without gaps", "with gaps"])
def test_a_name_is_found_by_its_key(keys, tmp_path):
    known = names(keys, ["a", "Ω-2", "", "last"])
    assert known.find(np.array([keys[3], keys[0], keys[1]])) == ["last", "a", "Ω-2"]
    assert known.find(np.array([], np.int64)) == []
    known.save(tmp_path)
    again = load_names(tmp_path, known.keys)
    assert again.find(np.array([keys[1], keys[3]])) == ["Ω-2", "last"]
    with pytest.raises(ValueError, match="other documents"):
        load_names(tmp_path, known.keys[:3])


@pytest.mark.parametrize("unknown", [4, 10, 401, -1, 2**60])
@pytest.mark.parametrize("keys", [[5, 6, 7, 8], [5, 6, 9, 400]], ids=["without gaps", "with gaps"])
def test_nothing_is_said_where_a_key_is_unknown_or_was_deleted(keys, unknown):
    known = names(keys, ["a", "b", "", "d"])
    assert known.find(np.array([keys[0], unknown])) is None
    assert known.find(np.array([keys[0], keys[2]])) is None
    assert names([], []).find(np.array([unknown])) is None


def test_without_a_table_nothing_is_known():
    assert Names(np.arange(3), NO_TABLE).find(np.array([1])) is None


def test_a_table_of_much_unused_room_is_not_worth_it():
    assert is_worth_its_room(64, 1000, 1000)
    assert is_worth_its_room(65, 1000, 32_500)
    assert not is_worth_its_room(65, 1000, 32_499)


def test_each_key_comes_once():
    keys = np.array([1, 1, 1, 4, 9, 9])
    np.testing.assert_array_equal(distinct(keys), [1, 4, 9])
    single = np.array([1, 4, 9])
    assert distinct(single) is single
    assert len(distinct(np.array([], np.int64))) == 0


@pytest.mark.parametrize("known", [[5, 6, 7, 8], [5, 6, 9, 400], [7]], ids=["without gaps", "with gaps", "one"])
def test_a_key_stands_where_it_is_and_an_unknown_one_where_another_is(known):
    known = np.array(known)
    np.testing.assert_array_equal(places_of(known, known[::-1]), np.arange(len(known))[::-1])
    others = np.setdiff1d([-(2**60), 0, 4, 10, 401, 2**60], known)
    assert not (known[places_of(known, others)] == others).any()
