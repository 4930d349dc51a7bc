"""`ResultCache` against a model: a dict of everything that was ever put."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nearfield.serve.cache import ResultCache

STEPS = st.lists(
    st.tuples(st.sampled_from(["get", "put"]), st.integers(0, 3), st.sampled_from("abcde"), st.integers(1, 9)),
    max_size=60,
)


@given(STEPS, st.integers(0, 4), st.integers(0, 30))
def test_what_it_gives_is_what_was_put(steps, entries, max_bytes):
    cache = ResultCache(entries, max_bytes)
    known: dict[tuple[int, str], bytes] = {}
    gets = 0
    for action, generation, request, size in steps:
        if action == "put":
            # One generation and one request have one answer.
            answer = known.setdefault((generation, request), f"{generation}{request}".encode() * size)
            cache.put(generation, request, answer)
        else:
            gets += 1
            assert cache.get(generation, request) in (None, known.get((generation, request)))
        hits, misses, held, size_held = cache.figures()
        assert held <= entries
        assert size_held <= max_bytes
        assert hits + misses == gets


def test_the_least_recently_used_goes_first():
    cache = ResultCache(2, 1000)
    cache.put(1, "a", b"A")
    cache.put(1, "b", b"B")
    assert cache.get(1, "a") == b"A"
    cache.put(1, "c", b"C")
    assert [cache.get(1, request) for request in "abc"] == [b"A", None, b"C"]


def test_bytes_are_those_of_requests_and_answers():
    cache = ResultCache(10, 10)
    cache.put(1, "aa", b"123")
    cache.put(1, "bb", b"123")
    assert cache.figures() == (0, 0, 2, 10)
    cache.put(1, "c", b"")
    assert (cache.get(1, "aa"), cache.get(1, "bb"), cache.get(1, "c")) == (None, b"123", b"")
    cache.put(1, "d", b"0123456789")
    assert cache.get(1, "d") is None
    assert cache.figures() == (2, 2, 2, 6)


def test_a_new_generation_empties_it_and_an_old_one_is_not_kept():
    cache = ResultCache(10, 1000)
    cache.put(5, "a", b"five")
    assert cache.get(6, "a") is None
    assert cache.figures()[2:] == (0, 0)
    cache.put(5, "a", b"five")
    assert cache.get(6, "a") is None
    assert cache.get(5, "a") is None
    cache.put(6, "a", b"six")
    assert cache.get(6, "a") == b"six"
