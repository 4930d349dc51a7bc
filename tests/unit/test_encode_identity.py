"""An encoder's identity: what it holds, what counts as a difference, and the probe."""

from __future__ import annotations

import json

import numpy as np
import pytest

import nearfield as nf
from nearfield.encode import load_encoder, probing
from nearfield.encode.identity import check_probes, differences, identify, is_identity, valid
from nearfield.encode.model_identity import revision_of
from nearfield.encode.models import PUBLISHED_SHA256

MODEL = "all-MiniLM-L6-v2"


class Linear:
    """Random but fixed vectors of texts, which `change` may alter."""

    name, max_tokens, fingerprint = "linear", None, "linear-1"

    def __init__(self, dimension=48, seed=0, change=lambda rows: rows, common=0.0):
        self.dimension, self._seed, self._change, self._common = dimension, seed, change, common
        self.calls = 0

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def _rows(self, texts):
        self.calls += 1
        rows = [np.random.default_rng([self._seed, *text.encode()]).standard_normal(self.dimension) for text in texts]
        shared = np.random.default_rng(self._seed).standard_normal(self.dimension) * self._common
        return (np.array(rows).reshape(len(texts), self.dimension) + shared).astype(np.float32)

    def encode_documents(self, texts):
        return self._change(self._rows(texts)).astype(np.float32)

    def encode_queries(self, texts):
        return self._rows(texts)


def rounded_to(step):
    return lambda rows: np.round(rows / step) * step


def test_the_built_in_encoder_tells_all_that_makes_its_vectors():
    encoder = load_encoder()
    identity = identify(encoder)
    expected = {
        "name": MODEL, "dimension": 384, "max_tokens": 254, "pooling": "mean", "normalise": True,
        "prompts": {"document": "", "query": ""},
    }  # fmt: skip
    assert {name: identity[name] for name in expected} == expected
    assert identity["fingerprint"] == encoder.fingerprint
    assert identity["files"]["model.safetensors"] == PUBLISHED_SHA256[f"sentence-transformers/{MODEL}"]
    assert {"config.json", "tokenizer.json", "1_Pooling/config.json"} <= set(identity["files"])
    assert identity["precision"] == encoder.precision
    assert f"nearfield {nf.__version__}" in identity["runtime"]
    assert is_identity(json.loads(json.dumps(identity)))


def test_the_probe_holds_the_vectors_to_half_precision():
    encoder = load_encoder(precision="float32")
    stored = identify(encoder)["probe"]
    units = np.concatenate([encoder.encode_documents(probing.DOCUMENTS), encoder.encode_queries(probing.QUERIES)])
    assert np.abs(probing._matrix(stored) - units).max() < 2e-4


def test_precisions_are_the_same_encoder():
    one = identify(load_encoder(precision="float32"))
    for precision in ("auto", "int8"):
        other = identify(load_encoder(precision=precision))
        assert other["fingerprint"] == one["fingerprint"]
        assert min(probing.cosines(one["probe"], other["probe"]).values()) > 0.97
        check_probes(one, other, "the encoder")


@pytest.mark.parametrize("common", [0.0, 10.0])
def test_rounding_is_no_difference(common):
    one = identify(Linear(common=common))
    # float32, bfloat16 (8 bits) and coarser.
    for step in (1e-6, 2**-7, 2**-4):
        check_probes(one, identify(Linear(common=common, change=rounded_to(step))), "the encoder")


@pytest.mark.parametrize("common", [0.0, 10.0])
@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[:, ::-1],
        lambda rows: -rows,
        lambda rows: rows * 0,
        lambda rows: rows[::-1],
        lambda rows: np.where(np.arange(rows.shape[1]) < 12, 0, rows),
    ],
    ids=["reversed", "negated", "zero", "other texts", "a quarter lost"],
)
def test_other_vectors_are_found_out(change, common):
    one, other = identify(Linear(common=common)), identify(Linear(common=common, change=change))
    with pytest.raises(
        nf.Conflict, match=r"another encoder than it, though both .*vectors of documents differ"
    ) as error:
        check_probes(one, other, "it")
    assert "queries" not in str(error.value)
    assert "Collection.migrate" in str(error.value)


