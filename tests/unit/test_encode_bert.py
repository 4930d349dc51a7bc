"""What the built-in encoder does with batches, threads and bad input."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nearfield.encode import bert as bert_module
from nearfield.encode import load_encoder
from nearfield.encode.bert import BertEncoder
from nearfield.encode.sentence_transformers import SentenceTransformersEncoder
from nearfield.encode.tokens import Tokens
from nearfield.errors import InvalidInput, MissingDependency

MODELS = Path(__file__).parents[1] / "formats" / "golden_vectors" / "models"
WORDS = ["how", "to", "build", "clusters", ".", "is", "the", "river", "building", "?"]


@pytest.fixture
def small() -> BertEncoder:
    encoder = load_encoder(MODELS / "mean", precision="float32")
    assert isinstance(encoder, BertEncoder)
    return encoder


def random_texts(count: int) -> list[str]:
    random = np.random.default_rng(3)
    return [" ".join(random.choice(WORDS, random.integers(0, 12))) + f" {row}" for row in range(count)]


def test_the_callers_order_is_kept_whatever_the_batches(small: BertEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = random_texts(60)
    alone = np.concatenate([small.encode_documents([text]) for text in texts])
    assert len(np.unique(alone.round(4), axis=0)) > 50
    for few in (10**9, 0):  # both graphs
        monkeypatch.setattr(bert_module, "FEW_TOKENS", few)
        for size in (1, 40, 10**6):
            monkeypatch.setattr(bert_module, "BATCH_TOKENS", size)
            np.testing.assert_allclose(small.encode_documents(texts), alone, atol=1e-5)


def test_batches_hold_little_padding(small: BertEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bert_module, "FEW_TOKENS", 0)
    monkeypatch.setattr(bert_module, "BATCH_TOKENS", 120)
    shapes, tokens = [], 0
    matrix = Tokens.matrix

    def note(self: Tokens, *args: object) -> object:
        nonlocal tokens
        ids, lengths = matrix(self, *args)  # type: ignore[arg-type]
        shapes.append(ids.shape)
        tokens += int(lengths.sum())
        return ids, lengths

    monkeypatch.setattr(Tokens, "matrix", note)
    small.encode_documents(random_texts(200))
    cells = sum(rows * length for rows, length in shapes)
    assert all(rows * length <= 120 for rows, length in shapes)
    assert tokens <= cells <= 1.1 * tokens


def test_duplicates_are_encoded_once(small: BertEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    matrix = Tokens.matrix
    monkeypatch.setattr(
        Tokens, "matrix", lambda self, ids, longest: (given.append(len(ids)), matrix(self, ids, longest))[1]
    )
    vectors = small.encode_documents(["river", "build", "river", "river"])
    assert sum(given) == 2
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_array_equal(vectors[0], vectors[3])
    assert not np.array_equal(vectors[0], vectors[1])


def test_several_threads_at_once(small: BertEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bert_module, "FEW_TOKENS", 300)
    jobs = [random_texts(count) for count in (1, 80, 3, 120, 2, 60, 1, 100)]
    wanted = [small.encode_documents(texts) for texts in jobs]
    with ThreadPoolExecutor(8) as threads:
        for found, right in zip(threads.map(small.encode_documents, jobs * 3), wanted * 3, strict=True):
            np.testing.assert_allclose(found, right, atol=1e-5)


@pytest.mark.parametrize(("few", "graph"), [(4, "_throughput"), (5, "_latency")])
def test_a_long_text_alone_has_the_graph_for_many(
    small: BertEncoder, monkeypatch: pytest.MonkeyPatch, few: int, graph: str
) -> None:
    wanted = load_encoder(MODELS / "mean", precision="float32").encode_queries(["how to build", "river"])[0]
    monkeypatch.setattr(bert_module, "FEW_TOKENS", few)
    found = small.encode_queries(["how to build"])  # five tokens with [CLS] and [SEP]
    assert found.shape == (1, small.dimension)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)
    assert {"_throughput", "_latency"} & set(vars(small)) == {graph}


def test_vectors_of_one_text_stay_as_they_were_when_the_next_is_encoded(small: BertEncoder) -> None:
    first = small.encode_queries(["river"])
    kept = first.copy()
    small.encode_queries(["how to build clusters"])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(("seconds", "times"), [(1000.0, 1), (0.0, 4)])
def test_the_files_memory_is_given_back_now_and_then(
    small: BertEncoder, monkeypatch: pytest.MonkeyPatch, seconds: float, times: int
) -> None:
    monkeypatch.setattr(bert_module, "LET_GO", seconds)
    given: list[None] = []
    monkeypatch.setattr(type(small._weights), "let_go", lambda _: given.append(None))
    wanted = small.encode_documents(["river", "build"])
    for text in ("river", "build"):
        small.encode_documents([text])
    np.testing.assert_allclose(small.encode_documents(["river", "build"]), wanted, atol=1e-5)
    assert len(given) == times


def test_no_texts_and_the_limit() -> None:
    encoder = load_encoder()
    assert encoder.encode_documents([]).shape == encoder.encode_queries([]).shape == (0, 384)
    assert encoder.encode_documents([]).dtype == np.float32
    assert (encoder.dimension, encoder.max_tokens) == (384, 254)
    # [CLS] and [SEP] are not counted, and neither padding nor truncation of tokenizer.json is applied.
    assert encoder.count_tokens(["", "a b c", "a " * 1000]) == [0, 3, 1000]


def test_a_prompt_takes_from_the_limit() -> None:
    # "query: " has 2 tokens, "the document: " 3; 20 less [CLS] and [SEP] less 3.
    assert load_encoder(MODELS / "max").max_tokens == 15


def test_a_bound_on_tokens_without_tokenising(small: BertEncoder) -> None:
    default = load_encoder()
    assert isinstance(default, BertEncoder)
    for encoder in (small, default):
        for text in (
            "",
            "a.b.c",
            "how to build",
            "한국어 문장",
            "İstanbul ﬃ ½",
            "👩‍👩‍👧",
            "ো ক়",
            "机器学习",
            "\u1e9b\u0323",
        ):
            bound = encoder.tokens_at_most(text)
            assert bound is not None and bound >= encoder.count_tokens([text])[0], text


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "got one str; put it in a list"),
        (7, "got int"),
        ([None], r"texts\[0\] must be a str, got NoneType"),
        (["a", 2], r"texts\[1\] must be a str, got int"),
        (["a", "b\ud800c"], r"texts\[1\] has a lone surrogate, '\\ud800', at character 1"),
    ],
)
def test_what_is_no_text(small: BertEncoder, texts: list[str], message: str) -> None:
    for method in (small.encode_documents, small.encode_queries, small.count_tokens):
        with pytest.raises(InvalidInput, match=message):
            method(texts)


def test_an_unknown_precision() -> None:
    with pytest.raises(InvalidInput, match="one of 'auto', 'float32', 'bfloat16', 'int8', got 'int4'"):
        load_encoder(precision="int4")


def test_an_encoder_object_is_taken_as_it_is(small: BertEncoder) -> None:
    assert load_encoder(small) is small
    with pytest.raises(InvalidInput, match="precision is for models"):
        load_encoder(small, precision="float32")


def test_an_object_that_is_no_encoder() -> None:
    class Half:
        name = "half"
        dimension = 3

        def encode_documents(self, texts: list[str]) -> list[str]:
            return texts

    with pytest.raises(InvalidInput, match="got Half, which lacks encode_queries"):
        load_encoder(Half())  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="got int, which lacks"):
        load_encoder(7)  # type: ignore[arg-type]


def test_sentence_transformers_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingDependency, match=r"pip install 'nearfield\[sentence-transformers\]'"):
        SentenceTransformersEncoder("all-MiniLM-L6-v2")
