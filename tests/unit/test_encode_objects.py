"""Any object with the two methods is an encoder, and what it returns is looked at."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import nearfield as nf
from nearfield.encode import load_encoder
from nearfield.encode.objects import ObjectEncoder
from nearfield.testing import check_encoder


def row(text):
    """Three numbers of a text: its length, its vowels and its sum."""
    return [len(text), sum(text.count(vowel) for vowel in "aeiou"), 1 + sum(map(ord, text)) % 101]


class Two:
    """The two methods, and no more; lists, as an API returns them."""

    def encode_documents(self, texts):
        return [row(text) for text in texts]

    def encode_queries(self, texts):
        return [row(f"query: {text}") for text in texts]


class More(Two):
    name, fingerprint, max_tokens, dimension, precision = "more", "more-1", 7, 3, "int4"

    def __init__(self):
        self.identity = {"endpoint": "here", "runtime": "claimed"}

    def count_tokens(self, texts):
        return [len(text) for text in texts]


def test_two_methods_are_enough():
    encoder = load_encoder(Two())
    assert isinstance(encoder, nf.Encoder)
    assert (encoder.name, encoder.dimension, encoder.max_tokens) == ("Two", 3, None)
    assert encoder.encode_documents(["abc", ""]).tolist() == [row("abc"), row("")]
    assert encoder.encode_queries(("abc",)).tolist() == [row("query: abc")]
    assert encoder.encode_documents([]).shape == (0, 3)
    assert encoder.encode_documents(["abc"]).dtype == np.float32
    assert encoder.count_tokens(["", "abc", "abcd", "äö"]) == [0, 1, 2, 2]


def test_it_passes_the_suite():
    check_encoder(load_encoder(Two()))


def test_what_an_object_has_is_used():
    encoder = ObjectEncoder(More())
    assert (encoder.name, encoder.dimension, encoder.max_tokens) == ("more", 3, 7)
    assert (encoder.fingerprint, encoder.precision, encoder.count_tokens(["four"])) == ("more-1", "int4", [4])
    assert encoder.identity["endpoint"] == "here"
    assert "runtime" not in encoder.identity  # it would be spared the probe


def test_a_whole_encoder_is_taken_as_it_is():
    given = More()
    assert load_encoder(given) is given


def test_the_fingerprint_is_of_class_name_and_dimension():
    class Other(Two):
        pass

    class Wide(Two):
        dimension = 4

    named = Two()
    named.name = "another"
    prints = [load_encoder(one).fingerprint for one in (Two(), Other(), Wide(), named)]
    assert len(set(prints)) == 4
    assert load_encoder(Two()).fingerprint == prints[0]
    assert pickle.loads(pickle.dumps(load_encoder(Two()))).fingerprint == prints[0]


def test_nothing_is_called_before_it_is_needed():
    class Loud:
        def encode_documents(self, texts):
            raise AssertionError("called")

        encode_queries = encode_documents

    assert load_encoder(Loud()).name == "Loud"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (object(), "lacks encode_documents and encode_queries"),
        (5, "got int, which lacks"),
        (Two, "got the class Two; make one of it"),
        (type("Half", (), {"encode_documents": print})(), "got Half, which lacks encode_queries"),
        (type("Attribute", (), {"encode_documents": 1, "encode_queries": 2})(), "lacks encode_documents and encode"),
        (
            type("Limit", (Two,), {"max_tokens": 0})(),
            r"Limit.max_tokens must be an int of at least 1, or None, and is 0",
        ),
        (type("Wide", (Two,), {"dimension": "3"})(), r"Wide.dimension must be an int"),
    ],
)
def test_what_is_no_encoder_is_refused(given, message):
    with pytest.raises(nf.InvalidInput, match=message):
        load_encoder(given)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned NoneType of dtype object"),
        ([[1.0, 2.0, 3.0]], r"a vector for each text, and returned shape \(1, 3\)"),
        ([[1.0, 2.0], [3.0, 4.0]], r"of shape \(2, 3\).*returned shape \(2, 2\)"),
        ([1.0, 2.0], r"returned shape \(2,\)"),
        ([[1.0, 2.0, 3.0], [1.0]], "a vector for each text"),
        ([["a", "b", "c"]] * 2, "dtype <U1"),
        ([[1, 2, np.nan], [1, 2, 3]], r"row 0 has NaN or an infinity \(1 such rows\)"),
        ([[1, 2, 3], [1, 2, np.inf]], "row 1 has NaN"),
        ([[1, 2, 3], [1, 2, 1e300]], "row 1 has NaN"),
        ([[1j, 2, 3]] * 2, "dtype complex128"),
        ([[True, False, True]] * 2, "dtype bool"),
    ],
    ids=repr,
)
def test_what_an_object_returns_is_checked(returned, message):
    class Bad(Two):
        dimension = 3

        def encode_queries(self, texts):
            return returned

    with pytest.raises(
        nf.InvalidInput, match=r"Bad.encode_queries must return finite numbers of shape \(2, 3\)"
    ) as error:
        load_encoder(Bad()).encode_queries(["a", "b"])
    error.match(message)


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int8, np.uint32])
def test_other_numbers_become_float32(kind):
    class Kind(Two):
        def encode_documents(self, texts):
            return np.array([[1, 2, 3]] * len(texts), kind)

    vectors = load_encoder(Kind()).encode_documents(["a", "b"])
    assert (vectors.dtype, vectors.tolist()) == (np.float32, [[1, 2, 3], [1, 2, 3]])


def test_counts_are_checked():
    class Bad(Two):
        def count_tokens(self, texts):
            return [1.5]

    with pytest.raises(nf.InvalidInput, match=r"Bad.count_tokens must return an int for each text"):
        load_encoder(Bad()).count_tokens(["a"])


def test_an_objects_own_errors_come_through():
    class Failing(Two):
        def encode_queries(self, texts):
            raise KeyError("model")

    with pytest.raises(KeyError, match="model"):
        load_encoder(Failing()).encode_queries(["a"])