def test_queries_are_compared_by_themselves():
    encoder, other = Linear(), Linear()
    other.encode_queries = lambda texts: other._rows([f"query: {text}" for text in texts])
    (line,) = differences(identify(encoder), identify(other))
    assert line.startswith("the probe: the vectors of queries differ (cosine ")


def test_one_vector_for_all_texts_is_compared_as_it_is():
    def constant(rows):
        return np.ones_like(rows)

    stored = identify(Linear(change=constant))
    assert differences(stored, identify(Linear(change=lambda rows: constant(rows) * 2))) == []
    assert differences(stored, identify(Linear(change=lambda rows: rows))) != []


def test_differences_are_told_in_words():
    stored = {
        "fingerprint": "a", "name": "x", "pooling": "mean", "dimension": 3, "revision": None, "only": 1,
        "prompts": {"query": "", "document": ""}, "files": {"model.safetensors": "1", "config.json": "1", "old": "1"},
    }  # fmt: skip
    current = {
        "fingerprint": "b", "name": "y", "pooling": "cls", "dimension": 3, "revision": "c9", "precision": "int8",
        "prompts": {"query": "query: ", "document": ""},
        "files": {"model.safetensors": "2", "config.json": "1", "new": "1"},
    }  # fmt: skip
    assert differences(stored, current) == [
        "name: the collection has 'x', the encoder 'y'",
        "revision: the collection has None, the encoder 'c9'",
        "pooling: the collection has 'mean', the encoder 'cls'",
        "prompts.query: the collection has '', the encoder 'query: '",
        "files: model.safetensors differs",
        "files: the collection's encoder has no new",
        "files: the encoder has no old",
    ]
    assert differences(stored, stored) == []


def test_an_encoder_is_probed_once():
    encoder = Linear()
    first = identify(encoder)
    assert (encoder.calls, identify(encoder) == first, encoder.calls) == (2, True, 2)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {},
        {"fingerprint": 1},
        {"fingerprint": "a", "probe": []},
        {"fingerprint": "a", "probe": {"version": 1}},
        {"fingerprint": "a", "probe": {"version": 1, "documents": ["AAA="] * 4, "queries": ["?"] * 2}},
        {"fingerprint": "a", "probe": {"version": 1, "documents": ["AAA="] * 4, "queries": ["AAAAAA=="] * 2}},
        {"fingerprint": "a", "probe": {"version": 1, "documents": ["AH4="] * 4, "queries": ["AH4="] * 2}},
        {"fingerprint": "a", "much": "x" * (5 << 20)},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_damaged_identity_is_none(broken):
    assert not is_identity(broken)
    with pytest.raises(ValueError, match=r"identity|probe|base64|stack|shape|finite|padding|digit"):
        valid(broken)


def test_a_later_versions_probe_is_not_compared():
    later = {"fingerprint": "a", "probe": {"version": 2, "vectors": []}}
    assert valid(later) == later
    assert differences(later, identify(Linear())) == []


@pytest.mark.parametrize("told", [[], {1: 2}, {"a": {1, 2}}, {"a": float("nan")}, "text"], ids=repr)
def test_what_an_encoder_tells_of_itself_must_be_json(told):
    encoder = Linear()
    encoder.identity = told
    if told:
        with pytest.raises(nf.InvalidInput, match=r"identity|says of itself"):
            identify(encoder)
    else:
        assert identify(encoder)["name"] == "linear"


def test_an_encoder_cannot_pass_for_another_by_what_it_tells():
    encoder = Linear()
    encoder.identity = {"fingerprint": "of another", "dimension": 1, "revision": "r7", "endpoint": "here"}
    identity = identify(encoder)
    assert (identity["fingerprint"], identity["dimension"]) == ("linear-1", 48)
    assert (identity["revision"], identity["endpoint"]) == ("r7", "here")


def test_only_snapshots_have_a_revision(tmp_path):
    assert revision_of(tmp_path / "snapshots" / ("a" * 40)) == "a" * 40
    assert revision_of(tmp_path / "snapshots" / "main") is None
    assert revision_of(tmp_path / ("a" * 40)) is None
